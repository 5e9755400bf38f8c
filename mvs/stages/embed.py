"""Cube maps of all views, each of the same part of space: a sphere around the head.

The head is found in every picture on its own; the squares are then brought to agree on one sphere,
whose projection every view is cropped to. Views in which the head was not found, or something else
was, are cropped by what the others say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from calib.camera import Camera
from calib.capture import PinholeView, View
from calib.masks import MaskLook
from mvs.errors import ReconstructionError
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, Embedder, FloatArray, Square

_MAX_PAIRS = 3000
_MIN_SINE = 0.02
# A ray agrees with a sphere if it passes within this part of the square's half side of its centre.
_AGREES = 0.4
# Neighbouring pixels farther apart in the cube lie on either side of an occlusion.
_SAME_SURFACE = 0.03


@dataclass(frozen=True)
class EmbedOptions:
    """How pictures become cube maps.

    Attributes:
        margin: side of the crop, in parts of the square that the embedder puts around a head.
        threads: pictures embedded at a time; does not change the result.
    """

    margin: float = 1.0
    threads: int = 2

    def __post_init__(self) -> None:
        if not 0.5 <= self.margin <= 4:
            raise ValueError(f"margin must be in [0.5, 4], got {self.margin}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")


@dataclass(frozen=True)
class Sphere:
    """Where the head is.

    Attributes:
        center: (3,) float64, world.
        radius: of a sphere whose outline is inscribed in the views' squares, world units.
        agrees: (V,) bool, views whose own square fits it.
    """

    center: DoubleArray
    radius: float
    agrees: BoolArray


@dataclass(frozen=True)
class EmbeddedViews:
    """Views ready for matching.

    Attributes:
        cameras: pinhole cameras.
        images: (H, W, 3) uint8 pictures, undistorted.
        cube_maps: one per view, with an empty mask where the head is out of the picture.
        head: where the head is.
        masks: (H, W) pixels of the pictures that count, as the user's masks say.
        looks: of the user's masks, None where a view has none.
    """

    cameras: tuple[Camera, ...]
    images: tuple[ByteArray, ...]
    cube_maps: tuple[CubeMap, ...]
    head: Sphere
    masks: tuple[BoolArray, ...]
    looks: tuple[MaskLook | None, ...]


def embed_views(
    views: Sequence[View],
    embedder: Embedder,
    options: EmbedOptions | None = None,
    progress: Callable[[], None] | None = None,
    head: Sphere | None = None,
) -> EmbeddedViews:
    """Load, undistort and embed every view.

    Args:
        views: of a capture.
        embedder: gives pixels their coordinates.
        options: see ``EmbedOptions``.
        progress: called twice per view, once found and once embedded.
        head: where it is; found if not given.

    Returns:
        Pinhole views with their cube maps.

    Raises:
        CaptureError: if a picture, a mask or a precomputed map cannot be read.
        ReconstructionError: if fewer than two views agree on a head.
    """
    options = options or EmbedOptions()
    embed = _embed_distorted if embedder.wants_distorted else _find if head is None else _load
    with ThreadPoolExecutor(options.threads) as pool:
        found = []
        for seen in pool.map(lambda view: embed(view, embedder), views):
            found.append(seen)
            if progress is not None:
                progress()
        cameras = tuple(seen.camera for seen in found)
        sphere = head or locate_head(cameras, [seen.square for seen in found])

        def finish(seen: _Seen) -> CubeMap:
            if seen.cube_map is not None:
                return seen.cube_map
            return _embed_region(seen, sphere, embedder, options.margin)

        maps = []
        for cube_map in pool.map(finish, found):
            maps.append(cube_map)
            if progress is not None:
                progress()
    images, masks = tuple(seen.image for seen in found), tuple(seen.mask for seen in found)
    looks = tuple(seen.look for seen in found)
    return EmbeddedViews(cameras, images, tuple(maps), sphere, masks, looks)


def embed_view(view: View, embedder: Embedder) -> tuple[Camera, ByteArray, CubeMap]:
    """Embed one view by itself, cropped to the head that it shows.

    Returns:
        Its pinhole camera, its undistorted picture (H, W, 3) and the cube map, whose mask is empty
        where no head is seen.

    Raises:
        CaptureError: if the picture, its mask or its precomputed map cannot be read.
    """
    seen = (_embed_distorted if embedder.wants_distorted else _find)(view, embedder)
    cube_map = seen.cube_map
    if cube_map is None:
        cube_map = _no_head()
        if seen.square is not None:
            found = embedder.embed(seen.image, seen.square, seen.name)
            cube_map = _with_mask(found, seen.mask)
    return seen.camera, seen.image, cube_map


def locate_head(cameras: Sequence[Camera], squares: Sequence[Square | None]) -> Sphere:
    """The sphere that most squares agree on; a third of them may be wrong or missing.

    Args:
        cameras: pinhole cameras.
        squares: around the head in each picture, None where it was not found.

    Raises:
        ReconstructionError: if no two squares agree.
    """
    seeing = [index for index, square in enumerate(squares) if square is not None]
    if len(seeing) < 2:
        raise ReconstructionError(
            f"a head was found in {len(seeing)} of {len(squares)} pictures",
            "two are needed: check that the pictures show a head, or give other --weights",
        )
    centers = np.stack([cameras[index].center for index in seeing])
    pixels = np.array([squares[i].center for i in seeing if squares[i]])  # type: ignore[union-attr]
    rays = np.concatenate(
        [cameras[i].unproject(p[None]) for i, p in zip(seeing, pixels, strict=True)]
    )
    slopes = np.array([_half_angle(cameras[i], squares[i]) for i in seeing])
    inliers = _best_pair(centers, rays, slopes)
    for _ in range(3):
        center = _nearest_point(centers[inliers], rays[inliers])
        inliers = _agreeing(center, centers, rays, slopes)
        if inliers.sum() < 2:
            break
    if inliers.sum() < 2:
        raise ReconstructionError(
            f"the {len(seeing)} views that show a head do not agree on where it is",
            "check that the poses belong to these pictures",
        )
    distances = np.linalg.norm(center - centers[inliers], axis=1)
    radius = float(np.median(slopes[inliers] * distances))
    agrees = np.zeros(len(cameras), np.bool_)
    agrees[np.array(seeing)[inliers]] = True
    return Sphere(center, radius, agrees)


def head_square(camera: Camera, head: Sphere, margin: float = 1.0) -> Square | None:
    """The square that a view sees the sphere in, None where it does not."""
    pixels, depth = camera.project(head.center[None])
    distance = float(np.linalg.norm(camera.center - head.center))
    if not depth[0] > 0 or distance <= head.radius:
        return None
    half = margin * head.radius * float(camera.K[0, 0] + camera.K[1, 1]) / 2 / float(depth[0])
    x, y = float(pixels[0, 0]), float(pixels[0, 1])
    if not (-half < x < camera.width + half and -half < y < camera.height + half):
        return None
    return Square((x, y), 2 * half)


@dataclass(frozen=True)
class _Seen:
    """One view after the first look; ``cube_map`` where that was all there is to do."""

    name: str
    camera: Camera
    image: ByteArray
    mask: BoolArray
    look: MaskLook | None
    square: Square | None
    cube_map: CubeMap | None


def _find(view: View, embedder: Embedder) -> _Seen:
    pinhole = view.load_pinhole()
    square = embedder.find_head(pinhole.image, view.name)
    return _seen(pinhole, square, None)


def _load(view: View, embedder: Embedder) -> _Seen:  # noqa: ARG001
    return _seen(view.load_pinhole(), None, None)


def _embed_distorted(view: View, embedder: Embedder) -> _Seen:
    taken = view.load_image()
    cube_map = embedder.embed(taken, name=view.name)
    square = embedder.find_head(taken, view.name)
    pinhole = view.load_pinhole()
    if not view.camera.is_pinhole:
        mapping = view.undistort(view.camera)
        cube_map = warp_cube_map(cube_map, mapping)
        if square is not None:
            ray = view.camera.unproject(np.array([square.center]))
            x, y = pinhole.camera.project(view.camera.center + ray)[0][0]
            # What a fisheye sees beyond 90 degrees is in no pinhole picture.
            square = Square((float(x), float(y)), square.side) if np.isfinite(x) else None
    return _seen(pinhole, square, _with_mask(cube_map, pinhole.mask))


def _seen(view: PinholeView, square: Square | None, cube_map: CubeMap | None) -> _Seen:
    return _Seen(view.name, view.camera, view.image, view.mask, view.look, square, cube_map)


def _embed_region(seen: _Seen, head: Sphere, embedder: Embedder, margin: float) -> CubeMap:
    square = head_square(seen.camera, head, margin)
    if square is None:
        return _no_head()
    return _with_mask(embedder.embed(seen.image, square, seen.name), seen.mask)


def _no_head() -> CubeMap:
    empty = np.zeros((2, 2), np.float32)
    return CubeMap(np.zeros((2, 2, 3), np.float32), empty, empty > 0, np.eye(2, 3))


def _with_mask(cube_map: CubeMap, mask: BoolArray) -> CubeMap:
    """A cube map cut to its picture's mask, looked up at the middle of each of its pixels."""
    rows, columns = cube_map.mask.shape
    affine = cube_map.image_from_map
    x = np.floor(affine[0, 0] * (np.arange(columns) + 0.5) + affine[0, 2]).astype(np.intp)
    y = np.floor(affine[1, 1] * (np.arange(rows) + 0.5) + affine[1, 2]).astype(np.intp)
    inside = ((y >= 0) & (y < mask.shape[0]))[:, None] & ((x >= 0) & (x < mask.shape[1]))
    looked_up = mask[np.clip(y, 0, len(mask) - 1)[:, None], np.clip(x, 0, mask.shape[1] - 1)]
    kept = cube_map.mask & inside & looked_up
    return replace(cube_map, mask=kept)


def warp_cube_map(cube_map: CubeMap, mapping: FloatArray) -> CubeMap:
    """A picture's cube map without the lens's distortion, or the other way round.

    Bilinear where the four pixels around lie on one surface; the nearest pixel elsewhere.

    Args:
        cube_map: at the distorted picture's resolution.
        mapping: (H, W, 2) of ``calib.lens.undistortion_map`` (or, to put the distortion back, of
            ``distortion_map``).
    """
    height, width = cube_map.mask.shape
    inside = (mapping >= 0) & (mapping <= np.array([width, height], np.float32))
    valid: BoolArray = np.asarray(inside.all(axis=2))
    at = np.where(valid[..., None], mapping, 0.5).astype(np.float64) - 0.5
    low = np.clip(np.floor(at), 0, [max(width - 2, 0), max(height - 2, 0)]).astype(np.intp)
    share = np.clip(at - low, 0, 1)
    values = cube_map.channels()
    corners, weights, on_head = [], [], []
    for dy in (0, 1):
        for dx in (0, 1):
            row = np.minimum(low[..., 1] + dy, height - 1)
            column = np.minimum(low[..., 0] + dx, width - 1)
            corners.append(values[row, column])
            on_head.append(cube_map.mask[row, column])
            wx = share[..., 0] if dx else 1 - share[..., 0]
            weights.append(wx * (share[..., 1] if dy else 1 - share[..., 1]))
    stacked, weight = np.stack(corners), np.stack(weights)
    spread = np.ptp(stacked[..., :3], axis=0).max(axis=-1)
    whole: BoolArray = np.asarray(np.stack(on_head).all(axis=0))
    smooth = whole & np.asarray(spread < _SAME_SURFACE)
    nearest = weight.argmax(axis=0)[None]
    mixed = np.einsum("khw,khwc->hwc", weight, stacked)
    picked = np.take_along_axis(stacked, nearest[..., None], axis=0)[0]
    result = np.where(smooth[..., None], mixed, picked).astype(np.float32)
    mask = np.take_along_axis(np.stack(on_head), nearest, axis=0)[0] & valid
    return CubeMap.from_channels(result, mask, np.eye(2, 3))


def _half_angle(camera: Camera, square: Square | None) -> float:
    """Slope of the ray to the middle of a square's side against the one to its centre."""
    side = square.side if square is not None else 0.0
    return side / float(camera.K[0, 0] + camera.K[1, 1])


def _best_pair(centers: DoubleArray, rays: DoubleArray, slopes: DoubleArray) -> BoolArray:
    """Views that agree with the place where two of them meet, for the best two."""
    pairs = list(combinations(range(len(rays)), 2))
    step = max(1, len(pairs) // _MAX_PAIRS)
    best = np.zeros(len(rays), np.bool_)
    best[:2] = True
    score = 0.0
    for a, b in pairs[::step]:
        if np.linalg.norm(np.cross(rays[a], rays[b])) < _MIN_SINE:
            continue
        point = _nearest_point(centers[[a, b]], rays[[a, b]])
        agreeing = _agreeing(point, centers, rays, slopes)
        if agreeing.sum() > score:
            best, score = agreeing, float(agreeing.sum())
    return best


def _nearest_point(centers: DoubleArray, rays: DoubleArray) -> DoubleArray:
    """The point with the least sum of squared distances to rays."""
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    matrix = across.sum(axis=0) + 1e-9 * np.eye(3)
    target = np.einsum("nij,nj->i", across, centers) + 1e-9 * centers.mean(axis=0)
    return np.asarray(np.linalg.solve(matrix, target))


def _agreeing(
    point: DoubleArray, centers: DoubleArray, rays: DoubleArray, slopes: DoubleArray
) -> BoolArray:
    """Which rays pass close to a point in front of their cameras, and see a head of one size."""
    towards = point - centers
    along = np.einsum("nk,nk->n", towards, rays)
    off = np.linalg.norm(towards - along[:, None] * rays, axis=1)
    near = (along > 0) & (off < _AGREES * slopes * along)
    if not near.any():
        return np.asarray(near)
    sizes = slopes * along
    typical = np.median(sizes[near])
    return np.asarray(near & (sizes > typical / 1.6) & (sizes < typical * 1.6))
