"""Points from matches: every pixel of a reference view with all its matches together.

The bound on the reprojection error tightens itself to the scatter that the matches show, as the
bounds of ``mvs.stages.match`` do, and counts the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.errors import ReconstructionError
from mvs.kernels.dlt import (
    Observations,
    PointStatus,
    TriangulateBounds,
    TriangulatedPoints,
    triangulate_points,
)
from mvs.kernels.normals import lattice_normals, lattice_stride
from mvs.kernels.subpixel import information_roots
from mvs.stages.notes import picture_errors
from mvs.stages.shots import FAR
from mvs.stages.views import (
    CUBE_PIXELS,
    cube_per_pixel,
    map_from_image,
    picture_pixels,
)
from mvs.types import (
    BoolArray,
    ByteArray,
    CubeMap,
    DoubleArray,
    FloatArray,
    IntArray,
    Matches,
    PointCloud,
)

_SAMPLE = 20_000
_TIGHTEST_PX = 0.25
_DOUBTFUL_PX = 4.0
_SLANTS = (0.5, 4.0)


@dataclass(frozen=True)
class TriangulateOptions:
    """Which points are kept.

    Attributes:
        min_views: views that must agree on a point, the reference among them.
        min_agreement: share of the views matched that must agree.
        min_angle_deg: widest angle between the reference's ray and another, at least.
        max_error_px: reprojection error of any view, in pixels of a map in which the cube is 512
            pixels wide.
        tighten: that bound becomes this many times the median error, where that is less; 0 turns
            it off.
        full_angle_deg: angle from which on a point's confidence is not reduced.
    """

    min_views: int = 2
    min_agreement: float = 0.5
    min_angle_deg: float = 3.0
    max_error_px: float = 14.0
    tighten: float = 5.0
    full_angle_deg: float = 15.0

    def __post_init__(self) -> None:
        if self.min_views < 2:
            raise ValueError(f"min_views must be at least 2, got {self.min_views}")
        if not 0 <= self.min_agreement <= 1:
            raise ValueError(f"min_agreement must be in [0, 1], got {self.min_agreement}")
        if not 0 <= self.min_angle_deg < 90:
            raise ValueError(f"min_angle_deg must be in [0, 90), got {self.min_angle_deg}")
        for name in ("max_error_px", "full_angle_deg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.tighten >= 0:
            raise ValueError(f"tighten must not be negative, got {self.tighten}")


@dataclass(frozen=True)
class Triangulation:
    """The points of all reference views, before fusion; N rows, ordered by view and pixel.

    Attributes:
        cloud: the points; ``n_views`` counts the views that agree.
        reference: (N,) int32 view whose pixel the point is.
        views: (N, W) uint64 bit set of the views that agree: view v is bit v % 64 of word v // 64.
        error_px: (N,) float32 root mean square reprojection error, in pixels of a map in which the
            cube is 512 pixels wide.
        picture_error_px: (N,) float32 the same in pixels of the pictures.
        spacing: median distance on the head between neighbouring matched pixels, in world units.
        status_counts: how many reference pixels ended in which ``PointStatus``, by name.
    """

    cloud: PointCloud
    reference: IntArray
    views: npt.NDArray[np.uint64]
    error_px: FloatArray
    picture_error_px: FloatArray
    spacing: float
    status_counts: dict[str, int]


def triangulate(
    cube_maps: Sequence[CubeMap],
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
    matches: Sequence[Matches],
    options: TriangulateOptions | None = None,
    within: tuple[DoubleArray, float] | None = None,
) -> Triangulation:
    """Triangulate every matched reference pixel from all its matches.

    Args:
        cube_maps: one per view.
        cameras: one pinhole camera per view.
        images: one (H, W, 3) uint8 picture per view.
        matches: from ``match_views``.
        options: see ``TriangulateOptions``.
        within: centre and radius of the head's sphere, world; points far outside are dropped.

    Returns:
        The points with confidence, normals, colours and what became of each pixel.

    Raises:
        ValueError: if the numbers of maps, cameras and images differ.
    """
    options = options or TriangulateOptions()
    if not len(cube_maps) == len(cameras) == len(images):
        raise ValueError(
            f"got {len(cube_maps)} cube maps, {len(cameras)} cameras and {len(images)} images"
        )
    steps = [cube_per_pixel(cube_map) for cube_map in cube_maps]
    scene = _Scene(cube_maps, cameras, images, steps)
    by_reference: dict[int, list[Matches]] = {}
    for match in matches:
        by_reference.setdefault(match.reference, []).append(match)
    bounds = TriangulateBounds(
        max_error=options.max_error_px,
        min_views=options.min_views,
        min_agreement=options.min_agreement,
        min_angle_deg=options.min_angle_deg,
        keep_first=True,
    )
    bounds = replace(bounds, max_error=_tight_error(by_reference, scene, bounds, options.tighten))
    parts = [
        _triangulate_view(
            _gather(reference, by_reference[reference], scene), scene, bounds, (options, within)
        )
        for reference in sorted(by_reference)
    ]
    return _join(parts, scene)


def nothing_triangulated() -> ReconstructionError:
    """The error of a triangulation without points."""
    return ReconstructionError(
        "no pixel could be triangulated",
        "check that the views overlap, that masks keep the head and that poses are right",
    )


@dataclass(frozen=True)
class _Scene:
    """What every view brings; ``steps`` are typical distances in the cube between map pixels."""

    cube_maps: Sequence[CubeMap]
    cameras: Sequence[Camera]
    images: Sequence[ByteArray]
    steps: Sequence[float]


@dataclass(frozen=True)
class _Rays:
    """All observations of one reference view's matched pixels.

    Attributes:
        views: the reference, then its sources: the columns below.
        flat: (N,) int32 flat pixels of the reference map.
        observations: where each is seen, in pixels of the pictures.
        cube_distance: (N, V) float32, 0 in the first column, NaN where there is no match.
    """

    views: list[int]
    flat: IntArray
    observations: Observations
    cube_distance: FloatArray


@dataclass(frozen=True)
class _Part:
    """The points of one reference view, every ``stride``-th pixel of it."""

    reference: int
    stride: int
    cloud: PointCloud
    views: npt.NDArray[np.uint64]
    error: FloatArray
    picture_error: FloatArray
    status: npt.NDArray[np.uint8]


def _gather(
    reference: int, matches: Sequence[Matches], scene: _Scene, max_points: int | None = None
) -> _Rays:
    """Put the matches of one reference view into one table, a row per pixel, a column per view."""
    cube_map = scene.cube_maps[reference]
    sources = [match.source for match in matches]
    seen = np.zeros(cube_map.mask.size, np.bool_)
    for match in matches:
        seen[match.reference_index] = True
    flat = np.flatnonzero(seen).astype(np.int32)
    if max_points is not None and len(flat) > max_points:
        flat = flat[:: -(-len(flat) // max_points)]
    row_of = np.full(seen.size, -1, np.int32)
    row_of[flat] = np.arange(len(flat), dtype=np.int32)
    pixels = np.full((len(flat), 1 + len(sources), 2), np.nan)
    distance = np.full((len(flat), 1 + len(sources)), np.nan, np.float32)
    pixels[:, 0] = picture_pixels(cube_map, flat)
    distance[:, 0] = 0.0
    for column, match in enumerate(matches, 1):
        rows = row_of[match.reference_index]
        known = rows >= 0
        pixels[rows[known], column] = match.source_pixels[known]
        distance[rows[known], column] = match.cube_distance[known]
    views = [reference, *sources]
    roots = np.empty((*pixels.shape[:2], 3), np.float32)
    for column, view in enumerate(views):
        roots[:, column] = _roots(scene.cube_maps[view], pixels[:, column], scene.steps[view])
    projections = np.stack([scene.cameras[view].P for view in views])
    return _Rays(views, flat, Observations(projections, pixels, roots), distance)


def _roots(cube_map: CubeMap, pixels: DoubleArray, step: float) -> FloatArray:
    """Weights of errors in pixels of the picture, so that they count distance in the cube."""
    from_image = map_from_image(cube_map)
    limits = (_SLANTS[0] * step * CUBE_PIXELS, _SLANTS[1] * step * CUBE_PIXELS)
    place = np.ascontiguousarray(pixels @ from_image[:, :2].T + from_image[:, 2])
    roots = information_roots(cube_map.coords, cube_map.mask, place, 1.0 / CUBE_PIXELS, limits)
    map_per_picture_pixel = np.sqrt(abs(np.linalg.det(from_image[:, :2])))
    return np.asarray(roots * np.float32(map_per_picture_pixel))


def _tight_error(
    by_reference: dict[int, list[Matches]],
    scene: _Scene,
    bounds: TriangulateBounds,
    tighten: float,
) -> float:
    """Bound on the reprojection error from the median over a sample of all views' points."""
    errors = []
    for reference, matches in by_reference.items():
        rays = _gather(reference, matches, scene, _SAMPLE // len(by_reference))
        solved = triangulate_points(rays.observations, bounds)
        errors.append(solved.error[solved.status == PointStatus.OK])
    found = np.concatenate(errors) if errors else np.empty(0)
    if tighten == 0 or len(found) == 0:
        return bounds.max_error
    floor = _TIGHTEST_PX * max(1.0, float(np.median(scene.steps)) * CUBE_PIXELS)
    return min(bounds.max_error, max(tighten * float(np.median(found)), floor))


def _triangulate_view(
    rays: _Rays,
    scene: _Scene,
    bounds: TriangulateBounds,
    kept: tuple[TriangulateOptions, tuple[DoubleArray, float] | None],
) -> _Part:
    """Triangulate one reference view's pixels; keep the points whose status is OK."""
    options, within = kept
    solved = triangulate_points(rays.observations, bounds)
    if within is not None:
        away = np.linalg.norm(solved.points - within[0], axis=1)
        far = (solved.status == PointStatus.OK) & ~(away <= FAR * within[1])
        solved.status[far] = PointStatus.FAR_FROM_HEAD
    good = solved.status == PointStatus.OK
    reference, flat, used = rays.views[0], rays.flat[good], solved.used[good]
    cube_map, points = scene.cube_maps[reference], solved.points[good]
    center = scene.cameras[reference].center
    cloud = PointCloud(
        points,
        lattice_normals(flat, points, cube_map.mask.shape, center),
        sample_picture(scene.images[reference], rays.observations.pixels[good, 0]),
        cube_map.coords.reshape(-1, 3)[flat].astype(np.float32),
        _confidence(rays, solved, scene.cube_maps, options.full_angle_deg),
        used.sum(axis=1).astype(np.int32),
    )
    bits = _bit_sets(rays.views, used, len(scene.cameras))
    stride = lattice_stride(rays.flat, cube_map.mask.shape[1])
    picture_error = picture_errors(points, used, rays.observations, good)
    return _Part(reference, stride, cloud, bits, solved.error[good], picture_error, solved.status)


def _map_confidence(
    views: Sequence[int], pixels: DoubleArray, used: BoolArray, cube_maps: Sequence[CubeMap]
) -> FloatArray:
    """Mean over the views that agree of their maps' confidence where they see the point."""
    total = np.zeros(len(pixels))
    for column, view in enumerate(views):
        rows = np.flatnonzero(used[:, column])
        confidence = cube_maps[view].confidence
        affine = map_from_image(cube_maps[view])
        place = np.floor(pixels[rows, column] @ affine[:2, :2].T + affine[:2, 2]).astype(np.int64)
        x = np.clip(place[:, 0], 0, confidence.shape[1] - 1)
        y = np.clip(place[:, 1], 0, confidence.shape[0] - 1)
        total[rows] += confidence[y, x]
    mean: FloatArray = (total / np.maximum(used.sum(axis=1), 1)).astype(np.float32)
    return mean


def _confidence(
    rays: _Rays, solved: TriangulatedPoints, cube_maps: Sequence[CubeMap], full_angle_deg: float
) -> FloatArray:
    """Confidence in [0, 1]: that of the maps, times cube distance, reprojection error, angle."""
    good = solved.status == PointStatus.OK
    used = solved.used[good]
    of_maps = _map_confidence(rays.views, rays.observations.pixels[good], used, cube_maps)
    distance = np.where(used, rays.cube_distance[good], 0.0).sum(axis=1)
    distance = distance / np.maximum(used.sum(axis=1) - 1, 1) * CUBE_PIXELS
    sine = np.sin(np.deg2rad(np.minimum(solved.angle_deg[good], 90.0)))
    angle = np.minimum(sine / np.sin(np.deg2rad(full_angle_deg)), 1.0)
    doubt = (distance / _DOUBTFUL_PX) ** 2 + (solved.error[good] / _DOUBTFUL_PX) ** 2
    product: FloatArray = np.clip(of_maps * angle * np.exp(-0.5 * doubt), 0, 1).astype(np.float32)
    return product


def _bit_sets(views: Sequence[int], used: BoolArray, n_views: int) -> npt.NDArray[np.uint64]:
    bits = np.zeros((len(used), -(-n_views // 64)), np.uint64)
    for column, view in enumerate(views):
        bits[used[:, column], view // 64] |= np.uint64(1) << np.uint64(view % 64)
    return bits


def _join(parts: Sequence[_Part], scene: _Scene) -> Triangulation:
    """One table of all reference views' points."""
    status = np.concatenate([np.empty(0, np.uint8), *(part.status for part in parts)])
    counts = {kind.name.lower(): int((status == kind).sum()) for kind in PointStatus}
    words = -(-len(scene.cameras) // 64)
    sizes = [_spacings(part, scene) for part in parts]
    return Triangulation(
        join_clouds([part.cloud for part in parts]),
        np.concatenate(
            [np.empty(0, np.int32)]
            + [np.full(len(part.cloud), part.reference, np.int32) for part in parts]
        ),
        np.concatenate([np.empty((0, words), np.uint64), *(part.views for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.error for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.picture_error for part in parts)]),
        float(np.median(np.concatenate(sizes))) if sum(map(len, sizes)) else 0.0,
        counts,
    )


def join_clouds(clouds: Sequence[PointCloud]) -> PointCloud:
    """One cloud of all points, in order; an empty one from none."""
    empty = PointCloud(
        np.empty((0, 3)),
        np.empty((0, 3), np.float32),
        np.empty((0, 3), np.uint8),
        np.empty((0, 3), np.float32),
        np.empty(0, np.float32),
        np.empty(0, np.int32),
    )
    every = [empty, *clouds]
    return PointCloud(
        *(np.concatenate([getattr(cloud, f.name) for cloud in every]) for f in fields(PointCloud))
    )


def sample_picture(image: ByteArray, pixels: DoubleArray) -> ByteArray:
    """Colours (N, 3) uint8 interpolated at positions (N, 2) in pixels, clamped to the picture."""
    height, width = image.shape[:2]
    place = np.clip(pixels - 0.5, 0.0, [width - 1.0, height - 1.0])
    x, y = np.minimum(place.astype(np.int64), [max(width - 2, 0), max(height - 2, 0)]).T
    right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
    fx, fy = (place - np.column_stack([x, y])).T[:, :, None]
    top = image[y, x] * (1 - fx) + image[y, right] * fx
    bottom = image[below, x] * (1 - fx) + image[below, right] * fx
    colors: ByteArray = np.rint(top * (1 - fy) + bottom * fy).astype(np.uint8)
    return colors


def _spacings(part: _Part, scene: _Scene) -> DoubleArray:
    """Distance between neighbouring matched pixels at each point of a view, in world units."""
    camera = scene.cameras[part.reference]
    affine = scene.cube_maps[part.reference].image_from_map
    depth = part.cloud.points @ camera.rotation[2] + camera.translation[2]
    focal = np.sqrt(abs(camera.K[0, 0] * camera.K[1, 1]))
    pixel = part.stride * np.sqrt(abs(np.linalg.det(affine[:, :2])))
    sizes: DoubleArray = depth * pixel / focal
    return sizes
