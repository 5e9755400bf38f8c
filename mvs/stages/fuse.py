"""One consistent cloud from the points of all reference views.

Every point has a place in the cube, so the views' points are averaged where they belong together by
that place: a moving least squares fit of position over the cube, as wide as the scatter that the
points show. Exact points are left where they are; a network's lose their scatter but, the fit being
quadratic, not their shape. A voxel grid in the world then thins the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.errors import ReconstructionError
from mvs.kernels.fusion import FittedSurface, Samples, average_groups, fit_surface, group_by_cell
from mvs.stages.exposure import balance, mean_colors
from mvs.stages.triangulate import Triangulation, nothing_triangulated, sample_picture
from mvs.types import ByteArray, DoubleArray, FloatArray, IntArray, PointCloud

_PROBES = 4000
# Power of the cosine by which views share in a colour: few views count, so detail is kept.
_HEAD_ON = 8
_EXPOSURE_ROUNDS = 3


@dataclass(frozen=True)
class FuseOptions:
    """How points become one cloud.

    Attributes:
        voxel: edge of a voxel, in multiples of the distance between neighbouring points of a view.
        min_references: different reference views that must have points at a place.
        min_neighbors: samples around a point that must agree on the surface.
        radius_voxels: smallest and largest radius of the fit, in voxels.
        radius_scatter: radius of the fit between those, in multiples of the scatter.
        max_off: points farther from the fit than this many times the scatter (and than a voxel)
            are dropped.
    """

    voxel: float = 1.0
    min_references: int = 2
    min_neighbors: int = 5
    radius_voxels: tuple[float, float] = (8.0, 16.0)
    radius_scatter: float = 16.0
    max_off: float = 5.0

    def __post_init__(self) -> None:
        for name in ("voxel", "radius_scatter", "max_off"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.min_references < 1 or self.min_neighbors < 1:
            raise ValueError("min_references and min_neighbors must be at least 1")
        if not 0 < self.radius_voxels[0] <= self.radius_voxels[1]:
            raise ValueError(f"radius_voxels must ascend from above 0, got {self.radius_voxels}")


@dataclass(frozen=True)
class _Scale:
    """Lengths of one fusion: in the world, but ``cube`` (world units per unit of the cube)."""

    voxel: float
    cube: float
    scatter: float
    radius: float


def fuse(
    triangulation: Triangulation,
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
    options: FuseOptions | None = None,
) -> PointCloud:
    """Fuse the points of all reference views into one cloud.

    Args:
        triangulation: from ``triangulate``.
        cameras: one pinhole camera per view.
        images: one (H, W, 3) uint8 picture per view, for the colours.
        options: see ``FuseOptions``.

    Returns:
        The cloud: at most one point per voxel; normals towards the cameras that see the point,
        colours averaged over those, mostly the ones that see it head-on, ``n_views`` their number.

    Raises:
        ReconstructionError: if no point is confirmed by enough views.
    """
    options = options or FuseOptions()
    if len(triangulation.cloud) == 0:
        raise nothing_triangulated()
    samples, scale = _measure(triangulation, options)
    rows, starts = group_by_cell(triangulation.cloud.points, scale.voxel)
    queries = _average(triangulation, rows, starts)
    surface = fit_surface(samples, queries, scale.radius / scale.cube, scale.scatter)
    keep = _is_confirmed(surface, scale, options)
    if not keep.any():
        raise ReconstructionError(
            "no point is confirmed by enough views",
            "add views, or lower min_references and min_neighbors",
        )
    cloud = triangulation.cloud
    confidence = np.add.reduceat(cloud.confidence[rows], starts[:-1]) / np.diff(starts)
    fitted = Fitted(
        surface.points[keep],
        surface.normals[keep],
        queries.coords[keep],
        confidence[keep].astype(np.float32),
        queries.weights[keep],
        np.bitwise_or.reduceat(triangulation.views[rows], starts[:-1], axis=0)[keep],
    )
    return look(thin(fitted, scale.voxel), cameras, images)


def _measure(triangulation: Triangulation, options: FuseOptions) -> tuple[Samples, _Scale]:
    """Average the points in cells of the cube, and choose the fit's radius by their scatter."""
    cloud = triangulation.cloud
    voxel = options.voxel * triangulation.spacing
    spread = np.var(cloud.coords.astype(np.float64), axis=0).sum()
    cube = float(np.sqrt(np.var(cloud.points, axis=0).sum() / max(spread, 1e-300)))
    if not (voxel > 0 and 0 < cube < np.inf and spread > 0):
        raise ReconstructionError(
            "all points lie at one place",
            "check the poses, and that the cube maps are not constant",
        )
    samples = _average(triangulation, *group_by_cell(cloud.coords, voxel / cube))
    smallest, largest = (voxel * limit for limit in options.radius_voxels)
    probes = _rows(samples, slice(None, None, max(len(samples.points) // _PROBES, 1)))
    scatter = fit_surface(samples, probes, smallest / cube, voxel).scatter
    found = scatter[np.isfinite(scatter)]
    typical = max(float(np.median(found)), 1e-3 * voxel) if len(found) else voxel
    radius = min(max(options.radius_scatter * typical, smallest), largest)
    if radius / 3 > voxel:
        samples = _average(triangulation, *group_by_cell(cloud.coords, radius / 3 / cube))
    return samples, _Scale(voxel, cube, typical, radius)


def _average(triangulation: Triangulation, rows: IntArray, starts: IntArray) -> Samples:
    """Mean of each group of points, by confidence."""
    cloud = triangulation.cloud
    weights = cloud.confidence.astype(np.float64) ** 2 + 1e-6
    values = np.concatenate([cloud.points, cloud.coords, cloud.normals], axis=1, dtype=np.float64)
    means = average_groups(rows, starts, values, weights)
    words = triangulation.views.shape[1]
    references = np.zeros((len(cloud), words), np.uint64)
    view = triangulation.reference.astype(np.uint64)
    word = triangulation.reference // 64
    references[np.arange(len(cloud)), word] = np.uint64(1) << (view % np.uint64(64))
    return Samples(
        means[:, 3:6].astype(np.float32),
        np.ascontiguousarray(means[:, :3]),
        _unit(means[:, 6:]),
        np.add.reduceat(weights[rows], starts[:-1]),
        np.bitwise_or.reduceat(references[rows], starts[:-1], axis=0),
    )


def _rows(samples: Samples, rows: slice) -> Samples:
    return Samples(
        samples.coords[rows],
        samples.points[rows],
        samples.normals[rows],
        samples.weights[rows],
        samples.references[rows],
    )


def _is_confirmed(
    surface: FittedSurface, scale: _Scale, options: FuseOptions
) -> npt.NDArray[np.bool_]:
    """Points with enough neighbours and views behind their fit that lie near it themselves."""
    near = surface.residuals <= max(options.max_off * scale.scatter, scale.voxel)
    confirmed: npt.NDArray[np.bool_] = (
        near
        & (surface.n_neighbors >= options.min_neighbors)
        & (surface.n_references >= options.min_references)
    )
    return confirmed


@dataclass(frozen=True)
class Fitted:
    """Fitted points with what fusion knows of them.

    Attributes:
        points: (N, 3) float64.
        normals: (N, 3) float32, of either sign.
        coords: (N, 3) float32 cube coordinates.
        confidence: (N,) float32.
        weights: (N,) float64 in averages.
        views: (N, W) uint64 bit set of the views that agree.
    """

    points: DoubleArray
    normals: FloatArray
    coords: FloatArray
    confidence: FloatArray
    weights: DoubleArray
    views: npt.NDArray[np.uint64]


def thin(fitted: Fitted, voxel: float, origin: DoubleArray | None = None) -> Fitted:
    """Points averaged by weight over the voxels of a grid, one point per voxel.

    Args:
        fitted: points, several per voxel.
        voxel: edge, world units.
        origin: (3,) a corner of some voxel; by default the points' least coordinates.
    """
    if not len(fitted.points):
        return fitted
    rows, starts = group_by_cell(fitted.points, voxel, origin)

    def mean(values: npt.NDArray[np.floating]) -> DoubleArray:
        return average_groups(rows, starts, values.astype(np.float64, copy=False), fitted.weights)

    # One by one: all together would be as large as the points once more.
    return Fitted(
        mean(fitted.points),
        _unit(mean(fitted.normals)),
        mean(fitted.coords).astype(np.float32),
        np.clip(mean(fitted.confidence[:, None])[:, 0], 0.0, 1.0).astype(np.float32),
        np.add.reduceat(fitted.weights[rows], starts[:-1]),
        np.bitwise_or.reduceat(fitted.views[rows], starts[:-1], axis=0),
    )


def look(fitted: Fitted, cameras: Sequence[Camera], images: Sequence[ByteArray]) -> PointCloud:
    """Fitted points as a cloud, with colours and normals that fit the cameras.

    Args:
        fitted: the points.
        cameras: one pinhole camera per view.
        images: one (H, W, 3) uint8 picture per view.
    """
    normals, colors, n_views = _look(fitted.points, fitted.normals, fitted.views, cameras, images)
    return PointCloud(fitted.points, normals, colors, fitted.coords, fitted.confidence, n_views)


def _look(
    points: DoubleArray,
    normals: FloatArray,
    views: npt.NDArray[np.uint64],
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
) -> tuple[FloatArray, ByteArray, IntArray]:
    """Normals turned to the cameras that see the points, mean colours there, number of views.

    The views' exposures are brought to their mean first, so that no seams show.
    """
    seen = [
        (views[:, v // 64] >> np.uint64(v % 64)) & np.uint64(1) == 1 for v in range(len(cameras))
    ]
    towards = np.zeros((len(points), 3))
    for camera, sees in zip(cameras, seen, strict=True):
        towards[sees] += _unit(camera.center - points[sees])
    side = np.einsum("nk,nk->n", normals, towards)
    normals = np.where(side[:, None] < 0, -normals, normals).astype(np.float32)
    samples, shares = [], []
    for camera, image, sees in zip(cameras, images, seen, strict=True):
        rows = np.flatnonzero(sees)
        cosine = np.einsum("nk,nk->n", normals[rows], _unit(camera.center - points[rows]))
        pixels, _ = camera.project(points[rows])
        samples.append(sample_picture(image, np.nan_to_num(pixels)))
        shares.append((np.maximum(cosine, 0.05) ** _HEAD_ON).astype(np.float32))
    gains = balance(seen, samples, shares, _EXPOSURE_ROUNDS)
    colors = np.clip(np.rint(mean_colors(seen, samples, shares, gains)), 0, 255).astype(np.uint8)
    return normals, colors, np.sum(seen, axis=0).astype(np.int32)


def _unit(vectors: npt.NDArray[np.floating]) -> FloatArray:
    """Unit vectors (N, 3); zero stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: FloatArray = (vectors / np.maximum(length, 1e-300)).astype(np.float32)
    return units
