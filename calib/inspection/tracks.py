"""Points seen by several pictures, joined from pairs, and where the given cameras put them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.inspection.features import Features, PairMatches

DoubleArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tracks:
    """Observations of points, sorted by point.

    Attributes:
        point: (M,) index of the point, from 0 without gaps.
        view: (M,) index of the picture.
        pixels: (M, 2) float64 where it was seen.
    """

    point: IndexArray
    view: IndexArray
    pixels: DoubleArray

    @property
    def n_points(self) -> int:
        """How many points there are."""
        return int(self.point[-1]) + 1 if len(self.point) else 0

    def keep(self, kept: npt.NDArray[np.bool_]) -> Tracks:
        """The tracks of some observations; points left with fewer than two go, too."""
        kept = kept & (np.bincount(self.point, kept, self.n_points)[self.point] >= 2)
        point = np.unique(self.point[kept], return_inverse=True)[1]
        return Tracks(point, self.view[kept], self.pixels[kept])


def join_tracks(features: Sequence[Features], matches: Sequence[PairMatches]) -> Tracks:
    """Join matches that share features; points seen twice in one picture are left out.

    Args:
        features: of every picture.
        matches: of pairs of pictures.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    start = np.concatenate([[0], np.cumsum([len(f.pixels) for f in features])])
    a = np.concatenate([start[m.views[0]] + m.first for m in matches] or [start[:0]])
    b = np.concatenate([start[m.views[1]] + m.second for m in matches] or [start[:0]])
    node = np.unique(np.concatenate([a, b])).astype(np.int64)
    if not len(node):
        return Tracks(node, node, np.zeros((0, 2)))
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(start[-1], start[-1]))
    label = connected_components(graph, directed=False)[1].astype(np.int64)[node]
    view = np.searchsorted(start, node, side="right") - 1
    order = np.lexsort((view, label))
    node, label, view = node[order], label[order], view[order]
    twice = np.flatnonzero((np.diff(label) == 0) & (np.diff(view) == 0))
    kept = ~np.isin(label, label[twice])
    pixels = np.concatenate([f.pixels for f in features])[node]
    return (
        Tracks(label, view, pixels).keep(kept)
        if kept.any()
        else Tracks(label[:0], view[:0], pixels[:0])
    )


def triangulate_tracks(tracks: Tracks, cameras: Sequence[Camera]) -> DoubleArray:
    """The points nearest to the rays, in the least squares sense.

    Args:
        tracks: of the pictures.
        cameras: of the pictures.

    Returns:
        (N, 3) world; NaN where the rays are parallel.
    """
    rays = np.full((len(tracks.point), 3), np.nan)
    centers = np.array([camera.center for camera in cameras])[tracks.view]
    for index, camera in enumerate(cameras):
        rows = tracks.view == index
        rays[rows] = camera.unproject(tracks.pixels[rows])
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    normal = np.zeros((tracks.n_points, 3, 3))
    right = np.zeros((tracks.n_points, 3))
    np.add.at(normal, tracks.point, across)
    np.add.at(right, tracks.point, np.einsum("mij,mj->mi", across, centers))
    points = np.full((tracks.n_points, 3), np.nan)
    fine = np.linalg.det(np.nan_to_num(normal)) > 1e-7
    points[fine] = np.linalg.solve(normal[fine], right[fine, :, None])[..., 0]
    return points
