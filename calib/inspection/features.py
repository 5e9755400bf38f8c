"""Features of pictures and which of them look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.capture import BoolArray, ByteArray

DoubleArray = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]

# Beyond this a picture is shrunk first: features of more detail cost time and tell nothing new.
_LARGEST_SIDE = 1600
_RATIO = 0.8


@dataclass(frozen=True, eq=False)
class Features:
    """A picture's features.

    Attributes:
        pixels: (N, 2) float64, COLMAP's convention.
        descriptors: (N, 128) float32 of whole numbers, whose products are exact in any order.
    """

    pixels: DoubleArray
    descriptors: FloatArray


@dataclass(frozen=True, eq=False)
class PairMatches:
    """Verified matches of two pictures.

    Attributes:
        views: indices of the pictures, the lower one first.
        first: (n,) features of the first picture.
        second: (n,) features of the second.
    """

    views: tuple[int, int]
    first: IndexArray
    second: IndexArray

    def __len__(self) -> int:
        return len(self.first)


def find_features(image: ByteArray, mask: BoolArray | None, n_features: int = 1500) -> Features:
    """SIFT features of a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, True where the picture counts; None for all of it.
        n_features: the strongest that are kept.

    Returns:
        The features. Source: D. Lowe, Distinctive Image Features from Scale-Invariant Keypoints,
        2004; with the pyramid's upscaling that has no bias of a quarter pixel.
    """
    import cv2

    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrink = min(1.0, _LARGEST_SIDE / max(gray.shape))
    if shrink < 1:
        size = (round(gray.shape[1] * shrink), round(gray.shape[0] * shrink))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    create: Any = getattr(cv2, "SIFT_create")  # noqa: B009  # absent from OpenCV's stubs
    sift = create(n_features, contrastThreshold=0.006, enable_precise_upscale=True)
    area = None
    if mask is not None:
        area = cv2.resize(mask.astype(np.uint8), gray.shape[::-1], interpolation=cv2.INTER_NEAREST)
    keypoints, descriptors = sift.detectAndCompute(gray, area)
    if descriptors is None:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    pixels = np.array([keypoint.pt for keypoint in keypoints], np.float64) + 0.5
    scale = np.array([image.shape[1] / gray.shape[1], image.shape[0] / gray.shape[0]])
    return Features(pixels * scale, np.asarray(descriptors, np.float32))


def match_features(first: Features, second: Features) -> tuple[IndexArray, IndexArray]:
    """Mutual nearest neighbours that are clearly nearer than the second nearest.

    Returns:
        (n,) rows of the first and (n,) rows of the second features.
    """
    a, b = first.descriptors, second.descriptors
    if len(a) < 2 or len(b) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    rows = np.arange(len(a))
    best = squared.argmin(axis=1)
    mutual = squared.argmin(axis=0)[best] == rows
    nearest = squared[rows, best]
    squared[rows, best] = np.inf
    clear = nearest < _RATIO**2 * squared.min(axis=1)
    kept = np.flatnonzero(mutual & clear)
    kept = kept[_unique(first.pixels[kept]) & _unique(second.pixels[best[kept]])]
    return kept, best[kept]


def _unique(pixels: DoubleArray) -> BoolArray:
    """The first of the features of several orientations at one place."""
    kept = np.zeros(len(pixels), np.bool_)
    kept[np.unique(pixels, axis=0, return_index=True)[1]] = True
    return kept
