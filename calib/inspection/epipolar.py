"""How far matches lie from the epipolar lines of the given cameras, per pair and per view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.inspection.features import Features, PairMatches

DoubleArray = npt.NDArray[np.float64]

# In parts of the centres' coordinates: less is rounding.
_NO_BASELINE = 1e-9
_N_ROBUST_STEPS = 10
_MIN_SHIFT_MATCHES = 30


@dataclass(frozen=True)
class PairError:
    """One pair of views.

    Attributes:
        views: indices, the lower one first.
        n_matches: verified.
        error_px: median distance to the epipolar line, mean of both pictures.
        offset_px: median signed distance in the first and in the second picture; the sides are
            those of baseline x ray, with the baseline from the first camera to the second.
    """

    views: tuple[int, int]
    n_matches: int
    error_px: float
    offset_px: tuple[float, float]


@dataclass(frozen=True)
class ViewError:
    """One view against all its partners.

    Attributes:
        n_pairs: with verified matches.
        n_matches: of them all.
        error_px: median of the pairs' errors; NaN without a pair.
        shift_px: how far the picture's features lie from where the partners' lines ask for them,
            x and y; NaN where too few lines cross.
        shift_error_px: its standard error, the larger axis.
    """

    n_pairs: int
    n_matches: int
    error_px: float
    shift_px: tuple[float, float]
    shift_error_px: float


def epipolar_distances(
    cameras: tuple[Camera, Camera], pixels: tuple[DoubleArray, DoubleArray]
) -> tuple[tuple[DoubleArray, DoubleArray], tuple[DoubleArray, DoubleArray]]:
    """Signed distances of matches to each other's epipolar lines, in undistorted pixels.

    Args:
        cameras: of two views.
        pixels: (n, 2) of either, matched.

    Returns:
        Per view the (n,) distance and the (n, 2) unit normal along which it is counted; NaN where
        the cameras stand in one place or a pixel is outside the lens model's field.
    """
    rays = [camera.unproject(p) for camera, p in zip(cameras, pixels, strict=True)]
    centers = np.array([camera.center for camera in cameras])
    baseline = centers[1] - centers[0]
    if np.linalg.norm(baseline) <= _NO_BASELINE * np.abs(centers).max():
        baseline = np.zeros(3)
    found = []
    for own in (0, 1):
        camera = cameras[own]
        with np.errstate(invalid="ignore", divide="ignore"):
            plane = np.cross(baseline, rays[1 - own]) @ camera.rotation.T
            line = plane @ np.linalg.inv(camera.K)
            local = rays[own] @ camera.rotation.T
            local = local / np.where(local[:, 2:] > 0, local[:, 2:], np.nan)
            length = np.linalg.norm(line[:, :2], axis=1, keepdims=True)
            line = line / np.where(length > 0, length, np.nan)
        found.append((((local @ camera.K.T) * line).sum(axis=1), line[:, :2]))
    return found[0], found[1]


def matched_pixels(
    match: PairMatches, features: Sequence[Features]
) -> tuple[DoubleArray, DoubleArray]:
    """(n, 2) pixels of a pair's matches in the first and in the second picture."""
    i, j = match.views
    return features[i].pixels[match.first], features[j].pixels[match.second]


def pair_error(
    match: PairMatches, features: Sequence[Features], cameras: tuple[Camera, Camera]
) -> PairError:
    """The error of a pair's matches under two cameras, the given ones or others on trial."""
    pixels = matched_pixels(match, features)
    (first, _), (second, _) = epipolar_distances(cameras, pixels)
    both = (np.abs(first) + np.abs(second)) / 2
    fine = np.isfinite(both)
    # What a camera cannot see at all is as wrong as can be.
    both = np.where(fine, both, np.inf)
    offset = tuple(float(np.median(d[fine])) if fine.any() else np.nan for d in (first, second))
    return PairError(match.views, len(match), float(np.median(both)), (offset[0], offset[1]))


def view_error(
    errors: Sequence[PairError], lines: Sequence[tuple[DoubleArray, DoubleArray]]
) -> ViewError:
    """One view against some of its partners.

    Args:
        errors: of the pairs.
        lines: per pair the distances and normals in the view, of ``epipolar_distances``.
    """
    nan = float("nan")
    if not errors:
        return ViewError(0, 0, nan, (nan, nan), nan)
    shift, shift_error = _view_shift(lines)
    return ViewError(
        n_pairs=len(errors),
        n_matches=sum(error.n_matches for error in errors),
        error_px=float(np.median([error.error_px for error in errors])),
        shift_px=shift,
        shift_error_px=shift_error,
    )


def _view_shift(
    lines: Sequence[tuple[DoubleArray, DoubleArray]],
) -> tuple[tuple[float, float], float]:
    """Least squares of ``normal . shift = distance``, with Cauchy's weights."""
    right = np.concatenate([distance for distance, _ in lines])
    rows = np.concatenate([normal for _, normal in lines])
    fine = np.isfinite(right)
    right, rows = right[fine], rows[fine]
    nan = float("nan")
    if len(right) < _MIN_SHIFT_MATCHES or np.linalg.eigvalsh(rows.T @ rows / len(right))[0] < 0.02:
        return (nan, nan), nan
    weights = np.ones(len(right))
    for _ in range(_N_ROBUST_STEPS):
        normal_matrix = (rows * weights[:, None]).T @ rows
        shift = np.linalg.solve(normal_matrix, (rows * weights[:, None]).T @ right)
        miss = right - rows @ shift
        scale = max(1.4826 * float(np.median(np.abs(miss))), 1e-3)
        weights = np.asarray(1 / (1 + (miss / (2.5 * scale)) ** 2))
    error = scale * np.sqrt(1 / np.linalg.eigvalsh(normal_matrix)[0])
    return (float(shift[0]), float(shift[1])), float(error)
