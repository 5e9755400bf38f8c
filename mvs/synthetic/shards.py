"""Sets of rendered pictures on disk: numbered shards, each made whole by one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from calib.files import replacing
from mvs.synthetic.head import load_head
from mvs.synthetic.scene import Studio
from mvs.types import ByteArray


@dataclass(frozen=True)
class ShardOptions:
    """What is rendered.

    Attributes:
        head: packed ICT-FaceKit file.
        output: folder of the shards.
        n_shards: how many shards.
        people_per_shard: different people in each.
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


class ShardKind(NamedTuple):
    """A kind of shards.

    Attributes:
        path: where shard ``number`` of a folder lies.
        write: writes the shard ``number`` of some options; a function of a module, as processes
            run it.
    """

    path: Callable[[Path, int], Path]
    write: Callable[[Any, int], Path]


def write_shards(options: ShardOptions, kind: ShardKind) -> Iterator[Path]:
    """Render the shards that are not there yet.

    Args:
        options: what to render.
        kind: of the shards.

    Yields:
        The path of each shard as it is finished.

    Raises:
        ValueError: if the head model cannot be read.
    """
    load_head(options.head)
    options.output.mkdir(parents=True, exist_ok=True)
    numbers = range(options.n_shards)
    missing = [k for k in numbers if not kind.path(options.output, k).exists()]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        yield from pool.map(kind.write, [options] * len(missing), missing)


def save_shard(path: Path, records: np.ndarray) -> Path:
    """Write a shard, whole or not at all."""
    with replacing(path) as file:
        np.save(file, records)
    return path


def open_shard(path: Path, kind: np.dtype[np.void], other: str) -> np.ndarray:
    """The records of a shard, mapped into memory.

    Args:
        path: of the shard.
        kind: of its records.
        other: what it holds if its records are of another kind, for the error.

    Raises:
        ValueError: if the file is no such shard.
    """
    try:
        records = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a readable shard ({error}); render it again") from None
    if records.dtype != kind or not len(records):
        raise ValueError(f"{path}: holds {other}; render it again")
    return np.asanyarray(records)


@cache
def load_studio(path: Path) -> Studio:
    """The head model of a file, read once by each process."""
    return Studio(load_head(path))


def tiled(tiles: list[ByteArray], columns: int) -> ByteArray:
    """Pictures of one size in rows, black where there are none left."""
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
