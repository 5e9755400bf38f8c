"""What came of calibrating photographs: figures, why photos were left out, and one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from calib.capture import Capture
from calib.photo_features import Photo

# The diagonal of a 36 x 24 mm picture, which EXIF's 35 mm equivalent refers to.
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_FEW_FEATURES = 60
# COLMAP's own bound for a pair that counts.
_FEW_MATCHES = 15
# Sharpness below this share of the others' is called blurred.
_BLURRED = 0.75


@dataclass(frozen=True)
class FoundLens:
    """One camera of the result.

    Attributes:
        model: COLMAP's name.
        focal_px: mean of fx and fy.
        focal_35mm: the focal length of the same angle on 35 mm film, millimetres.
        source: of the focal length: "found" from the photos alone, "exif" where the search
            started from EXIF, "given".
        params: in COLMAP's order.
        n_photos: taken with it.
    """

    model: str
    focal_px: float
    focal_35mm: float
    source: str
    params: tuple[float, ...]
    n_photos: int


@dataclass(frozen=True)
class Verdict:
    """What came of calibrating photographs.

    Attributes:
        n_photos: asked for.
        n_registered: that have a pose.
        mean_error_px: reprojection error, over all observations.
        median_error_px: likewise.
        n_points: sparse points.
        mean_track_length: photos that see a point.
        lenses: of the photos, in the order of their first photo.
        left_out: why each other photo has none, by name.
        warnings: what a user should know, one line each.
    """

    n_photos: int
    n_registered: int
    mean_error_px: float
    median_error_px: float
    n_points: int
    mean_track_length: float
    lenses: tuple[FoundLens, ...]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def sentence(self) -> str:
        """All of it in one sentence."""
        n, m = self.n_registered, self.n_photos
        who = f"All {m} photos" if n == m else f"{n} of {m} photos"
        focal = float(np.median([lens.focal_px for lens in self.lenses]))
        film = float(np.median([lens.focal_35mm for lens in self.lenses]))
        how = {
            "found": "was found from the photos",
            "exif": "started from EXIF",
            "given": "was given",
        }[self.lenses[0].source]
        return (
            f"{who} have a pose, to {self.median_error_px:.2f} pixels; the focal length, "
            f"{focal:.0f} pixels ({film:.0f} mm on 35 mm film), {how}."
        )

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self) | {"sentence": self.sentence()}


def judge(
    capture: Capture,
    photos: Sequence[Photo],
    left_out: Mapping[str, str],
    source: str | None,
    warnings: Sequence[str],
) -> Verdict:
    """The verdict on a calibrated capture.

    Args:
        capture: of the registered photos.
        photos: that could be opened.
        left_out: why the others have no pose, by name.
        source: of the focal length where it was given, None otherwise.
        warnings: so far.
    """
    errors = np.concatenate(
        [
            np.linalg.norm(view.camera.project(capture.points[view.point_ids])[0] - seen, axis=1)
            for view in capture.views
            if (seen := view.observed) is not None
        ]
    )
    return Verdict(
        n_photos=len(capture.views) + len(left_out),
        n_registered=len(capture.views),
        mean_error_px=float(np.nanmean(errors)),
        median_error_px=float(np.nanmedian(errors)),
        n_points=len(capture.points),
        mean_track_length=len(errors) / max(len(capture.points), 1),
        lenses=_lenses(capture, {photo.name: photo for photo in photos}, source),
        left_out=dict(sorted(left_out.items())),
        warnings=tuple(warnings),
    )


def explain(
    photos: Sequence[Photo],
    n_features: Sequence[int],
    matches: Mapping[tuple[int, int], int],
    models: Sequence[Sequence[int]],
) -> dict[str, str]:
    """Why photos have no pose in the largest model.

    Args:
        photos: that could be opened; image numbers count them from 1.
        n_features: of each.
        matches: between image numbers.
        models: image numbers of each model, the largest first.

    Returns:
        A reason by name, for those without a pose.
    """
    kept = set(models[0]) if models else set()
    others = [p.sharpness for i, p in enumerate(photos, 1) if i in kept or not models]
    usual = float(np.median(others)) if others else 0.0
    reasons = {}
    for number, photo in enumerate(photos, 1):
        if number in kept:
            continue
        best = max((n for pair, n in matches.items() if number in pair), default=0)
        blurred = "; blurred" if photo.sharpness < _BLURRED * usual else ""
        other = next((len(model) for model in models[1:] if number in model), 0)
        if not photo.has_contrast:
            reason = "too few features: nothing but one brightness"
        elif n_features[number - 1] < _FEW_FEATURES:
            reason = f"too few features ({n_features[number - 1]}){blurred}"
        elif best < _FEW_MATCHES:
            reason = f"too few matches with any other photo{blurred}"
        elif other:
            reason = f"in another, smaller model of {other} photos"
        else:
            reason = f"matches (up to {best} with one photo), but no pose fits{blurred}"
        reasons[photo.name] = reason
    return reasons


def _lenses(
    capture: Capture, photos: Mapping[str, Photo], source: str | None
) -> tuple[FoundLens, ...]:
    found: dict[tuple[Any, ...], list[str]] = {}
    for view in capture.views:
        camera = view.camera
        key = (camera.model, camera.width, camera.height, *camera.params.tolist())
        found.setdefault(key, []).append(view.name)
    lenses = []
    for key, names in found.items():
        camera = next(v.camera for v in capture.views if v.name == names[0])
        focal = float(camera.K[0, 0] + camera.K[1, 1]) / 2
        film = focal * _DIAGONAL_35MM / math.hypot(camera.width, camera.height)
        exif = photos[names[0]].exif_focal_px is not None
        how = source or ("exif" if exif else "found")
        lenses.append(FoundLens(key[0], focal, film, how, tuple(key[3:]), len(names)))
    return tuple(lenses)
