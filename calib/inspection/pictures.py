"""What a picture is like where the head is: sharp, bright, clipped, noisy, and of which colour.

Levels of one picture depend on what it shows. They are compared at matched features, where two
pictures show the same thing, and brought together over all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import BoolArray, ByteArray
from calib.inspection.features import Features, PairMatches

DoubleArray = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]

_DARK, _BRIGHT = 4, 251
# Sizes in pixels of what is fine, of what is middling, and of the place around a feature.
_FINE, _MIDDLE, _PLACE = 1.0, 3.0, 6.0
_MIN_MATCHES = 15


@dataclass(frozen=True, eq=False)
class PictureLevels:
    """One picture.

    Attributes:
        brightness: median of the luma, 0 to 255.
        dark_share: of pixels that are black.
        bright_share: of pixels with a clipped channel.
        noise: standard deviation of the finest detail where there is least of it, in grey levels.
        sharpness: fine detail in parts of the middling, median.
        thumbnail: (h, w, 3) uint8 RGB.
        features: (N, 4) log of red, green, blue and, in parts of their mean, of fine detail at
            each feature; NaN where clipped.
    """

    brightness: float
    dark_share: float
    bright_share: float
    noise: float
    sharpness: float
    thumbnail: ByteArray
    features: DoubleArray


def head_region(camera: Camera, center: DoubleArray, radius: float) -> BoolArray:
    """(H, W) bool: the disc that a sphere covers; the whole picture where it is not seen."""
    pixel, depth = camera.project(np.asarray(center)[None])
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    if not (np.isfinite(pixel).all() and depth[0] > 0):
        return np.ones(x.shape, np.bool_)
    reach = radius * camera.K[0, 0] / depth[0]
    region = np.hypot(x - pixel[0, 0], y - pixel[0, 1]) < reach
    return np.asarray(region if region.any() else np.ones_like(region))


def measure_picture(
    image: ByteArray, region: BoolArray, features: Features, thumbnail: int = 138
) -> PictureLevels:
    """Measure a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        region: (H, W) bool, where the subject is.
        features: of the picture.
        thumbnail: the longer side of it, pixels.

    Returns:
        The levels. Source of the noise: J. Immerkaer, Fast Noise Variance Estimation, 1996, with
        the median in place of the mean.
    """
    import cv2

    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(gray, (0, 0), _FINE)
    fine = np.abs(gray - smooth)
    middle = np.abs(smooth - cv2.GaussianBlur(gray, (0, 0), _MIDDLE))
    detail = cv2.GaussianBlur(fine, (0, 0), _PLACE)
    ratio = detail / (cv2.GaussianBlur(middle, (0, 0), _PLACE) + 0.5)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    rough = np.abs(cv2.filter2D(gray, cv2.CV_32F, kernel))
    flat = region & (detail <= np.quantile(detail[region], 0.25))
    inside = image[region]
    shrink = thumbnail / max(gray.shape)
    size = (max(1, round(gray.shape[1] * shrink)), max(1, round(gray.shape[0] * shrink)))
    return PictureLevels(
        brightness=float(np.median(gray[region])),
        dark_share=float((inside.max(axis=1) <= _DARK).mean()),
        bright_share=float((inside.max(axis=1) >= _BRIGHT).mean()),
        noise=float(1.4826 * np.median(rough[flat])),
        sharpness=float(np.median(ratio[region])),
        thumbnail=np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8),
        features=_at_features(image, detail, features),
    )


def compare_levels(
    levels: Sequence[PictureLevels | None], matches: Sequence[PairMatches]
) -> DoubleArray:
    """Red, green, blue and sharpness of each picture against the others at the same places.

    Args:
        levels: of every view, None where the picture could not be read.
        matches: verified.

    Returns:
        (V, 4) log ratios whose median is 0; NaN for views without enough matches.
    """
    n = len(levels)
    normal, right = np.zeros((n, n)), np.zeros((n, 4))
    for match in matches:
        i, j = match.views
        a, b = levels[i], levels[j]
        if a is None or b is None:
            continue
        ratios = a.features[match.first] - b.features[match.second]
        ratios = ratios[np.isfinite(ratios).all(axis=1)]
        if len(ratios) < _MIN_MATCHES:
            continue
        weight = np.sqrt(len(ratios))
        normal[[i, j], [i, j]] += weight
        normal[[i, j], [j, i]] -= weight
        difference = weight * np.median(ratios, axis=0)
        right[i] += difference
        right[j] -= difference
    known = np.diag(normal) > 0
    found = np.full((n, 4), np.nan)
    if known.any():
        found[known] = np.linalg.lstsq(normal[np.ix_(known, known)], right[known], rcond=1e-9)[0]
        found -= np.nanmedian(found, axis=0)
    return found


def robust_scores(values: DoubleArray, least_scale: float) -> DoubleArray:
    """(N,) distance from the median in robust standard deviations, at least ``least_scale``."""
    fine = np.isfinite(values)
    if not fine.any():
        return np.full(len(values), np.nan)
    middle = np.median(values[fine])
    scale = max(1.4826 * float(np.median(np.abs(values[fine] - middle))), least_scale)
    return np.asarray((values - middle) / scale)


def _at_features(image: ByteArray, detail: FloatArray, features: Features) -> DoubleArray:
    import cv2

    smooth = cv2.GaussianBlur(image, (0, 0), _MIDDLE)
    column, row = np.floor(features.pixels).astype(np.int64).T.reshape(2, -1)
    row = np.clip(row, 0, image.shape[0] - 1)
    column = np.clip(column, 0, image.shape[1] - 1)
    colors = smooth[row, column].astype(np.float64)
    colors[((colors <= _DARK) | (colors >= _BRIGHT)).any(axis=1)] = np.nan
    # Detail grows with the exposure; in parts of the brightness it does not.
    contrast = (detail[row, column] + 0.05) / colors.mean(axis=1)
    return np.asarray(np.log(np.column_stack([colors, contrast])))
