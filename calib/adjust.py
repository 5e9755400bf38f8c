"""Poses refined by bundle adjustment, measured on tracks that it did not see.

Everywhere else a calibration is taken as given; this is for calibrations that are slightly off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import Capture
from calib.colmap import build_model
from calib.rays import intersect_rays, reprojection_errors
from calib.scale import align_cameras

DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IdArray = npt.NDArray[np.int64]

_HELD_OUT = 5
_CHUNK = 1000
# Two views that share fewer tracks do not hold each other; a view with fewer is left alone.
_MIN_SHARED = 15
# A round drops observations that are this many times as far off as the view's middle one, or this
# many pixels, whichever is more.
_DROP_TIMES, _DROP_PX = 4.0, 1.0
_MIN_VIEWS = 3
# Less than this is rounding.
_LEAST_GAIN_PX = 0.01
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class AdjustOptions:
    """How cameras are adjusted.

    Attributes:
        intrinsics: what of the lenses is refined beside the poses: nothing, the focal length, or
            all parameters. Views of one lens keep one lens.
        rounds: of triangulation, dropping of outliers and adjustment.
        loss_px: residual from which on an observation counts less (Cauchy).
        min_gain: the median error of the tracks held out must fall by this part.
    """

    intrinsics: Literal["fixed", "focal", "all"] = "fixed"
    rounds: int = 5
    loss_px: float = 0.5
    min_gain: float = 0.1

    def __post_init__(self) -> None:
        if self.intrinsics not in ("fixed", "focal", "all"):
            raise ValueError(f"intrinsics must be fixed, focal or all, got {self.intrinsics}")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if not self.loss_px > 0:
            raise ValueError(f"loss_px must be positive, got {self.loss_px}")
        if not 0 <= self.min_gain < 1:
            raise ValueError(f"min_gain must be in [0, 1), got {self.min_gain}")


@dataclass(frozen=True)
class TrackErrors:
    """Reprojection errors of tracks that were held out, pixels.

    Attributes:
        median: over their observations.
        p90: likewise.
    """

    median: float
    p90: float


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Adjusted cameras, in the frame and unit of the given ones.

    Attributes:
        cameras: V; those of ``adjusted`` False are the given ones.
        adjusted: (V,) bool.
        n_fitted: tracks that the adjustment used.
        n_held_out: tracks that it was measured on.
        before: errors of the tracks held out, with the given cameras.
        after: the same with the adjusted ones.
        turned_deg: (V,) how far each camera turned.
        moved: (V,) how far it moved, in parts of its distance from the tracks.
        helps: whether the errors fell as much as was asked for.
    """

    cameras: tuple[Camera, ...]
    adjusted: BoolArray
    n_fitted: int
    n_held_out: int
    before: TrackErrors
    after: TrackErrors
    turned_deg: DoubleArray
    moved: DoubleArray
    helps: bool

    def check(self) -> None:
        """Raise ValueError where the given cameras are as good."""
        if not self.helps:
            raise ValueError(
                f"adjusting does not help: held-out tracks meet to {self.before.median:.3f} pixels "
                f"before and {self.after.median:.3f} after; go on with the capture as it is"
            )


def observed_tracks(capture: Capture) -> DoubleArray:
    """(N, V, 2) pixels of the points of a capture's own camera file, NaN where not seen."""
    pixels = _observed(capture)
    return np.asarray(pixels[np.isfinite(pixels[..., 0]).sum(axis=1) >= _MIN_VIEWS])


def adjust_cameras(
    cameras: Sequence[Camera], tracks: DoubleArray, options: AdjustOptions | None = None
) -> Adjustment:
    """Refine cameras until tracks meet.

    A fifth of the tracks is held out. The rest are triangulated and adjusted together with the
    poses by COLMAP's bundle adjustment under a Cauchy loss, a few times over, as outliers show once
    the poses are better. The result is brought back to the centres of the given cameras by
    ``align_cameras``, so that frame and unit stay where most of the cameras say.

    Args:
        cameras: V, of any lens model.
        tracks: (N, V, 2) pixels as photographed, NaN where a view does not see a point.
        options: see ``AdjustOptions``.

    Raises:
        ValueError: if shapes do not fit, or too few views share enough tracks.
    """
    options = options or AdjustOptions()
    tracks = np.asarray(tracks, np.float64)
    if tracks.ndim != 3 or tracks.shape[1:] != (len(cameras), 2):
        raise ValueError(f"tracks must be (N, {len(cameras)}, 2), got {tracks.shape}")
    held = np.zeros(len(tracks), np.bool_)
    held[np.random.default_rng(0).permutation(len(tracks))[: len(tracks) // _HELD_OUT]] = True
    fitted, measured = tracks[~held], tracks[held]
    adjusted = linked_views(np.isfinite(fitted[..., 0]))
    rows = np.flatnonzero(adjusted).tolist()
    if len(rows) < 2:
        raise ValueError(
            f"only {len(fitted)} tracks were found and no two views share {_MIN_SHARED}: there is "
            "nothing to adjust by"
        )
    given = [cameras[row] for row in rows]
    moved = _in_rounds(given, fitted[:, rows], options)
    to_given = align_cameras(moved, given).similarity
    result = list(cameras)
    for row, camera in zip(rows, moved, strict=True):
        result[row] = to_given.camera(camera)
    before = _errors(given, measured[:, rows])
    after = _errors([result[row] for row in rows], measured[:, rows])
    points = _intersect(given, fitted[:, rows])
    middle = np.nanmedian(points, axis=0)
    least = max(options.min_gain * before.median, _LEAST_GAIN_PX)
    helps = before.median - after.median >= least and after.p90 <= before.p90
    return Adjustment(
        tuple(result),
        adjusted,
        len(fitted),
        len(measured),
        before,
        after,
        np.array([turn_deg(a, b) for a, b in zip(cameras, result, strict=True)]),
        np.array([_shift(a, b, middle) for a, b in zip(cameras, result, strict=True)]),
        helps,
    )


def adjusted_capture(capture: Capture, adjustment: Adjustment) -> Capture:
    """The capture with its adjusted cameras; points follow where their observations are known."""
    views = tuple(
        replace(view, camera=camera)
        for view, camera in zip(capture.views, adjustment.cameras, strict=True)
    )
    found = _intersect(adjustment.cameras, _observed(capture))
    points = np.where(np.isfinite(found), found, capture.points)
    return replace(capture, views=views, points=points)


def linked_views(seen: BoolArray) -> BoolArray:
    """The largest set of views that hold together by shared tracks.

    Args:
        seen: (N, V) which views see which track.

    Returns:
        (V,) bool.
    """
    shared = seen.astype(np.int64).T @ seen.astype(np.int64)
    linked = shared >= _MIN_SHARED
    np.fill_diagonal(linked, True)
    groups: list[BoolArray] = []
    for view in range(len(linked)):
        group = np.zeros(len(linked), np.bool_)
        group[view] = True
        while True:
            grown = np.asarray(linked[group].any(axis=0))
            if (grown == group).all():
                break
            group = grown
        groups.append(group)
    return max(groups, key=lambda group: int(group.sum()))


def turn_deg(first: Camera, second: Camera) -> float:
    """Angle between the directions of two cameras, degrees."""
    R = first.rotation @ second.rotation.T
    # Not by the cosine: it cannot tell small angles from none.
    return float(np.degrees(2 * np.arcsin(min(np.linalg.norm(R - np.eye(3)) / np.sqrt(8), 1.0))))


def _observed(capture: Capture) -> DoubleArray:
    """(N, V, 2) where each view sees each point."""
    pixels = np.full((len(capture.points), len(capture.views), 2), np.nan)
    for column, view in enumerate(capture.views):
        if view.observed is not None:
            pixels[view.point_ids, column] = view.observed
    return pixels


def _shift(first: Camera, second: Camera, middle: DoubleArray) -> float:
    away = np.linalg.norm(first.center - middle)
    return float(np.linalg.norm(first.center - second.center) / away)


def _errors(cameras: Sequence[Camera], tracks: DoubleArray) -> TrackErrors:
    errors = reprojection_errors(cameras, _intersect(cameras, tracks), tracks)
    counted = errors[(~np.isnan(errors)) & (np.isfinite(tracks[..., 0]).sum(axis=1) > 1)[:, None]]
    if not len(counted):
        return TrackErrors(float("nan"), float("nan"))
    median, p90 = np.quantile(counted, [0.5, 0.9], method="lower")
    return TrackErrors(float(median), float(p90))


def _intersect(cameras: Sequence[Camera], tracks: DoubleArray) -> DoubleArray:
    """As ``intersect_rays``, in parts, as it takes memory for all views of each track."""
    parts = [tracks[k : k + _CHUNK] for k in range(0, len(tracks), _CHUNK)]
    return np.concatenate([np.empty((0, 3)), *(intersect_rays(cameras, part) for part in parts)])


def _in_rounds(
    cameras: Sequence[Camera], tracks: DoubleArray, options: AdjustOptions
) -> list[Camera]:
    """Triangulate, drop what is far off, adjust; again with the better cameras."""
    found = list(cameras)
    for _ in range(options.rounds):
        points = _intersect(found, tracks)
        errors = reprojection_errors(found, points, tracks)
        # By view, as one camera may be far off where the others are not.
        middle = _middles(errors)
        near = errors <= np.maximum(_DROP_TIMES * middle, _DROP_PX)
        good = np.isfinite(points).all(axis=1) & (near.sum(axis=1) >= _MIN_VIEWS)
        kept = np.where((near & good[:, None])[..., None], tracks, np.nan)
        found = _bundle_adjust(
            found, points[good], kept[good], max(options.loss_px, float(middle.max())), options
        )
    return found


def _middles(errors: DoubleArray) -> DoubleArray:
    """(V,) median of each view's errors (N, V), 0 where it has none."""
    return np.array(
        [np.median(of[np.isfinite(of)]) if np.isfinite(of).any() else 0.0 for of in errors.T]
    )


def _bundle_adjust(
    cameras: Sequence[Camera],
    points: DoubleArray,
    pixels: DoubleArray,
    loss_px: float,
    options: AdjustOptions,
) -> list[Camera]:
    """COLMAP's bundle adjustment, on one thread, as more of them would add in another order."""
    import pycolmap

    seen = [np.flatnonzero(np.isfinite(column)) for column in pixels[..., 0].T]
    at = [pixels[rows, view] for view, rows in enumerate(seen)]
    names = [str(view) for view in range(len(cameras))]
    model = build_model(names, cameras, points, seen, at)
    how = pycolmap.BundleAdjustmentOptions()
    how.refine_focal_length = options.intrinsics != "fixed"
    how.refine_principal_point = how.refine_extra_params = options.intrinsics == "all"
    how.print_summary = False
    how.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    how.ceres.loss_function_scale = loss_px
    how.ceres.use_gpu = False
    how.ceres.solver_options.num_threads = 1
    how.ceres.solver_options.function_tolerance = _TOLERANCE
    config = pycolmap.BundleAdjustmentConfig()
    for key in range(1, len(cameras) + 1):
        config.add_image(key)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(how, config, model).solve()
    found = []
    for key, camera in enumerate(cameras, 1):
        params = np.array(model.images[key].camera.params)
        pose = model.images[key].cam_from_world().matrix()
        found.append(Camera(camera.model, camera.width, camera.height, params, pose))
    return found
