"""Normals of points that lie on the pixels of one view."""

from __future__ import annotations

import numba
import numpy as np

from mvs.kernels.threads import prange
from mvs.types import DoubleArray, FloatArray, IntArray

_CHUNK = 512
_REACH = 2
_MAX_JUMP = 4.0


def lattice_normals(
    flat: IntArray, points: DoubleArray, shape: tuple[int, ...], center: DoubleArray
) -> FloatArray:
    """Normals of points that lie on the pixels of one view, from their neighbours in the picture.

    The positions are fitted as a linear function of the pixel over 5x5 pixels of the lattice;
    neighbours across a jump in depth are left out.

    Args:
        flat: (N,) int32 flat pixels (row * W + column), ascending, on any regular lattice.
        points: (N, 3) float64 positions.
        shape: (H, W) of the map.
        center: (3,) float64 centre of the view's camera.

    Returns:
        (N, 3) float32 unit normals towards the camera; the direction to the camera where there are
        too few neighbours.
    """
    normals = np.zeros((len(flat), 3), np.float32)
    if len(flat) == 0:
        return normals
    stride = lattice_stride(flat, shape[1])
    row_of = np.full(shape[:2], -1, np.int32)
    row_of.ravel()[flat] = np.arange(len(flat), dtype=np.int32)
    _lattice_normals(flat, points, row_of, stride, np.asarray(center, np.float64), normals)
    return normals


def lattice_stride(flat: IntArray, width: int) -> int:
    """Distance in pixels between neighbours of a regular lattice.

    Args:
        flat: (N,) int32 flat pixels (row * W + column) on the lattice.
        width: of the map.

    Returns:
        The smallest distance between columns; 1 where there is only one.
    """
    columns = np.diff(np.unique(flat % width))
    return int(columns.min()) if len(columns) else 1


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _lattice_normals(flat, points, row_of, stride, center, normals):  # type: ignore[no-untyped-def]
    n = len(flat)
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min((chunk + 1) * _CHUNK, n)
        _lattice_normals_rows(first, last, flat, points, row_of, stride, center, normals)


@numba.njit(cache=True, error_model="numpy")
def _lattice_normals_rows(first, last, flat, points, row_of, stride, center, normals):  # type: ignore[no-untyped-def]
    height, width = row_of.shape
    near = np.empty((2 * _REACH + 1) ** 2, np.int64)
    gaps = np.empty(len(near))
    offset = np.empty((len(near), 2))
    for i in range(first, last):
        x, y = flat[i] % width, flat[i] // width
        n = 0
        for dy in range(-_REACH, _REACH + 1):
            for dx in range(-_REACH, _REACH + 1):
                px, py = x + dx * stride, y + dy * stride
                if px < 0 or py < 0 or px >= width or py >= height or row_of[py, px] < 0:
                    continue
                near[n] = row_of[py, px]
                offset[n, 0], offset[n, 1] = dx, dy
                gap = 0.0
                for k in range(3):
                    gap += (points[near[n], k] - points[i, k]) ** 2
                gaps[n] = gap / max(dx * dx + dy * dy, 1)
                n += 1
        # Gaps are per lattice step; beyond a few times the typical one lies another surface.
        bound = _MAX_JUMP * _MAX_JUMP * np.median(gaps[:n])
        _fit_normal(i, near[:n], gaps[:n] <= bound, offset, points, center, normals)


@numba.njit(cache=True, error_model="numpy")
def _fit_normal(i, near, keep, offset, points, center, normals):  # type: ignore[no-untyped-def]
    """Regress position on the offset; the normal is the cross product of the slopes."""
    n = 0
    mean = np.zeros(5)
    for m in range(len(near)):
        if keep[m]:
            n += 1
            mean[0] += offset[m, 0]
            mean[1] += offset[m, 1]
            for k in range(3):
                mean[2 + k] += points[near[m], k]
    mean /= max(n, 1)
    xx = xy = yy = 0.0
    sx, sy = np.zeros(3), np.zeros(3)
    for m in range(len(near)):
        if keep[m]:
            dx, dy = offset[m, 0] - mean[0], offset[m, 1] - mean[1]
            xx += dx * dx
            xy += dx * dy
            yy += dy * dy
            for k in range(3):
                d = points[near[m], k] - mean[2 + k]
                sx[k] += dx * d
                sy[k] += dy * d
    view = center - points[i]
    normal = view.copy()
    if xx * yy - xy * xy > 1e-9:
        across = np.cross(sx * yy - sy * xy, sy * xx - sx * xy)
        length = np.sqrt(np.sum(across * across))
        if length > 0:
            normal = across / length
            if np.sum(normal * view) < 0:
                normal = -normal
    length = np.sqrt(np.sum(normal * normal))
    for k in range(3):
        normals[i, k] = normal[k] / length if length > 0 else 0.0
