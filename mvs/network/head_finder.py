"""Finds the head in a picture with nothing but the network's own head mask.

The whole picture first, letter-boxed to the network's size; then, unless it is filled by one head,
closer, on what was found, until the square is stable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mvs.network.crop import sample_region
from mvs.types import BoolArray, ByteArray, Square

MaskFunction = Callable[[ByteArray], BoolArray]


@dataclass(frozen=True)
class FinderOptions:
    """How the head is looked for.

    Attributes:
        margin: side of the returned square per longer side of the head's bounding box.
        min_share: smallest part of the crop that a head covers; less is noise.
        max_passes: how often a found region is looked at again.
        stable_share: the square is stable once no side moves by more than this part of its length.
        sure_share: a head that covers this part of the square around the picture is taken as it is
            found there; less may be several heads side by side.
    """

    margin: float = 1.25
    min_share: float = 0.004
    max_passes: int = 4
    stable_share: float = 0.05
    sure_share: float = 0.25

    def __post_init__(self) -> None:
        shares = (self.stable_share, self.sure_share)
        if self.margin < 1 or not 0 <= self.min_share < 1 or not min(shares) > 0:
            raise ValueError(
                "margin must be >= 1, min_share in [0, 1), stable_share and sure_share > 0, "
                f"got {self}"
            )
        if self.max_passes < 1:
            raise ValueError(f"max_passes must be at least 1, got {self.max_passes}")


def find_head(
    image: ByteArray, predict_mask: MaskFunction, size: int, options: FinderOptions | None = None
) -> Square | None:
    """Square around the head, or None where none is seen.

    Args:
        image: (H, W, 3) uint8 RGB picture of any size.
        predict_mask: the network's head mask of a crop, (size, size, 3) uint8 -> (size, size) bool.
        size: side of the crops the network takes.
        options: how to look.

    Returns:
        Square in picture pixels around the largest head, with a margin; may leave the picture.
        None also where what looked like a head vanishes on a closer look.
    """
    options = options or FinderOptions()
    share, square = _look(image, whole_picture(image), predict_mask, size, options)
    if share >= options.sure_share:
        return square
    for _ in range(options.max_passes):
        if square is None:
            break
        _, closer = _look(image, square, predict_mask, size, options)
        if closer is None or _moved(square, closer) <= options.stable_share:
            return closer
        square = closer
    return square


def whole_picture(image: ByteArray) -> Square:
    """The smallest square that holds the picture, around its middle."""
    height, width = image.shape[:2]
    return Square((width / 2, height / 2), float(max(height, width)))


def largest_piece(mask: BoolArray) -> tuple[int, Square] | None:
    """Pixels of the largest connected piece of a mask and the square around it.

    Args:
        mask: (H, W) bool.

    Returns:
        Number of pixels and the square, whose side is the longer of the bounding box, in pixels of
        the mask; None for an empty mask.
    """
    n, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if n < 2:
        return None
    # The first row is the background.
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, width, height, area = (int(value) for value in stats[best])
    return area, Square((left + width / 2, top + height / 2), float(max(width, height)))


def _look(
    image: ByteArray, region: Square, predict_mask: MaskFunction, size: int, options: FinderOptions
) -> tuple[float, Square | None]:
    """Part of a region that its largest head covers, and the square around that, in the picture."""
    crop = sample_region(image, region, size)
    piece = largest_piece(predict_mask(crop.image) & crop.inside)
    share = 0.0 if piece is None else piece[0] / size**2
    if piece is None or share < options.min_share:
        return share, None
    scale, corner = crop.image_from_map[0, 0], crop.image_from_map[:, 2]
    x, y = corner + scale * np.array(piece[1].center)
    return share, Square((float(x), float(y)), float(scale * piece[1].side * options.margin))


def _moved(before: Square, after: Square) -> float:
    """How far the sides moved, at most, in parts of the new side's length."""
    shift = np.abs(np.subtract(after.center, before.center)).max()
    return float((shift + abs(after.side - before.side) / 2) / after.side)
