import json

import cv2
import numpy as np
import pytest

from mvs.network.compact import CompactConfig
from mvs.synthetic.dataset import LABEL_SIZE, PICTURE_SIZE, RECORD, shard_path
from mvs.tracks.pairs import FORMAT, PAIR

N_RECORDS = 12


def normal_of(center, radius):
    """A ball's normals times 127."""
    y, x = (np.mgrid[:LABEL_SIZE, :LABEL_SIZE] + 0.5) / LABEL_SIZE
    right, up = (x - center[0]) / radius, (center[1] - y) / radius
    forward = np.sqrt(np.clip(1 - right**2 - up**2, 0.01, None))
    normal = np.stack([right, up, forward], axis=-1)
    return np.rint(127 * normal / np.linalg.norm(normal, axis=-1, keepdims=True))


def colored_blob(rng):
    """A disc whose colour is its coordinate: a network can learn it in a few dozen steps."""
    record = np.zeros((), RECORD)
    y, x = (np.mgrid[:PICTURE_SIZE, :PICTURE_SIZE] + 0.5) / PICTURE_SIZE
    center, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.2, 0.33)
    inside = (x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2
    coords = np.stack([x, 1 - y, 0.5 + 0.0 * x], axis=-1)
    record["image"] = np.where(inside[..., None], 40 + 200 * coords, 10)
    n = LABEL_SIZE
    share = inside.reshape(n, 2, n, 2).mean(axis=(1, 3))
    record["coords"] = 65535 * coords.reshape(n, 2, n, 2, 3).mean(axis=(1, 3))
    record["mask"] = share >= 0.5
    record["normals"] = np.where(record["mask"][..., None] > 0, normal_of(center, radius), 0)
    record["region"] = record["mask"]
    return record


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(3)
    for number in range(2):
        np.save(shard_path(folder, number), np.stack([colored_blob(rng) for _ in range(N_RECORDS)]))
    return folder


@pytest.fixture(scope="session")
def small():
    return CompactConfig(widths=(8, 16, 16, 32, 32), depths=(1, 1, 1), n_attention=1, head_width=16)


def tracked_pair(rng):
    """One textured disc in two frames, turned and shifted, with points that are known in both."""
    texture = cv2.GaussianBlur(rng.integers(0, 256, (256, 256, 3), np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    inside = np.hypot(*(np.mgrid[:256, :256] - 127.5)) < 80
    first = np.where(inside[..., None], texture, 0).astype(np.uint8)
    affine = cv2.getRotationMatrix2D((127.5, 127.5), rng.uniform(-20, 20), 1.0)
    affine[:, 2] += rng.uniform(-15, 15, 2)
    record = np.zeros((), PAIR)
    record["images"] = first, cv2.warpAffine(first, affine, (256, 256))
    masks = [inside, cv2.warpAffine(inside.astype(np.uint8), affine, (256, 256)) > 0]
    record["mask"] = [mask[::2, ::2] for mask in masks]
    angle, radius = rng.uniform(0, 2 * np.pi, 100), 75 * np.sqrt(rng.uniform(0, 1, 100))
    points = 127.5 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    record["points"] = np.nan
    record["points"][:100] = (
        np.stack([points, points @ affine[:, :2].T + affine[:, 2]], axis=1) + 0.5
    )
    record["n_points"] = 100
    return record


def write_pairs(folder, records):
    """A folder as ``mvs tracks`` writes it."""
    np.save(folder / "pairs_00000.npy", np.stack(records))
    description = {"format": FORMAT, "shards": [len(records)]}
    (folder / "tracks.json").write_text(json.dumps(description))


@pytest.fixture
def records_of_nobody():
    return np.zeros(2, RECORD)
