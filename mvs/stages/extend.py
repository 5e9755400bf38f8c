"""The coarse surface where too few views match: every pixel knows its place in the cube.

A smooth map from the cube to the world, fitted to the cloud, says how far away a pixel's place is,
also where no other view shows it well enough to match. That is good to millimetres, enough to
start refinement from, and only used where the cloud has nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.kernels.fusion import average_groups, group_by_cell
from mvs.stages.shots import Shots
from mvs.stages.triangulate import join_clouds
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray, PointCloud

_ROUNDS = 4
_MAX_FIT = 40_000
# The residual of the fit is carried on over this distance in the cube.
_CARRY = 0.06


@dataclass(frozen=True)
class ExtendOptions:
    """Where the cloud is carried on.

    Attributes:
        gap: distance in the cube from the cloud at which pixels become points; 0 for nowhere.
        max_off: pixels are used whose place appears no farther from them than this, in radii of
            the head.
        min_confidence: of the cube map.
        stride: every so many pixels of the cube map.
    """

    gap: float = 0.012
    max_off: float = 0.12
    min_confidence: float = 0.03
    stride: int = 1

    def __post_init__(self) -> None:
        if not self.gap >= 0 or not self.max_off > 0 or self.stride < 1:
            raise ValueError(
                "gap must not be negative, max_off and stride must be positive, got "
                f"{self.gap}, {self.max_off} and {self.stride}"
            )


def extend(cloud: PointCloud, shots: Shots, options: ExtendOptions | None = None) -> PointCloud:
    """The cloud with points where it has none but a view's cube map has.

    Args:
        cloud: from ``fuse``.
        shots: the views with their cube maps.
        options: see ``ExtendOptions``.

    Returns:
        The cloud's points first; the others' confidence is a quarter of the map's, and one view
        agrees on them.
    """
    options = options or ExtendOptions()
    if options.gap <= 0 or len(cloud) < 100:
        return cloud
    world_from_cube = _WorldFromCube(cloud)
    parts = [_extend_view(view, world_from_cube, shots, options) for view in range(len(shots))]
    rest = join_clouds([part for part in parts if len(part)])
    if not len(rest):
        return cloud
    return join_clouds([cloud, _thin(rest, 2 * _spacing(cloud))])


class _WorldFromCube:
    """Position as a quadratic function of the place in the cube, and what it leaves nearby."""

    def __init__(self, cloud: PointCloud) -> None:
        from scipy.spatial import cKDTree

        step = max(len(cloud) // _MAX_FIT, 1)
        coords, points = cloud.coords[::step].astype(np.float64), cloud.points[::step]
        basis = _quadratic(coords)
        weight = np.ones(len(points))
        for _ in range(_ROUNDS):
            root = np.sqrt(weight)[:, None]
            self._fit = np.linalg.lstsq(basis * root, points * root, rcond=1e-8)[0]
            off = np.linalg.norm(points - basis @ self._fit, axis=1)
            scale = 3 * float(np.median(off)) + 1e-12
            weight = 1.0 / (1.0 + (off / scale) ** 2)
        self._residual = points - basis @ self._fit
        u, _, v = np.linalg.svd(self._fit[1:4].T)
        # Directions in the world from directions in the cube.
        self.rotation: DoubleArray = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
        self.tree = cKDTree(coords)

    def __call__(self, coords: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """World positions (N, 3) of places (N, 3), and how far those are from the cloud's."""
        k = min(12, self.tree.n)
        distance, rows = self.tree.query(coords, k=np.arange(1, k + 1))
        weight = 1.0 / (distance**2 + (0.1 * _CARRY) ** 2)
        near = np.einsum(
            "nk,nkc->nc", weight / weight.sum(axis=1, keepdims=True), self._residual[rows]
        )
        fades = np.exp(-0.5 * (distance[:, :1] / _CARRY) ** 2)
        return _quadratic(coords) @ self._fit + fades * near, distance[:, 0]

    def is_far(self, coords: DoubleArray, gap: float) -> BoolArray:
        """Which places (N, 3) are ``gap`` or more from the cloud's; quicker than all distances."""
        return np.asarray(np.isinf(self.tree.query(coords, distance_upper_bound=gap)[0]))


def _quadratic(coords: DoubleArray) -> DoubleArray:
    x, y, z = (coords - 0.5).T
    columns = [np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, z * x]
    return np.column_stack(columns)


def _extend_view(
    view: int,
    world_from_cube: _WorldFromCube,
    shots: Shots,
    options: ExtendOptions,
) -> PointCloud:
    camera, cube_map = shots.cameras[view], shots.cube_maps[view]
    coords = cube_map.coords[:: options.stride, :: options.stride]
    height, width = coords.shape[:2]
    pixels = _pixels(cube_map, options.stride)
    usable = _usable(cube_map, pixels, shots.masks[view], options)
    if cube_map.normals is not None:
        # No neighbours are needed for normals: most places are near the cloud, and left out early.
        usable[usable] = world_from_cube.is_far(coords[usable].astype(np.float64), options.gap)
    if not usable.any():
        return join_clouds([])
    places = coords[usable].astype(np.float64)
    found, distance = world_from_cube(places)
    depth = found @ camera.rotation[2] + camera.translation[2]
    appears = camera.project(found)[0]
    off = np.linalg.norm(np.nan_to_num(appears, nan=1e9) - pixels[usable], axis=1)
    good = (depth > 0) & (off * shots.footprint(view) < options.max_off * shots.radius)
    rays = camera.unproject(pixels[usable])
    ahead = rays @ camera.rotation[2]
    # On the pixel's own ray, as far away as its place.
    points = np.full((height, width, 3), np.nan)
    points[usable] = camera.center + rays * (np.where(good, depth, np.nan) / ahead)[:, None]
    if cube_map.normals is None:
        normals = _normals(points, camera)
    else:
        local = cube_map.normals[:: options.stride, :: options.stride].astype(np.float64)
        normals = (local @ world_from_cube.rotation.T).astype(np.float32)
    wanted = np.zeros((height, width), np.bool_)
    wanted[usable] = good & (distance > options.gap)
    wanted &= np.isfinite(normals).all(axis=2)
    n = int(wanted.sum())
    at = np.floor(pixels[wanted]).astype(np.int64)
    confidence = cube_map.confidence[:: options.stride, :: options.stride][wanted]
    return PointCloud(
        points[wanted],
        normals[wanted],
        shots.images[view][at[:, 1], at[:, 0]],
        coords[wanted],
        (0.25 * confidence).astype(np.float32),
        np.ones(n, np.int32),
    )


def _pixels(cube_map: CubeMap, stride: int) -> DoubleArray:
    """(h, w, 2) places in the picture of every ``stride``-th pixel of a map."""
    height, width = cube_map.mask.shape
    y, x = np.meshgrid(
        np.arange(0, height, stride) + 0.5, np.arange(0, width, stride) + 0.5, indexing="ij"
    )
    to = cube_map.image_from_map
    return np.asarray(np.stack([x, y], axis=2) @ to[:, :2].T + to[:, 2])


def _usable(
    cube_map: CubeMap, pixels: DoubleArray, mask: BoolArray, options: ExtendOptions
) -> BoolArray:
    step = options.stride
    sure = cube_map.mask & (cube_map.confidence >= options.min_confidence)
    column, row = np.floor(pixels).astype(np.int64).transpose(2, 0, 1)
    inside = (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    return np.asarray(sure[::step, ::step] & inside & mask[row, column])


def _normals(points: DoubleArray, camera: Camera) -> FloatArray:
    """Unit normals (h, w, 3) of a grid of points, towards the camera; NaN at its edges."""
    across = np.full_like(points, np.nan)
    down = np.full_like(points, np.nan)
    across[:, 2:-2] = points[:, 4:] - points[:, :-4]
    down[2:-2] = points[4:] - points[:-4]
    normal = np.cross(down, across)
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-300)
    away = ((points - camera.center) * normal).sum(axis=2, keepdims=True) > 0
    return np.where(away, -normal, normal).astype(np.float32)


def _spacing(cloud: PointCloud) -> float:
    from scipy.spatial import cKDTree

    sample = cloud.points[:: max(len(cloud) // 2000, 1)]
    return float(np.median(cKDTree(cloud.points).query(sample, k=2)[0][:, 1]))


def _thin(cloud: PointCloud, voxel: float) -> PointCloud:
    """Averages over voxels."""
    rows, starts = group_by_cell(cloud.points, voxel)
    values = [np.asarray(getattr(cloud, f.name), np.float64) for f in fields(PointCloud)]
    flat = [value.reshape(len(cloud), -1) for value in values]
    means = average_groups(rows, starts, np.column_stack(flat), np.ones(len(cloud)))
    parts: list[npt.NDArray[np.float64]] = np.split(
        means, np.cumsum([f.shape[1] for f in flat])[:-1], axis=1
    )
    points, normals, colors, coords, confidence, _ = parts
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    return replace(
        cloud,
        points=np.ascontiguousarray(points),
        normals=normals.astype(np.float32),
        colors=np.rint(colors).astype(np.uint8),
        coords=coords.astype(np.float32),
        confidence=confidence[:, 0].astype(np.float32),
        n_views=np.ones(len(points), np.int32),
    )
