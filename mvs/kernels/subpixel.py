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

    Gauss-Newton on the bilinear patch, at most a pixel per step; the result must be the minimum
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


@numba.njit(cache=True)
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


@numba.njit(cache=True, inline="always")
def _first_cell(cells, px, py):  # type: ignore[no-untyped-def]
    """A usable cell that touches a pixel, or (-1, -1)."""
    for oy in range(2):
        for ox in range(2):
            x, y = px - ox, py - oy
            if x >= 0 and y >= 0 and cells[y, x]:
                return x, y
    return -1, -1


@numba.njit(cache=True, parallel=True)
def _locate(coords, cells, asked, max_shift, found):  # type: ignore[no-untyped-def]
    targets, start = asked
    pixels, distance = found
    height, width = cells.shape
    n = len(targets)
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, n)):
            if start[i] < 0:
                continue
            py, px = start[i] // width, start[i] % width
            cx, cy = _first_cell(cells, px, py)
            if cx < 0:
                continue
            gx, gy = float(px), float(py)
            done = False
            squared = 0.0
            for step in range(_MAX_ITERATIONS):
                fx, fy = gx - cx, gy - cy
                xx = xy = yy = bx = by = squared = 0.0
                for k in range(3):
                    a = float(coords[cy, cx, k])
                    b = float(coords[cy, cx + 1, k])
                    c = float(coords[cy + 1, cx, k])
                    d = float(coords[cy + 1, cx + 1, k])
                    dx = (b - a) * (1.0 - fy) + (d - c) * fy
                    dy = (c - a) * (1.0 - fx) + (d - b) * fx
                    r = targets[i, k] - (
                        a + (b - a) * fx + (c - a) * fy + (a - b - c + d) * fx * fy
                    )
                    xx += dx * dx
                    xy += dx * dy
                    yy += dy * dy
                    bx += dx * r
                    by += dy * r
                    squared += r * r
                determinant = xx * yy - xy * xy
                if not determinant > 1e-6 * xx * yy:
                    break
                sx = (bx * yy - by * xy) / determinant
                sy = (by * xx - bx * xy) / determinant
                if abs(sx) < 1e-6 and abs(sy) < 1e-6:
                    done = True
                    break
                length = max(abs(sx), abs(sy), 1.0)
                damping = 1.0 if step < 6 else 0.5
                gx += damping * sx / length
                gy += damping * sy / length
                if abs(gx - px) > max_shift or abs(gy - py) > max_shift:
                    break
                # A hair beyond the cell still belongs to it, so that rounding decides nothing.
                if gx < cx - 1e-4 or gx > cx + 1.0001 or gy < cy - 1e-4 or gy > cy + 1.0001:
                    nx, ny = int(np.floor(gx)), int(np.floor(gy))
                    if nx < 0 or ny < 0 or nx >= width or ny >= height or not cells[ny, nx]:
                        break
                    cx, cy = nx, ny
                elif abs(sx) < 1e-4 and abs(sy) < 1e-4:
                    done = True
                    break
            if done:
                pixels[i, 0] = gx + 0.5
                pixels[i, 1] = gy + 0.5
                distance[i] = np.sqrt(squared)
