"""Where on a scan the vertices of a template belong: by cube coordinates, and by nearness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.canonical.scan import Scan
from mvs.types import DoubleArray

# Neighbours in the cube, the width of their weights, and what weight a vertex needs to count half.
_N_AROUND = 96
_WIDTH = 0.02
_HALF = 3.0
_ROBUST_ROUNDS = 3
_MAX_AROUND = 60_000
# Places near a vertex: so many, told apart by cube coordinates with this weight.
_N_NEAR = 4
_CUBE_WEIGHT = 0.3
# Cosines between a vertex' normal and its place's: none counts at the first, all at the second.
_NO_COSINE, _FULL_COSINE = 0.2, 0.6
# Nearer to a border of the scan than this, its surface counts less.
_RIM = 0.01
# Confidence of this much counts half.
_HALF_CONFIDENCE = 0.1


@dataclass(frozen=True)
class Found:
    """Places on a scan.

    Attributes:
        weight: (V,) in [0, 1], 0 without a place.
        points: (V, 3).
        normals: (V, 3) unit, 0 without a place.
        distance: (V,) to the surface along its normal.
    """

    weight: DoubleArray
    points: DoubleArray
    normals: DoubleArray
    distance: DoubleArray


def cube_targets(scan: Scan, rest: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Where the cube coordinates put places of the cube.

    What is averaged around each place, robustly, is by how much the scan's points are off their
    own cube coordinates.

    Args:
        scan: in the cube's frame.
        rest: (V, 3) places.

    Returns:
        (V,) weights in [0, 1], 0 where the scan has no such place, and (V, 3) positions.
    """
    from scipy.spatial import cKDTree

    rows = np.flatnonzero(scan.known)
    rows = rows[:: max(len(rows) // _MAX_AROUND, 1)]
    coords, off = scan.coords[rows], scan.points[rows] - scan.coords[rows]
    k = min(_N_AROUND, len(rows))
    distance, near = cKDTree(coords).query(rest, k=np.arange(1, k + 1))
    confidence = scan.confidence[rows]
    sure = confidence / (confidence + _HALF_CONFIDENCE)
    weight = np.exp(-0.5 * (distance / _WIDTH) ** 2) * sure[near] + 1e-12
    around = off[near]
    robust = weight
    for _ in range(_ROBUST_ROUNDS):
        mean = np.einsum("vk,vkc->vc", robust, around) / robust.sum(axis=1, keepdims=True)
        away = np.linalg.norm(around - mean[:, None], axis=2)
        scale = 2 * np.median(away, axis=1, keepdims=True) + 1e-9
        robust = weight / (1 + (away / scale) ** 2)
    total = weight.sum(axis=1)
    return total / (total + _HALF), rest + mean


class Target:
    """A scan that vertices look for their places on, in the cube's frame."""

    def __init__(
        self,
        scan: Scan,
        rest: DoubleArray,
        outwards: DoubleArray,
        cube_reach: float,
        over_skin: float,
    ) -> None:
        from scipy.spatial import cKDTree

        inside = np.clip(scan.inside / _RIM - 0.2, 0, 1)
        rows = np.flatnonzero(scan.known & (inside > 0) & scan.normals.any(axis=1))
        if not len(rows):
            raise ValueError("the scan has no point with a normal; give a mesh")
        self._points, self._normals = scan.points[rows], scan.normals[rows]
        self._coords = scan.coords[rows]
        confidence = scan.confidence[rows]
        self._sure = inside[rows] * confidence / (confidence + _HALF_CONFIDENCE)
        self._rest, self._outwards = rest, outwards
        self._cube_reach, self._over_skin = cube_reach, over_skin
        self._tree = cKDTree(np.concatenate([self._points, _CUBE_WEIGHT * self._coords], axis=1))

    def find(self, shape: DoubleArray, normals: DoubleArray, reach: float) -> Found:
        """Places for vertices (V, 3) with normals (V, 3), no farther than ``reach``."""
        k = min(_N_NEAR, len(self._points))
        asked = np.concatenate([shape, _CUBE_WEIGHT * self._rest], axis=1)
        rows = self._tree.query(asked, k=np.arange(1, k + 1))[1]
        away = np.linalg.norm(self._points[rows] - shape[:, None], axis=2)
        cosine = (self._normals[rows] * normals[:, None]).sum(axis=2)
        facing = np.clip((cosine - _NO_COSINE) / (_FULL_COSINE - _NO_COSINE), 0, 1)
        off = self._coords[rows] - self._rest[:, None]
        outside = np.maximum((off * self._outwards[:, None]).sum(axis=2), 0)
        trust = facing * self._sure[rows] * np.exp(-((outside / self._over_skin) ** 2))
        trust *= (away < reach) & (np.linalg.norm(off, axis=2) < self._cube_reach)
        near = 1 / (away**2 + (0.25 * away[:, -1:]) ** 2 + 1e-12)
        share = near * (trust > 0)
        total = share.sum(axis=1)
        found = total > 0
        share = share / np.where(found, total, 1)[:, None]
        points = np.einsum("vk,vkc->vc", share, self._points[rows])
        across = np.einsum("vk,vkc->vc", share, self._normals[rows])
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        distance = np.abs(((shape - points) * across).sum(axis=1))
        points = np.where(found[:, None], points, shape)
        return Found((share * trust).sum(axis=1), points, across, distance)
