"""Training pictures on disk: shards of plain arrays, each determined by its seed and number."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from calib.files import replacing
from mvs.synthetic.head import load_head
from mvs.synthetic.sample import Sample, random_samples
from mvs.synthetic.scene import Studio
from mvs.types import ByteArray

PICTURE_SIZE = 256
LABEL_SIZE = PICTURE_SIZE // 2
VIEWS_PER_PERSON = 3
_COORD_LEVELS = 65535

# One sample: the picture, and its labels at half the resolution.
RECORD = np.dtype(
    [
        ("image", "u1", (PICTURE_SIZE, PICTURE_SIZE, 3)),
        ("coords", "u2", (LABEL_SIZE, LABEL_SIZE, 3)),
        ("mask", "u1", (LABEL_SIZE, LABEL_SIZE)),
    ]
)


@dataclass(frozen=True)
class DatasetOptions:
    """What to render.

    Attributes:
        head: packed ICT-FaceKit file.
        output: folder of the shards.
        n_shards: how many shards.
        people_per_shard: each is photographed three times.
        seed: of the whole set.
        workers: processes.
    """

    head: Path
    output: Path
    n_shards: int = 40
    people_per_shard: int = 256
    seed: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        for name, least in (("n_shards", 1), ("people_per_shard", 1), ("seed", 0), ("workers", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def shard_path(folder: Path, number: int) -> Path:
    """Where shard ``number`` lies."""
    return folder / f"shard_{number:05d}.npy"


def write_dataset(options: DatasetOptions) -> Iterator[Path]:
    """Render the shards that are not there yet.

    Args:
        options: what to render.

    Yields:
        The path of each shard as it is finished.

    Raises:
        ValueError: if the head model cannot be read.
    """
    load_head(options.head)
    options.output.mkdir(parents=True, exist_ok=True)
    missing = [
        number
        for number in range(options.n_shards)
        if not shard_path(options.output, number).exists()
    ]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        yield from pool.map(_write_shard, [options] * len(missing), missing)


def encode(sample: Sample) -> np.ndarray:
    """A sample as one ``RECORD``: labels are means over the head's part of 2 x 2 pixels."""
    record = np.zeros((), RECORD)
    record["image"] = sample.image
    n = LABEL_SIZE
    share = sample.mask.reshape(n, 2, n, 2).sum(axis=(1, 3))
    total = (sample.coords * sample.mask[..., None]).reshape(n, 2, n, 2, 3).sum(axis=(1, 3))
    coords = total / np.maximum(share, 1)[..., None]
    record["coords"] = np.rint(coords * _COORD_LEVELS)
    record["mask"] = share >= 2
    return record


def decode_coords(coords: np.ndarray) -> np.ndarray:
    """Cube coordinates, float32, of the ``coords`` field."""
    return coords.astype(np.float32) / np.float32(_COORD_LEVELS)


def contact_sheet(records: np.ndarray, columns: int) -> ByteArray:
    """Pictures and their coordinates side by side, (H, W, 3) uint8 RGB."""
    tiles = []
    for record in records:
        coords = (record["coords"] >> 8).astype(np.uint8) * record["mask"][..., None]
        tiles += [record["image"][::2, ::2], coords]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


@cache
def _studio(path: Path) -> Studio:
    return Studio(load_head(path))


def _write_shard(options: DatasetOptions, number: int) -> Path:
    studio = _studio(options.head)
    records = np.zeros(options.people_per_shard * VIEWS_PER_PERSON, RECORD)
    for person in range(options.people_per_shard):
        seed = (options.seed, number, person)
        for view, sample in enumerate(random_samples(studio, seed, VIEWS_PER_PERSON, PICTURE_SIZE)):
            records[person * VIEWS_PER_PERSON + view] = encode(sample)
    path = shard_path(options.output, number)
    with replacing(path) as file:
        np.save(file, records)
    return path
