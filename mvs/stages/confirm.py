"""One cloud from depth maps: points that other views' depths confirm, averaged with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.errors import ReconstructionError
from mvs.stages.fuse import Fitted, thin
from mvs.stages.refine import DepthMap
from mvs.stages.triangulate import join_clouds
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, PointCloud


@dataclass(frozen=True)
class ConfirmOptions:
    """When views agree on a point.

    Attributes:
        max_gap: between two views' depths, in pixels' widths on the surface.
        min_views: views that must agree, the point's own among them.
        max_cost: points whose pictures are less alike (1 - ZNCC) are dropped.
        max_cost_two: the same where no more than two views agree.
        min_cosine: between normal and ray; flatter views of a place are left to others.
        max_angle_deg: to views that are asked.
        voxel: edge of a voxel that keeps one point, in pixels' widths on the surface.
        fill: coarse points are kept where no confirmed point is this near, in voxels; 0 for none.
    """

    max_gap: float = 1.5
    min_views: int = 2
    max_cost: float = 0.6
    max_cost_two: float = 0.3
    min_cosine: float = 0.2
    max_angle_deg: float = 60.0
    voxel: float = 1.0
    fill: float = 6.0

    def __post_init__(self) -> None:
        for name in ("max_gap", "max_cost", "max_cost_two", "voxel", "max_angle_deg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.min_views < 1:
            raise ValueError(f"min_views must be at least 1, got {self.min_views}")


def confirm(
    maps: Sequence[DepthMap | None],
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
    coarse: PointCloud,
    options: ConfirmOptions | None = None,
) -> PointCloud:
    """Fuse depth maps into one cloud.

    Args:
        maps: one per view, None where a view has none.
        cameras: one pinhole camera per view.
        images: one (H, W, 3) uint8 picture per view, for the colours.
        coarse: cloud with cube coordinates, which the result takes over.
        options: see ``ConfirmOptions``.

    Returns:
        The cloud, one point per voxel.

    Raises:
        ReconstructionError: if the views agree on no point.
    """
    options = options or ConfirmOptions()
    parts = [
        _confirm_view(view, maps, len(cameras), options)
        for view in range(len(maps))
        if maps[view] is not None
    ]
    if not sum(len(part.points) for part in parts):
        raise ReconstructionError(
            "the views' depths agree nowhere", "check poses and focus, or leave out refinement"
        )
    every = _Part(
        *(np.concatenate([getattr(p, f) for p in parts]) for f in _Part.__dataclass_fields__)
    )
    coords, confidence = _from_coarse(every.points, coarse)
    fitted = Fitted(
        every.points,
        every.normals,
        coords,
        (confidence * np.clip(1.2 - every.cost, 0, 1)).astype(np.float32),
        every.weight,
        every.views,
    )
    voxel = options.voxel * float(np.median(every.footprint))
    return _fill(thin(fitted, voxel, cameras, images), coarse, options.fill * voxel)


def _fill(cloud: PointCloud, coarse: PointCloud, gap: float) -> PointCloud:
    """The cloud with coarse points, at half their confidence, where it has none."""
    from scipy.spatial import cKDTree

    if gap <= 0:
        return cloud
    far = cKDTree(cloud.points).query(coarse.points, distance_upper_bound=gap)[0] > gap
    kept = [getattr(coarse, field.name)[far] for field in fields(PointCloud)]
    rest = PointCloud(*kept)
    return join_clouds([cloud, replace(rest, confidence=rest.confidence / np.float32(2))])


@dataclass(frozen=True)
class _Part:
    """Confirmed points of one view."""

    points: DoubleArray
    normals: FloatArray
    cost: FloatArray
    weight: DoubleArray
    footprint: DoubleArray
    views: npt.NDArray[np.uint64]


def _confirm_view(
    view: int, maps: Sequence[DepthMap | None], n_views: int, options: ConfirmOptions
) -> _Part:
    own = maps[view]
    if own is None:
        raise ValueError(f"view {view} has no depth map")
    points, normals, cost = own.points(), own.normals(), own.cost[own.mask]
    towards = own.camera.center - points
    distance = np.linalg.norm(towards, axis=1)
    cosine = (normals * towards).sum(axis=1) / distance
    footprint = distance / own.camera.K[0, 0]
    good = (cosine > options.min_cosine) & (cost < options.max_cost)
    points, normals, cost, footprint, cosine = (
        a[good] for a in (points, normals, cost, footprint, cosine)
    )
    total, count = points.copy(), np.ones(len(points))
    views = np.zeros((len(points), -(-n_views // 64)), np.uint64)
    views[:, view // 64] |= np.uint64(1) << np.uint64(view % 64)
    middle = points.mean(axis=0) if len(points) else np.zeros(3)
    for other, found in enumerate(maps):
        if found is None or other == view or not _sees(own, found, middle, options):
            continue
        agrees, place = _ask(found, points, options.max_gap * footprint)
        total[agrees] += place
        count[agrees] += 1
        views[agrees, other // 64] |= np.uint64(1) << np.uint64(other % 64)
    keep = (count >= options.min_views) & ((count > 2) | (cost < options.max_cost_two))
    return _Part(
        total[keep] / count[keep, None],
        normals[keep],
        cost[keep],
        (np.maximum(1 - cost, 0.05) ** 2 * cosine)[keep].astype(np.float64),
        footprint[keep],
        views[keep],
    )


def _sees(own: DepthMap, other: DepthMap, middle: DoubleArray, options: ConfirmOptions) -> bool:
    """Whether two views look from similar enough directions."""
    a, b = own.camera.center - middle, other.camera.center - middle
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return bool(cosine > np.cos(np.deg2rad(options.max_angle_deg)))


def _ask(found: DepthMap, points: DoubleArray, gap: DoubleArray) -> tuple[BoolArray, DoubleArray]:
    """Which points (N, 3) a view's depths agree with, and where that view has those."""
    camera = found.camera
    pixels, _ = camera.project(points)
    pixels = np.nan_to_num(pixels, nan=-1.0)
    column, row = np.floor(pixels).astype(np.int64).T
    height, width = found.mask.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    rows = np.flatnonzero(inside)
    column, row = column[rows], row[rows]
    on_map = found.mask[row, column]
    rows, column, row = rows[on_map], column[on_map], row[on_map]
    offset = pixels[rows] - np.column_stack([column, row]) - 0.5
    planes = found.planes[row, column].astype(np.float64)
    inverse = planes[:, 0] + (planes[:, 1:] * offset).sum(axis=1)
    depth = points[rows] @ camera.rotation[2] + camera.translation[2]
    ratio = 1.0 / np.maximum(inverse * depth, 1e-9)
    place = camera.center + (points[rows] - camera.center) * ratio[:, None]
    near = np.linalg.norm(place - points[rows], axis=1) < gap[rows]
    agrees = np.zeros(len(points), np.bool_)
    agrees[rows[near]] = True
    return agrees, place[near]


def _from_coarse(points: DoubleArray, coarse: PointCloud) -> tuple[FloatArray, FloatArray]:
    """Cube coordinates and confidence of the nearest coarse points, by inverse distance."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(coarse.points).query(points, k=min(4, len(coarse)))
    distance, index = distance.reshape(len(points), -1), index.reshape(len(points), -1)
    weight = 1.0 / np.maximum(distance, 1e-12) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    coords = np.einsum("nk,nkc->nc", weight, coarse.coords[index])
    confidence = np.einsum("nk,nk->n", weight, coarse.confidence[index])
    return coords.astype(np.float32), confidence.astype(np.float32)
