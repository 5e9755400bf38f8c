"""Landmarks as files: JSON, CSV and ``.pts``, and pictures with the landmarks drawn on.

Pixels count from 0.5, the centre of the first pixel, in JSON and CSV, and from 1 in ``.pts``, as in
the files of 300-W.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.canonical.landmarks import Landmarks2d
from mvs.canonical.layouts import Layout
from mvs.types import BoolArray, ByteArray, DoubleArray

# OpenCV draws at whole pixels and, with a shift, at 1 / 2^shift of one.
_SHIFT = 4
_PTS_SHIFT = 0.5


def round_list(values: npt.NDArray[Any], digits: int = 6) -> Any:
    """Nested lists of numbers for JSON, None for what is no number."""
    if values.ndim:
        return [round_list(np.asarray(row), digits) for row in values]
    return round(float(values), digits) if np.isfinite(values) else None


def layout_document(layout: Layout) -> dict[str, Any]:
    """A layout as its own file holds it, see ``mvs.canonical.layouts``."""
    rows = zip(layout.names, layout.positions, layout.inside, strict=True)
    landmarks = [
        {"name": name, "uvw": round_list(uvw)} | ({"inside": True} if inside else {})
        for name, uvw, inside in rows
    ]
    return {"layout": layout.name, "landmarks": landmarks}


def picture_document(found: Landmarks2d) -> dict[str, Any]:
    """Landmarks of a picture for JSON, rows in the layout's order."""
    return {
        "pixels": round_list(found.pixels, 3),
        "confidence": round_list(found.confidence, 4),
        "visible": found.visible.tolist(),
    }


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV, whole or not at all; numbers that are none are left empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([["" if v != v else v for v in row] for row in rows])
    with replacing(path) as stream:
        stream.write(text.getvalue().encode())


def picture_rows(picture: str, layout: Layout, found: Landmarks2d) -> list[list[Any]]:
    """Rows picture, name, u, v, w, x, y, confidence, visible, inside."""
    return [
        [
            picture,
            layout.names[k],
            *np.round(layout.positions[k].astype(float), 6).tolist(),
            *np.round(found.pixels[k], 3).tolist(),
            round(float(found.confidence[k]), 4),
            int(found.visible[k]),
            int(layout.inside[k]),
        ]
        for k in range(len(layout))
    ]


PICTURE_HEADER = ("picture", "name", "u", "v", "w", "x", "y", "confidence", "visible", "inside")


def write_pts(path: Path, pixels: DoubleArray) -> None:
    """Write a ``.pts`` file of 300-W: text, one point per line, the first pixel's centre is 1.

    Args:
        path: the file.
        pixels: (K, 2); the first pixel's centre is 0.5. What is no number is written as nan.
    """
    lines = [f"{x:.6f} {y:.6f}" for x, y in pixels + _PTS_SHIFT]
    text = "\n".join(["version: 1", f"n_points: {len(pixels)}", "{", *lines, "}", ""])
    with replacing(path) as stream:
        stream.write(text.encode())


def draw_landmarks(
    image: ByteArray, pixels: DoubleArray, visible: BoolArray, inside: BoolArray | None = None
) -> ByteArray:
    """A picture with landmarks: green dots, orange rings for hidden, blue rings for inside.

    Args:
        image: (H, W, 3) uint8 RGB.
        pixels: (K, 2); those that are no numbers are left out.
        visible: (K,).
        inside: (K,), none if None.
    """
    import cv2

    canvas = np.ascontiguousarray(image.copy())
    size = max(image.shape[:2]) / 256 * (1.0 if len(pixels) <= 200 else 0.5)
    radius = max(round(size * 2**_SHIFT), 2**_SHIFT)
    reach = 4.0 * max(image.shape[:2])
    for k in np.flatnonzero(np.isfinite(pixels).all(axis=1) & (np.abs(pixels) < reach).all(axis=1)):
        at = tuple(np.rint((pixels[k] - 0.5) * 2**_SHIFT).astype(int).tolist())
        if visible[k]:
            cv2.circle(canvas, at, radius, (60, 230, 60), cv2.FILLED, cv2.LINE_AA, _SHIFT)
        else:
            color = (80, 140, 255) if inside is not None and inside[k] else (255, 140, 40)
            cv2.circle(canvas, at, radius, color, max(round(size / 2), 1), cv2.LINE_AA, _SHIFT)
    return np.asarray(canvas, np.uint8)
