"""Batches from shards of rendered pictures; what a step sees depends on its number alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mvs.synthetic.dataset import PICTURE_SIZE, decode_coords, shard_path


class Batch(NamedTuple):
    """Pictures and their labels.

    Attributes:
        pictures: (B, 3, S, S) float32 in 0..255.
        coords: (B, 3, S / 2, S / 2) float32, 0 off the head.
        mask: (B, 1, S / 2, S / 2) float32, 1 on the head.
    """

    pictures: Tensor
    coords: Tensor
    mask: Tensor


@dataclass(frozen=True)
class StreamOptions:
    """How shards are used while more of them may still be rendered.

    Attributes:
        folder: of the shards.
        n_shards: how many there will be.
        first: shards needed before the first step.
        reuse: times a picture is seen on average before newer shards are waited for.
        window: newest shards that batches are drawn from, bounded by memory.
        seed: of the draws.
    """

    folder: Path
    n_shards: int
    first: int = 4
    reuse: float = 4.0
    window: int = 48
    seed: int = 0


class ShardStream:
    """Draws batches from a sliding window of shards; prepares the next one in the background."""

    def __init__(self, options: StreamOptions, batch: int) -> None:
        self.options = options
        self.batch = batch
        self._open: dict[int, np.ndarray] = {}
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[tuple[int, int, int], object] | None = None

    def get(self, step: int, seen: int, size: int) -> Batch:
        """The batch of one step.

        Args:
            step: number of the step.
            seen: pictures used before it.
            size: side of the pictures wanted, ``PICTURE_SIZE`` or half of it.
        """
        batch = self._draw(step, seen)
        return _to_tensors(*batch, size)

    def _draw(self, step: int, seen: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.options.seed, step))
        per_shard = len(self._shard(0))
        high = self.options.first + int(seen / (self.options.reuse * per_shard))
        high = min(high, self.options.n_shards)
        low = max(0, high - self.options.window)
        shards = rng.integers(low, high, self.batch)
        rows = rng.integers(0, per_shard, self.batch)
        records = np.stack([self._shard(s)[r] for s, r in zip(shards, rows, strict=True)])
        return records, rng.random(self.batch) < 0.5

    def _shard(self, number: int) -> np.ndarray:
        if number not in self._open:
            path = shard_path(self.options.folder, number)
            while not path.exists():
                time.sleep(1.0)
            self._open[number] = np.load(path, mmap_mode="r")
        return self._open[number]


def _to_tensors(records: np.ndarray, flipped: np.ndarray, size: int) -> Batch:
    pictures = torch.from_numpy(records["image"]).permute(0, 3, 1, 2).float()
    coords = torch.from_numpy(decode_coords(records["coords"])).permute(0, 3, 1, 2)
    mask = torch.from_numpy(records["mask"].astype(np.float32))[:, None]
    turn = torch.from_numpy(flipped)[:, None, None, None]
    # Seen in a mirror, left becomes right in the cube too.
    mirrored = torch.cat([1 - coords[:, :1], coords[:, 1:]], dim=1).flip(-1) * mask.flip(-1)
    pictures = torch.where(turn, pictures.flip(-1), pictures)
    coords = torch.where(turn, mirrored, coords)
    mask = torch.where(turn, mask.flip(-1), mask)
    if size != PICTURE_SIZE:
        pictures = F.avg_pool2d(pictures, 2)
        share = F.avg_pool2d(mask, 2)
        coords = F.avg_pool2d(coords * mask, 2) / share.clamp(min=0.25)
        mask = (share >= 0.5).float()
    return Batch(pictures.contiguous(memory_format=torch.channels_last), coords, mask)
