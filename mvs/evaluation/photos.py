"""Labelled photographs as rows of a sheet: each face cropped as its labels say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mvs.evaluation.landmarks import embed_face, labelled_pictures, read_pts
from mvs.evaluation.sheet import SheetOptions
from mvs.evaluation.tiles import SheetView
from mvs.types import Embedder


def photo_views(folder: Path, embedder: Embedder, n: int | None = None) -> list[SheetView]:
    """Photographs with labels, embedded.

    Args:
        folder: with pictures and, of the same name, ``.pts`` files.
        embedder: what is looked at.
        n: how many, spread over the list by name; the default of ``SheetOptions`` if None.

    Raises:
        ValueError: if a file of labels is damaged or no picture has one.
        CaptureError: if a picture cannot be read.
    """
    n = SheetOptions.n_views if n is None else n
    pictures = labelled_pictures(folder)
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(n, len(pictures))).round().astype(int))
    views = []
    for path in (pictures[row] for row in rows):
        labels = read_pts(path.with_suffix(".pts")) + 0.5
        views.append(SheetView(path.stem, *embed_face(path, labels, embedder)))
    return views
