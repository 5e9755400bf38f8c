"""Labelled photographs as rows of a sheet: each face cropped as its labels say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.capture import CaptureError
from mvs.evaluation.landmarks import read_pts
from mvs.evaluation.sheet import SheetOptions
from mvs.evaluation.tiles import SheetView
from mvs.types import ByteArray, Embedder, Square

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# The square shown to the embedder, in parts of the longer side of the box around the labels, which
# reach from the chin to the brows: larger, and farther up.
_SQUARE, _SQUARE_UP = 2.0, 0.2


def photo_views(folder: Path, embedder: Embedder, n: int | None = None) -> list[SheetView]:
    """Photographs with labels, embedded.

    Args:
        folder: with pictures and, of the same name, ``.pts`` files.
        embedder: what is looked at.
        n: how many, spread over the list by name; the default of ``SheetOptions`` if None.

    Raises:
        ValueError: if a file of labels is damaged.
        CaptureError: if a picture cannot be read.
    """
    n = SheetOptions.n_views if n is None else n
    pictures = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _PICTURES and path.with_suffix(".pts").is_file()
    ]
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(n, len(pictures))).round().astype(int))
    views = []
    for path in (pictures[row] for row in rows):
        image = _load(path)
        region = None
        if not embedder.wants_distorted:
            labels = read_pts(path.with_suffix(".pts"))
            low, high = labels.min(axis=0), labels.max(axis=0)
            side = float((high - low).max())
            x, y = (low + high) / 2
            region = Square((float(x), float(y) - _SQUARE_UP * side), _SQUARE * side)
        views.append(SheetView(path.stem, image, embedder.embed(image, region, path.name)))
    return views


def _load(path: Path) -> ByteArray:
    import cv2

    data = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise CaptureError(path, "not a readable picture (damaged or cut off)", "copy it again")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
