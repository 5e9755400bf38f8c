import tracemalloc

import numpy as np

from mvs.stages.confirm import _merge
from mvs.stages.fuse import Fitted, thin


def _parts(n_parts, n_points):
    rng = np.random.default_rng(3)
    for _ in range(n_parts):
        points = rng.uniform(size=(n_points, 3))
        normals = rng.normal(size=(n_points, 3)).astype(np.float32)
        coords = rng.uniform(size=(n_points, 3)).astype(np.float32)
        sure, weights = rng.uniform(size=n_points).astype(np.float32), rng.uniform(size=n_points)
        views = rng.integers(1, 9, (n_points, 1)).astype(np.uint64)
        yield Fitted(points, normals, coords, sure, weights, views)


def test_voxels_hold_the_weighted_means_of_their_points():
    (part,) = _parts(1, 400)
    found = thin(part, 0.5, np.zeros(3))
    assert len(found.points) == 8
    for k, cell in enumerate(np.ndindex(2, 2, 2)):
        rows = (np.floor(part.points / 0.5) == cell).all(axis=1)
        weights = part.weights[rows]
        for name in ("points", "coords", "confidence"):
            mean = np.average(getattr(part, name)[rows], axis=0, weights=weights)
            np.testing.assert_allclose(getattr(found, name)[k], mean, rtol=1e-6)
        normal = weights @ part.normals[rows]
        np.testing.assert_allclose(found.normals[k], normal / np.linalg.norm(normal), rtol=1e-5)
        assert found.views[k] == np.bitwise_or.reduce(part.views[rows])


def test_merging_holds_the_points_about_twice():
    """What is merged is most of what many views take; tables of all its columns would double it."""
    parts = list(_parts(8, 40_000))
    size = sum(array.nbytes for part in parts for array in vars(part).values())
    _merge(list(_parts(2, 10)), 0.1)
    tracemalloc.start()
    parts = list(_parts(8, 40_000))
    tracemalloc.reset_peak()
    merged = _merge(parts, 0.05)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not parts
    assert len(merged.points) == 8000
    assert peak < 2.2 * size
