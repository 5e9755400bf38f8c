"""Cube maps made ready for matching, and the geometry between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calib.camera import Camera
from mvs.kernels.epipolar import TiledMap, build_tiles
from mvs.kernels.grid import PointGrid, build_grid
from mvs.kernels.subpixel import usable_cells
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray, IntArray

CUBE_PIXELS = 512.0
_MIN_EDGE_STEPS = 4.0


@dataclass(frozen=True)
class MatchView:
    """One view made ready for matching.

    Attributes:
        coords: (H, W, 3) float32 cube map.
        valid: (H, W) bool pixels that may match.
        cells: (H, W) bool cells that may be interpolated.
        pixels: (N,) int32 flat indices of the valid pixels.
        pixel_size: typical distance in the cube between neighbouring pixels.
        projection: (3, 4) float64, pixels of the map from world.
    """

    coords: FloatArray
    valid: BoolArray
    cells: BoolArray
    pixels: IntArray
    pixel_size: float
    projection: DoubleArray

    @cached_property
    def points(self) -> FloatArray:
        """(N, 3) float32 cube coordinates of the valid pixels."""
        return np.ascontiguousarray(self.coords.reshape(-1, 3)[self.pixels])

    @cached_property
    def grid(self) -> PointGrid:
        """The valid pixels' coordinates, for nearest neighbours."""
        return build_grid(self.points)

    @cached_property
    def tiles(self) -> TiledMap:
        """The map in tiles, for searches along lines."""
        return build_tiles(self.coords, self.cells)

    @property
    def scale(self) -> float:
        """Pixels of this map per pixel of a map in which the cube is 512 pixels wide."""
        return 1.0 / (CUBE_PIXELS * self.pixel_size)

    def select(self, stride: int) -> IntArray:
        """Rows of ``pixels`` on the lattice of every ``stride``-th row and column."""
        width = self.valid.shape[1]
        y, x = self.pixels // width, self.pixels % width
        on_lattice = (y % stride == stride // 2) & (x % stride == stride // 2)
        return np.flatnonzero(on_lattice).astype(np.int32)

    def centers(self, flat: IntArray) -> DoubleArray:
        """Centres (M, 2) float64 of pixels given by their flat index."""
        width = self.valid.shape[1]
        return np.column_stack([flat % width, flat // width]) + 0.5


def prepare_view(
    cube_map: CubeMap, camera: Camera, min_confidence: float, max_edge: float
) -> MatchView:
    """Make one view ready for matching.

    Args:
        cube_map: the view's map.
        camera: its pinhole camera.
        min_confidence: pixels of less confidence are left out.
        max_edge: longest edge, in the cube, of a cell that may be interpolated; at least four
            steps between pixels.

    Returns:
        The view; it may have no valid pixel.
    """
    coords = np.ascontiguousarray(cube_map.coords, dtype=np.float32)
    valid = cube_map.mask & (cube_map.confidence >= min_confidence)
    valid &= _is_finite(coords)
    pixel_size = _median_step(coords, valid)
    cells = usable_cells(coords, valid, max(max_edge, _MIN_EDGE_STEPS * pixel_size))
    pixels = np.flatnonzero(valid).astype(np.int32)
    from_image = np.vstack([map_from_image(cube_map), [0.0, 0.0, 1.0]])
    return MatchView(coords, valid, cells, pixels, pixel_size, from_image @ camera.P)


def epipolar_segments(reference: MatchView, source: MatchView, pixels: DoubleArray) -> DoubleArray:
    """Parts of the epipolar lines that lie on the source's valid pixels' bounding box.

    Args:
        reference: view of the pixels.
        source: view of the lines.
        pixels: (M, 2) float64 in pixels of the reference map.

    Returns:
        (M, 4) float64 x0, y0, x1, y1 in pixels of the source map, from far to near; NaN where the
        line misses the box or lies behind the source.
    """
    segments = np.full((len(pixels), 4), np.nan)
    if len(source.pixels) == 0 or len(pixels) == 0:
        return segments
    far, near = homogeneous_lines(reference, source, pixels)
    width = source.valid.shape[1]
    x, y = source.pixels % width, source.pixels // width
    box = np.array([x.min() + 0.5, y.min() + 0.5, x.max() + 0.5, y.max() + 0.5])
    first, last = _clip(far, near, box)
    good = first < last
    for column, t in ((0, first), (2, last)):
        place = far[good] + t[good, None] * near
        segments[good, column : column + 2] = place[:, :2] / place[:, 2:]
    return segments


def sample_coords(coords: FloatArray, pixels: DoubleArray) -> FloatArray:
    """Cube coordinates (M, 3) float32 of a map (H, W, 3), interpolated at its pixels (M, 2)."""
    height, width = coords.shape[:2]
    place = pixels - 0.5
    x = np.clip(np.floor(place[:, 0]).astype(np.int64), 0, max(width - 2, 0))
    y = np.clip(np.floor(place[:, 1]).astype(np.int64), 0, max(height - 2, 0))
    fx, fy = (place[:, 0] - x)[:, None], (place[:, 1] - y)[:, None]
    top = coords[y, x] * (1 - fx) + coords[y, x + 1] * fx
    bottom = coords[y + 1, x] * (1 - fx) + coords[y + 1, x + 1] * fx
    return np.ascontiguousarray(top * (1 - fy) + bottom * fy, dtype=np.float32)


def cube_per_pixel(cube_map: CubeMap) -> float:
    """Median distance in the cube between neighbouring pixels of the map, over the head."""
    return _median_step(cube_map.coords, cube_map.mask & _is_finite(cube_map.coords))


def map_from_image(cube_map: CubeMap) -> DoubleArray:
    """(2, 3) float64 affine from pixels of the picture to pixels of the map."""
    inverse: DoubleArray = np.linalg.inv(np.vstack([cube_map.image_from_map, [0.0, 0.0, 1.0]]))
    return inverse[:2]


def picture_pixels(cube_map: CubeMap, flat: IntArray) -> DoubleArray:
    """Positions (M, 2) float64 in the picture of the centres of a map's pixels (flat indices)."""
    width = cube_map.mask.shape[1]
    centers = np.column_stack([flat % width, flat // width]) + 0.5
    affine = cube_map.image_from_map
    place: DoubleArray = centers @ affine[:, :2].T + affine[:, 2]
    return place


def homogeneous_lines(
    reference: MatchView, source: MatchView, pixels: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Homogeneous source pixels of the ray's far end (M, 3), and the reference's centre (3,).

    A point at depth z of the reference is seen at far + near / z.
    """
    inverse = np.linalg.inv(reference.projection[:, :3])
    center = -inverse @ reference.projection[:, 3]
    rays = np.column_stack([pixels, np.ones(len(pixels))]) @ inverse.T
    far = rays @ source.projection[:, :3].T
    near = source.projection @ np.append(center, 1.0)
    return far, near


def _clip(far: DoubleArray, near: DoubleArray, box: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Range of t >= 0 for which far + t * near is in front of the source and inside the box."""
    first, last = np.zeros(len(far)), np.full(len(far), np.inf)
    eps = 1e-9 * np.abs(near).max()
    limits = [(far[:, 2] - eps, near[2])]
    for axis in range(2):
        limits.append((far[:, axis] - box[axis] * far[:, 2], near[axis] - box[axis] * near[2]))
        high = box[axis + 2]
        limits.append((high * far[:, 2] - far[:, axis], high * near[2] - near[axis]))
    for constant, slope in limits:  # each: constant + t * slope >= 0
        with np.errstate(divide="ignore", invalid="ignore"):
            root = -constant / slope
        if slope > 0:
            first = np.maximum(first, root)
        elif slope < 0:
            last = np.minimum(last, root)
        else:
            last = np.where(constant >= 0, last, -np.inf)
    return first, np.where(np.isfinite(last), last, -np.inf)


def _is_finite(coords: FloatArray) -> BoolArray:
    """(H, W) bool: all three coordinates are finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = coords[..., 0] + coords[..., 1] + coords[..., 2]
    finite: BoolArray = np.isfinite(total)
    return finite


def _median_step(coords: FloatArray, valid: BoolArray) -> float:
    """Median distance in the cube between neighbouring pixels of a row, over every fourth row."""
    rows, valid = coords[::4], valid[::4]
    both = valid[:, 1:] & valid[:, :-1]
    if not both.any():
        return 1.0 / CUBE_PIXELS
    steps = rows[:, 1:][both] - rows[:, :-1][both]
    return max(float(np.sqrt(np.median(np.einsum("nk,nk->n", steps, steps)))), 1e-6)
