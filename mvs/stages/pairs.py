"""Which views to match: enough parallax to measure, little enough to see the same skin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.types import DoubleArray

_MIN_SHARED_FOR_ANGLE = 20


@dataclass(frozen=True)
class PairOptions:
    """How source views are chosen.

    Attributes:
        n_sources: sources per reference view, at most.
        min_angle_deg: smallest angle between two rays to the head.
        max_angle_deg: largest; where fewer than two sources are left within it, the nearest views
            up to 1.6 times as far are taken too.
        best_angle_deg: the angle that is preferred.
    """

    n_sources: int = 12
    min_angle_deg: float = 4.0
    max_angle_deg: float = 70.0
    best_angle_deg: float = 30.0

    def __post_init__(self) -> None:
        if self.n_sources < 1:
            raise ValueError(f"n_sources must be at least 1, got {self.n_sources}")
        if not 0 < self.min_angle_deg <= self.best_angle_deg <= self.max_angle_deg <= 180:
            raise ValueError(
                "angles must satisfy 0 < min_angle_deg <= best_angle_deg <= max_angle_deg <= 180, "
                f"got {self.min_angle_deg}, {self.best_angle_deg}, {self.max_angle_deg}"
            )


def choose_pairs(
    cameras: Sequence[Camera],
    center: DoubleArray,
    points: DoubleArray | None = None,
    point_ids: Sequence[npt.NDArray[np.int64]] | None = None,
    options: PairOptions | None = None,
) -> list[tuple[int, list[int]]]:
    """Choose the source views of every view.

    The angle is the one between the rays to the head's centre, or, where two views share enough
    sparse points, the median over those; views that share few points are put back.

    Args:
        cameras: one per view.
        center: (3,) float64 centre of the head, world.
        points: (N, 3) float64 sparse points, optional.
        point_ids: per view, rows of ``points`` that it sees, optional.
        options: see ``PairOptions``.

    Returns:
        One entry per view: its index and its sources, best first (empty where none fits).

    Raises:
        ValueError: if ``center`` or ``point_ids`` do not fit.
    """
    options = options or PairOptions()
    center = np.asarray(center, dtype=np.float64)
    if center.shape != (3,) or not np.isfinite(center).all():
        raise ValueError(f"center must be three finite numbers, got {center}")
    if point_ids is not None and len(point_ids) != len(cameras):
        raise ValueError(f"point_ids must have one entry per view ({len(cameras)})")
    if not cameras:
        return []
    centers = np.stack([camera.center for camera in cameras])
    angles = _angles(centers - center)
    overlap = np.ones_like(angles)
    if points is not None and point_ids is not None and len(points):
        overlap = _use_points(angles, centers, points, point_ids)
    return [
        (view, _rank(view, angles[view], overlap[view], options)) for view in range(len(cameras))
    ]


def _angles(rays: DoubleArray) -> DoubleArray:
    """Angles in degrees between all pairs of rays (V, 3)."""
    units = rays / np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-300)
    angles: DoubleArray = np.degrees(np.arccos(np.clip(units @ units.T, -1.0, 1.0)))
    return angles


def _use_points(
    angles: DoubleArray,
    centers: DoubleArray,
    points: DoubleArray,
    point_ids: Sequence[npt.NDArray[np.int64]],
) -> DoubleArray:
    """Put the shared points' angles into ``angles``; return each pair's overlap in [0.1, 1]."""
    n = len(centers)
    overlap = np.ones((n, n))
    for a in range(n):
        for b in range(a + 1, n):
            shared = np.intersect1d(point_ids[a], point_ids[b])
            typical = np.sqrt(max(len(point_ids[a]) * len(point_ids[b]), 1))
            overlap[a, b] = overlap[b, a] = np.clip(3 * len(shared) / typical, 0.1, 1.0)
            if len(shared) >= _MIN_SHARED_FOR_ANGLE:
                angles[a, b] = angles[b, a] = _median_angle(points[shared], centers[a], centers[b])
    return overlap


def _median_angle(points: DoubleArray, first: DoubleArray, second: DoubleArray) -> float:
    to_first, to_second = first - points, second - points
    cosine = np.einsum("nk,nk->n", to_first, to_second) / np.maximum(
        np.linalg.norm(to_first, axis=1) * np.linalg.norm(to_second, axis=1), 1e-300
    )
    return float(np.degrees(np.median(np.arccos(np.clip(cosine, -1.0, 1.0)))))


def _rank(view: int, angles: DoubleArray, overlap: DoubleArray, options: PairOptions) -> list[int]:
    allowed = (angles >= options.min_angle_deg) & (angles <= options.max_angle_deg)
    allowed[view] = False
    if allowed.sum() < 2:
        wide = (angles >= options.min_angle_deg) & (angles <= 1.6 * options.max_angle_deg)
        wide[view] = False
        nearest = [int(other) for other in np.argsort(angles, kind="stable") if wide[other]]
        allowed[nearest[:2]] = True
    width = np.where(
        angles < options.best_angle_deg,
        options.best_angle_deg - options.min_angle_deg,
        options.max_angle_deg - options.best_angle_deg,
    )
    score = overlap * np.exp(-0.5 * ((angles - options.best_angle_deg) / (width / 1.5 + 1e-9)) ** 2)
    order = np.argsort(-np.round(score, 12), kind="stable")
    return [int(other) for other in order if allowed[other]][: options.n_sources]
