"""Matches between views: pixels of two pictures that the cube maps send to the same place.

Every bound in pixels counts pixels of a map in which the side of the cube is 512 pixels long (0.7
mm on an adult's head), so that the same options fit maps of any resolution. Bounds tighten
themselves to the scatter that the maps show: exact maps are held to a fraction of a pixel, a
network's to what it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from calib.camera import Camera

from mvs.kernels.epipolar import TiledMap, build_tiles, search_lines
from mvs.kernels.nearest import PointGrid, build_grid, nearest
from mvs.kernels.subpixel import locate, usable_cells
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray, IntArray, Matches

CUBE_PIXELS = 512.0


@dataclass(frozen=True)
class MatchOptions:
    """How matches are found and which are kept.

    Attributes:
        matcher: name in ``MATCHERS``.
        stride: every how many rows and columns a pixel of the reference is matched.
        min_confidence: pixels of less confidence are left out.
        max_cube_distance: between the two ends, in the cube.
        max_mutual_px: how far from where it started the way there and back may end.
        max_epipolar_px: distance from the epipolar line.
        max_edge_px: longest edge of a cell of four pixels that may be interpolated; a longer one
            straddles an occlusion.
        tighten: bounds on cube distance and epipolar distance become this many times the median
            that is seen, where that is less; 0 turns it off.
    """

    matcher: str = "nearest"
    stride: int = 2
    min_confidence: float = 0.05
    max_cube_distance: float = 0.03
    max_mutual_px: float = 8.0
    max_epipolar_px: float = 14.0
    max_edge_px: float = 8.0
    tighten: float = 5.0

    def __post_init__(self) -> None:
        if self.matcher not in MATCHERS:
            raise ValueError(f"matcher must be one of {', '.join(MATCHERS)}, got {self.matcher}")
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        for name in ("max_cube_distance", "max_mutual_px", "max_epipolar_px", "max_edge_px"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.tighten >= 0:
            raise ValueError(f"tighten must not be negative, got {self.tighten}")


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


@dataclass(frozen=True)
class Candidates:
    """Matches of one pair before the bounds that need all pairs.

    Attributes:
        reference_index: (M,) int32 flat pixels of the reference map.
        pixels: (M, 2) float64 positions in the source map.
        cube_distance: (M,) float32.
        epipolar_px: (M,) float64 distance from the epipolar line, in pixels of the source map.
    """

    reference_index: IntArray
    pixels: DoubleArray
    cube_distance: FloatArray
    epipolar_px: DoubleArray


Matcher = Callable[[MatchView, MatchView, MatchOptions], Candidates]


def prepare_view(cube_map: CubeMap, camera: Camera, options: MatchOptions) -> MatchView:
    """Make one view ready for matching.

    Args:
        cube_map: the view's map.
        camera: its pinhole camera.
        options: see ``MatchOptions``.

    Returns:
        The view; it may have no valid pixel.
    """
    coords = np.ascontiguousarray(cube_map.coords, dtype=np.float32)
    valid = cube_map.mask & (cube_map.confidence >= options.min_confidence)
    valid &= _is_finite(coords)
    pixel_size = _median_step(coords, valid)
    cells = usable_cells(coords, valid, options.max_edge_px / CUBE_PIXELS)
    pixels = np.flatnonzero(valid).astype(np.int32)
    from_image = np.vstack([map_from_image(cube_map), [0.0, 0.0, 1.0]])
    return MatchView(coords, valid, cells, pixels, pixel_size, from_image @ camera.P)


def match_views(
    cube_maps: Sequence[CubeMap],
    cameras: Sequence[Camera],
    pairs: Sequence[tuple[int, Sequence[int]]],
    options: MatchOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> list[Matches]:
    """Match every reference view with each of its sources.

    Args:
        cube_maps: one per view.
        cameras: one pinhole camera per view.
        pairs: reference view and its source views, from ``choose_pairs``.
        options: see ``MatchOptions``.
        progress: called once per finished pair.

    Returns:
        One entry per pair, in the order of ``pairs``.

    Raises:
        ValueError: if the numbers of maps and cameras differ.
    """
    options = options or MatchOptions()
    if len(cube_maps) != len(cameras):
        raise ValueError(f"got {len(cube_maps)} cube maps for {len(cameras)} cameras")
    views = [
        prepare_view(cube_map, camera, options)
        for cube_map, camera in zip(cube_maps, cameras, strict=True)
    ]
    matcher = MATCHERS[options.matcher]
    order = [(reference, source) for reference, sources in pairs for source in sources]
    candidates = []
    for reference, source in order:
        candidates.append(matcher(views[reference], views[source], options))
        if progress is not None:
            progress()
    scales = [views[source].scale for _, source in order]
    max_distance, max_epipolar = _tighten(candidates, scales, options)
    return [
        _keep(pair, found, cube_maps[pair[1]], (max_distance, max_epipolar * scale))
        for pair, found, scale in zip(order, candidates, scales, strict=True)
    ]


def match_nearest(reference: MatchView, source: MatchView, options: MatchOptions) -> Candidates:
    """Exact mutual nearest neighbours in the cube, then the sub-pixel place on the surface.

    Args:
        reference: view whose pixels are matched.
        source: view in which they are sought.
        options: see ``MatchOptions``.

    Returns:
        Candidates within the bounds, in the order of the reference's pixels.
    """
    rows = reference.select(options.stride)
    found = nearest(source.grid, reference.points[rows], options.max_cube_distance).index
    rows, found = rows[found >= 0], found[found >= 0]
    back = nearest(reference.grid, source.points[found], options.max_cube_distance, rows).index
    start = reference.centers(reference.pixels[rows])
    away = np.linalg.norm(reference.centers(reference.pixels[back]) - start, axis=1)
    # Where the source sees a place in less detail, its pixel covers several of the reference.
    slack = max(reference.scale / source.scale, 1.0)
    mutual = (back >= 0) & (away <= options.max_mutual_px * reference.scale * slack)
    rows, found = rows[mutual], found[mutual]
    pixels, distance = locate(
        source.coords,
        source.cells,
        reference.points[rows],
        source.pixels[found],
        max_shift=2.0 + options.max_mutual_px * source.scale,
    )
    return _measure(reference, source, rows, pixels, distance)


def match_epipolar(reference: MatchView, source: MatchView, options: MatchOptions) -> Candidates:
    """The place on the epipolar line whose cube coordinate is nearest.

    Args:
        reference: view whose pixels are matched.
        source: view in which they are sought.
        options: see ``MatchOptions``; the way back is checked along the epipolar line, too.

    Returns:
        Candidates within the bounds, in the order of the reference's pixels.
    """
    rows = reference.select(options.stride)
    start = reference.centers(reference.pixels[rows])
    lines = epipolar_segments(reference, source, start)
    targets = reference.points[rows]
    pixels, distance = search_lines(source.tiles, targets, lines, options.max_cube_distance)
    hit = np.isfinite(distance)
    rows, pixels, distance, start = rows[hit], pixels[hit], distance[hit], start[hit]
    back_lines = epipolar_segments(source, reference, pixels)
    targets = sample_coords(source, pixels)
    back, _ = search_lines(reference.tiles, targets, back_lines, options.max_cube_distance)
    with np.errstate(invalid="ignore"):
        away = np.linalg.norm(back - start, axis=1)
        mutual = away <= options.max_mutual_px * reference.scale
    return _measure(reference, source, rows[mutual], pixels[mutual], distance[mutual])


MATCHERS: dict[str, Matcher] = {"nearest": match_nearest, "epipolar": match_epipolar}


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
    far, near = _rays(reference, source, pixels)
    width = source.valid.shape[1]
    x, y = source.pixels % width, source.pixels // width
    box = np.array([x.min() + 0.5, y.min() + 0.5, x.max() + 0.5, y.max() + 0.5])
    first, last = _clip(far, near, box)
    good = first < last
    for column, t in ((0, first), (2, last)):
        place = far[good] + t[good, None] * near
        segments[good, column : column + 2] = place[:, :2] / place[:, 2:]
    return segments


def sample_coords(view: MatchView, pixels: DoubleArray) -> FloatArray:
    """Cube coordinates (M, 3) float32 interpolated at positions (M, 2) in pixels of the map."""
    height, width = view.valid.shape
    place = pixels - 0.5
    x = np.clip(np.floor(place[:, 0]).astype(np.int64), 0, max(width - 2, 0))
    y = np.clip(np.floor(place[:, 1]).astype(np.int64), 0, max(height - 2, 0))
    fx, fy = (place[:, 0] - x)[:, None], (place[:, 1] - y)[:, None]
    top = view.coords[y, x] * (1 - fx) + view.coords[y, x + 1] * fx
    bottom = view.coords[y + 1, x] * (1 - fx) + view.coords[y + 1, x + 1] * fx
    return np.ascontiguousarray(top * (1 - fy) + bottom * fy, dtype=np.float32)


def cube_per_picture_pixel(cube_map: CubeMap) -> float:
    """Median distance in the cube between neighbouring pixels of the picture, over the head."""
    step = np.sqrt(abs(np.linalg.det(cube_map.image_from_map[:, :2])))
    valid = cube_map.mask & _is_finite(cube_map.coords)
    return _median_step(cube_map.coords, valid) / float(step)


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


def _rays(
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


def _measure(
    reference: MatchView,
    source: MatchView,
    rows: IntArray,
    pixels: DoubleArray,
    distance: FloatArray,
) -> Candidates:
    """Drop what was not found and measure the distance from the epipolar line."""
    hit = np.isfinite(distance)
    flat, pixels = reference.pixels[rows[hit]], pixels[hit]
    far, near = _rays(reference, source, reference.centers(flat))
    normal = np.cross(far, near)
    length = np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-300)
    away = np.abs(normal[:, :2] * pixels @ np.ones(2) + normal[:, 2]) / length
    return Candidates(flat, pixels, distance[hit], away)


def _tighten(
    candidates: Sequence[Candidates], scales: Sequence[float], options: MatchOptions
) -> tuple[float, float]:
    """Bounds on cube distance and epipolar distance (at scale 1), from what the maps show."""
    max_distance, max_epipolar = options.max_cube_distance, options.max_epipolar_px
    if options.tighten == 0 or not sum(len(found.pixels) for found in candidates):
        return max_distance, max_epipolar
    distance = np.concatenate([found.cube_distance for found in candidates])
    away = np.concatenate(
        [found.epipolar_px / scale for found, scale in zip(candidates, scales, strict=True)]
    )
    inside = away <= max_epipolar
    if not inside.any():
        return max_distance, max_epipolar
    floor = 0.25
    tight_distance = max(options.tighten * float(np.median(distance[inside])), floor / CUBE_PIXELS)
    tight_epipolar = max(options.tighten * float(np.median(away[inside])), floor)
    return min(max_distance, tight_distance), min(max_epipolar, tight_epipolar)


def _keep(
    pair: tuple[int, int], found: Candidates, source_map: CubeMap, bounds: tuple[float, float]
) -> Matches:
    """Apply the bounds and take the positions to the source picture."""
    keep = (found.cube_distance <= bounds[0]) & (found.epipolar_px <= bounds[1])
    affine = source_map.image_from_map
    return Matches(
        pair[0],
        pair[1],
        found.reference_index[keep],
        (found.pixels[keep] @ affine[:, :2].T + affine[:, 2]).astype(np.float32),
        found.cube_distance[keep],
    )
