import numpy as np
import pytest

from mvs.network.compact import CompactConfig
from mvs.synthetic.dataset import LABEL_SIZE, PICTURE_SIZE, RECORD, shard_path

N_RECORDS = 12


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
