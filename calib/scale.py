"""Similarities between two worlds: scale, rotation and translation, from pairs of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import Capture

DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

UNIT_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0}
# Points are on a line where their second spread is below this part of the first.
_LINE = 1e-6
# What least median of squares tries, at most, and how many standard deviations it then accepts.
_MAX_TRIALS = 1000
_INLIER_SIGMAS = 2.5
_ROUNDING = 1e-9
_ROTATION_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Similarity:
    """``b_from_a``: X_b = scale * rotation @ X_a + translation.

    Attributes:
        scale: > 0.
        rotation: (3, 3) float64.
        translation: (3,) float64, in the unit of b.
    """

    scale: float
    rotation: DoubleArray
    translation: DoubleArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", np.asarray(self.rotation, np.float64))
        object.__setattr__(self, "translation", np.asarray(self.translation, np.float64))
        if not (self.scale > 0 and np.isfinite(self.scale)):
            raise ValueError(f"scale must be positive and finite, got {self.scale}")
        if self.rotation.shape != (3, 3) or self.translation.shape != (3,):
            raise ValueError("rotation must be (3, 3) and translation (3,)")
        off = np.abs(self.rotation @ self.rotation.T - np.eye(3)).max()
        if not off < _ROTATION_TOLERANCE or np.linalg.det(self.rotation) < 0:
            raise ValueError(f"rotation must be one, got {self.rotation.tolist()}")
        if not np.isfinite(self.translation).all():
            raise ValueError(f"translation must be finite, got {self.translation}")

    @staticmethod
    def of_scale(scale: float) -> Similarity:
        """Another unit, the same axes and origin."""
        return Similarity(scale, np.eye(3), np.zeros(3))

    def inverse(self) -> Similarity:
        """``a_from_b``."""
        R = self.rotation.T
        return Similarity(1 / self.scale, R, -(R @ self.translation) / self.scale)

    def compose(self, first: Similarity) -> Similarity:
        """``c_from_a`` of this ``c_from_b`` and ``first``, ``b_from_a``."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.points(first.translation[None])[0],
        )

    def points(self, points: DoubleArray) -> DoubleArray:
        """(N, 3) points of a, in b."""
        moved = self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation
        return np.asarray(moved)

    def camera(self, camera: Camera) -> Camera:
        """A camera of a, in b: it sees the moved points where it saw the points."""
        R = camera.rotation @ self.rotation.T
        t = self.scale * camera.translation - R @ self.translation
        return camera.with_pose(np.column_stack([R, t]))

    def capture(self, capture: Capture, unit: str | None) -> Capture:
        """A capture of a, in b.

        Args:
            capture: cameras and points move, pictures and observations stay.
            unit: of b, None where nobody said.
        """
        views = tuple(replace(view, camera=self.camera(view.camera)) for view in capture.views)
        return replace(capture, views=views, points=self.points(capture.points), unit=unit)


def umeyama(
    source: DoubleArray, target: DoubleArray, weights: DoubleArray | None = None
) -> Similarity:
    """The similarity that brings points nearest to others, in weighted least squares.

    Args:
        source: (N, 3), three or more that are not on one line.
        target: (N, 3) where they should be.
        weights: (N,) not negative, 1 if None.

    Returns:
        ``target_from_source``.

    Raises:
        ValueError: if shapes do not fit, or the points do not determine it.

    Source:
        Umeyama (1991), equations 38 to 43.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    weight = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    if source.shape != target.shape or source.shape[1:] != (3,) or weight.shape != source.shape[:1]:
        raise ValueError(
            f"source and target must be (N, 3), weights (N,), got {source.shape}, {target.shape}, "
            f"{weight.shape}"
        )
    if not (np.isfinite(source).all() and np.isfinite(target).all() and (weight >= 0).all()):
        raise ValueError("points must be finite and weights not negative")
    if (weight > 0).sum() < 3:
        raise ValueError(f"a similarity needs 3 pairs of points, got {(weight > 0).sum()}")
    weight = weight / weight.sum()
    source_middle, target_middle = weight @ source, weight @ target
    centred, moved = source - source_middle, target - target_middle
    spread = np.linalg.svd(centred * np.sqrt(weight)[:, None], compute_uv=False)
    left, strength, right = np.linalg.svd((moved * weight[:, None]).T @ centred)
    if spread[1] <= _LINE * spread[0] or strength[1] <= _LINE**2 * strength[0]:
        raise ValueError("the points lie on one line, about which they could turn")
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * sign) @ right
    scale = float(strength @ sign) / float(spread @ spread)
    return Similarity(scale, rotation, target_middle - scale * rotation @ source_middle)


@dataclass(frozen=True, eq=False)
class RobustSimilarity:
    """A similarity and how well it fits.

    Attributes:
        similarity: ``target_from_source``.
        inliers: (N,) bool pairs that it was fitted to.
        errors: (N,) distances in the target, of all pairs.
    """

    similarity: Similarity
    inliers: BoolArray
    errors: DoubleArray


def robust_similarity(source: DoubleArray, target: DoubleArray) -> RobustSimilarity:
    """The similarity that most pairs of points agree on; nearly half of them may be wrong.

    Least median of squares over triples (all of them where there are up to 1000, else a fixed
    random choice), then least squares on the pairs within 2.5 standard deviations, which are
    1.4826 (1 + 5 / (N - 3)) times the median error.

    Args:
        source: (N, 3), three or more.
        target: (N, 3).

    Raises:
        ValueError: as ``umeyama``.

    Source:
        Rousseeuw and Leroy (1987), section 5.1.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    everything = umeyama(source, target)
    best, least = everything, _median_error(everything, source, target)
    for triple in _triples(len(source)):
        try:
            trial = umeyama(source[triple], target[triple])
        except ValueError:
            continue
        error = _median_error(trial, source, target)
        if error < least:
            best, least = trial, error
    extent = float(np.linalg.norm(target - target.mean(axis=0), axis=1).max())
    bound = _INLIER_SIGMAS * 1.4826 * (1 + 5 / max(len(source) - 3, 1)) * least
    for _ in range(3):
        errors = np.linalg.norm(best.points(source) - target, axis=1)
        inliers = errors <= max(bound, _ROUNDING * extent)
        best = _refit(source, target, inliers) or best
    errors = np.linalg.norm(best.points(source) - target, axis=1)
    return RobustSimilarity(best, inliers, errors)


def align_cameras(source: Sequence[Camera], target: Sequence[Camera]) -> RobustSimilarity:
    """The similarity that most cameras of two worlds agree on, by their centres.

    Where the centres do not determine it (two cameras, or all on one line), the rotation is the
    mean of the cameras' own.

    Args:
        source: two or more.
        target: the same cameras in the other world.

    Raises:
        ValueError: if the numbers differ, or all centres are the same.
    """
    if len(source) != len(target) or len(source) < 2:
        raise ValueError(f"two or more pairs of cameras are needed, got {len(source)}")
    centers = np.stack([camera.center for camera in source])
    wanted = np.stack([camera.center for camera in target])
    try:
        return robust_similarity(centers, wanted)
    except ValueError:
        pass
    total = sum(b.rotation.T @ a.rotation for a, b in zip(source, target, strict=True))
    left, _, right = np.linalg.svd(total)
    rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    centred = (centers - centers.mean(axis=0)) @ rotation.T
    moved = wanted - wanted.mean(axis=0)
    size = float((centred**2).sum())
    if not size > (_LINE * np.abs(centers).max()) ** 2 or not float((centred * moved).sum()) > 0:
        raise ValueError("the cameras' centres do not determine a scale")
    scale = float((centred * moved).sum()) / size
    translation = wanted.mean(axis=0) - scale * rotation @ centers.mean(axis=0)
    fit = Similarity(scale, rotation, translation)
    errors = np.linalg.norm(fit.points(centers) - wanted, axis=1)
    return RobustSimilarity(fit, np.ones(len(errors), np.bool_), errors)


def robust_mean(values: DoubleArray) -> tuple[float, float, BoolArray]:
    """Mean of the values within 2.5 standard deviations of the median.

    The standard deviation is 1.4826 times the median distance from the median.

    Args:
        values: (N,), one or more.

    Returns:
        The mean, the standard deviation of the values it was taken of, and (N,) which they are.
    """
    values = np.asarray(values, np.float64)
    away = np.abs(values - np.median(values))
    kept = away <= _INLIER_SIGMAS * 1.4826 * np.median(away) + _ROUNDING * np.abs(values).max()
    return float(values[kept].mean()), float(values[kept].std()), np.asarray(kept)


def _triples(n: int) -> npt.NDArray[np.int64]:
    """(T, 3) rows of three different of n."""
    if n * (n - 1) * (n - 2) // 6 <= _MAX_TRIALS:
        rows = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        return rows[(rows[:, 0] < rows[:, 1]) & (rows[:, 1] < rows[:, 2])]
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(n, 3, replace=False) for _ in range(_MAX_TRIALS)])


def _median_error(fit: Similarity, source: DoubleArray, target: DoubleArray) -> float:
    return float(np.median(np.linalg.norm(fit.points(source) - target, axis=1)))


def _refit(source: DoubleArray, target: DoubleArray, inliers: BoolArray) -> Similarity | None:
    try:
        return umeyama(source[inliers], target[inliers])
    except ValueError:
        return None
