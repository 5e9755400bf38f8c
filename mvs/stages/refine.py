"""Depth maps sharpened by how alike the pictures are, from a surface to tenths of a pixel.

Each view is taken in turn: the coarse surface gives every pixel a slanted plane and says which
other views show it; from coarse to fine pictures, Gauss-Newton and propagation between neighbours
make the view's patches agree with its sources', and where those say little, its cube coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.kernels.patches import Patch, Reference, Sources, make_patch, unpack_pairs
from mvs.kernels.patchmatch import propagate, score_planes
from mvs.kernels.sharpen import sharpen
from mvs.kernels.visible import visible_sources
from mvs.stages.levels import (
    COARSEST,
    Pictures,
    Start,
    double,
    from_pixels,
    halve_picture,
    to_pixels,
)
from mvs.stages.shots import Shots, part_camera
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray, IntArray, Mesh

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class RefineOptions:
    """How depth maps are sharpened.

    Attributes:
        n_sources: views that each pixel is compared with.
        n_candidates: views of which those are chosen, pixel by pixel, by who shows it.
        n_best: how many must agree; the others may be hidden or lit otherwise.
        angle_deg: angle to a source that is best.
        reach: how far from the surface depths may go, in radii of the head.
        grow_px: how far beyond the surface's outline depths are sought, at the finest level.
        radius: of the patch, pixels.
        step: between the patch's samples, pixels.
        spread: standard deviation of a patch's weights, pixels.
        contrast: difference in brightness that takes three quarters of a weight, 1 is white.
        noise: standard deviation of the pictures' noise.
        smoothness: weight of the neighbours against a patch of full contrast.
        cube: weight of the cube coordinates' agreement, likewise, on patches without contrast; a
            network's are a millimetre off or more, which the coarse surface has averaged already.
        max_size: pixels across the head at which the finest level stops.
        every: pixels of the finest level from one depth to the next, 1 or 2; patches are read at
            full resolution all the same.
        coarse_steps: what is done at each level but the finest: S sharpens, P propagates.
        steps: what is done at the finest level.
    """

    n_sources: int = 4
    n_candidates: int = 8
    n_best: int = 2
    angle_deg: float = 18.0
    reach: float = 0.12
    grow_px: int = 6
    radius: int = 3
    step: int = 1
    spread: float = 2.5
    contrast: float = 0.35
    noise: float = 0.02
    smoothness: float = 0.06
    cube: float = 0.0
    max_size: int = 1200
    every: int = 1
    coarse_steps: str = "SPSPS"
    steps: str = "SPSPS"

    def __post_init__(self) -> None:
        if not 1 <= self.n_best <= self.n_sources <= self.n_candidates <= 64:
            raise ValueError(
                "n_best, n_sources, n_candidates must ascend from 1 to 64 at most, got "
                f"{self.n_best}, {self.n_sources}, {self.n_candidates}"
            )
        for name in ("angle_deg", "reach", "spread", "contrast", "noise"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.radius < 1 or self.step < 1 or self.grow_px < 0 or self.max_size < COARSEST:
            raise ValueError(
                f"radius and step must be positive and max_size at least {COARSEST}, got "
                f"{self.radius}, {self.step} and {self.max_size}"
            )
        if self.every not in (1, 2):
            raise ValueError(f"every must be 1 or 2, got {self.every}")
        if not (self.smoothness >= 0 and self.cube >= 0):
            raise ValueError(f"smoothness and cube must not be negative, got {self.smoothness}")
        if set(self.coarse_steps + self.steps) - {"S", "P"}:
            raise ValueError("steps must be made of S (sharpen) and P (propagate)")

    def patch(self, n_sources: int) -> Patch:
        """How pixels are compared with so many sources."""
        return make_patch(
            self.radius,
            self.step,
            self.spread,
            self.contrast,
            min(self.n_best, n_sources),
            self.noise,
            self.smoothness,
            self.cube,
        )


@dataclass(frozen=True)
class DepthMap:
    """What one view sees, in a part of its picture.

    Attributes:
        camera: pinhole camera whose picture is the part, at the map's resolution.
        planes: (H, W, 3) float32 inverse depth and its change per pixel.
        cost: (H, W) float32 1 - ZNCC, mean over the best sources; 2 where none shows the pixel.
        mask: (H, W) where there is a depth, if only one that its neighbours hold.
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

    def moved(self, shift: DoubleArray) -> DepthMap:
        """The same in a world whose points are moved by ``shift`` (3,)."""
        pose = self.camera.cam_from_world.copy()
        pose[:, 3] -= self.camera.rotation @ shift
        return replace(self, camera=self.camera.with_pose(pose))


# A view, and what makes its depth map.
Remember = Callable[[int, Callable[[], DepthMap | None]], DepthMap | None]


def refine(
    surface: Mesh,
    shots: Shots,
    options: RefineOptions | None = None,
    progress: Callable[[], None] | None = None,
    remember: Remember | None = None,
) -> list[DepthMap | None]:
    """Sharpen what every view sees of a surface.

    Args:
        surface: from coarse matches.
        shots: the views.
        options: see ``RefineOptions``.
        progress: called once per view.
        remember: given a view and a function that makes its depth map, has the map.

    Returns:
        A depth map per view, None where the view does not see the surface or has no source.
    """
    options = options or RefineOptions()
    scale = _finest_scale(shots, options)
    half = cache(lambda view: _buffer(surface, shots, view, scale / 2))
    pictures = Pictures(shots.images, scale, options.n_candidates + 2)

    def sharpened(view: int) -> DepthMap | None:
        candidates = _choose_sources(shots.cameras, view, shots.center, options)
        start = Start.of(surface, shots, view, scale, options.grow_px, options.every)
        if not len(candidates) or start is None:
            return None
        buffers = [half(other) for other in candidates]
        return _refine_view(start, view, candidates, buffers, pictures, shots, options)

    maps: list[DepthMap | None] = []
    for view in range(len(shots)):
        compute = partial(sharpened, view)
        maps.append(compute() if remember is None else remember(view, compute))
        if progress is not None:
            progress()
    return maps


def _finest_scale(shots: Shots, options: RefineOptions) -> float:
    """Scale at which the head is no more than ``max_size`` pixels wide in most views."""
    scale = 1.0
    across = [2 * shots.radius / shots.footprint(view) for view in range(len(shots))]
    while float(np.median(across)) * scale > options.max_size:
        scale /= 2
    return scale


def _buffer(surface: Mesh, shots: Shots, view: int, scale: float) -> FloatArray:
    """Camera z of the surface in a picture, 0 where there is none or the mask says no."""
    depth = shots.depth(view, scale, surface.vertices.points, surface.faces)
    return np.where(np.isfinite(depth) & shots.mask(view, scale), depth, np.float32(0))


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
    order = np.argsort(ratio, kind="stable")[: options.n_candidates]
    return np.asarray(order[np.isfinite(ratio[order])], np.int32)


def _refine_view(
    start: Start,
    view: int,
    candidates: IntArray,
    buffers: list[FloatArray],
    pictures: Pictures,
    shots: Shots,
    options: RefineOptions,
) -> DepthMap:
    camera = shots.cameras[view]
    top, left = start.corner
    height, width = start.planes[0].shape[:2]
    part = pictures.of(view, 0)[round(top * start.scale) :, round(left * start.scale) :]
    own = [unpack_pairs(part[:height, :width])]
    for _ in start.planes[1:]:
        own.append(halve_picture(own[-1]))
    cameras = [shots.cameras[s] for s in candidates]
    cube_maps = [shots.cube_maps[s] for s in candidates] if options.cube > 0 else []
    patch = options.patch(len(candidates))
    reach = options.reach * shots.radius
    # How far behind the buffer a place may seem because the surface is not yet right.
    tolerance = reach / 3 / float(np.linalg.norm(camera.center - shots.center))
    found, seen, cost = start.planes[-1], _NOTHING_SEEN, _NO_CUBE[..., 0]
    for level in reversed(range(len(start.planes))):
        scale = start.scale / 2**level
        place = part_camera(camera, start.corner, scale, start.masks[level].shape)
        others = [pictures.of(s, level) for s in candidates]
        sources = _sources(place, cameras, others, cube_maps, scale)
        # The finest level's planes are the one's before if only every second pixel has one.
        stride = options.every if level == 0 else 1
        planes, mask = start.planes[level + stride - 1], start.masks[level + stride - 1]
        if stride == 1:
            args = (2.0**level / 2, tolerance, options.radius, options.n_sources)
            seen = visible_sources(planes, mask, sources, buffers, *args)
        if found.shape != planes.shape:
            found = double(found, mask.shape)
        coords, trust = _NO_CUBE, _NO_CUBE[..., 0]
        if cube_maps:
            own_map = shots.cube_maps[view]
            coords, trust = _own_cube(own_map, mask.shape, start.corner, scale, stride)
        picture, limits = np.ascontiguousarray(own[level]), _limits(planes, reach)
        reference = Reference(picture, stride, mask, seen, limits, coords, trust)
        found = to_pixels(found, stride)
        steps = options.coarse_steps if level else options.steps
        cost = _solve(reference, sources, found, patch, steps)
        found = from_pixels(found, stride)
    return _depth_map(camera, start, found, cost, options.every)


def _depth_map(
    camera: Camera, start: Start, planes: FloatArray, cost: FloatArray, every: int
) -> DepthMap:
    """What was found, with the camera of its grid."""
    height, width = cost.shape
    place = part_camera(camera, start.corner, start.scale / every, (height, width))
    known = start.known[: height * every, : width * every].reshape(height, every, width, every)
    told = known.any(axis=(1, 3)) | (start.masks[every - 1] & (cost < 1.0))
    return DepthMap(place, planes, cost, np.asarray(told))


def _solve(
    reference: Reference, sources: Sources, planes: FloatArray, patch: Patch, steps: str
) -> FloatArray:
    """Move the planes; their cost."""
    for step in steps:
        if step == "S":
            sharpen(reference, sources, planes, patch)
        else:
            cost = score_planes(reference, sources, planes, patch)
            propagate(reference, sources, planes, cost, patch)
    return score_planes(reference, sources, planes, patch)


def _sources(
    place: Camera,
    others: Sequence[Camera],
    pictures: Sequence[npt.NDArray[np.uint32]],
    cube_maps: Sequence[CubeMap],
    scale: float,
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
    maps, trust, to_maps = [_NO_CUBE], [_NO_CUBE[..., 0]], [np.zeros(4)]
    if cube_maps:
        maps, trust = [m.coords for m in cube_maps], [_trust(m) for m in cube_maps]
        to_maps = [_to_map(m.image_from_map, scale) for m in cube_maps]
    pairs = _stack(pictures)
    return Sources(
        pairs.reshape(len(pairs), -1),
        pairs.shape[2],
        sizes,
        np.stack(rotations),
        np.stack(translations),
        _stack(maps),
        _stack(trust),
        np.stack(to_maps),
    )


def _to_map(image_from_map: DoubleArray, scale: float) -> DoubleArray:
    """Scale and offset in x, then in y, from a level's pixels to the map's."""
    (a, _, x), (_, d, y) = image_from_map
    return np.array([1 / (scale * a), -x / a, 1 / (scale * d), -y / d])


_NO_CUBE = np.zeros((0, 0, 3), np.float32)
_NOTHING_SEEN = np.zeros((0, 0), np.uint64)


def _stack(layers: Sequence[npt.NDArray[_Number]]) -> npt.NDArray[_Number]:
    """Layers of different sizes, filled up with zeros."""
    size = np.max([layer.shape for layer in layers], axis=0)
    stack = np.zeros((len(layers), *size), layers[0].dtype)
    for whole, layer in zip(stack, layers, strict=True):
        whole[: layer.shape[0], : layer.shape[1]] = layer
    return stack


def _trust(cube_map: CubeMap) -> FloatArray:
    return np.where(cube_map.mask, cube_map.confidence, np.float32(0))


def _own_cube(
    cube_map: CubeMap,
    shape: tuple[int, ...],
    corner: tuple[int, int],
    scale: float,
    stride: int,
) -> tuple[FloatArray, FloatArray]:
    """Cube coordinates of the pixels that planes belong to, and trust in them."""
    to = cube_map.image_from_map
    row, column = (np.arange(n) * stride + stride // 2 + 0.5 for n in shape)
    x = (column / scale + corner[1] - to[0, 2]) / to[0, 0] - 0.5
    y = (row / scale + corner[0] - to[1, 2]) / to[1, 1] - 0.5
    x, y = (a.astype(np.float32) for a in np.meshgrid(x, y))
    coords = np.asarray(cv2.remap(cube_map.coords, x, y, cv2.INTER_LINEAR), np.float32)
    sure = np.asarray(cv2.erode(_trust(cube_map), np.ones((3, 3), np.uint8)), np.float32)
    return np.ascontiguousarray(coords), np.ascontiguousarray(
        cv2.remap(sure, x, y, cv2.INTER_LINEAR)
    )


def _limits(planes: FloatArray, reach: float) -> FloatArray:
    """(H, W, 2) lowest and highest inverse depth, ``reach`` in world units behind and before."""
    inverse = planes[..., 0]
    low, high = inverse / (1 + reach * inverse), inverse / np.maximum(1 - reach * inverse, 0.1)
    return np.ascontiguousarray(np.stack([low, high], axis=2), np.float32)
