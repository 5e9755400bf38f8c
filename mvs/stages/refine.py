"""Depth maps sharpened by how alike the pictures are, from a coarse surface to tenths of a pixel.

Each view is taken in turn: the coarse surface gives every pixel a slanted plane, and from coarse to
fine pictures Gauss-Newton and propagation between neighbours make the view's patch agree with its
sources'. Views stream: only one view and its sources are in memory as pictures at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calib.camera import Camera
from mvs.kernels.patchmatch import Patch, Sources, propagate, score_planes, sharpen
from mvs.kernels.raster import rasterise
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray, Mesh

_LUMA = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
# Head's width in pixels at the coarsest level.
_COARSEST = 112
_PAD = 8


@dataclass(frozen=True)
class RefineOptions:
    """How depth maps are sharpened.

    Attributes:
        n_sources: views that each view is compared with.
        n_best: of these, how many must agree; the others may be hidden or lit otherwise.
        angle_deg: angle to a source that is best.
        reach: how far from the coarse surface depths may go, in radii of the head.
        grow_px: how far beyond the coarse surface's outline depths are sought.
        radius: of the patch, pixels.
        spread: standard deviation of a patch's weights, pixels.
        contrast: the same over brightness, 1 is white.
        noise: standard deviation of the pictures' noise.
        smoothness: weight of the neighbours against a patch of full contrast.
        max_size: pixels across the head at which the finest level stops.
        coarse_steps: what is done at each level but the finest: S sharpens, P propagates.
        steps: what is done at the finest level.
    """

    n_sources: int = 4
    n_best: int = 2
    angle_deg: float = 18.0
    reach: float = 0.12
    grow_px: int = 6
    radius: int = 3
    spread: float = 2.5
    contrast: float = 0.2
    noise: float = 0.01
    smoothness: float = 0.02
    max_size: int = 1200
    coarse_steps: str = "SSPS"
    steps: str = "SPS"

    def __post_init__(self) -> None:
        if not 1 <= self.n_best <= self.n_sources:
            raise ValueError(f"n_best must be in 1..n_sources, got {self.n_best}")
        for name in ("angle_deg", "reach", "spread", "contrast", "noise"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.radius < 1 or self.grow_px < 0 or self.max_size < _COARSEST:
            raise ValueError(f"radius must be positive and max_size at least {_COARSEST}")
        if set(self.coarse_steps + self.steps) - {"S", "P"}:
            raise ValueError("steps must be made of S (sharpen) and P (propagate)")


@dataclass(frozen=True)
class DepthMap:
    """What one view sees, in a part of its picture.

    Attributes:
        camera: pinhole camera whose picture is the part, at the map's resolution.
        planes: (H, W, 3) float32 inverse depth and its change per pixel.
        cost: (H, W) float32 1 - ZNCC, mean over the best sources.
        mask: (H, W) where there is a depth.
    """

    camera: Camera
    planes: FloatArray
    cost: FloatArray
    mask: BoolArray

    def points(self) -> DoubleArray:
        """(N, 3) world positions of the pixels on the mask, row by row."""
        row, column = np.nonzero(self.mask)
        rays = self.camera.unproject(np.column_stack([column, row]).astype(np.float64) + 0.5)
        # The ray's z in the camera's frame is not 1.
        ahead = rays @ self.camera.rotation[2]
        depth = 1.0 / self.planes[row, column, 0].astype(np.float64)
        return np.asarray(self.camera.center + rays * (depth / ahead)[:, None])

    def normals(self) -> FloatArray:
        """(N, 3) unit normals towards the camera of the pixels on the mask, world."""
        row, column = np.nonzero(self.mask)
        w, wx, wy = self.planes[row, column].astype(np.float64).T
        gradient = np.column_stack([wx, wy, w - wx * (column + 0.5) - wy * (row + 0.5)])
        normal = -(gradient @ self.camera.K) @ self.camera.rotation
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        return np.asarray(normal / np.maximum(length, 1e-300), np.float32)


def refine(
    coarse: Mesh,
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
    masks: Sequence[BoolArray],
    head: tuple[DoubleArray, float],
    options: RefineOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> list[DepthMap | None]:
    """Sharpen what every view sees of a coarse surface.

    Args:
        coarse: surface, world.
        cameras: one pinhole camera per view.
        images: one (H, W, 3) uint8 picture per view.
        masks: (H, W) of pixels that may show the head.
        head: centre and radius of the head, world.
        options: see ``RefineOptions``.
        progress: called once per view.

    Returns:
        A depth map per view, None where the view does not see the surface or has no source.
    """
    options = options or RefineOptions()
    maps = []
    for view in range(len(cameras)):
        sources = _choose_sources(cameras, view, head[0], options)
        start = _Start.of(coarse, cameras[view], masks[view], options) if len(sources) else None
        found = None
        if start is not None:
            found = _refine_view(start, view, sources, cameras, images, head[1], options)
        maps.append(found)
        if progress is not None:
            progress()
    return maps


@dataclass(frozen=True)
class _Start:
    """A part of a picture and the coarse surface's planes in it.

    Attributes:
        corner: (row, column) of the part in the picture.
        scale: of the finest level against the picture, 1, 1/2, 1/4 ...
        planes: per level from fine to coarse (H, W, 3) float32.
        masks: per level (H, W).
    """

    corner: tuple[int, int]
    scale: float
    planes: list[FloatArray]
    masks: list[BoolArray]

    @staticmethod
    def of(coarse: Mesh, camera: Camera, mask: BoolArray, options: RefineOptions) -> _Start | None:
        pixels = camera.project(coarse.vertices.points)[0]
        size = (camera.height, camera.width)
        points = coarse.vertices.points @ camera.rotation[2] + camera.translation[2]
        seen = rasterise(np.nan_to_num(pixels, nan=-1e6), points, coarse.faces, size).depth
        covered = np.isfinite(seen) & mask
        if covered.sum() < 4 * _COARSEST:
            return None
        rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
        pad = _PAD + options.grow_px
        top, left = max(rows[0] - pad, 0), max(columns[0] - pad, 0)
        part = np.s_[top : rows[-1] + 1 + pad, left : columns[-1] + 1 + pad]
        planes, known = _planes(seen[part], covered[part])
        wanted = known
        if options.grow_px:
            kernel = np.ones((2 * options.grow_px + 1,) * 2, np.uint8)
            wanted = (cv2.dilate(known.astype(np.uint8), kernel) > 0) & mask[part]
        planes = _fill(planes, known)
        levels = _pyramid(planes, wanted, float(np.sqrt(covered.sum())), options)
        return _Start((int(top), int(left)), *levels)


def _planes(depth: FloatArray, covered: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Planes through every pixel and its neighbours of a depth buffer."""
    inverse = np.where(covered, 1.0 / np.where(covered, depth, 1.0), np.nan)
    slopes = np.full((*depth.shape, 2), np.nan)
    slopes[:, 1:-1, 0] = (inverse[:, 2:] - inverse[:, :-2]) / 2
    slopes[1:-1, :, 1] = (inverse[2:] - inverse[:-2]) / 2
    planes = np.concatenate([inverse[..., None], slopes], axis=2).astype(np.float32)
    return planes, np.asarray(np.isfinite(planes).all(axis=2))


def _fill(planes: FloatArray, known: BoolArray) -> FloatArray:
    """Unknown pixels continue the nearest known pixel's depth."""
    from scipy.ndimage import distance_transform_edt

    index = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = planes[tuple(index)]
    filled[~known, 1:] = 0.0
    return np.ascontiguousarray(filled, np.float32)


def _pyramid(
    planes: FloatArray, mask: BoolArray, across: float, options: RefineOptions
) -> tuple[float, list[FloatArray], list[BoolArray]]:
    """Scale of the finest level, and planes and masks of all levels, fine to coarse."""
    scale = 1.0
    while across * scale > options.max_size:
        planes, mask = _halve(planes, mask)
        scale /= 2
    levels, masks = [planes], [mask]
    while across * scale / 2 ** (len(levels) - 1) > 1.5 * _COARSEST:
        planes, mask = _halve(planes, mask)
        levels.append(planes)
        masks.append(mask)
    return scale, levels, masks


def _halve(planes: FloatArray, mask: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Half the resolution; odd last rows and columns are dropped."""
    height, width = (side // 2 * 2 for side in mask.shape)
    quads = planes[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    quads[..., 1:] *= 2
    inside = mask[:height, :width].reshape(height // 2, 2, width // 2, 2).any(axis=(1, 3))
    return np.ascontiguousarray(quads, np.float32), np.asarray(inside)


def _choose_sources(
    cameras: Sequence[Camera], view: int, middle: DoubleArray, options: RefineOptions
) -> IntArray:
    """Views whose ray makes about the wanted angle with the view's, best first."""
    rays = np.stack([camera.center - middle for camera in cameras])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    angle = np.rad2deg(np.arccos(np.clip(rays @ rays[view], -1, 1)))
    ratio = np.abs(np.log(np.maximum(angle, 1e-3) / options.angle_deg))
    ratio[(angle > 4 * options.angle_deg) | (angle < 0.1 * options.angle_deg)] = np.inf
    ratio[view] = np.inf
    order = np.argsort(ratio, kind="stable")[: options.n_sources]
    return np.asarray(order[np.isfinite(ratio[order])], np.int32)


def _refine_view(
    start: _Start,
    view: int,
    sources: IntArray,
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
    radius: float,
    options: RefineOptions,
) -> DepthMap:
    camera = cameras[view]
    top, left = start.corner
    height, width = start.planes[0].shape[:2]
    span = round(height / start.scale), round(width / start.scale)
    own = _brightness(images[view][top : top + span[0], left : left + span[1]], start.scale)
    others = [_brightness(images[s], start.scale) for s in sources]
    pictures = [own[:height, :width]]
    levels = [others]
    for _ in start.planes[1:]:
        pictures.append(_half_picture(pictures[-1]))
        levels.append([_half_picture(other) for other in levels[-1]])
    found, place = start.planes[-1], camera
    for level in reversed(range(len(start.planes))):
        scale = start.scale / 2**level
        place = _part_camera(camera, start.corner, scale, start.masks[level].shape)
        if level + 1 < len(start.planes):
            found = _double(found, start.masks[level].shape)
        steps = options.coarse_steps if level else options.steps
        problem = _Level(
            pictures[level][: found.shape[0], : found.shape[1]],
            _sources(place, [cameras[s] for s in sources], levels[level], scale),
            start.masks[level],
            _limits(start.planes[level], options.reach * radius),
        )
        cost = _solve(problem, found, steps, options)
    return DepthMap(place, found, cost, start.masks[0] & (cost < 1.0))


@dataclass(frozen=True)
class _Level:
    """All that is constant while one level is solved."""

    picture: FloatArray
    sources: Sources
    mask: BoolArray
    limits: FloatArray


def _solve(level: _Level, planes: FloatArray, steps: str, options: RefineOptions) -> FloatArray:
    """Move the planes; their cost."""
    n_best = min(options.n_best, len(level.sources.pictures))
    patch = Patch(
        options.radius,
        1,
        options.spread,
        options.contrast,
        n_best,
        options.noise,
        options.smoothness,
    )
    arguments = (level.picture, level.sources)
    for step in steps:
        if step == "S":
            sharpen(*arguments, planes, level.mask, patch, level.limits)
        else:
            cost = score_planes(*arguments, planes, level.mask, patch)
            propagate(*arguments, planes, cost, level.mask, patch, level.limits)
    return score_planes(*arguments, planes, level.mask, patch)


def _sources(
    place: Camera, others: Sequence[Camera], pictures: Sequence[FloatArray], scale: float
) -> Sources:
    """The sources' pictures, and how pixels of the part map into them."""
    rotations, translations = [], []
    inverse = np.linalg.inv(place.K)
    for other in others:
        K = np.diag([scale, scale, 1.0]) @ other.K
        turn = other.rotation @ place.rotation.T
        rotations.append(K @ turn @ inverse)
        translations.append(K @ (other.translation - turn @ place.translation))
    sizes = np.array([picture.shape for picture in pictures], np.int32)
    stack = np.zeros((len(pictures), *sizes.max(axis=0)), np.float32)
    for layer, picture in zip(stack, pictures, strict=True):
        layer[: picture.shape[0], : picture.shape[1]] = picture
    return Sources(stack, sizes, np.stack(rotations), np.stack(translations))


def _part_camera(
    camera: Camera, corner: tuple[int, int], scale: float, size: tuple[int, ...]
) -> Camera:
    """The camera of a part of its picture at another resolution."""
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    params = np.array([fx, fy, cx - corner[1], cy - corner[0]]) * scale
    return Camera("PINHOLE", size[1], size[0], params, camera.cam_from_world)


def _brightness(image: ByteArray, scale: float) -> FloatArray:
    """(H, W) float32, 1 is white, at a part of the resolution."""
    gray = (image.astype(np.float32) @ _LUMA).astype(np.float32)
    while scale < 1:
        gray, scale = _half_picture(gray), scale * 2
    return gray


def _half_picture(picture: FloatArray) -> FloatArray:
    """Means of 2 x 2 pixels; odd last rows and columns are dropped."""
    height, width = (side // 2 * 2 for side in picture.shape)
    quads = picture[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.ascontiguousarray(quads.mean(axis=(1, 3)), np.float32)


def _double(planes: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """Planes at twice the resolution, (height, width) of ``size``, along the coarse planes."""
    height, width = size
    row, column = np.arange(height), np.arange(width)
    above = np.minimum(row // 2, planes.shape[0] - 1)
    left = np.minimum(column // 2, planes.shape[1] - 1)
    parent = planes[above[:, None], left[None]]
    # From the middle of the parent's pixel to this one's, in the parent's pixels.
    dy = ((row + 0.5) / 2 - (above + 0.5)).astype(np.float32)[:, None]
    dx = ((column + 0.5) / 2 - (left + 0.5)).astype(np.float32)[None]
    result = parent.copy()
    result[..., 0] += parent[..., 1] * dx + parent[..., 2] * dy
    result[..., 1:] /= 2
    return np.ascontiguousarray(result)


def _limits(planes: FloatArray, reach: float) -> FloatArray:
    """(H, W, 2) lowest and highest inverse depth, ``reach`` in world units behind and before."""
    inverse = planes[..., 0]
    low, high = inverse / (1 + reach * inverse), inverse / np.maximum(1 - reach * inverse, 0.1)
    return np.ascontiguousarray(np.stack([low, high], axis=2), np.float32)
