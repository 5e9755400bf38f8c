"""Batches of tracked pairs of frames, as ``mvs tracks`` writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mvs.tracks.pairs import read_pairs


class PairBatch(NamedTuple):
    """Pairs of frames of one person each.

    Attributes:
        pictures: (2 B, 3, S, S) uint8, first and second frames in turn.
        points: B tensors (P, 2, 2) float32: point, which frame, x and y in pixels of ``pictures``.
        mask: (2 B, 1, S / 2, S / 2) float32, 1 on the head.
        warps: (2 B, 2, 3) random affine maps for the equivariance loss.
    """

    pictures: Tensor
    points: tuple[Tensor, ...]
    mask: Tensor
    warps: Tensor

    def to(self, device: str) -> PairBatch:
        """The batch on another device."""
        points = tuple(tensor.to(device) for tensor in self.points)
        return PairBatch(
            self.pictures.to(device), points, self.mask.to(device), self.warps.to(device)
        )


class PairStream:
    """Draws batches of pairs from folders that ``mvs tracks`` wrote.

    Raises:
        ValueError: if a folder holds no pairs.
    """

    def __init__(self, folders: Sequence[Path], batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed
        self._shards = [shard for folder in folders for shard in read_pairs(folder)]
        self._ends = np.cumsum([len(shard) for shard in self._shards])

    def get(self, step: int) -> PairBatch:
        """The batch of one step."""
        rng = np.random.default_rng((self.seed, step, 1))
        records = [self._record(int(k)) for k in rng.integers(0, self._ends[-1], self.batch)]
        pictures = np.concatenate([record["images"] for record in records])
        mask = np.concatenate([record["mask"] for record in records]).astype(np.float32)
        points = tuple(
            torch.from_numpy(np.array(record["points"][: record["n_points"]], np.float32))
            for record in records
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        return PairBatch(
            torch.from_numpy(pictures).permute(0, 3, 1, 2),
            points,
            torch.from_numpy(mask)[:, None],
            random_warps(len(pictures), generator),
        )

    def _record(self, index: int) -> np.void:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        record: np.void = self._shards[shard][index - first]
        return record


def random_warps(n: int, generator: torch.Generator) -> Tensor:
    """(n, 2, 3) small turns (20 degrees), scalings (0.8 to 1.25) and shifts (0.1) of a picture."""
    turn, scale, right, down = torch.rand(4, n, generator=generator) * 2 - 1
    angle, size = turn * math.radians(20), torch.exp(scale * math.log(1.25))
    cosine, sine = size * torch.cos(angle), size * torch.sin(angle)
    rows = (
        torch.stack([cosine, -sine, 0.1 * right], 1),
        torch.stack([sine, cosine, 0.1 * down], 1),
    )
    return torch.stack(rows, dim=1)
