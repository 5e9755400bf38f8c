"""Exact nearest neighbours in three dimensions, for points that lie on surfaces.

A query starts from the answer of the query before it (pixels come in raster order, so the guess is
nearly always close; queries in no order are sorted first) and then looks only at the cells that the
ball of that radius touches. The guess changes the time, never the answer: distances are float32,
ties go to the lowest target index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.grid import PointGrid, as_rows, build_grid
from mvs.kernels.threads import prange
from mvs.types import FloatArray, IntArray

_CHUNK = 4096
_NONE = np.int32(2147483647)


@dataclass(frozen=True)
class Neighbors:
    """Nearest neighbour of each query.

    Attributes:
        index: (M,) int32 row of the target, -1 where none is within the bound.
        squared_distance: (M,) float32, inf where there is none.
    """

    index: IntArray
    squared_distance: FloatArray


def nearest(
    grid: PointGrid,
    queries: npt.NDArray[np.floating],
    max_distance: float = np.inf,
    guess: IntArray | None = None,
) -> Neighbors:
    """Nearest grid point of every query within a distance (inclusive).

    Args:
        grid: targets.
        queries: (M, 3) float; rows that are not finite have no neighbour. Fast when consecutive
            queries are close to each other.
        max_distance: bound, >= 0.
        guess: (M,) int32 rows of targets to start from, -1 for none; changes the time only.

    Returns:
        Index and squared distance, each (M,).

    Raises:
        ValueError: on wrong shapes or a negative bound.
    """
    rows = as_rows(queries, "queries")
    if not max_distance >= 0:
        raise ValueError(f"max_distance must be >= 0, got {max_distance}")
    index = np.full(len(rows), -1, np.int32)
    squared = np.full(len(rows), np.inf, np.float32)
    if guess is None:
        guess = np.empty(0, np.int32)
    elif guess.shape != (len(rows),):
        raise ValueError(f"guess must have shape ({len(rows)},), got {guess.shape}")
    if len(guess) == 0 and _is_scattered(rows, grid.cell):
        order = build_grid(rows).sorted_index
        found = nearest(grid, rows[order], max_distance, np.full(len(order), -1, np.int32))
        index[order], squared[order] = found.index, found.squared_distance
    elif len(grid.sorted_index) and len(rows):
        bound = np.float32(np.float64(max_distance) ** 2)
        _nearest(
            (grid.points, grid.origin, np.float32(grid.cell), grid.top, grid.start),
            (grid.sorted_points, grid.sorted_index),
            (rows, guess),
            bound,
            (index, squared),
        )
    return Neighbors(index, squared)


def mutual_nearest(
    first: PointGrid, second: PointGrid, max_distance: float = np.inf
) -> tuple[Neighbors, Neighbors]:
    """Nearest neighbours both ways between two sets of points.

    The second direction starts from the answers of the first where the points are in order.

    Args:
        first: one set, (N, 3).
        second: the other, (M, 3).
        max_distance: bound, >= 0.

    Returns:
        Neighbours of the first set's points in the second, and of the second's in the first.
    """
    forward = nearest(second, first.points, max_distance)
    if _is_scattered(second.points, first.cell):
        return forward, nearest(first, second.points, max_distance)
    guess = np.full(len(second.points), -1, np.int32)
    _scatter_guess(forward.index, guess)
    return forward, nearest(first, second.points, max_distance, guess)


def _is_scattered(rows: FloatArray, cell: float) -> bool:
    """Most consecutive rows (of a sample) lie several cells apart."""
    first = np.arange(0, len(rows) - 1, max(len(rows) // 256, 1))
    with np.errstate(invalid="ignore"):
        step = np.abs(rows[first + 1] - rows[first]).max(axis=1)
        return len(rows) > 256 and bool(np.mean(step > 4 * cell) > 0.5)


@numba.njit(cache=True, error_model="numpy")
def _scatter_guess(index, guess):  # type: ignore[no-untyped-def]
    for i in range(len(index)):
        if index[i] >= 0:
            guess[index[i]] = i


@numba.njit(cache=True, error_model="numpy", inline="always")
def _squared(ax, ay, az, points, j):  # type: ignore[no-untyped-def]
    dx = ax - points[j, 0]
    dy = ay - points[j, 1]
    dz = az - points[j, 2]
    return dx * dx + dy * dy + dz * dz


@numba.njit(cache=True, error_model="numpy", inline="always")
def _key(squared, index):  # type: ignore[no-untyped-def]
    """Orders by distance, then by index: bits of a float that is not negative order as it does."""
    return (np.int64(np.float32(squared).view(np.int32)) << 32) | np.int64(index)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _distance_of(key):  # type: ignore[no-untyped-def]
    return np.int32(key >> 32).view(np.float32)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _with_slack(q, radius, grid):  # type: ignore[no-untyped-def]
    """Radius with a margin, so that rounding cannot put a point of the ball out of reach."""
    size = abs(q[0]) + abs(q[1]) + abs(q[2]) + grid[1][3]
    return radius + np.float32(1e-6) * size + np.float32(1e-5) * grid[2]


@numba.njit(cache=True, error_model="numpy", inline="always")
def _cell_range(q, radius, origin, cell, n_cells):  # type: ignore[no-untyped-def]
    """First and last cell that [q - radius, q + radius] touches; empty where it misses them all."""
    inverse = np.float32(1.0) / cell
    last = np.float32(n_cells)
    low = min(max((q - radius - origin) * inverse, np.float32(0.0)), last)
    high = min(max((q + radius - origin) * inverse + np.float32(1.0), np.float32(0.0)), last)
    return np.int32(low), np.int32(high) - np.int32(1)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _search_ball(q, radius, grid, lists, key):  # type: ignore[no-untyped-def]
    """Best point in the cells that the ball touches; best is a squared distance."""
    _, origin, cell, top, start = grid
    points, index = lists
    radius = _with_slack(q, radius, grid)
    x0, x1 = _cell_range(q[0], radius, origin[0], cell, top.shape[0] * 4)
    y0, y1 = _cell_range(q[1], radius, origin[1], cell, top.shape[1] * 4)
    z0, z1 = _cell_range(q[2], radius, origin[2], cell, top.shape[2] * 4)
    for x in range(x0, x1 + 1):
        for y in range(y0, y1 + 1):
            for bz in range(z0 >> 2, (z1 >> 2) + 1):
                block = top[x >> 2, y >> 2, bz]
                if block < 0:
                    continue
                row = (block << 6) | ((x & 3) << 4) | ((y & 3) << 2)
                first = start[row + max(z0 - (bz << 2), 0)]
                last = start[row + min(z1 - (bz << 2), 3) + 1]
                for s in range(np.uint64(first), np.uint64(last)):  # unsigned: never wraps
                    key = min(key, _key(_squared(q[0], q[1], q[2], points, s), index[s]))
    return key


@numba.njit(cache=True, error_model="numpy", inline="always")
def _gap(q, low, size):  # type: ignore[no-untyped-def]
    """Distance along one axis from q to [low, low + size]."""
    slack = np.float32(1e-6) * (abs(q) + abs(low) + size)  # rounding must not hide a touch
    return max(max(low - q, q - low - size) - slack, np.float32(0.0))


@numba.njit(cache=True, error_model="numpy", inline="always")
def _search_far(q, radius, grid, lists, key):  # type: ignore[no-untyped-def]
    """As ``_search_ball`` for a ball of many blocks: block by block, skipping those too far."""
    _, origin, cell, top, start = grid
    points, index = lists
    edge = np.float32(4.0) * cell
    radius = _with_slack(q, radius, grid)
    x0, x1 = _cell_range(q[0], radius, origin[0], cell, top.shape[0] * 4)
    y0, y1 = _cell_range(q[1], radius, origin[1], cell, top.shape[1] * 4)
    z0, z1 = _cell_range(q[2], radius, origin[2], cell, top.shape[2] * 4)
    for bx in range(x0 >> 2, (x1 >> 2) + 1):
        gx = _gap(q[0], origin[0] + np.float32(bx) * edge, edge)
        for by in range(y0 >> 2, (y1 >> 2) + 1):
            gy = _gap(q[1], origin[1] + np.float32(by) * edge, edge)
            if gx * gx + gy * gy > _distance_of(key):
                continue
            for bz in range(z0 >> 2, (z1 >> 2) + 1):
                block = top[bx, by, bz]
                if block < 0:
                    continue
                gz = _gap(q[2], origin[2] + np.float32(bz) * edge, edge)
                if gx * gx + gy * gy + gz * gz > _distance_of(key):
                    continue
                for s in range(np.uint64(start[block << 6]), np.uint64(start[(block << 6) + 64])):
                    key = min(key, _key(_squared(q[0], q[1], q[2], points, s), index[s]))
    return key


@numba.njit(cache=True, error_model="numpy", inline="always")
def _search_outwards(q, limit, grid, lists, none):  # type: ignore[no-untyped-def]
    """Nearest point of a query with no guess: balls of growing radius up to the limit."""
    key = none
    radius = grid[2]
    while True:
        reach = min(radius, limit)
        if radius < np.float32(6.0) * grid[2]:
            key = _search_ball(q, reach, grid, lists, key)
        else:
            key = _search_far(q, reach, grid, lists, key)
        if reach >= limit or (key != none and np.sqrt(_distance_of(key)) <= reach):
            break
        radius *= np.float32(2.0)
    return key


@numba.njit(cache=True, error_model="numpy")
def _nearest_rows(rows, grid, lists, asked, bound, found):  # type: ignore[no-untyped-def]
    """The queries rows[0] .. rows[1] - 1, one after the other.

    Where a query has nothing within the limit, a wider search tells how far it would have to move
    to get something, and the queries within that distance of it are skipped.
    """
    queries, guess = asked
    index, squared = found
    targets = grid[0]
    none, limit = _key(bound, _NONE), np.sqrt(bound)
    previous = np.int64(-1)
    anchor = (np.float32(0.0), np.float32(0.0), np.float32(0.0))
    free = np.float32(-1.0)
    for i in range(rows[0], rows[1]):
        q = (queries[i, 0], queries[i, 1], queries[i, 2])
        if not np.isfinite(q[0] + q[1] + q[2]):
            continue
        key = none
        start_from = previous
        if len(guess) and guess[i] >= 0:
            start_from = np.int64(guess[i])
        if start_from >= 0:
            for j in range(start_from, start_from + 3):
                if 0 <= j < len(targets):
                    key = min(key, _key(_squared(q[0], q[1], q[2], targets, j), j))
        if key != none:
            reach = np.sqrt(_distance_of(key))
            if reach < np.float32(6.0) * grid[2]:
                key = _search_ball(q, reach, grid, lists, key)
            else:
                key = _search_far(q, reach, grid, lists, key)
        else:
            dx, dy, dz = q[0] - anchor[0], q[1] - anchor[1], q[2] - anchor[2]
            if np.sqrt(dx * dx + dy * dy + dz * dz) < free:
                continue
            key = _search_outwards(q, limit, grid, lists, none)
            if key == none:
                wide = _key(np.float32(16.0) * bound, _NONE)
                far = _search_outwards(q, np.float32(4.0) * limit, grid, lists, wide)
                anchor = q
                free = (np.sqrt(_distance_of(far)) - limit) * np.float32(0.999)
                continue
        index[i] = np.int32(key & 0xFFFFFFFF)
        squared[i] = _distance_of(key)
        previous = np.int64(index[i])


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _nearest(grid, lists, asked, bound, found):  # type: ignore[no-untyped-def]
    n = len(asked[0])
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        rows = (chunk * _CHUNK, min((chunk + 1) * _CHUNK, n))
        _nearest_rows(rows, grid, lists, asked, bound, found)
