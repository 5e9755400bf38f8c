"""Nearest places on a triangle mesh, exact on the faces around given vertices."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from mvs.types import DoubleArray, IntArray

Indices = npt.NDArray[np.integer]


def faces_around(faces: IntArray, n_vertices: int) -> tuple[IntArray, IntArray]:
    """Which faces each vertex has.

    Args:
        faces: (F, 3) int32.
        n_vertices: V.

    Returns:
        (V + 1,) and (3 F,) int32: the faces of vertex i are ``second[first[i]:first[i + 1]]``.
    """
    corners = faces.ravel()
    order = np.argsort(corners, kind="stable")
    count = np.bincount(corners, minlength=n_vertices)
    start = np.concatenate([[0], np.cumsum(count)])
    return start.astype(np.int32), (order // 3).astype(np.int32)


def closest_on_faces(
    points: DoubleArray,
    vertices: DoubleArray,
    faces: IntArray,
    around: tuple[IntArray, IntArray],
    near: Indices,
) -> tuple[IntArray, DoubleArray]:
    """The nearest place on the faces that some vertices have.

    Args:
        points: (N, 3).
        vertices: (V, 3).
        faces: (F, 3) int32.
        around: from ``faces_around``.
        near: (N, k) vertices whose faces are looked at.

    Returns:
        (N,) int32 faces, -1 where the vertices have none, and (N, 3) float64 weights of their
        corners; of equally near faces the lowest.

    Source:
        Ericson, Real-Time Collision Detection (2005), section 5.1.5.
    """
    found = np.full(len(points), -1, np.int32)
    weights = np.zeros((len(points), 3))
    _closest(
        np.ascontiguousarray(points, np.float64),
        np.ascontiguousarray(vertices, np.float64),
        np.ascontiguousarray(faces, np.int32),
        around,
        np.ascontiguousarray(near, np.int64),
        (found, weights),
    )
    return found, weights


@numba.njit(cache=True)
def _closest(
    points: DoubleArray,
    vertices: DoubleArray,
    faces: IntArray,
    around: tuple[IntArray, IntArray],
    near: npt.NDArray[np.int64],
    out: tuple[IntArray, DoubleArray],
) -> None:
    start, rows = around
    found, weights = out
    for i in range(len(points)):
        best = np.inf
        for k in range(near.shape[1]):
            for at in range(start[near[i, k]], start[near[i, k] + 1]):
                f = rows[at]
                a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
                wb, wc = _nearest_weights(points[i], a, b, c)
                distance = 0.0
                for j in range(3):
                    place = a[j] + wb * (b[j] - a[j]) + wc * (c[j] - a[j])
                    distance += (points[i, j] - place) ** 2
                if distance < best or (distance == best and f < found[i]):
                    best, found[i] = distance, f
                    weights[i, 0], weights[i, 1], weights[i, 2] = 1.0 - wb - wc, wb, wc


@numba.njit(cache=True)
def _nearest_weights(
    p: DoubleArray, a: DoubleArray, b: DoubleArray, c: DoubleArray
) -> tuple[float, float]:
    """Weights of b and c at the place of a triangle that is nearest to p."""
    d1, d2, d3, d4, d5, d6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(3):
        ab, ac = b[j] - a[j], c[j] - a[j]
        d1 += ab * (p[j] - a[j])
        d2 += ac * (p[j] - a[j])
        d3 += ab * (p[j] - b[j])
        d4 += ac * (p[j] - b[j])
        d5 += ab * (p[j] - c[j])
        d6 += ac * (p[j] - c[j])
    if d1 <= 0 and d2 <= 0:
        return 0.0, 0.0
    if d3 >= 0 and d4 <= d3:
        return 1.0, 0.0
    vc = d1 * d4 - d3 * d2
    # Corners may lie at one place: an edge without length is not the nearest.
    if vc <= 0 and d1 >= 0 and d3 <= 0 and d1 > d3:
        return d1 / (d1 - d3), 0.0
    if d6 >= 0 and d5 <= d6:
        return 0.0, 1.0
    vb = d5 * d2 - d1 * d6
    if vb <= 0 and d2 >= 0 and d6 <= 0 and d2 > d6:
        return 0.0, d2 / (d2 - d6)
    va = d3 * d6 - d5 * d4
    if va <= 0 and d4 >= d3 and d5 >= d6 and (d4 - d3) + (d5 - d6) > 0:
        along = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        return 1.0 - along, along
    total = va + vb + vc
    if not total > 0 or not math.isfinite(total):
        return 0.0, 0.0
    return vb / total, vc / total
