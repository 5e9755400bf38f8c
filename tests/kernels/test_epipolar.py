import numba
import numpy as np
import pytest

from mvs.kernels.epipolar import build_tiles, search_lines
from mvs.kernels.subpixel import usable_cells
from tests.reference import surface as slow


def folded(height=60, width=70):
    """A map with a jump in it, a hole, and places whose coordinates repeat."""
    y, x = np.mgrid[:height, :width] / 70.0
    coords = np.stack([x + 0.1 * np.sin(6 * y), y, 0.2 * np.sin(4 * x)], axis=-1)
    coords[:, 40:] -= [0.25, 0.05, 0.0]
    valid = np.ones((height, width), bool)
    valid[20:30, 10:25] = False
    coords = coords.astype(np.float32)
    return coords, usable_cells(coords, valid, 0.1)


def segments(n, seed=0, height=60, width=70):
    """Lines that pass within a few pixels of a place whose coordinates, nearly, are sought."""
    generator = np.random.default_rng(seed)
    coords, _ = folded(height, width)
    place = generator.integers(0, [width, height], (n, 2))
    targets = coords[place[:, 1], place[:, 0]] + generator.normal(0, 0.01, (n, 3))
    angle = generator.uniform(0, 2 * np.pi, n)
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    middle = place + generator.normal(0, 2, (n, 2))
    ends = generator.uniform(0, 60, (2, n, 1))
    lines = np.hstack([middle - ends[0] * direction, middle + ends[1] * direction])
    return targets.astype(np.float32), lines


@pytest.mark.parametrize("max_distance", [1.0, 0.05])
def test_never_worse_than_every_sample(max_distance):
    coords, cells = folded()
    targets, lines = segments(300)
    lines[0, 2:] = lines[0, :2] = [12.0, 40.0]
    pixels, distance = search_lines(build_tiles(coords, cells), targets, lines, max_distance)
    n_hits = 0
    for i in range(len(targets)):
        place, best = slow.best_sample(
            coords.astype(float), cells, targets[i].astype(float), lines[i], max_distance
        )
        assert np.isfinite(distance[i]) == (place is not None)
        if place is not None:
            n_hits += 1
            assert distance[i] <= best + 1e-6
            assert np.abs(pixels[i] - place).max() <= 1.5
            here = slow.value(coords.astype(float), cells, *pixels[i])
            assert np.linalg.norm(here - targets[i]) == pytest.approx(distance[i], abs=1e-6)
    assert 30 < n_hits < (300 if max_distance < 1 else 301)


def test_exact_where_the_line_passes_the_place():
    coords, cells = folded()
    generator = np.random.default_rng(3)
    pixels = generator.uniform([42, 5], [65, 55], (200, 2))
    targets = np.array([slow.value(coords.astype(float), cells, *p) for p in pixels])
    angle = generator.uniform(0, 2 * np.pi, 200)
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    lines = np.hstack([pixels - 31.3 * direction, pixels + 33.7 * direction])
    tiles = build_tiles(coords, cells)
    found, distance = search_lines(tiles, targets.astype(np.float32), lines, 0.1)
    np.testing.assert_allclose(found, pixels, atol=2e-3)
    assert distance.max() < 1e-5


def test_nan_empty_and_no_cells():
    coords, cells = folded()
    tiles = build_tiles(coords, cells)
    targets, lines = segments(4)
    assert search_lines(tiles, targets[:0], lines[:0], 1.0)[0].shape == (0, 2)
    assert np.isnan(search_lines(tiles, targets, lines * np.nan, 1.0)[0]).all()
    assert np.isinf(search_lines(tiles, targets * np.nan, lines, 1.0)[1]).all()
    nowhere = build_tiles(coords, np.zeros_like(cells))
    assert np.isinf(search_lines(nowhere, targets, lines, 1.0)[1]).all()


def test_threads_change_no_bit():
    coords, cells = folded()
    targets, lines = segments(4000, seed=5)
    results = []
    for n_threads in (1, 2):
        numba.set_num_threads(n_threads)
        results.append(search_lines(build_tiles(coords, cells), targets, lines, 0.2))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert results[0][0].tobytes() == results[1][0].tobytes()
    assert results[0][1].tobytes() == results[1][1].tobytes()
