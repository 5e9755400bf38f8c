"""Where, between the pixels of a cube map, a cube coordinate lies.

The map is taken as a bilinear surface between its pixel centres. A cell of four pixels is used only
where all four are valid and no edge of it is longer than a bound: a longer one straddles an
occlusion. Positions are COLMAP pixels: the centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import numba
import numpy as np

from mvs.kernels.threads import prange
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

_CHUNK = 1024
_MAX_ITERATIONS = 12
_SLOPE_REACH = 3


def usable_cells(coords: FloatArray, valid: BoolArray, max_edge: float) -> BoolArray:
    """Cells of four pixels that may be interpolated.

    Args:
        coords: (H, W, 3) float32 cube coordinates.
        valid: (H, W) bool.
        max_edge: longest edge or diagonal of a cell, in the cube.

    Returns:
        (H, W) bool; entry (y, x) is the cell between pixels (x, y) and (x + 1, y + 1). The last row
        and column are False.
    """
    cells = np.zeros(valid.shape, np.bool_)
    _usable_cells(np.ascontiguousarray(coords, np.float32), valid, np.float32(max_edge), cells)
    return cells


def locate(
    coords: FloatArray,
    cells: BoolArray,
    targets: FloatArray,
    start: IntArray,
    max_shift: float,
) -> tuple[DoubleArray, FloatArray]:
    """Find the place on a map's surface that is nearest to each target, from a start pixel.

    Gauss-Newton on the bilinear patch, less than a pixel per step; the result must be the minimum
    inside a usable cell, not the end of the surface.

    Args:
        coords: (H, W, 3) float32 cube coordinates.
        cells: (H, W) bool from ``usable_cells``.
        targets: (M, 3) float32.
        start: (M,) int32 flat pixel index, -1 for none.
        max_shift: farthest from the start pixel's centre, in pixels of the map.

    Returns:
        Positions (M, 2) float64 in pixels of the map, NaN where there is none, and the distances
        in the cube (M,) float32, inf where there is none.
    """
    pixels = np.full((len(targets), 2), np.nan)
    distance = np.full(len(targets), np.inf, np.float32)
    _locate(coords, cells, (targets, start), float(max_shift), (pixels, distance))
    return pixels, distance


def information_roots(
    coords: FloatArray,
    valid: BoolArray,
    pixels: DoubleArray,
    unit: float,
    limits: tuple[float, float],
) -> FloatArray:
    """How strongly the cube coordinate changes with the pixel: weights for errors in pixels.

    Where a surface is seen at a slant, an error in the cube moves the pixel less, so that the pixel
    says more. An error e in pixels counts as R e with R the upper triangular root of G'G, G the
    map's gradient over the unit: about the distance in the cube that it stands for.

    Args:
        coords: (H, W, 3) float32 cube coordinates.
        valid: (H, W) bool.
        pixels: (M, 2) float64 positions in pixels of the map, NaN for none.
        unit: distance in the cube that counts as one.
        limits: smallest and largest change per pixel that is believed, in units; the smallest
            stands where there are no neighbours.

    Returns:
        (M, 3) float32 entries (0, 0), (0, 1), (1, 1) of R.
    """
    roots = np.empty((len(pixels), 3), np.float32)
    _information_roots(coords, valid, pixels, (1.0 / unit, *limits), roots)
    return roots


@numba.njit(cache=True, error_model="numpy")
def _slope(coords, valid, x, y, axis, max_step, gradient):  # type: ignore[no-untyped-def]
    """Change per pixel along one axis over the valid neighbours on the same surface."""
    height, width = valid.shape
    ends = np.empty((2, 2), np.int64)
    reach = 0
    for side in range(2):
        step = _SLOPE_REACH if side else -_SLOPE_REACH
        nx, ny = (x + step, y) if axis == 0 else (x, y + step)
        ends[side, 0], ends[side, 1] = x, y
        if nx < 0 or ny < 0 or nx >= width or ny >= height or not valid[ny, nx]:
            continue
        squared = 0.0
        for k in range(3):
            squared += (coords[ny, nx, k] - coords[y, x, k]) ** 2
        if squared <= (max_step * _SLOPE_REACH) ** 2:
            ends[side, 0], ends[side, 1] = nx, ny
            reach += _SLOPE_REACH
    for k in range(3):
        change = coords[ends[1, 1], ends[1, 0], k] - coords[ends[0, 1], ends[0, 0], k]
        gradient[k] = change / reach if reach else 0.0


@numba.njit(cache=True, error_model="numpy")
def _root(gx, gy, scale, smallest, largest):  # type: ignore[no-untyped-def]
    """Upper root of the gradient's square with its eigenvalues kept within limits."""
    xx, xy, yy = 0.0, 0.0, 0.0
    for k in range(3):
        xx += gx[k] * gx[k] * scale * scale
        xy += gx[k] * gy[k] * scale * scale
        yy += gy[k] * gy[k] * scale * scale
    middle, half = 0.5 * (xx + yy), 0.5 * (xx - yy)
    radius = np.sqrt(half * half + xy * xy)
    low, high = smallest * smallest, largest * largest
    first = min(max(middle + radius, low), high)
    second = min(max(middle - radius, low), high)
    # The eigenvectors stay; only along a direction of its own can an eigenvalue change.
    cos, sin = (half / radius, xy / radius) if radius > 0 else (1.0, 0.0)
    middle, radius = 0.5 * (first + second), 0.5 * (first - second)
    xx, xy, yy = middle + radius * cos, radius * sin, middle - radius * cos
    a = np.sqrt(xx)
    return a, xy / a, np.sqrt(max(yy - xy * xy / xx, 0.0))


@numba.njit(cache=True, error_model="numpy")
def _information_rows(rows, coords, valid, pixels, limits, roots):  # type: ignore[no-untyped-def]
    scale, smallest, largest = limits
    height, width = valid.shape
    gx, gy = np.zeros(3), np.zeros(3)
    for i in range(rows[0], rows[1]):
        gx[:] = 0.0
        gy[:] = 0.0
        if np.isfinite(pixels[i, 0] + pixels[i, 1]):
            x = min(max(int(np.floor(pixels[i, 0])), 0), width - 1)
            y = min(max(int(np.floor(pixels[i, 1])), 0), height - 1)
            if valid[y, x]:
                _slope(coords, valid, x, y, 0, 2.0 * largest / scale, gx)
                _slope(coords, valid, x, y, 1, 2.0 * largest / scale, gy)
        roots[i] = _root(gx, gy, scale, smallest, largest)


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _information_roots(coords, valid, pixels, limits, roots):  # type: ignore[no-untyped-def]
    n = len(pixels)
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        rows = (chunk * _CHUNK, min((chunk + 1) * _CHUNK, n))
        _information_rows(rows, coords, valid, pixels, limits, roots)


@numba.njit(cache=True, error_model="numpy")
def _usable_cells(coords, valid, max_edge, cells):  # type: ignore[no-untyped-def]
    height, width = valid.shape
    bound = max_edge * max_edge
    for y in range(height - 1):
        for x in range(width - 1):
            if not (valid[y, x] and valid[y, x + 1] and valid[y + 1, x] and valid[y + 1, x + 1]):
                continue
            longest = np.float32(0.0)
            for pair in range(6):
                ay, ax, by, bx = y, x, y, x + 1
                if pair == 1:
                    by, bx = y + 1, x
                elif pair == 2:
                    by = y + 1
                elif pair == 3:
                    ax, by = x + 1, y + 1
                elif pair == 4:
                    ay, by = y + 1, y + 1
                elif pair == 5:
                    ax, by, bx = x + 1, y + 1, x
                squared = np.float32(0.0)
                for k in range(3):
                    d = coords[ay, ax, k] - coords[by, bx, k]
                    squared += d * d
                longest = max(longest, squared)
            cells[y, x] = longest <= bound


@numba.njit(cache=True, error_model="numpy", inline="always")
def _first_cell(cells, px, py):  # type: ignore[no-untyped-def]
    """A usable cell that touches a pixel, or (-1, -1)."""
    for oy in range(2):
        for ox in range(2):
            x, y = px - ox, py - oy
            if x >= 0 and y >= 0 and cells[y, x]:
                return x, y
    return -1, -1


@numba.njit(cache=True, error_model="numpy", inline="always")
def _newton(coords, cx, cy, fx, fy, target):  # type: ignore[no-untyped-def]
    """Squared distance at a place in a cell, and the Gauss-Newton step from there."""
    xx = xy = yy = bx = by = squared = 0.0
    for k in range(3):
        a = float(coords[cy, cx, k])
        b = float(coords[cy, cx + 1, k])
        c = float(coords[cy + 1, cx, k])
        d = float(coords[cy + 1, cx + 1, k])
        dx = (b - a) * (1.0 - fy) + (d - c) * fy
        dy = (c - a) * (1.0 - fx) + (d - b) * fx
        r = target[k] - (a + (b - a) * fx + (c - a) * fy + (a - b - c + d) * fx * fy)
        xx += dx * dx
        xy += dx * dy
        yy += dy * dy
        bx += dx * r
        by += dy * r
        squared += r * r
    determinant = xx * yy - xy * xy
    good = determinant > 1e-6 * xx * yy
    inverse = 1.0 / determinant if good else 0.0
    return squared, good, (bx * yy - by * xy) * inverse, (by * xx - bx * xy) * inverse


@numba.njit(cache=True, error_model="numpy")
def _descend(coords, cells, target, px, py, max_shift):  # type: ignore[no-untyped-def]
    """Position and squared distance of the minimum near a pixel; inf where there is none.

    Between two cells the surface has a crease, and the minimum may lie on it: where the steps go
    to and fro, the best place visited is the answer.
    """
    height, width = cells.shape
    cx, cy = _first_cell(cells, px, py)
    gx, gy = float(px), float(py)
    best, best_x, best_y = np.inf, gx, gy
    if cx < 0:
        return best_x, best_y, best
    for step in range(_MAX_ITERATIONS):
        squared, good, sx, sy = _newton(coords, cx, cy, gx - cx, gy - cy, target)
        if not good:
            return best_x, best_y, np.inf
        if squared < best:
            best, best_x, best_y = squared, gx, gy
        if abs(sx) < 1e-6 and abs(sy) < 1e-6:
            break
        # Less than a pixel at a time, so that no step passes over a cell.
        share = min(1.0, 0.9 / max(abs(sx), abs(sy))) * (1.0 if step < 4 else 0.5)
        gx += sx * share
        gy += sy * share
        if abs(gx - px) > max_shift or abs(gy - py) > max_shift:
            return best_x, best_y, np.inf
        # A hair beyond the cell still belongs to it, so that rounding decides nothing.
        if gx < cx - 1e-4 or gx > cx + 1.0001 or gy < cy - 1e-4 or gy > cy + 1.0001:
            nx, ny = int(np.floor(gx)), int(np.floor(gy))
            if nx < 0 or ny < 0 or nx >= width or ny >= height or not cells[ny, nx]:
                return best_x, best_y, np.inf
            cx, cy = nx, ny
        elif abs(sx) < 1e-4 and abs(sy) < 1e-4:
            best_x, best_y = gx, gy
            break
    return best_x, best_y, best


@numba.njit(cache=True, error_model="numpy")
def _locate_rows(rows, coords, cells, asked, max_shift, found):  # type: ignore[no-untyped-def]
    """The targets rows[0] .. rows[1] - 1, one after the other."""
    targets, start = asked
    pixels, distance = found
    width = cells.shape[1]
    for i in range(rows[0], rows[1]):
        if start[i] >= 0:
            target = (targets[i, 0], targets[i, 1], targets[i, 2])
            px, py = start[i] % width, start[i] // width
            x, y, squared = _descend(coords, cells, target, px, py, max_shift)
            if squared < np.inf:
                pixels[i, 0] = x + 0.5
                pixels[i, 1] = y + 0.5
                distance[i] = np.sqrt(squared)


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _locate(coords, cells, asked, max_shift, found):  # type: ignore[no-untyped-def]
    n = len(asked[0])
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        rows = (chunk * _CHUNK, min((chunk + 1) * _CHUNK, n))
        _locate_rows(rows, coords, cells, asked, max_shift, found)
