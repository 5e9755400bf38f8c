"""Search along epipolar lines: the place on the line whose cube coordinate is nearest.

The source map is cut into tiles with the bounding box of their cube coordinates; a tile whose box
is farther than the best sample so far cannot hold a better one and is stepped over. So the answer
is that of trying every sample of the line, occlusions and all, in a fraction of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from mvs.kernels.threads import prange
from mvs.types import BoolArray, DoubleArray, FloatArray

_CHUNK = 512
_TILE = 8


@dataclass(frozen=True)
class TiledMap:
    """A cube map with the bounding boxes of its tiles.

    Attributes:
        coords: (H, W, 3) float32.
        cells: (H, W) bool, see ``mvs.kernels.subpixel.usable_cells``.
        boxes: (h, w, 6) float32 lowest and highest coordinate over the cells of each 8x8 tile;
            lowest > highest where no cell is usable.
    """

    coords: FloatArray
    cells: BoolArray
    boxes: FloatArray


def build_tiles(coords: FloatArray, cells: BoolArray) -> TiledMap:
    """Cut a map into tiles.

    Args:
        coords: (H, W, 3) float32 cube coordinates.
        cells: (H, W) bool usable cells.

    Returns:
        The map with its boxes.
    """
    height, width = cells.shape
    boxes = np.empty((-(-height // _TILE), -(-width // _TILE), 6), np.float32)
    boxes[..., :3] = np.inf
    boxes[..., 3:] = -np.inf
    _fill_boxes(coords, cells, boxes)
    return TiledMap(coords, cells, boxes)


def search_lines(
    tiles: TiledMap, targets: FloatArray, lines: DoubleArray, max_distance: float
) -> tuple[DoubleArray, FloatArray]:
    """Nearest place to each target along its segment.

    Samples are one pixel apart, interpolated; the best is refined to the minimum along the line.

    Args:
        tiles: the source map.
        targets: (M, 3) float32 cube coordinates.
        lines: (M, 4) float64 segments x0, y0, x1, y1 in pixels of the map; NaN for none.
        max_distance: bound in the cube, inclusive.

    Returns:
        Positions (M, 2) float64 in pixels of the map, NaN where nothing is within the bound, and
        the distances (M,) float32, inf where there is none.
    """
    pixels = np.full((len(targets), 2), np.nan)
    distance = np.full(len(targets), np.inf, np.float32)
    asked, found = (targets, lines), (pixels, distance)
    _search(tiles.coords, tiles.cells, tiles.boxes, asked, float(max_distance), found)
    return pixels, distance


@numba.njit(cache=True, error_model="numpy")
def _fill_boxes(coords, cells, boxes):  # type: ignore[no-untyped-def]
    height, width = cells.shape
    for y in range(height):
        for x in range(width):
            if not cells[y, x]:
                continue
            ty, tx = y // _TILE, x // _TILE
            for oy in range(2):
                for ox in range(2):
                    for k in range(3):
                        value = coords[y + oy, x + ox, k]
                        boxes[ty, tx, k] = min(boxes[ty, tx, k], value)
                        boxes[ty, tx, 3 + k] = max(boxes[ty, tx, 3 + k], value)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _squared_at(coords, cells, gx, gy, target):  # type: ignore[no-untyped-def]
    """Squared cube distance at a position (grid units: pixel centres at whole numbers)."""
    height, width = cells.shape
    x, y = int(np.floor(gx)), int(np.floor(gy))
    squared = np.inf
    if x >= 0 and y >= 0 and x < width and y < height and cells[y, x]:
        fx, fy = gx - x, gy - y
        squared = 0.0
        for k in range(3):
            top = coords[y, x, k] * (1.0 - fx) + coords[y, x + 1, k] * fx
            bottom = coords[y + 1, x, k] * (1.0 - fx) + coords[y + 1, x + 1, k] * fx
            d = target[k] - (top * (1.0 - fy) + bottom * fy)
            squared += d * d
    return squared


@numba.njit(cache=True, error_model="numpy", inline="always")
def _squared_to_box(boxes, ty, tx, target):  # type: ignore[no-untyped-def]
    squared = 0.0
    for k in range(3):
        gap = max(boxes[ty, tx, k] - target[k], target[k] - boxes[ty, tx, 3 + k], 0.0)
        squared += gap * gap
    return squared


@numba.njit(cache=True, error_model="numpy", inline="always")
def _steps_in_tile(gx, gy, dx, dy, tx, ty):  # type: ignore[no-untyped-def]
    """How many samples from here on stay in the tile (at least one)."""
    steps = 1e9
    if dx > 0:
        steps = min(steps, ((tx + 1) * _TILE - gx) / dx)
    elif dx < 0:
        steps = min(steps, (gx - tx * _TILE) / -dx)
    if dy > 0:
        steps = min(steps, ((ty + 1) * _TILE - gy) / dy)
    elif dy < 0:
        steps = min(steps, (gy - ty * _TILE) / -dy)
    return max(int(np.floor(steps - 1e-9)) + 1, 1)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _best_sample(coords, cells, boxes, target, line, max_distance):  # type: ignore[no-untyped-def]
    """Number and squared distance of the best sample; ties go to the first."""
    gx, gy = line[0] - 0.5, line[1] - 0.5
    length = np.hypot(line[2] - line[0], line[3] - line[1])
    n = int(length) + 1
    dx = (line[2] - line[0]) / max(length, 1e-12)
    dy = (line[3] - line[1]) / max(length, 1e-12)
    best = max_distance * max_distance * (1.0 + 1e-9)
    best_sample = -1
    s = 0
    while s < n:
        x, y = gx + s * dx, gy + s * dy
        tx, ty = int(np.floor(x)) // _TILE, int(np.floor(y)) // _TILE
        run = _steps_in_tile(x, y, dx, dy, tx, ty)
        inside = tx >= 0 and ty >= 0 and tx < boxes.shape[1] and ty < boxes.shape[0]
        # A hair of slack: interpolated values may round to just outside their box.
        if inside and _squared_to_box(boxes, ty, tx, target) <= best * (1.0 + 1e-6) + 1e-14:
            for i in range(s, min(s + run, n)):
                squared = _squared_at(coords, cells, gx + i * dx, gy + i * dy, target)
                if squared < best:
                    best = squared
                    best_sample = i
        s += run
    return best_sample, dx, dy, gx, gy


@numba.njit(cache=True, error_model="numpy")
def _refine(coords, cells, target, start, s):  # type: ignore[no-untyped-def]
    """Minimum along the line near sample s, by parabolas through three places."""
    gx, gy, dx, dy = start
    squared = _squared_at(coords, cells, gx + s * dx, gy + s * dy, target)
    width = 0.5
    for _ in range(18):
        a, b = s - width, s + width
        left = _squared_at(coords, cells, gx + a * dx, gy + a * dy, target)
        right = _squared_at(coords, cells, gx + b * dx, gy + b * dy, target)
        move = 0.0
        if left < np.inf and right < np.inf:
            bend = left + right - 2.0 * squared
            if bend > 0:
                move = min(max(0.5 * (left - right) / bend, -1.0), 1.0) * width
        elif left < squared:
            move = -width
        elif right < squared:
            move = width
        moved = _squared_at(coords, cells, gx + (s + move) * dx, gy + (s + move) * dy, target)
        if moved < squared:
            s += move
            squared = moved
        if abs(move) < 1e-5:
            break
        width = max(min(0.5 * width, 4.0 * abs(move)), 1e-3)
    return s, squared


@numba.njit(cache=True, error_model="numpy")
def _search_rows(rows, coords, cells, boxes, asked, max_distance, found):  # type: ignore[no-untyped-def]
    """The segments rows[0] .. rows[1] - 1, one after the other."""
    targets, lines = asked
    pixels, distance = found
    for i in range(rows[0], rows[1]):
        line = (lines[i, 0], lines[i, 1], lines[i, 2], lines[i, 3])
        if not np.isfinite(line[0] + line[1] + line[2] + line[3]):
            continue
        target = (targets[i, 0], targets[i, 1], targets[i, 2])
        best, dx, dy, gx, gy = _best_sample(coords, cells, boxes, target, line, max_distance)
        if best >= 0:
            s, squared = _refine(coords, cells, target, (gx, gy, dx, dy), float(best))
            pixels[i, 0] = gx + s * dx + 0.5
            pixels[i, 1] = gy + s * dy + 0.5
            distance[i] = np.sqrt(squared)


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _search(coords, cells, boxes, asked, max_distance, found):  # type: ignore[no-untyped-def]
    n = len(asked[0])
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        rows = (chunk * _CHUNK, min((chunk + 1) * _CHUNK, n))
        _search_rows(rows, coords, cells, boxes, asked, max_distance, found)
