"""The head in one picture: the crop that is written, and where points may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mvs.network.crop import sample_region
from mvs.network.head_finder import FinderOptions, largest_piece
from mvs.tracks.options import CROP_SIZE, MASK_SIZE
from mvs.types import BoolArray, ByteArray, DoubleArray, Embedder, Square

# A followed head that moved by more than this part of the square's side is looked for anew.
_MOST_MOVED = 0.2


@dataclass(frozen=True)
class Head:
    """A head in a picture.

    Attributes:
        name: of the picture.
        square: around the head, picture pixels.
        crop: (256, 256, 3) uint8 RGB, the square resampled; black outside the picture.
        mask: (128, 128) bool head mask of the crop.
        inner: (256, 256) bool, where points may lie: the mask less its rim.
        next_square: around the mask, as the embedder's head finder would draw it.
    """

    name: str
    square: Square
    crop: ByteArray
    mask: BoolArray
    inner: BoolArray
    next_square: Square

    @property
    def scale(self) -> float:
        """Picture pixels per crop pixel."""
        return self.square.side / CROP_SIZE

    def to_crop(self, points: DoubleArray) -> DoubleArray:
        """(N, 2) crop pixels of picture pixels."""
        corner = np.array(self.square.center) - self.square.side / 2
        return np.asarray((points - corner) / self.scale)

    def to_picture(self, points: DoubleArray) -> DoubleArray:
        """(N, 2) picture pixels of crop pixels."""
        corner = np.array(self.square.center) - self.square.side / 2
        return np.asarray(points * self.scale + corner)

    def holds(self, points: DoubleArray) -> BoolArray:
        """Which of (N, 2) picture pixels lie on the head, away from its rim; NaN does not."""
        crop = self.to_crop(points)
        inside = np.asarray(((crop >= 0) & (crop < CROP_SIZE)).all(axis=1))
        x, y = np.where(inside[:, None], crop, 0).astype(np.intp).T
        return np.asarray(inside & self.inner[y, x])


def look_at_head(
    name: str, image: ByteArray, square: Square, embedder: Embedder, rim: int
) -> Head | None:
    """What is known of the head in a square of a picture.

    Args:
        name: of the picture.
        image: (H, W, 3) uint8 RGB.
        square: around the head.
        embedder: gives the mask; only its largest connected piece counts.
        rim: how far inside the mask points have to lie, crop pixels.

    Returns:
        The head, None where the mask is empty.
    """
    cube_map = embedder.embed(image, square, name)
    to_map = _invert(cube_map.image_from_map)
    crop = sample_region(image, square, CROP_SIZE)
    shown = _sample_mask(cube_map.mask, _chain(to_map, crop.image_from_map), CROP_SIZE)
    whole = _largest(shown & crop.inside)
    piece = largest_piece(whole)
    if piece is None or piece[0] < FinderOptions().min_share * CROP_SIZE**2:
        return None
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    # Beyond the crop is no head.
    framed = np.pad(whole.astype(np.uint8), rim)
    inner = np.asarray(cv2.erode(framed, kernel)[rim:, rim:][:CROP_SIZE, :CROP_SIZE]) > 0
    half = whole.reshape(MASK_SIZE, 2, MASK_SIZE, 2).sum(axis=(1, 3)) >= 2
    scale, corner = crop.image_from_map[0, 0], crop.image_from_map[:, 2]
    x, y = corner + scale * np.array(piece[1].center)
    side = float(scale * piece[1].side * FinderOptions().margin)
    return Head(name, square, crop.image, half, inner, Square((float(x), float(y)), side))


class HeadFollower:
    """Finds the head of one picture of a video after the other.

    The square is drawn around the mask of the picture before, which costs one look instead of the
    head finder's several; the finder is asked where there is no such mask or the head moved far.
    """

    def __init__(self, embedder: Embedder, rim: int) -> None:
        self._embedder = embedder
        self._rim = rim
        self._square: Square | None = None

    def __call__(self, name: str, image: ByteArray) -> Head | None:
        """The head in the next picture, None where none is seen."""
        head = None
        if self._square is not None:
            head = look_at_head(name, image, self._square, self._embedder, self._rim)
        if head is None or _moved(head.square, head.next_square) > _MOST_MOVED:
            head = find_head(name, image, self._embedder, self._rim)
        self._square = None if head is None else head.next_square
        return head


def find_head(name: str, image: ByteArray, embedder: Embedder, rim: int) -> Head | None:
    """The head in a picture by the embedder's own finder, None where none is seen."""
    square = embedder.find_head(image, name)
    return None if square is None else look_at_head(name, image, square, embedder, rim)


def _largest(mask: BoolArray) -> BoolArray:
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if n < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _moved(before: Square, after: Square) -> float:
    shift = np.abs(np.subtract(after.center, before.center)).max()
    return float((shift + abs(after.side - before.side) / 2) / after.side)


def _sample_mask(mask: BoolArray, map_from_crop: DoubleArray, size: int) -> BoolArray:
    """The mask at a crop's pixel centres; outside the map there is no head."""
    grid = np.arange(size) + 0.5
    xs, ys = np.meshgrid(grid, grid)
    at = np.stack([xs, ys, np.ones_like(xs)], axis=-1) @ map_from_crop.T - 0.5
    maps: Any = at.astype(np.float32)
    values = cv2.remap(mask.astype(np.float32), maps, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    return np.asarray(values >= 0.5)


def _invert(affine: npt.NDArray[np.float64]) -> DoubleArray:
    return np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]


def _chain(outer: DoubleArray, inner: DoubleArray) -> DoubleArray:
    """(2, 3) of the inner affine followed by the outer."""
    return np.asarray(outer @ np.vstack([inner, [0, 0, 1]]))


def square_around(first: Square, second: Square) -> Square:
    """The smallest square of whole pixels that holds two."""
    centers = np.array([first.center, second.center])
    halves = np.array([[first.side], [second.side]]) / 2
    low = np.floor((centers - halves).min(axis=0))
    side = np.ceil(((centers + halves).max(axis=0) - low).max())
    x, y = low + side / 2
    return Square((float(x), float(y)), float(side))
