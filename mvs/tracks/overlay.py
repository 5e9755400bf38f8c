"""A picture in which a person can judge tracks: pairs side by side with their points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from calib.files import replacing
from mvs.tracks.options import CROP_SIZE
from mvs.tracks.pairs import PairArray
from mvs.types import ByteArray

_ZOOM, _COLUMNS, _N_DOTS, _N_LINES = 2, 2, 120, 12
# OpenCV draws at whole pixels and, with a shift, at 1 / 2^shift of one.
_SHIFT = 4


def draw_overlay(shards: Sequence[PairArray], n_pairs: int) -> ByteArray:
    """Pairs, evenly picked, side by side; the same point has the same colour in both.

    Args:
        shards: as ``read_pairs`` gives them.
        n_pairs: at most so many.

    Returns:
        (H, W, 3) uint8 RGB, two pairs in a row.
    """
    total = sum(len(shard) for shard in shards)
    numbers = np.unique(np.linspace(0, total - 1, min(n_pairs, total)).round().astype(int))
    tiles = [draw_pair(_record(shards, number)) for number in numbers.tolist()]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    return np.vstack(rows)


def draw_pair(record: PairArray) -> ByteArray:
    """One ``PAIR``: the two crops with dots, a dozen of them joined by lines."""
    crops = [
        cv2.resize(image, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_LINEAR)
        for image in record["images"]
    ]
    canvas = np.ascontiguousarray(np.hstack(crops))
    n = int(record["n_points"])
    points = record["points"][:n].astype(np.float64) * _ZOOM - 0.5
    points[:, 1, 0] += CROP_SIZE * _ZOOM
    rows = np.unique(np.linspace(0, n - 1, min(n, _N_DOTS)).astype(int))
    colors = _colors(record["points"][:n, 0])
    joined = rows[:: max(len(rows) // _N_LINES, 1)]
    for row in rows.tolist():
        (a, b), color = np.rint(points[row] * 2**_SHIFT).astype(int).tolist(), colors[row]
        if row in joined:
            cv2.line(canvas, a, b, color, 1, cv2.LINE_AA, _SHIFT)
        for end in (a, b):
            cv2.circle(canvas, end, 3 << _SHIFT, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return np.asarray(canvas, np.uint8)


def write_overlay(path: Path, picture: ByteArray) -> None:
    """Write a picture, whole or not at all.

    Args:
        path: whose ending names the format; its folder exists.
        picture: (H, W, 3) uint8 RGB.
    """
    _, data = cv2.imencode(path.suffix, picture[..., ::-1])
    with replacing(path) as file:
        file.write(np.asarray(data, np.uint8).tobytes())


def check_overlay(path: Path) -> None:
    """Complain at once about a name that cannot be written.

    Raises:
        ValueError: if the folder is absent or the ending names no picture format.
    """
    if not (path.parent.is_dir() and cv2.haveImageWriter(str(path))):
        raise ValueError(f"{path}: give a name that ends in .png or .jpg in a folder that exists")


def _record(shards: Sequence[PairArray], number: int) -> PairArray:
    for shard in shards:
        if number < len(shard):
            return np.asarray(shard[number])
        number -= len(shard)
    raise ValueError(f"there is no pair {number} more")


def _colors(points: np.ndarray) -> list[list[int]]:
    """Hue by direction from the middle of the points, brightness by distance."""
    offset = points - points.mean(axis=0)
    hue = (np.arctan2(offset[:, 1], offset[:, 0]) / np.pi + 1) * 89.5
    distance = np.linalg.norm(offset, axis=1)
    value = 140 + 115 * distance / max(float(distance.max()), 1e-6)
    hsv = np.stack([hue, np.full_like(hue, 230), value], axis=1).astype(np.uint8)
    return [[int(v) for v in row] for row in cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]]
