"""Batches from shards of portraits; what a step sees depends on its number alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mvs.network.crop import for_opencv
from mvs.synthetic.head import Head
from mvs.synthetic.portraits import SIZE, portrait_path, record_type
from mvs.synthetic.shards import open_shard
from mvs.training.augment import photograph_anew
from mvs.types import BoolArray, ByteArray, DoubleArray

# How exactly a portrait is laid out where the head was found by a network: turn (radians),
# logarithm of the zoom and shift (part of the side), standard deviations.
_TURN, _ZOOM, _SHIFT = 0.035, 0.03, 0.012
_SHOWN_ANEW, _HIDDEN = 0.5, 0.1
# Portraits that show nothing, for the variances.
_BLANK = 0.03


class PortraitBatch(NamedTuple):
    """Portraits and what they show.

    Attributes:
        pictures: (B, 3, S, S) uint8.
        identity: (B, I) float32 coefficients of the head model.
        expression: (B, E) float32.
        neck: (B, 3) float32 how each neck is bent.
        cameras: (B, 3, 4) float64 from the head's frame, cm, to pixels times depth.
        mirrored: (B,) bool, whose picture is mirrored, though none of the others.
    """

    pictures: Tensor
    identity: Tensor
    expression: Tensor
    neck: Tensor
    cameras: DoubleArray
    mirrored: Tensor


class PortraitStream:
    """Draws portraits from shards.

    Raises:
        ValueError: if the folder holds no shard, or one of another version.
    """

    def __init__(self, folder: Path, head: Head, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._shards: list[np.ndarray] = []
        while (path := portrait_path(folder, len(self._shards))).is_file():
            self._shards.append(
                open_shard(path, record_type(head), "no portraits of this head model and version")
            )
        if not self._shards:
            raise ValueError(
                f"{folder}: holds no {path.name}; make some with mvs synthesize portraits"
            )
        self._starts = np.cumsum([0] + [len(shard) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def get(self, step: int, batch: int) -> PortraitBatch:
        """The portraits of one step, changed at random."""
        n = len(self)
        first = step * batch
        places = range(first, first + batch)
        orders = {round_: self._order(round_) for round_ in {k // n for k in places}}
        rows = [orders[k // n][k % n] for k in places]
        rng = np.random.default_rng((self._seed, step))
        records = [self._record(row) for row in rows]
        shown = [jittered(record["image"], self._size, rng) for record in records]
        pictures, moves = (np.stack(parts) for parts in zip(*shown, strict=True))
        mirrored = rng.random(batch) < 0.5
        for k in np.flatnonzero(rng.random(batch) < _BLANK):
            pictures[k] = blank_picture(pictures[k], rng)
        return _batch(pictures, moves, records, mirrored)

    def plain(self, first: int, batch: int) -> PortraitBatch:
        """Portraits in order, laid out as they are."""
        records = [self._record(k) for k in range(first, min(first + batch, len(self)))]
        pictures = np.stack([cropped(record["image"], self._size) for record in records])
        low = (SIZE - self._size) // 2
        move = np.array([[1, 0, -low], [0, 1, -low], [0, 0, 1.0]])
        moves = np.tile(move, (len(records), 1, 1))
        return _batch(pictures, moves, records, np.zeros(len(records), np.bool_))

    def _order(self, round_: int) -> np.ndarray:
        return np.random.default_rng((self._seed, round_, 1)).permutation(len(self))

    def _record(self, row: int) -> np.ndarray:
        shard = int(np.searchsorted(self._starts, row, "right")) - 1
        return np.asarray(self._shards[shard][row - self._starts[shard]])


def cropped(image: ByteArray, size: int) -> ByteArray:
    """The middle (size, size) of a rendered portrait."""
    low = (SIZE - size) // 2
    return image[low : low + size, low : low + size]


def jittered(
    image: ByteArray, size: int, rng: np.random.Generator
) -> tuple[ByteArray, DoubleArray]:
    """About the middle (size, size) of a rendered portrait, by another camera.

    Returns:
        The picture, and (3, 3) from the rendered portrait's pixels to its own.
    """
    turn, zoom = rng.normal(0, _TURN), np.exp(rng.normal(0, _ZOOM))
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]])
    middle = 0.5 * SIZE + rng.normal(0, _SHIFT * size, 2)
    rendered_from_own = np.eye(3)
    rendered_from_own[:2, :2] = linear
    rendered_from_own[:2, 2] = middle - linear @ np.full(2, 0.5 * size)
    seen = cv2.warpAffine(
        image,
        for_opencv(rendered_from_own)[:2],
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    picture = np.asarray(seen, np.uint8)
    if rng.random() < _HIDDEN:
        _hide(picture, rng)
    if rng.random() < _SHOWN_ANEW:
        picture = photograph_anew(picture, rng)
    return picture, np.asarray(np.linalg.inv(rendered_from_own))


def blank_picture(picture: ByteArray, rng: np.random.Generator) -> ByteArray:
    """A picture in which no head can be seen: plain, a slope or pixels of another in disorder."""
    kind = rng.random()
    if kind < 0.3:
        return rng.permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.float32)
    if kind < 0.7:
        corners[:] = corners[:1, :1]
    noise = rng.normal(0, rng.uniform(0, 20), picture.shape)
    plain = cv2.resize(corners, picture.shape[:2], interpolation=cv2.INTER_LINEAR)
    return np.clip(plain + noise, 0, 255).astype(np.uint8)


def _hide(picture: ByteArray, rng: np.random.Generator) -> None:
    """Lay a plain rectangle over a part."""
    size = len(picture)
    low = rng.integers(0, size, 2)
    high = low + rng.integers(size // 16, size // 3, 2)
    picture[low[0] : high[0], low[1] : high[1]] = rng.integers(0, 256, 3)


def _batch(
    pictures: ByteArray,
    moves: DoubleArray,
    records: list[np.ndarray],
    mirrored: BoolArray,
) -> PortraitBatch:
    pictures[mirrored] = pictures[mirrored, :, ::-1]
    identity, expression, neck, camera = (
        np.stack([record[name] for record in records])
        for name in ("identity", "expression", "neck", "camera")
    )
    return PortraitBatch(
        torch.from_numpy(pictures).permute(0, 3, 1, 2),
        torch.from_numpy(identity),
        torch.from_numpy(expression),
        torch.from_numpy(neck),
        moves @ camera,
        torch.from_numpy(mirrored),
    )
