"""Square regions of pictures, resampled to the network's size, and its answers put back.

The picture and the crop both have pixel centres at (0.5, 0.5), (1.5, 0.5), ...; a crop of ``size``
pixels from a square of ``side`` picture pixels has ``image_from_map`` = scale ``side / size`` and
the square's upper left corner. Both directions are separable, so both use one resampler per axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray, Square

# A blur narrower than this is none (in pixels); keeps the weights away from 0 / 0.
_NO_BLUR = 1e-6


class Crop(NamedTuple):
    """A square region of a picture at the network's size.

    Attributes:
        image: (size, size, 3) uint8; black where the region leaves the picture.
        inside: (size, size) bool, True where the region is inside the picture.
        image_from_map: (2, 3) float64 affine from crop pixels to picture pixels.
    """

    image: ByteArray
    inside: BoolArray
    image_from_map: DoubleArray


class _Axis(NamedTuple):
    """Samples along one axis: sample n is the sum of weights[n, t] * input[taps[n, t]]."""

    taps: npt.NDArray[np.intp]
    weights: DoubleArray
    inside: BoolArray


def check_image(image: ByteArray) -> None:
    """Raises ``ValueError`` unless the picture is (H, W, 3) uint8 and not empty."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")


def for_opencv(move: DoubleArray) -> DoubleArray:
    """A map (3, 3) from pixels to pixels as OpenCV counts them, from the first pixel's centre."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.asarray(np.linalg.inv(half) @ move @ half)


def region_affine(region: Square, size: int) -> DoubleArray:
    """(2, 3) affine from the pixels of a region's crop of side ``size`` to the picture's."""
    scale = region.side / size
    left, top = (center - region.side / 2 for center in region.center)
    return np.array([[scale, 0, left], [0, scale, top]], np.float64)


def sample_region(image: ByteArray, region: Square, size: int) -> Crop:
    """A square region at another resolution.

    Enlarging is bilinear; shrinking averages the bilinear surface over a box as wide as the step
    less one pixel, so that it fades into plain interpolation and maps a linear ramp exactly.

    Args:
        image: (H, W, 3) uint8 RGB.
        region: the square, in picture pixels; may reach beyond the picture.
        size: side of the result in pixels.

    Returns:
        The crop, which of its pixels lie inside the picture, and where they come from.

    Raises:
        ValueError: if the picture is not (H, W, 3) uint8, or the region or the size not positive.
    """
    check_image(image)
    if size < 1 or not region.side > 0 or not np.isfinite([*region.center, region.side]).all():
        raise ValueError(f"region must be finite with side > 0 and size >= 1, got {region}, {size}")
    affine = region_affine(region, size)
    step = affine[0, 0]
    across = _sample_axis(affine[0, 2], step, size, image.shape[1], blur=max(step - 1, 0))
    down = _sample_axis(affine[1, 2], step, size, image.shape[0], blur=max(step - 1, 0))
    inside = down.inside[:, None] & across.inside[None]
    sampled = _resample(image, down, across)
    pixels = np.clip(np.rint(sampled), 0, 255).astype(np.uint8)
    pixels[~inside] = 0
    return Crop(pixels, inside, affine)


def paste_cube_map(cube_map: CubeMap, height: int, width: int) -> CubeMap:
    """The cube map of a region at the resolution of its picture.

    Coordinates and confidence are interpolated between pixels on the head only, so what the network
    says beside the head does not leak in at the rim.

    Args:
        cube_map: the region's map; ``image_from_map`` scales and shifts without turning.
        height: rows of the picture.
        width: columns of the picture.

    Returns:
        Map of (height, width); off the region ``mask`` is False and all else is 0.

    Raises:
        ValueError: if ``image_from_map`` is not a positive scale per axis and a shift.
    """
    (scale_x, skew_x, left), (skew_y, scale_y, top) = cube_map.image_from_map
    if skew_x != 0 or skew_y != 0 or not (scale_x > 0 and scale_y > 0):
        raise ValueError(f"image_from_map must be axis-aligned, got {cube_map.image_from_map}")
    rows, columns = cube_map.mask.shape
    x = _sample_axis(-left / scale_x, 1 / scale_x, width, columns, blur=0)
    y = _sample_axis(-top / scale_y, 1 / scale_y, height, rows, blur=0)
    # Only the part of the picture that the region covers is computed.
    part = np.ix_(y.inside, x.inside)
    x, y = (_Axis(a.taps[a.inside], a.weights[a.inside], a.inside) for a in (x, y))
    on_head = cube_map.mask[..., None].astype(np.float32)
    values = cube_map.channels()
    share = _resample(on_head, y, x)
    mixed = _resample(np.where(cube_map.mask[..., None], values, 0), y, x)
    mixed /= np.maximum(share, np.finfo(np.float32).tiny)

    whole = np.zeros((height, width, values.shape[2]), np.float32)
    mask = np.zeros((height, width), np.bool_)
    whole[part], mask[part] = mixed, share[..., 0] >= 0.5
    return CubeMap.from_channels(whole, mask, np.eye(2, 3))


def empty_cube_map(height: int, width: int) -> CubeMap:
    """A map of a picture without a head."""
    return CubeMap(
        coords=np.zeros((height, width, 3), np.float32),
        confidence=np.zeros((height, width), np.float32),
        mask=np.zeros((height, width), np.bool_),
        image_from_map=np.eye(2, 3),
    )


def _sample_axis(start: float, step: float, n: int, length: int, blur: float) -> _Axis:
    """Where ``n`` samples of a row of ``length`` pixels take their values from.

    Args:
        start: position in the row of the edge of the first sample.
        step: distance between samples.
        n: number of samples.
        length: number of pixels in the row.
        blur: width of the box over which the linear interpolant is averaged.
    """
    centers = start + (np.arange(n) + 0.5) * step
    n_taps = int(np.ceil(blur)) + 2
    first = np.floor(centers - blur / 2 - 0.5).astype(np.intp)
    index = first[:, None] + np.arange(n_taps)
    offsets = index + 0.5 - centers[:, None]
    if blur > _NO_BLUR:
        weights = _hat_integral(offsets + blur / 2) - _hat_integral(offsets - blur / 2)
    else:
        weights = np.maximum(1 - np.abs(offsets), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = (centers >= 0) & (centers <= length)
    return _Axis(np.clip(index, 0, length - 1), weights, inside)


def _hat_integral(t: DoubleArray) -> DoubleArray:
    """Integral from minus infinity to t of the hat function max(1 - |t|, 0)."""
    t = np.clip(t, -1, 1)
    return np.where(t < 0, (t + 1) ** 2 / 2, 1 - (1 - t) ** 2 / 2)


def _resample(values: npt.NDArray[np.generic], down: _Axis, across: _Axis) -> FloatArray:
    """(H, W, C) -> (len(down), len(across), C) float32.

    Sums tap by tap, which needs no library whose number of threads could change the result.
    """
    used, columns = np.unique(across.taps, return_inverse=True)
    columns = columns.reshape(across.taps.shape)
    rows = np.zeros((len(down.weights), len(used), values.shape[2]), np.float32)
    narrow = np.ascontiguousarray(values[:, used])
    for index, weights in zip(down.taps.T, down.weights.T, strict=True):
        rows += weights.astype(np.float32)[:, None, None] * narrow[index]
    out = np.zeros((len(down.weights), len(across.weights), values.shape[2]), np.float32)
    for index, weights in zip(columns.T, across.weights.T, strict=True):
        out += weights.astype(np.float32)[:, None] * rows[:, index]
    return out
