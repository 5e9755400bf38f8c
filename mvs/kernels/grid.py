"""Points of surfaces sorted into a sparse two-level grid.

Blocks of 4x4x4 cells are stored only where there are points, the cells of a block in one run, so
that a row of cells is one run of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from mvs.types import FloatArray, IntArray

_MAX_TOP_CELLS = 1 << 22
_POINTS_PER_CELL = 8.0


@dataclass(frozen=True)
class PointGrid:
    """Points sorted into the cells of a sparse grid.

    Attributes:
        points: (N, 3) float32, as given (rows that are not finite are not in the grid).
        origin: (4,) float32 lowest corner, then the sum of its absolute values.
        cell: edge of a cell.
        top: (X, Y, Z) int32 block number, -1 where there is none.
        start: (blocks * 64 + 1,) int32 first row of each cell in ``sorted_points``.
        sorted_points: (n, 3) float32 points by cell.
        sorted_index: (n,) int32 their rows in ``points``, ascending within a cell.
    """

    points: FloatArray
    origin: FloatArray
    cell: float
    top: IntArray
    start: IntArray
    sorted_points: FloatArray
    sorted_index: IntArray


def build_grid(points: npt.NDArray[np.floating], cell: float | None = None) -> PointGrid:
    """Sort points into a grid for ``nearest``.

    Args:
        points: (N, 3) float; rows that are not finite are never found.
        cell: edge of a cell; by default some eight points of a surface share one.

    Returns:
        The grid.

    Raises:
        ValueError: on a wrong shape or a cell that is not positive.
    """
    rows = as_rows(points, "points")
    if cell is not None and not (cell > 0 and np.isfinite(cell)):
        raise ValueError(f"cell must be positive, got {cell}")
    low, high, n_finite = _bounds(rows)
    size = (high - low).astype(np.float64)
    if cell is None:
        cell = _default_cell(size, n_finite)
    counts = np.maximum(np.ceil((size + cell) / (4 * cell)), 1)
    while counts.prod() > _MAX_TOP_CELLS:
        cell *= 1.25
        counts = np.maximum(np.ceil((size + cell) / (4 * cell)), 1)
    shape = (int(counts[0]), int(counts[1]), int(counts[2]))
    top, start, order, points_by_cell = _sort(rows, low, np.float32(1.0 / cell), shape)
    origin = np.append(low, np.abs(low).sum()).astype(np.float32)
    return PointGrid(rows, origin, float(cell), top, start, points_by_cell, order)


def as_rows(values: npt.NDArray[np.floating], name: str) -> FloatArray:
    """(N, 3) contiguous float32 rows; ValueError naming the argument on another shape."""
    rows = np.ascontiguousarray(values, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"{name} must have shape (N, 3), got {rows.shape}")
    return rows


def _default_cell(size: npt.NDArray[np.float64], n_points: int) -> float:
    """Edge of a cell so that a surface filling the bounding box has a few points in each."""
    a, b, c = np.sort(size)[::-1]
    area = a * b + b * c + c * a
    if area > 0:
        return float(np.sqrt(_POINTS_PER_CELL * area / max(n_points, 1)))
    return float(a / max(n_points, 1) * _POINTS_PER_CELL) if a > 0 else 1.0


@numba.njit(cache=True, error_model="numpy")
def _bounds(points):  # type: ignore[no-untyped-def]
    low = np.full(3, np.inf, np.float32)
    high = np.full(3, -np.inf, np.float32)
    n = 0
    for i in range(len(points)):
        if np.isfinite(points[i, 0] + points[i, 1] + points[i, 2]):
            n += 1
            for k in range(3):
                low[k] = min(low[k], points[i, k])
                high[k] = max(high[k], points[i, k])
    if n == 0:
        low[:] = 0
        high[:] = 0
    return low, high, n


@numba.njit(cache=True, error_model="numpy")
def _sort(points, origin, inverse_cell, shape):  # type: ignore[no-untyped-def]
    """Counting sort into cells; blocks are numbered in the order in which points open them."""
    n = len(points)
    top = np.full(shape, -1, np.int32)
    cell_of = np.empty(n, np.int32)
    n_blocks = 0
    n_kept = 0
    for i in range(n):
        if not np.isfinite(points[i, 0] + points[i, 1] + points[i, 2]):
            cell_of[i] = -1
            continue
        x = np.int32((points[i, 0] - origin[0]) * inverse_cell)
        y = np.int32((points[i, 1] - origin[1]) * inverse_cell)
        z = np.int32((points[i, 2] - origin[2]) * inverse_cell)
        block = top[x >> 2, y >> 2, z >> 2]
        if block < 0:
            block = np.int32(n_blocks)
            top[x >> 2, y >> 2, z >> 2] = block
            n_blocks += 1
        cell_of[i] = (block << 6) | ((x & 3) << 4) | ((y & 3) << 2) | (z & 3)
        n_kept += 1
    start = np.zeros(n_blocks * 64 + 1, np.int32)
    for i in range(n):
        if cell_of[i] >= 0:
            start[cell_of[i] + 1] += 1
    for c in range(n_blocks * 64):
        start[c + 1] += start[c]
    order = np.empty(n_kept, np.int32)
    by_cell = np.empty((n_kept, 3), np.float32)
    for i in range(n - 1, -1, -1):
        c = cell_of[i]
        if c >= 0:
            start[c + 1] -= 1
            order[start[c + 1]] = i
            for k in range(3):
                by_cell[start[c + 1], k] = points[i, k]
    for c in range(n_blocks * 64):
        start[c] = start[c + 1]
    start[n_blocks * 64] = n_kept
    return top, start, order, by_cell
