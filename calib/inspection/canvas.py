"""Lines, discs and words on a picture, from OpenCV, with places in fractions of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calib.capture import ByteArray

Color = tuple[int, int, int]
INK: Color = (30, 32, 36)
FAINT: Color = (120, 124, 130)
PALE: Color = (222, 226, 230)
RED: Color = (205, 40, 40)
_WHITE: Color = (255, 255, 255)
_FRACTION_BITS = 4


class Canvas:
    """A picture to draw on; x to the right, y down.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
    """

    def __init__(self, width: int, height: int) -> None:
        self.pixels: ByteArray = np.full((height, width, 3), 255, np.uint8)

    def polygon(self, places: npt.ArrayLike, color: Color, fill: Color | None = None) -> None:
        """A closed outline, filled first where a colour for that is given."""
        import cv2

        corners = _fixed(places)
        if fill is not None:
            cv2.fillPoly(self.pixels, [corners], fill, cv2.LINE_AA, _FRACTION_BITS)
        cv2.polylines(self.pixels, [corners], True, color, 1, cv2.LINE_AA, _FRACTION_BITS)

    def line(self, places: npt.ArrayLike, color: Color, width: int = 1) -> None:
        """An open line."""
        import cv2

        cv2.polylines(
            self.pixels, [_fixed(places)], False, color, width, cv2.LINE_AA, _FRACTION_BITS
        )

    def disc(self, place: Sequence[float], radius: float, color: Color, fill: bool = True) -> None:
        """A disc or a circle."""
        import cv2

        x, y = _fixed([place])[0].tolist()
        size = round(radius * (1 << _FRACTION_BITS))
        width = -1 if fill else 1
        cv2.circle(self.pixels, (x, y), size, color, width, cv2.LINE_AA, _FRACTION_BITS)

    def box(self, place: tuple[int, int], size: tuple[int, int], color: Color) -> None:
        """A filled rectangle from its upper left corner."""
        (x, y), (width, height) = place, size
        self.pixels[max(y, 0) : y + height, max(x, 0) : x + width] = color

    def paste(self, image: ByteArray, place: tuple[int, int]) -> None:
        """A picture, cut off at the borders."""
        x, y = place
        room = self.pixels[y : y + image.shape[0], x : x + image.shape[1]]
        room[:] = image[: room.shape[0], : room.shape[1]]

    def text(
        self,
        words: str,
        place: Sequence[float],
        color: Color = INK,
        size: float = 0.42,
        anchor: float = 0.0,
    ) -> None:
        """Words on a base line; ``anchor`` 0 starts at the place, 0.5 is centred, 1 ends there."""
        import cv2

        words = words.encode("ascii", "replace").decode()
        font = cv2.FONT_HERSHEY_SIMPLEX
        width = cv2.getTextSize(words, font, size, 1)[0][0]
        start = (round(place[0] - anchor * width), round(place[1]))
        cv2.putText(self.pixels, words, start, font, size, _WHITE, 3, cv2.LINE_AA)
        cv2.putText(self.pixels, words, start, font, size, color, 1, cv2.LINE_AA)


def _fixed(places: npt.ArrayLike) -> npt.NDArray[np.int32]:
    numbers = np.clip(np.asarray(places, np.float64), -1e4, 1e4) * (1 << _FRACTION_BITS)
    return np.round(numbers).astype(np.int32)
