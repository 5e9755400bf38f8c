"""The pictures of a capture as the viewer needs them: read when asked for, the last ones kept."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

from calib.capture import Capture, View
from mvs.types import ByteArray

_KEPT_BYTES = 400_000_000


class Pictures:
    """Pictures by the number of their view; safe to use from several threads."""

    def __init__(self, capture: Capture, kept_bytes: int = _KEPT_BYTES) -> None:
        """Take a capture; at most ``kept_bytes`` of pictures stay in memory, and one at least."""
        self._views = capture.views
        self._kept: OrderedDict[int, ByteArray] = OrderedDict()
        self._limit = kept_bytes
        self._lock = Lock()

    def taken(self, view: int) -> ByteArray:
        """The picture (H, W, 3) uint8 as it was taken.

        Raises:
            CaptureError: if it cannot be read.
        """
        with self._lock:
            if view in self._kept:
                self._kept.move_to_end(view)
                return self._kept[view]
        image = self._views[view].load_image()
        with self._lock:
            self._kept[view] = image
            while len(self._kept) > 1 and self._size() > self._limit:
                self._kept.popitem(last=False)
        return image

    def _size(self) -> int:
        return sum(image.nbytes for image in self._kept.values())


def pinhole_picture(view: View, longest: int) -> ByteArray:
    """A view's picture without distortion, no side of it longer than ``longest`` pixels.

    Raises:
        CaptureError: if it cannot be read.
    """
    import cv2

    image = view.load_image() if view.camera.is_pinhole else view.load_pinhole().image
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
