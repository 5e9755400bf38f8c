"""Pairs of pictures with matched points on disk: shards of plain arrays, and what describes them.

``pairs_00000.npy`` and so on are arrays of ``PAIR``; ``tracks.json`` says where they come from and
is written last.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.tracks.head import Head
from mvs.tracks.options import CROP_SIZE, MASK_SIZE, MOST_POINTS
from mvs.types import DoubleArray

PairArray = npt.NDArray[np.void]

# Two crops of a head; matched points (point, which crop, x y) in crop pixels, the centre of the
# first at (0.5, 0.5), NaN from n_points on; the head masks at half the resolution.
PAIR = np.dtype(
    [
        ("images", "u1", (2, CROP_SIZE, CROP_SIZE, 3)),
        ("points", "<f4", (MOST_POINTS, 2, 2)),
        ("n_points", "<i4"),
        ("mask", "u1", (2, MASK_SIZE, MASK_SIZE)),
    ]
)
FORMAT = 1
_PAIRS_PER_SHARD = 128
_DESCRIPTION = "tracks.json"


class MatchedPair(NamedTuple):
    """Two pictures of one head with points found in both.

    Attributes:
        first: the head in one picture.
        second: the head in the other.
        points: (n, 2, 2) float64 point, which picture, x y in crop pixels.
        errors: (n,) float64 how far each point is from where it should be, crop pixels.
    """

    first: Head
    second: Head
    points: DoubleArray
    errors: DoubleArray

    @property
    def motion(self) -> float:
        """Median distance of the points between the crops less their common shift, pixels."""
        moved = self.points[:, 1] - self.points[:, 0]
        return float(np.median(np.linalg.norm(moved - np.median(moved, axis=0), axis=1)))


def shard_path(folder: Path, number: int) -> Path:
    """Where shard ``number`` lies."""
    return folder / f"pairs_{number:05d}.npy"


def encode(pair: MatchedPair) -> PairArray:
    """A pair as one ``PAIR``."""
    record = np.zeros((), PAIR)
    for side, head in enumerate((pair.first, pair.second)):
        record["images"][side] = head.crop
        record["mask"][side] = head.mask
    record["points"] = np.nan
    record["points"][: len(pair.points)] = pair.points
    record["n_points"] = len(pair.points)
    return record


class PairWriter:
    """Takes pairs, a shard at a time in memory; see ``writing_pairs``."""

    def __init__(self, folder: Path) -> None:
        self.n_pairs: list[int] = []
        self._folder = folder
        self._records: list[PairArray] = []

    def add(self, pair: MatchedPair) -> None:
        """One more pair."""
        self._records.append(encode(pair))
        if len(self._records) == _PAIRS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting as one more shard."""
        if self._records:
            np.save(shard_path(self._folder, len(self.n_pairs)), np.stack(self._records))
            self.n_pairs.append(len(self._records))
            self._records = []


@contextmanager
def writing_pairs(folder: Path, description: dict[str, Any]) -> Iterator[PairWriter]:
    """A writer whose pairs take the place of the folder's once it is left without error.

    Args:
        folder: of the shards; exists.
        description: what ``tracks.json`` says besides the shards; read when all is done.

    Yields:
        What takes the pairs. Until the end, what was in the folder stays.
    """
    with tempfile.TemporaryDirectory(prefix=".pairs.", dir=folder) as temporary:
        writer = PairWriter(Path(temporary))
        yield writer
        writer.flush()
        (folder / _DESCRIPTION).unlink(missing_ok=True)
        for old in folder.glob("pairs_*.npy"):
            if re.fullmatch(r"pairs_\d{5,}\.npy", old.name):
                old.unlink()
        for number in range(len(writer.n_pairs)):
            shard_path(Path(temporary), number).replace(shard_path(folder, number))
        content = {"format": FORMAT, **description, "shards": writer.n_pairs}
        with replacing(folder / _DESCRIPTION) as file:
            file.write((json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_pairs(folder: Path) -> list[PairArray]:
    """The pairs of a folder that ``mvs tracks`` wrote, checked.

    Args:
        folder: of the shards.

    Returns:
        One read-only memory map of ``PAIR`` per shard, so that no more is read than is used.

    Raises:
        ValueError: if the folder is no such folder, unfinished, or holds what makes no sense.
    """
    counts = read_description(folder)["shards"]
    if not isinstance(counts, list) or not all(isinstance(n, int) and n > 0 for n in counts):
        raise ValueError(f"{folder / _DESCRIPTION}: shards must be numbers of pairs, got {counts}")
    return [_read_shard(shard_path(folder, number), n) for number, n in enumerate(counts)]


def read_description(folder: Path) -> dict[str, Any]:
    """What ``tracks.json`` of a folder says.

    Raises:
        ValueError: if it is absent or unreadable.
    """
    path = folder / _DESCRIPTION
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: not there; write the folder with `mvs tracks`") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: unreadable ({error}); write the folder anew") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or "shards" not in content:
        raise ValueError(f"{path}: not of format {FORMAT}; write the folder anew with `mvs tracks`")
    return content


def _read_shard(path: Path, n_pairs: int) -> PairArray:
    try:
        shard: PairArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"{path}: not there, though tracks.json counts it") from None
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: not a readable array ({reason})") from None
    if shard.dtype != PAIR:
        raise ValueError(f"{path}: its values are not of the type PAIR; write the folder anew")
    if shard.shape != (n_pairs,):
        raise ValueError(f"{path}: tracks.json counts {n_pairs} pairs, it holds {shard.shape}")
    for index, record in enumerate(shard):
        defect = _defect(record)
        if defect:
            raise ValueError(f"{path}: pair {index} {defect}; write the folder anew")
    return shard


def _defect(record: Any) -> str | None:
    """What is wrong with the points of one ``PAIR``."""
    n, points = int(record["n_points"]), record["points"]
    if not 1 <= n <= MOST_POINTS:
        return f"has {n} points"
    if not ((points[:n] >= 0) & (points[:n] <= CROP_SIZE)).all():
        return "has points outside its crops"
    if not np.isnan(points[n:]).all():
        return f"has more points than the {n} it counts"
    return None
