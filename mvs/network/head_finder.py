"""Finds the head in a picture with nothing but the network's own head mask.

The whole picture first, at the network's size; then closer, on what was found, until the square is
stable. A head too small to be seen at that size is looked for in overlapping tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from mvs.network.crop import Crop, sample_region
from mvs.types import BoolArray, ByteArray, Square

MaskFunction = Callable[[ByteArray], BoolArray]


@dataclass(frozen=True)
class FinderOptions:
    """How the head is looked for.

    Attributes:
        margin: side of the returned square per longer side of the head's bounding box.
        min_share: smallest part of the crop that a head covers; less is noise.
        max_passes: how often a found region is looked at again, closer.
        stable_px: the square is stable once no side moves by more than this part of its own length.
        tile_shares: sides of the tiles, in parts of the picture's longer side, tried in turn.
    """

    margin: float = 1.25
    min_share: float = 0.004
    max_passes: int = 3
    stable_px: float = 0.05
    tile_shares: tuple[float, ...] = (0.5, 0.25)


@dataclass(frozen=True)
class _Sighting:
    """A head in one crop: its square in the picture and the area of its mask in picture pixels."""

    square: Square
    area: float


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
    """
    options = options or FinderOptions()
    whole = whole_picture(image)
    sighting = _look(image, whole, predict_mask, size, options)
    found = _refine(image, sighting, predict_mask, size, options) if sighting else None
    for share in options.tile_shares:
        if found:
            break
        tiles = _tiles(image, share)
        seen = [_look(image, tile, predict_mask, size, options) for tile in tiles]
        # Largest first; the earliest tile among equals.
        for candidate in sorted((s for s in seen if s), key=lambda s: -s.area):
            found = _refine(image, candidate, predict_mask, size, options)
            if found:
                break
    return found


def whole_picture(image: ByteArray) -> Square:
    """The smallest square that holds the picture, around its middle."""
    height, width = image.shape[:2]
    return Square((width / 2, height / 2), float(max(height, width)))


def _refine(
    image: ByteArray,
    sighting: _Sighting,
    predict_mask: MaskFunction,
    size: int,
    options: FinderOptions,
) -> Square | None:
    """Looks at what was found until the square is stable; None if it vanishes on a closer look."""
    square = sighting.square
    for _ in range(options.max_passes):
        closer = _look(image, square, predict_mask, size, options)
        if closer is None:
            return None
        moved = np.abs(np.subtract(_corners(closer.square), _corners(square))).max()
        square = closer.square
        if moved <= options.stable_px * square.side:
            break
    return square


def _look(
    image: ByteArray, region: Square, predict_mask: MaskFunction, size: int, options: FinderOptions
) -> _Sighting | None:
    """The largest connected piece of head in one region."""
    crop = sample_region(image, region, size)
    mask = predict_mask(crop.image) & crop.inside
    n, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if n < 2:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    best = int(areas.argmax()) + 1
    if areas[best - 1] < options.min_share * size * size:
        return None
    left, top, width, height = (float(v) for v in stats[best, : cv2.CC_STAT_AREA])
    return _sighting(crop, (left, top, width, height), float(areas[best - 1]), options.margin)


def _sighting(
    crop: Crop, box: tuple[float, float, float, float], area: float, margin: float
) -> _Sighting:
    scale, corner = crop.image_from_map[0, 0], crop.image_from_map[:, 2]
    left, top, width, height = box
    x, y = corner + scale * np.array([left + width / 2, top + height / 2])
    square = Square((float(x), float(y)), float(scale * max(width, height) * margin))
    return _Sighting(square, area * scale * scale)


def _corners(square: Square) -> tuple[float, float, float, float]:
    (x, y), half = square.center, square.side / 2
    return x - half, y - half, x + half, y + half


def _tiles(image: ByteArray, share: float) -> Iterator[Square]:
    """Squares that cover the picture with at least half of each overlapping the next."""
    height, width = image.shape[:2]
    side = share * max(height, width)
    for y in _tile_centers(height, side):
        for x in _tile_centers(width, side):
            yield Square((x, y), side)


def _tile_centers(length: int, side: float) -> list[float]:
    if length <= side:
        return [length / 2]
    n = int(np.ceil((length - side) / (side / 2))) + 1
    return [float(c) for c in np.linspace(side / 2, length - side / 2, n)]
