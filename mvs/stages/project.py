"""The parts of the views' pictures that show a surface, made ready to colour it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import PinholeView
from mvs.kernels.raster import rasterise
from mvs.kernels.texture import Stack
from mvs.stages.shots import part_camera
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray

AnyArray = npt.NDArray[Any]

# A step in depth from pixel to pixel that is an outline: in pixels' widths, in the surface's size.
_STEP_PIXELS = 12.0
_STEP_SIZE = 0.004
# Pixels beside outlines whose interpolation reaches across.
_MIXED = 2.0
_FAR = np.float32(1e30)


@dataclass(frozen=True)
class Target:
    """The surface that is coloured, as the pictures are prepared for it.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int32.
        spacing: distance between neighbouring texels on it, world units.
        feather: width of the band inside outlines where a view gives way, world units.
        bands: (L,) widths of the smoothed pictures' pixels, world units, ascending.
    """

    vertices: DoubleArray
    faces: IntArray
    spacing: float
    feather: float
    bands: tuple[float, ...]

    @property
    def size(self) -> float:
        """Diagonal of the box around the surface."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))


@dataclass(frozen=True)
class _Part:
    """The part of a view that shows the surface, and its smoothed pictures."""

    camera: Camera
    image: ByteArray
    depth: FloatArray
    trust: ByteArray
    smooth: list[FloatArray]
    steps: list[int]


def stack_views(views: Sequence[PinholeView], target: Target) -> Stack:
    """Crop and shrink the views to what the surface and its texels need.

    Args:
        views: pinhole views with masks.
        target: the surface.

    Returns:
        The pictures, with gains of 1.

    Raises:
        ValueError: if no view sees the surface.
    """
    parts = [part for view in views if (part := _part(view, target)) is not None]
    if not parts:
        raise ValueError("no view sees the surface: are the mesh and the cameras in one frame?")
    sizes = np.array([part.depth.shape for part in parts], np.int64)
    levels = [[part.smooth[k] for part in parts] for k in range(len(target.bands))]
    shapes = np.array([[level.shape[:2] for level in row] for row in levels], np.int64)
    flat = [level.reshape(-1, 3) for row in levels for level in row]
    return Stack(
        np.array([part.camera.P for part in parts]),
        np.array([part.camera.center for part in parts]),
        np.array([np.sqrt(part.camera.K[0, 0] * part.camera.K[1, 1]) for part in parts]),
        sizes,
        _starts(sizes),
        np.concatenate([part.image.reshape(-1, 3) for part in parts]),
        np.concatenate([part.depth.ravel() for part in parts]),
        np.concatenate([part.trust.ravel() for part in parts]),
        np.concatenate(flat) if flat else np.zeros((0, 3), np.float32),
        shapes.reshape(-1, len(parts), 2),
        _starts(shapes.reshape(-1, 2)).reshape(-1, len(parts)),
        np.array([part.steps for part in parts], np.int64).T.copy(),
        np.ones((len(parts), 3)),
    )


def one_view(stack: Stack, view: int) -> Stack:
    """A stack of a single view, without smoothed pictures."""
    part = slice(view, view + 1)
    return stack._replace(
        projections=stack.projections[part],
        centers=stack.centers[part],
        focal=stack.focal[part],
        sizes=stack.sizes[part],
        starts=stack.starts[part],
        smooth_sizes=stack.smooth_sizes[:0, part],
        smooth_starts=stack.smooth_starts[:0, part],
        smooth_steps=stack.smooth_steps[:0, part],
        gains=stack.gains[part],
    )


def _starts(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) first rows of pictures (N, 2) that lie one after the other."""
    return np.concatenate([[0], np.cumsum(sizes.prod(axis=1))])[: len(sizes)].astype(np.int64)


def _part(view: PinholeView, target: Target) -> _Part | None:
    """The part of a view that shows the surface; None where none does."""
    pixels, depth = view.camera.project(target.vertices)
    if not (depth > 0).any():
        return None
    footprint = float(np.median(depth[depth > 0])) / view.camera.K[0, 0]
    scale = min(1.0, footprint / target.spacing)
    # Slightly larger pictures are not worth resampling.
    scale = 1.0 if scale > 0.8 else scale
    found = _box(pixels, view.camera)
    if found is None:
        return None
    (top, left), (bottom, right) = found
    size = max(int((bottom - top) * scale), 1), max(int((right - left) * scale), 1)
    camera = part_camera(view.camera, (top, left), scale, size)
    image = _shrunk(view.image[top:bottom, left:right], scale, size)
    keep = _shrunk(view.mask[top:bottom, left:right].astype(np.float32), scale, size) > 0.999
    pixels, depth = camera.project(target.vertices)
    buffer = rasterise(np.nan_to_num(pixels, nan=-1e6), depth, target.faces, size).depth
    shown = np.where(np.isfinite(buffer), buffer, _FAR).astype(np.float32)
    footprint /= scale
    step = max(_STEP_PIXELS * footprint, _STEP_SIZE * target.size)
    trust = _trust(shown, keep, step, max(target.feather / footprint, 1.0))
    steps = [max(round(band / footprint), 1) for band in target.bands]
    smooth = [_smoothed(image, trust > 0, k) for k in steps]
    return _Part(camera, image, shown, trust, smooth, steps)


def _box(pixels: DoubleArray, camera: Camera) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First and last (row, column) of the picture's part that holds the pixels."""
    places = pixels[np.isfinite(pixels).all(axis=1)]
    if not len(places):
        return None
    limit = np.array([camera.width, camera.height])
    low = np.clip(np.floor(places.min(axis=0)) - 4, 0, limit).astype(int)
    high = np.clip(np.ceil(places.max(axis=0)) + 4, 0, limit).astype(int)
    if (high <= low).any():
        return None
    return (int(low[1]), int(low[0])), (int(high[1]), int(high[0]))


def _shrunk(values: AnyArray, scale: float, size: tuple[int, int]) -> AnyArray:
    if scale == 1.0:
        return np.ascontiguousarray(values)
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)


def _trust(depth: FloatArray, keep: BoolArray, step: float, feather: float) -> ByteArray:
    """How far each pixel is inside what is surface, kept and not at an outline.

    Args:
        depth: (H, W) of the surface, ``_FAR`` where there is none.
        keep: (H, W) the mask.
        step: in depth that makes an outline.
        feather: pixels from an outline to full trust.
    """
    window = np.ones((3, 3), np.uint8)
    outline = cv2.dilate(depth, window) - cv2.erode(depth, window) > step
    inside = keep & (depth < _FAR) & ~outline
    # The picture's border is an outline too.
    padded = np.pad(inside.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    t = np.clip((distance - _MIXED) / feather, 0.0, 1.0)
    return np.asarray(np.ceil(255.0 * t * t * (3.0 - 2.0 * t)), np.uint8)


def _smoothed(image: ByteArray, valid: BoolArray, step: int) -> FloatArray:
    """The mean colour around every ``step``-th pixel, of valid pixels alone.

    Source:
        Knutsson and Westin (1993), normalised convolution.
    """
    height, width = -(-valid.shape[0] // step), -(-valid.shape[1] // step)
    weights = np.zeros((height * step, width * step, 4), np.float32)
    weights[: valid.shape[0], : valid.shape[1], 3] = valid
    weights[: valid.shape[0], : valid.shape[1], :3] = image * valid[..., None]
    cells = weights.reshape(height, step, width, step, 4).mean(axis=(1, 3))
    total = cv2.GaussianBlur(cells, (5, 5), 1.0, borderType=cv2.BORDER_REPLICATE)
    weight = total[..., 3:]
    # A mean stands in for cells that no pixel near them fills.
    mean = total.reshape(-1, 4).sum(axis=0)
    colors = total[..., :3] + 1e-6 * mean[:3] / max(float(mean[3]), 1e-6)
    return np.ascontiguousarray(colors / (weight + 1e-6), np.float32)
