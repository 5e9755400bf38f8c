"""Training pictures on disk: shards of plain arrays, each determined by its seed and number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np

from mvs.canonical.regions import REGIONS
from mvs.synthetic.patterns import normalise
from mvs.synthetic.sample import SUBJECTS, Sample, Subjects, random_samples
from mvs.synthetic.shards import ShardKind, ShardOptions, load_studio, save_shard, tiled
from mvs.types import BoolArray, ByteArray, FloatArray

PICTURE_SIZE = 256
LABEL_SIZE = PICTURE_SIZE // 2
VIEWS_PER_PERSON = 3
_COORD_LEVELS = 65535
_NORMAL_LEVELS = 127
_N_REGIONS = len(REGIONS)

# By region, in the order of ``REGIONS``.
_REGION_COLORS = np.array(
    [
        (0, 0, 0),
        (224, 172, 138),
        (96, 56, 24),
        (255, 255, 255),
        (240, 120, 60),
        (220, 30, 60),
        (120, 0, 40),
        (250, 210, 60),
        (70, 50, 160),
        (150, 100, 80),
        (40, 120, 90),
        (60, 160, 230),
        (30, 220, 220),
    ],
    np.uint8,
)

# One sample: the picture, and its labels at half the resolution; normals times 127.
RECORD = np.dtype(
    [
        ("image", "u1", (PICTURE_SIZE, PICTURE_SIZE, 3)),
        ("coords", "u2", (LABEL_SIZE, LABEL_SIZE, 3)),
        ("mask", "u1", (LABEL_SIZE, LABEL_SIZE)),
        ("normals", "i1", (LABEL_SIZE, LABEL_SIZE, 3)),
        ("region", "u1", (LABEL_SIZE, LABEL_SIZE)),
    ]
)


@dataclass(frozen=True)
class DatasetOptions(ShardOptions):
    """What to render, three pictures of each person.

    Attributes:
        subjects: whom the pictures show: any, anyone from anywhere; faces, near and from about the
            front; covered, in hoods and falling hair.
    """

    subjects: Subjects = "any"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subjects not in SUBJECTS:
            raise ValueError(f"subjects must be one of {', '.join(SUBJECTS)}, got {self.subjects}")


def shard_path(folder: Path, number: int) -> Path:
    """Where shard ``number`` lies."""
    return folder / f"shard_{number:05d}.npy"


def encode(sample: Sample) -> np.ndarray:
    """A sample as one ``RECORD``: labels are means over the head's part of 2 x 2 pixels."""
    record = np.zeros((), RECORD)
    record["image"] = sample.image
    coords, normals = np.zeros((2, LABEL_SIZE, LABEL_SIZE, 3), np.float32)
    labels = (coords, normals, record["mask"], record["region"])
    _halve((sample.coords, sample.normals, sample.mask, sample.region), labels)
    record["coords"] = np.rint(coords * np.float32(_COORD_LEVELS))
    record["normals"] = np.rint(normals * np.float32(_NORMAL_LEVELS))
    return record


def decode_coords(coords: np.ndarray) -> np.ndarray:
    """Cube coordinates, float32, of the ``coords`` field."""
    return coords.astype(np.float32) / np.float32(_COORD_LEVELS)


def decode_normals(normals: np.ndarray) -> FloatArray:
    """Unit vectors, float32, of the ``normals`` field; 0 where it is 0."""
    vectors = normals.astype(np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1), np.float32)


def contact_sheet(records: np.ndarray, columns: int) -> ByteArray:
    """Pictures with their coordinates, normals and regions beside, (H, W, 3) uint8 RGB."""
    tiles = []
    for record in records:
        coords = (record["coords"] >> 8).astype(np.uint8) * record["mask"][..., None]
        normals = (record["normals"].astype(np.int16) + 127).astype(np.uint8)
        normals *= record["mask"][..., None]
        tiles += [record["image"][::2, ::2], coords, normals, _REGION_COLORS[record["region"]]]
    return tiled(tiles, columns)


def _write_shard(options: DatasetOptions, number: int) -> Path:
    studio = load_studio(options.head)
    records = np.zeros(options.people_per_shard * VIEWS_PER_PERSON, RECORD)
    for person in range(options.people_per_shard):
        seed = (options.seed, number, person)
        samples = random_samples(studio, seed, VIEWS_PER_PERSON, PICTURE_SIZE, options.subjects)
        for view, sample in enumerate(samples):
            records[person * VIEWS_PER_PERSON + view] = encode(sample)
    return save_shard(shard_path(options.output, number), records)


SHARDS = ShardKind(shard_path, _write_shard)


@numba.njit(cache=True)
def _halve(
    fine: tuple[FloatArray, FloatArray, BoolArray, ByteArray],
    coarse: tuple[FloatArray, FloatArray, ByteArray, ByteArray],
) -> None:
    """Labels of 2 x 2 pixels: means over the head, unit normals, most frequent region."""
    half = coarse[2].shape
    votes = np.zeros(_N_REGIONS, np.int32)
    for row in range(half[0]):
        for column in range(half[1]):
            share = 0
            votes[:] = 0
            coords, normals = coarse[0][row, column], coarse[1][row, column]
            for index in range(4):
                r, c = 2 * row + index // 2, 2 * column + index % 2
                votes[fine[3][r, c]] += 1
                if not fine[2][r, c]:
                    continue
                share += 1
                for k in range(3):
                    coords[k] += fine[0][r, c, k]
                    normals[k] += fine[1][r, c, k]
            for k in range(3):
                coords[k] /= max(share, 1)
            normalise(normals, 0)
            coarse[2][row, column] = share >= 2
            coarse[3][row, column] = votes.argmax()
