"""Tangents of a textured mesh, as MikkTSpace defines them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mvs.types import DoubleArray, IntArray


def corner_tangents(
    points: npt.NDArray[np.floating],
    normals: npt.NDArray[np.floating],
    uv: npt.NDArray[np.floating],
    faces: IntArray,
) -> DoubleArray:
    """Tangents of vertices that have one place in the texture each.

    A vertex' tangent is the mean of its faces' directions of growing u, each laid into the plane
    of the vertex' normal and weighted by the face's angle there. Where faces of both windings
    share a vertex, the larger angle decides.

    Args:
        points: (N, 3).
        normals: (N, 3) unit vectors.
        uv: (N, 2), y up.
        faces: (F, 3) int32.

    Returns:
        (N, 4) float64: a unit vector across the normal, and the sign s of the bitangent
        s * normal x tangent, along which v grows.

    Source:
        Mikkelsen, Simulation of Wrinkled Surfaces Revisited (2008), and his mikktspace.c.
    """
    upright: DoubleArray = normals.astype(np.float64)
    places = points.astype(np.float64)[faces]
    flat = uv.astype(np.float64)[faces]
    d1, d2 = places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]
    (s1, t1), (s2, t2) = (flat[:, 1] - flat[:, 0]).T, (flat[:, 2] - flat[:, 0]).T
    winding = np.sign(s1 * t2 - s2 * t1)
    along = (t2 * winding)[:, None] * d1 - (t1 * winding)[:, None] * d2
    total, sign = np.zeros((len(points), 3)), np.zeros(len(points))
    for k in range(3):
        rows = faces[:, k]
        normal = upright[rows]
        direction = _across(along, normal)
        angle = _angle(
            _across(places[:, (k + 1) % 3] - places[:, k], normal),
            _across(places[:, (k + 2) % 3] - places[:, k], normal),
        )
        for axis in range(3):
            total[:, axis] += np.bincount(rows, angle * direction[:, axis], len(points))
        sign += np.bincount(rows, angle * winding, len(points))
    tangent = _across(total, upright)
    lost = ~tangent.any(axis=1)
    tangent[lost] = _across(np.eye(3)[np.abs(upright[lost]).argmin(axis=1)], upright[lost])
    return np.column_stack([tangent, np.where(sign < 0, -1.0, 1.0)])


def _across(vectors: DoubleArray, normals: DoubleArray) -> DoubleArray:
    """Unit vectors of the parts across the normals; zero where nothing is left."""
    rest = vectors - (vectors * normals).sum(axis=1, keepdims=True) * normals
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-12 * size, rest / np.maximum(length, 1e-300), 0.0)


def _angle(a: DoubleArray, b: DoubleArray) -> DoubleArray:
    return np.asarray(np.arccos(np.clip((a * b).sum(axis=1), -1, 1)), np.float64)
