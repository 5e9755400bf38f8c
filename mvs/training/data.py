"""Batches from shards of rendered pictures; what a step sees depends on its number alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mvs.synthetic.dataset import (
    PICTURE_SIZE,
    RECORD,
    decode_coords,
    decode_normals,
    shard_path,
)
from mvs.synthetic.shards import open_shard
from mvs.training.augment import augment
from mvs.types import FloatArray

# A shard takes a minute or so to render.
_LONGEST_WAIT_S = 900


class Batch(NamedTuple):
    """Pictures and their labels.

    Attributes:
        pictures: (B, 3, S, S) uint8.
        coords: (B, 3, S / 2, S / 2) float32, 0 off the head.
        mask: (B, 1, S / 2, S / 2) float32, 1 on the head.
        normals: (B, 3, S / 2, S / 2) float32 unit normals in the head's frame, 0 off the head.
        region: (B, S / 2, S / 2) int64 index into ``REGIONS``.
    """

    pictures: Tensor
    coords: Tensor
    mask: Tensor
    normals: Tensor
    region: Tensor

    def to(self, device: str) -> Batch:
        """The batch on another device."""
        return Batch._make(tensor.to(device) for tensor in self)


@dataclass(frozen=True)
class StreamOptions:
    """How shards are used while more of them may still be rendered.

    Attributes:
        folder: of the shards.
        n_shards: how many there will be.
        first: shards needed before the first step.
        reuse: times a picture is seen on average before newer shards are waited for.
        window: newest shards that batches are drawn from, bounded by memory.
        augment: whether ``augment`` changes what is drawn.
        seed: of the draws.
    """

    folder: Path
    n_shards: int
    first: int = 4
    reuse: float = 4.0
    window: int = 48
    augment: bool = False
    seed: int = 0


class ShardStream:
    """Draws batches from a sliding window of shards.

    Raises:
        ValueError: if the folder holds no shard, or one that is due does not come.
    """

    def __init__(self, options: StreamOptions) -> None:
        if not shard_path(options.folder, 0).is_file():
            raise ValueError(
                f"{options.folder}: holds no {shard_path(options.folder, 0).name}; "
                "make shards with mvs synthesize training"
            )
        self.options = options
        self._over = threading.Event()
        self._open: dict[int, np.ndarray] = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Shards are waited for until this is left."""
        self._over.clear()
        try:
            yield
        finally:
            self._over.set()

    def get(self, step: int, seen: int, size: int, batch: int) -> Batch:
        """The pictures of one step.

        Args:
            step: number of the step.
            seen: pictures used before it.
            size: side of the pictures wanted, even, at most ``PICTURE_SIZE``.
            batch: their number.
        """
        return to_batch(*self._draw(step, seen, batch), size)

    def _draw(self, step: int, seen: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.options.seed, step))
        per_shard = len(self._shard(0))
        high = self.options.first + int(seen / (self.options.reuse * per_shard))
        high = min(high, self.options.n_shards)
        low = max(0, high - self.options.window)
        shards = rng.integers(low, high, batch)
        rows = rng.integers(0, per_shard, batch)
        records = np.stack([self._shard(s)[r] for s, r in zip(shards, rows, strict=True)])
        flipped = rng.random(batch) < 0.5
        if self.options.augment:
            records = np.stack([augment(record, rng) for record in records])
        return records, flipped

    def _shard(self, number: int) -> np.ndarray:
        if number not in self._open:
            path = shard_path(self.options.folder, number)
            waited = 0
            while not path.exists():
                if waited >= _LONGEST_WAIT_S:
                    raise ValueError(f"{path}: did not come within {_LONGEST_WAIT_S} s")
                if self._over.wait(1.0):
                    raise ValueError(f"{path}: is not waited for any more")
                waited += 1
            self._open[number] = read_shard(path)
        return self._open[number]


def read_shard(path: Path) -> np.ndarray:
    """The records of a shard, mapped into memory.

    Raises:
        ValueError: if the file is no shard of this version's records.
    """
    return open_shard(path, RECORD, "other labels than this version's")


def to_batch(records: np.ndarray, flipped: np.ndarray, size: int) -> Batch:
    """Records as tensors.

    Args:
        records: (B,) of ``dataset.RECORD``.
        flipped: (B,) bool, which to mirror; left becomes right in the cube too.
        size: side of the pictures, even, at most ``PICTURE_SIZE``.

    Returns:
        The batch.
    """
    n, half = len(records), size // 2
    pictures = np.empty((n, size, size, 3), np.uint8)
    labels = np.empty((n, half, half, 7), np.float32)
    region = np.empty((n, half, half), np.int64)
    for index, (record, flip) in enumerate(zip(records, flipped, strict=True)):
        picture, label, names = record["image"], _labels(record), record["region"]
        if size != PICTURE_SIZE:
            picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
            # OpenCV averages four channels at a time.
            parts = (label[..., :4], label[..., 4:])
            means = [cv2.resize(part, (half, half), interpolation=cv2.INTER_AREA) for part in parts]
            label = np.concatenate(means, axis=-1, dtype=np.float32)
            names = cv2.resize(names, (half, half), interpolation=cv2.INTER_NEAREST_EXACT)
        pictures[index] = picture[:, ::-1] if flip else picture
        labels[index] = label[:, ::-1] if flip else label
        region[index] = names[:, ::-1] if flip else names
    share = labels[..., :1]
    mask = (share >= 0.5).astype(np.float32)
    coords = decode_coords(labels[..., 1:4] / np.maximum(share, 0.25)) * mask
    coords[flipped, ..., :1] = (1 - coords[flipped, ..., :1]) * mask[flipped]
    length = np.linalg.norm(labels[..., 4:], axis=-1, keepdims=True)
    normals = labels[..., 4:] / np.maximum(length, 1e-6) * mask
    normals[flipped, ..., 0] *= -1
    # Channels last in memory, as the network wants them.
    planes = [torch.from_numpy(a).permute(0, 3, 1, 2) for a in (pictures, coords, mask, normals)]
    return Batch._make([*planes, torch.from_numpy(region)])


def _labels(record: np.ndarray) -> FloatArray:
    """Mask, coordinates (in ``coords``' levels) and normals, (H, W, 7), 0 off the head."""
    mask = record["mask"][..., None]
    parts = [mask, record["coords"] * mask, decode_normals(record["normals"]) * mask]
    return np.concatenate(parts, axis=-1, dtype=np.float32)
