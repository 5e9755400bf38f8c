"""Dense optical flow between two pictures, there and back, that points can ride on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from mvs.network.crop import sample_region
from mvs.types import ByteArray, DoubleArray, FloatArray, Square

# Side of the squares that flow is computed on: no smaller, as the search needs several octaves.
_LEAST_SIDE, _MOST_SIDE = 256, 512


@dataclass(frozen=True)
class Flow:
    """Where the content of a square of one picture is in another.

    Attributes:
        vectors: (S, S, 2) float32 x y in the field's own pixels.
        corner: (2,) picture pixels of the field's upper left corner.
        scale: picture pixels per pixel of the field.
    """

    vectors: FloatArray
    corner: DoubleArray
    scale: float

    def move(self, points: DoubleArray) -> DoubleArray:
        """Carry points along, bilinearly.

        Args:
            points: (N, 2) picture pixels.

        Returns:
            (N, 2) picture pixels in the other picture; NaN where a point lies, or goes, outside
            the square.
        """
        size = len(self.vectors)
        local = (points - self.corner) / self.scale
        moved = local + bilinear(self.vectors, local)
        moved[~((moved >= 0) & (moved <= size)).all(axis=1)] = np.nan
        return moved * self.scale + self.corner


class FlowPair(NamedTuple):
    """Flow from the first picture to the second and back."""

    there: Flow
    back: Flow


def flow_between(first: ByteArray, second: ByteArray, square: Square) -> FlowPair:
    """Flow between two pictures within a square, both ways.

    Dense inverse search with variational refinement (Kroeger et al. 2016), down to full resolution.
    One thread: OpenCV's result depends on their number.

    Args:
        first: (H, W, 3) uint8 RGB.
        second: of the same size.
        square: where to look, the same in both pictures.

    Returns:
        The two flows.
    """
    size = int(np.clip(np.ceil(square.side), _LEAST_SIDE, _MOST_SIDE))
    gray = [
        cv2.cvtColor(sample_region(image, square, size).image, cv2.COLOR_RGB2GRAY)
        for image in (first, second)
    ]
    corner = np.array(square.center) - square.side / 2
    with _one_thread():
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)
        there, back = (np.asarray(search.calc(a, b, None)) for a, b in (gray, gray[::-1]))  # type: ignore[call-overload]
    scale = square.side / size
    return FlowPair(Flow(there, corner, scale), Flow(back, corner, scale))


def step_forward(flows: FlowPair, points: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Carry points one step, and back again.

    Args:
        flows: between the two pictures.
        points: (N, 2) pixels of the first.

    Returns:
        (N, 2) pixels of the second and (N,) how far from its start each point comes back; NaN for
        points that leave the square.
    """
    moved = flows.there.move(points)
    return moved, np.linalg.norm(flows.back.move(moved) - points, axis=1)


def texture(crop: ByteArray) -> FloatArray:
    """How well each pixel's place can be told: smaller eigenvalue of the structure tensor.

    Args:
        crop: (S, S, 3) uint8 RGB.

    Returns:
        (S, S) float32 squared grey levels per pixel, mean over 7 x 7 pixels.
    """
    gray = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    dy, dx = (np.asarray(slope) for slope in np.gradient(gray))
    xx, yy, xy = (cv2.blur(product, (7, 7)) for product in (dx * dx, dy * dy, dx * dy))
    middle, half = (xx + yy) / 2, (xx - yy) / 2
    return np.asarray(middle - np.sqrt(half**2 + xy**2), np.float32)


def bilinear(field: FloatArray, points: DoubleArray) -> DoubleArray:
    """Values of a field between its pixels' centres.

    Args:
        field: (H, W, C).
        points: (N, 2) x y, the centre of the first pixel at (0.5, 0.5).

    Returns:
        (N, C) float64; NaN for points outside the field or not finite.
    """
    height, width = field.shape[:2]
    inside = np.asarray(((points >= 0) & (points <= [width, height])).all(axis=1))
    at = np.clip(np.where(inside[:, None], points, 0.5) - 0.5, 0, [width - 1, height - 1])
    low = np.minimum(at.astype(np.intp), np.maximum([width - 2, height - 2], 0))
    (x, y), (u, v) = low.T, (at - low).T[..., None]
    right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
    top = field[y, x] * (1 - u) + field[y, right] * u
    values = top * (1 - v) + (field[below, x] * (1 - u) + field[below, right] * u) * v
    values[~inside] = np.nan
    return np.asarray(values, np.float64)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
