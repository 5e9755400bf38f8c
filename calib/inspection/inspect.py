"""Inspect a capture: measure everything, then say what hurts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from calib.capture import BoolArray, Capture, CaptureError, View, picture_size
from calib.formats import FORMATS
from calib.inspection.compare import InspectOptions, compare_views
from calib.inspection.epipolar import PairError
from calib.inspection.features import Features, find_features
from calib.inspection.findings import find_findings
from calib.inspection.geometry import Arrangement, arrange, duplicates
from calib.inspection.lenses import group_lenses
from calib.inspection.pictures import compare_levels, head_region, measure_picture
from calib.inspection.report import Inspection, Partner, Picture

DoubleArray = npt.NDArray[np.float64]

# The head is taken to fill this part of the typical picture's shorter side.
_HEAD_SHARE = 0.6
_N_PARTNERS = 4
_PARTNER_DEG = (10.0, 40.0)


def inspect_capture(
    capture: Capture,
    options: InspectOptions | None = None,
    step: Callable[[], None] = lambda: None,
) -> Inspection:
    """Inspect a capture.

    Args:
        capture: of at least two views; its pictures need not be what the cameras say.
        options: how much is compared.
        step: called once per picture.

    Returns:
        What was measured and what hurts.
    """
    options = options or InspectOptions()
    views = capture.views
    cameras = [view.camera for view in views]
    around = arrange(cameras, capture.points)
    radius = _head_radius(around, views)

    def look(view: View) -> tuple[Picture, Features]:
        found = _look_at(view, around, radius, options)
        step()
        return found

    with ThreadPoolExecutor(options.threads) as pool:
        looked = list(pool.map(look, views))
        pictures = tuple(picture for picture, _ in looked)
        features = [found for _, found in looked]
        usable = [k for k, picture in enumerate(pictures) if picture.problem is None]
        compared = compare_views(cameras, around, features, usable, options, pool)
    inspection = Inspection(
        path=capture.path,
        format=capture.format,
        source=capture.source,
        other_sources={
            name: found
            for name, entry in FORMATS.items()
            if name != capture.format and (found := entry.find(capture.path)) is not None
        },
        unit=capture.unit,
        n_points=len(capture.points),
        names=tuple(view.name for view in views),
        sizes=tuple((camera.width, camera.height) for camera in cameras),
        lenses=group_lenses(cameras),
        arrangement=around,
        same_pose=tuple(duplicates(around, cameras)),
        same_picture=_same_pictures(pictures),
        pictures=pictures,
        relative_levels=compare_levels([p.levels for p in pictures], compared.matches),
        reprojection_px=reprojection_errors(capture),
        pairs=compared.errors,
        view_errors=compared.view_errors,
        misplaced=compared.misplaced,
        lens_error=compared.lens_error,
        partners=_partners(around, compared.errors, usable),
    )
    return replace(inspection, findings=(*find_findings(inspection, capture),))


def reprojection_errors(capture: Capture) -> DoubleArray:
    """(V,) median distance in pixels between sparse points and where views observed them.

    NaN for views without observations.
    """
    errors = np.full(len(capture.views), np.nan)
    for index, view in enumerate(capture.views):
        if view.observed is not None and len(view.point_ids):
            pixels = view.camera.project(capture.points[view.point_ids])[0]
            miss = np.linalg.norm(pixels - view.observed, axis=1)
            errors[index] = np.median(np.nan_to_num(miss, nan=np.inf))
    return errors


def _look_at(
    view: View, around: Arrangement, radius: float, options: InspectOptions
) -> tuple[Picture, Features]:
    nothing = Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    try:
        digest = hashlib.sha256(view.image_path.read_bytes()).hexdigest()
        image = view.load_image()
    except (CaptureError, OSError) as error:
        reason = error.reason if isinstance(error, CaptureError) else str(error.strerror)
        return Picture(_size_on_disk(view), reason, "", None, None), nothing
    mask = _mask(view)
    features = find_features(image, mask, options.n_features)
    region = mask if mask is not None else head_region(view.camera, around.center, radius)
    levels = measure_picture(image, region, features)
    share = None if mask is None else float(mask.mean())
    return Picture((image.shape[1], image.shape[0]), None, digest, share, levels), features


def _mask(view: View) -> BoolArray | None:
    """The mask, None where it is absent, damaged or empty."""
    try:
        mask = view.load_mask()
    except CaptureError:
        return None
    return mask if mask is not None and mask.any() else None


def _size_on_disk(view: View) -> tuple[int, int] | None:
    try:
        return picture_size(view.image_path)
    except CaptureError:
        return None


def _head_radius(around: Arrangement, views: Sequence[View]) -> float:
    sides = np.array([min(view.camera.width, view.camera.height) for view in views])
    return float(np.median(_HEAD_SHARE / 2 * sides / around.pixels_per_unit))


def _same_pictures(pictures: Sequence[Picture]) -> tuple[tuple[int, int], ...]:
    first: dict[str, int] = {}
    pairs = []
    for index, picture in enumerate(pictures):
        if picture.digest:
            other = first.setdefault(picture.digest, index)
            if other != index:
                pairs.append((other, index))
    return tuple(pairs)


def _partners(
    around: Arrangement, errors: Sequence[PairError], usable: Collection[int]
) -> tuple[tuple[Partner, ...], ...]:
    """By verified matches among angles of 10 to 40 degrees; by angle where nothing matched."""
    counts = {error.views: error.n_matches for error in errors}
    found = []
    for i, angles in enumerate(around.angles_deg):
        candidates = [
            Partner(j, float(angles[j]), counts.get((min(i, j), max(i, j)), 0))
            for j in sorted(usable)
            if j != i and _PARTNER_DEG[0] <= angles[j] <= _PARTNER_DEG[1]
        ]
        candidates.sort(key=lambda p: (-p.n_matches, p.angle_deg, p.view))
        found.append(tuple(candidates[:_N_PARTNERS]))
    return tuple(found)
