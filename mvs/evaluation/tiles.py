"""One view's tiles: the picture cropped to the head, and what a cube map says of it as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.canonical.landmarks import find_landmarks, landmark_positions
from mvs.canonical.parts import segment
from mvs.canonical.regions import REGION_COLORS
from mvs.network.crop import sample_region
from mvs.stages.views import map_from_image, picture_pixels
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray, Square

BLANK = np.array([40, 40, 44], np.uint8)
BLACK = (0, 0, 0)
_WHITE, _SEEN, _GUESSED, _OUTLINE = (255, 255, 255), (60, 255, 60), (255, 60, 60), (255, 220, 0)
# One per entry of ``mvs.canonical.regions.REGIONS``.
PART_COLORS = np.array(REGION_COLORS, np.uint8)


@dataclass(frozen=True)
class SheetView:
    """What one row shows.

    Attributes:
        name: of the picture.
        image: (H, W, 3) uint8 RGB.
        cube_map: of the picture, at any resolution.
    """

    name: str
    image: ByteArray
    cube_map: CubeMap


@dataclass(frozen=True)
class Tile:
    """One view cropped to the head, at the size of a tile; the map by its nearest pixels.

    Attributes:
        name: of the picture.
        image: (T, T, 3) uint8.
        coords: (T, T, 3) float32.
        confidence: (T, T) float32.
        mask: (T, T) bool.
        normals: (T, T, 3) float32, None where the map has none.
        tile_from_image: (2, 3) affine from picture pixels to the tile's.
        cube_map: of the picture.
    """

    name: str
    image: ByteArray
    coords: FloatArray
    confidence: FloatArray
    mask: BoolArray
    normals: FloatArray | None
    tile_from_image: DoubleArray
    cube_map: CubeMap

    @staticmethod
    def of(view: SheetView, side: int, margin: float) -> Tile:
        """Crop one view.

        Args:
            view: with something on its mask.
            side: of the tile, pixels.
            margin: side of the crop, in parts of the longer side of the box around the mask.
        """
        cube_map = view.cube_map
        square = _square(cube_map, margin)
        crop = sample_region(view.image, square, side)
        scale, corner = crop.image_from_map[0, 0], crop.image_from_map[:, 2]
        y, x = np.mgrid[:side, :side] + 0.5
        on_image = np.stack([x, y], axis=-1) * scale + corner
        to_map = map_from_image(cube_map)
        on_map = np.floor(on_image @ to_map[:, :2].T + to_map[:, 2]).astype(np.int64)
        height, width = cube_map.mask.shape
        column, row = on_map[..., 0], on_map[..., 1]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        at = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(cube_map.coords[at].sum(axis=-1))
        return Tile(
            view.name,
            crop.image,
            cube_map.coords[at],
            cube_map.confidence[at],
            np.asarray(inside & finite & cube_map.mask[at]),
            None if cube_map.normals is None else cube_map.normals[at],
            np.column_stack([np.eye(2) / scale, -corner / scale]),
            cube_map,
        )

    def on_head(self, values: npt.NDArray[Any]) -> ByteArray:
        """Values (T, T, 3) in [0, 255] on the head, blank beside it."""
        shown = np.where(self.mask[..., None], values, BLANK)
        return np.asarray(np.clip(np.nan_to_num(shown), 0, 255).astype(np.uint8))


def _square(cube_map: CubeMap, margin: float) -> Square:
    pixels = picture_pixels(cube_map, np.flatnonzero(cube_map.mask).astype(np.int32))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    x, y = (low + high) / 2
    return Square((float(x), float(y)), max(float((high - low).max()) * margin, 4.0))


def draw_confidence(tile: Tile) -> ByteArray:
    """Confidence from dark (0) to bright (1)."""
    import cv2

    levels = np.clip(np.nan_to_num(tile.confidence) * 255, 0, 255).astype(np.uint8)
    return tile.on_head(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1])


def draw_mask(tile: Tile) -> ByteArray:
    """The picture with the mask's outline, dimmed beside it."""
    import cv2

    inner = cv2.erode(tile.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    drawn = np.where(tile.mask[..., None], tile.image, tile.image // 3)
    drawn[tile.mask & ~inner] = _OUTLINE
    return np.asarray(drawn.astype(np.uint8))


def draw_normals(tile: Tile) -> ByteArray:
    """Normals as colour: x to the subject's left red, y up green, z forward blue."""
    if tile.normals is None:
        return tile.on_head(np.zeros_like(tile.image))
    return tile.on_head((tile.normals + 1) * 127.5)


def draw_parts(tile: Tile) -> ByteArray:
    """Regions of the head in the colours of ``PART_COLORS``."""
    labels = segment(CubeMap(tile.coords, tile.confidence, tile.mask, np.eye(2, 3)))
    return tile.on_head(PART_COLORS[labels])


def draw_landmarks(tile: Tile) -> ByteArray:
    """The picture with 68 landmarks: green where seen, red where only guessed."""
    import cv2

    found = find_landmarks(tile.cube_map, landmark_positions())
    at = found.pixels @ tile.tile_from_image[:, :2].T + tile.tile_from_image[:, 2]
    drawn = tile.image.copy()
    for (x, y), visible in zip(at, found.visible, strict=True):
        if np.isfinite([x, y]).all() and max(abs(x), abs(y)) < 4 * len(drawn):
            # Sixteenths of a pixel; OpenCV's first pixel has its centre at 0.
            place = (round((x - 0.5) * 16), round((y - 0.5) * 16))
            color = _SEEN if visible else _GUESSED
            cv2.circle(drawn, place, 2 * 16, BLACK, -1, cv2.LINE_AA, 4)
            cv2.circle(drawn, place, 3 * 8, color, -1, cv2.LINE_AA, 4)
    return np.asarray(drawn)


def with_text(image: ByteArray, text: str) -> ByteArray:
    """A picture with its name in the lower left corner."""
    import cv2

    drawn = image.copy()
    place = (4, len(drawn) - 6)
    for color, width in ((BLACK, 3), (_WHITE, 1)):
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, width, cv2.LINE_AA)
    return drawn
