"""One cloud from depth maps: points that other views' depths confirm, averaged with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.errors import ReconstructionError
from mvs.kernels.agreement import Depths, Tally, ask_view
from mvs.memory import return_memory
from mvs.stages.fuse import Fitted, look, thin
from mvs.stages.refine import DepthMap
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, PointCloud

# Pixels that cost more are held by their neighbours alone.
_TELLING = 1.0
# Of what no other view confirms: every so many points are kept, and how sure they are.
_FILL_EVERY = 3
_UNCONFIRMED = np.float32(0.1)
# More than this many points of several views are thinned before the next are asked.
_MAX_POINTS = 2_000_000
# Points whose neighbours are sought at a time.
_AT_ONCE = 100_000


@dataclass(frozen=True)
class ConfirmOptions:
    """When views agree on a point.

    Attributes:
        max_gap: between two views' surfaces, in pixels' widths.
        min_views: views that must agree, the point's own among them.
        max_cost: points whose pictures are less alike (1 - ZNCC) are dropped.
        max_cost_two: the same where no more than two views agree.
        min_cosine: between normal and ray; flatter views of a place are left to others.
        max_angle_deg: to views that are asked.
        voxel: edge of a voxel that keeps one point, in pixels' widths on the surface.
        fill: depths that no other view confirms are kept where no confirmed point is this near, in
            pixels' widths; 0 for nowhere.
    """

    max_gap: float = 0.7
    min_views: int = 2
    max_cost: float = 0.6
    max_cost_two: float = 0.5
    min_cosine: float = 0.15
    max_angle_deg: float = 75.0
    voxel: float = 1.5
    fill: float = 15.0

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
) -> tuple[PointCloud, npt.NDArray[np.uint64]]:
    """Fuse depth maps into one cloud.

    Args:
        maps: one per view, None where a view has none.
        cameras: one pinhole camera per view.
        images: one (H, W, 3) uint8 picture per view, for the colours.
        coarse: cloud with cube coordinates, which the result takes over.
        options: see ``ConfirmOptions``.

    Returns:
        The cloud, one point per voxel, and (N, W) uint64 bit sets of the views that agree on each.

    Raises:
        ReconstructionError: if the views agree on no point.
    """
    options = options or ConfirmOptions()
    depths = [None if found is None else _depths(found) for found in maps]
    views = [view for view in range(len(maps)) if maps[view] is not None]
    footprint = float(np.nanmedian([_footprint(maps[view]) for view in views])) if views else 1.0
    voxel = options.voxel * footprint
    parts: list[Fitted] = []
    lone = []
    for view in views:
        part, rest = _confirm_view(view, maps, depths, options)
        # Thinned view by view: the same places as all at once, in a fraction of the memory.
        parts.append(thin(_fitted(part), voxel, np.zeros(3)))
        if sum(len(found.points) for found in parts) > _MAX_POINTS:
            parts = [_merge(parts, voxel)]
        if options.fill > 0:
            lone.append(thin(_fitted(rest), options.fill / 2 * footprint, np.zeros(3)))
    if not any(len(found.points) for found in parts):
        raise ReconstructionError(
            "the views' depths agree nowhere", "check poses and focus, or leave out refinement"
        )
    thinned = _merge(parts, voxel)
    if options.fill > 0:
        thinned = _fill(thinned, _join(lone), footprint, options)
    coords, confidence = _from_coarse(thinned.points, coarse)
    sure = (thinned.confidence * confidence).astype(np.float32)
    known = replace(thinned, coords=coords, confidence=sure)
    return look(known, cameras, images), thinned.views


def _fill(confirmed: Fitted, rest: Fitted, footprint: float, options: ConfirmOptions) -> Fitted:
    """The confirmed points, and where there are none, what single views have there."""
    from scipy.spatial import cKDTree

    gap = options.fill * footprint
    near = cKDTree(confirmed.points).query(rest.points, distance_upper_bound=gap)[0]
    far = ~np.isfinite(near)
    if not far.any():
        return confirmed
    names = [field.name for field in fields(Fitted)]
    kept = Fitted(*(getattr(rest, name)[far] for name in names))
    added = thin(kept, options.fill / 2 * footprint)
    added = replace(added, confidence=np.full_like(added.confidence, _UNCONFIRMED))
    return _join([confirmed, added])


def _merge(parts: list[Fitted], voxel: float) -> Fitted:
    """The parts as one, thinned; the list is emptied: it would hold all of them once more."""
    joined = _join(parts)
    parts.clear()
    return_memory()
    return thin(joined, voxel, np.zeros(3))


def _join(parts: Sequence[Fitted]) -> Fitted:
    return Fitted(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Fitted)))


def _fitted(part: _Part) -> Fitted:
    return Fitted(
        part.points,
        part.normals,
        np.zeros_like(part.normals),
        np.clip(1.2 - part.cost, 0, 1).astype(np.float32),
        part.weight,
        part.views,
    )


@dataclass(frozen=True)
class _Part:
    """Confirmed points of one view."""

    points: DoubleArray
    normals: FloatArray
    cost: FloatArray
    weight: DoubleArray
    views: npt.NDArray[np.uint64]

    def rows(self, chosen: BoolArray | slice) -> _Part:
        """Some of the points."""
        return _Part(*(getattr(self, field.name)[chosen] for field in fields(_Part)))


def _footprint(found: DepthMap | None) -> float:
    """Width of a pixel on the surface."""
    if found is None or not found.mask.any():
        return float("nan")
    inverse = float(np.median(found.planes[..., 0][found.mask]))
    return 1.0 / (inverse * float(found.camera.K[0, 0]))


def _depths(found: DepthMap) -> Depths:
    camera = found.camera
    projection = np.ascontiguousarray(camera.P, np.float64)
    told = found.mask & (found.cost < _TELLING)
    return Depths(found.planes, found.cost, told, projection, camera.center)


def _confirm_view(
    view: int,
    maps: Sequence[DepthMap | None],
    depths: Sequence[Depths | None],
    options: ConfirmOptions,
) -> tuple[_Part, _Part]:
    """What other views confirm, and some of the rest."""
    own = maps[view]
    if own is None:
        raise ValueError(f"view {view} has no depth map")
    points, normals, cost = own.points(), own.normals(), own.cost[own.mask]
    towards = own.camera.center - points
    distance = np.linalg.norm(towards, axis=1)
    cosine = (normals * towards).sum(axis=1) / distance
    footprint = distance / own.camera.K[0, 0]
    good = cosine > options.min_cosine
    points, normals, cost, footprint, cosine = (
        a[good] for a in (points, normals, cost, footprint, cosine)
    )
    n = len(points)
    weight = np.maximum(cosine, 0.05) * (1.2 - cost)
    ones = np.ones(n, np.int32)
    views = np.zeros((n, -(-len(maps) // 64)), np.uint64)
    views[:, view // 64] |= np.uint64(1) << np.uint64(view % 64)
    tally = Tally(np.zeros(n), weight.astype(np.float64), ones, np.zeros(n, np.int32), views)
    middle = points.mean(axis=0) if n else np.zeros(3)
    for other, found in enumerate(depths):
        asked = maps[other]
        if found is None or asked is None or other == view:
            continue
        if _sees(own, asked, middle, options):
            ask_view(points, normals, options.max_gap * footprint, other, found, tally)
    keep = (tally.agree >= options.min_views) & (tally.agree > tally.deny)
    keep &= (tally.agree > 2) | (cost < options.max_cost_two)
    keep &= cost < options.max_cost
    moved = points + (tally.offset / tally.weight)[:, None] * normals
    share = (np.maximum(1 - cost, 0.05) ** 2 * cosine).astype(np.float64)
    part = _Part(moved, normals, cost, share, views)
    doubtful = ~keep & (tally.deny == 0)
    lone = np.zeros(n, np.bool_)
    lone[::_FILL_EVERY] = doubtful[::_FILL_EVERY]
    return part.rows(keep), part.rows(lone)


def _sees(own: DepthMap, other: DepthMap, middle: DoubleArray, options: ConfirmOptions) -> bool:
    """Whether two views look from similar enough directions."""
    a, b = own.camera.center - middle, other.camera.center - middle
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return bool(cosine > np.cos(np.deg2rad(options.max_angle_deg)))


def _from_coarse(points: DoubleArray, coarse: PointCloud) -> tuple[FloatArray, FloatArray]:
    """Cube coordinates and confidence of the nearest coarse points, by inverse distance."""
    from scipy.spatial import cKDTree

    tree, k = cKDTree(coarse.points), min(4, len(coarse))
    coords = np.empty((len(points), 3), np.float32)
    confidence = np.empty(len(points), np.float32)
    for start in range(0, len(points), _AT_ONCE):
        part = np.s_[start : start + _AT_ONCE]
        distance, index = tree.query(points[part], k=np.arange(1, k + 1))
        weight = 1.0 / np.maximum(distance, 1e-12) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        coords[part] = np.einsum("nk,nkc->nc", weight, coarse.coords[index])
        confidence[part] = np.einsum("nk,nk->n", weight, coarse.confidence[index])
    return coords, confidence
