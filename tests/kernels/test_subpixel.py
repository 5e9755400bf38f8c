import numba
import numpy as np
import pytest

from mvs.kernels.subpixel import information_roots, locate, usable_cells
from tests.reference import surface as slow


def sheet(height=24, width=30, bend=0.3):
    """A smooth map: coordinates of a curved sheet seen at a slant."""
    y, x = np.mgrid[:height, :width] / 30.0
    return np.stack([0.8 * x, y + 0.1 * x * y, bend * x**2 + 0.2 * np.sin(3 * y)], axis=-1).astype(
        np.float32
    )


def place_on(coords, cells, pixels):
    return np.array([slow.value(coords.astype(float), cells, *pixel) for pixel in pixels])


def test_usable_cells_equal_the_slow_ones():
    coords, valid = sheet(), np.ones((24, 30), bool)
    valid[5, 7] = valid[23, 0] = False
    coords[:, 15:] += 0.2
    np.testing.assert_array_equal(
        usable_cells(coords, valid, 0.1), slow.usable_cells(coords.astype(float), valid, 0.1)
    )
    assert not usable_cells(coords, valid, 0.1)[:, 14].any()
    assert usable_cells(coords, valid, 1.0)[:-1, 14].all()


def test_finds_places_on_the_surface_exactly():
    coords = sheet()
    cells = usable_cells(coords, np.ones((24, 30), bool), 1.0)
    generator = np.random.default_rng(0)
    pixels = generator.uniform(2.0, 21.0, (400, 2))
    targets = place_on(coords, cells, pixels).astype(np.float32)
    start = (np.floor(pixels[:, 1]) * 30 + np.floor(pixels[:, 0])).astype(np.int32)
    found, distance = locate(coords, cells, targets, start, 3.0)
    np.testing.assert_allclose(found, pixels, atol=2e-4)
    assert distance.max() < 1e-5
    farther, _ = locate(coords, cells, targets, start + 1, 3.0)
    np.testing.assert_allclose(farther, pixels, atol=2e-4)


def test_off_the_surface_finds_the_nearest_place():
    coords = sheet(bend=0.5)
    cells = usable_cells(coords, np.ones((24, 30), bool), 1.0)
    generator = np.random.default_rng(1)
    pixels = generator.uniform(6.0, 16.0, (40, 2))
    offset = np.array([0.002, -0.001, 0.01])
    targets = (place_on(coords, cells, pixels) + offset).astype(np.float32)
    start = (np.floor(pixels[:, 1]) * 30 + np.floor(pixels[:, 0])).astype(np.int32)
    found, distance = locate(coords, cells, targets, start, 4.0)
    for i in range(len(pixels)):
        target = targets[i].astype(float)
        _, best = slow.locate(coords.astype(float), cells, target, *found[i], 4.0)
        assert distance[i] <= best + 2e-6


def test_the_end_of_the_surface_is_not_an_answer():
    coords, valid = sheet(), np.ones((24, 30), bool)
    valid[:, 20:] = False
    cells = usable_cells(coords, valid, 1.0)
    beyond = place_on(coords, np.ones_like(cells), [[23.0, 10.0]]).astype(np.float32)
    start = np.array([10 * 30 + 19], np.int32)
    found, distance = locate(coords, cells, beyond, start, 10.0)
    assert np.isnan(found).all()
    assert np.isinf(distance).all()


def test_does_not_cross_a_jump_nor_go_too_far():
    coords, valid = sheet(), np.ones((24, 30), bool)
    coords[:, 15:, 2] += 0.1
    cells = usable_cells(coords, valid, 0.08)
    target = coords[10:11, 20].copy()
    assert np.isnan(
        locate(coords, cells, target, np.array([10 * 30 + 13], np.int32), 20.0)[0]
    ).all()
    near = np.array([10 * 30 + 17], np.int32)
    np.testing.assert_allclose(
        locate(coords, cells, target, near, 4.0)[0], [[20.5, 10.5]], atol=1e-3
    )
    assert np.isnan(locate(coords, cells, target, near, 2.0)[0]).all()


def test_no_start_no_cell_nan_and_empty():
    coords, valid = sheet(), np.ones((24, 30), bool)
    cells = usable_cells(coords, valid, 1.0)
    target = coords[3:4, 3].copy()
    assert np.isnan(locate(coords, cells, target, np.array([-1], np.int32), 2.0)[0]).all()
    nowhere = np.zeros_like(cells)
    assert np.isnan(locate(coords, nowhere, target, np.array([93], np.int32), 2.0)[0]).all()
    assert np.isnan(locate(coords, cells, target * np.nan, np.array([93], np.int32), 2.0)[0]).all()
    assert locate(coords, cells, target[:0], np.empty(0, np.int32), 2.0)[0].shape == (0, 2)
    flat = np.zeros_like(coords)
    assert np.isnan(locate(flat, cells, target, np.array([93], np.int32), 2.0)[0]).all()


def test_roots_are_the_maps_gradient():
    y, x = np.mgrid[:20, :20].astype(np.float32)
    gradient = np.array([[0.002, 0.0005], [0.0, 0.003], [0.001, -0.001]])
    coords = np.stack([x, y], axis=-1) @ gradient.T.astype(np.float32)
    roots = information_roots(
        coords, np.ones((20, 20), bool), np.array([[10.5, 10.2], [0.5, 0.5]]), 0.001, (0.1, 50.0)
    )
    for a, b, c in roots:
        root = np.array([[a, b], [0, c]])
        np.testing.assert_allclose(root.T @ root, gradient.T @ gradient * 1e6, rtol=1e-3, atol=1e-5)


def test_roots_stay_within_limits():
    y, x = np.mgrid[:20, :20].astype(np.float32)
    coords = np.stack([0.01 * x, 0.001 * y, 0 * x], axis=-1)
    valid = np.ones((20, 20), bool)
    pixels = np.array([[10.5, 10.5], [np.nan, 3.0], [15.5, 15.5]])
    valid[15] = False
    roots = information_roots(coords, valid, pixels, 0.001, (2.0, 8.0))
    np.testing.assert_allclose(roots[0], [8.0, 0.0, 2.0], atol=1e-5)
    np.testing.assert_allclose(roots[1], [2.0, 0.0, 2.0], atol=1e-6)
    np.testing.assert_allclose(roots[2], [2.0, 0.0, 2.0], atol=1e-6)


def test_threads_change_no_bit():
    coords = sheet(200, 300)
    cells = usable_cells(coords, np.ones((200, 300), bool), 1.0)
    generator = np.random.default_rng(2)
    start = generator.integers(0, 200 * 300, 20_000).astype(np.int32)
    targets = coords.reshape(-1, 3)[start] + generator.normal(0, 0.01, (20_000, 3)).astype("f4")
    results = []
    for n_threads in (1, 2):
        numba.set_num_threads(n_threads)
        results.append(locate(coords, cells, targets, start, 3.0))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert results[0][0].tobytes() == results[1][0].tobytes()
    assert results[0][1].tobytes() == results[1][1].tobytes()
    assert np.isfinite(results[0][1]).mean() == pytest.approx(1.0, abs=0.2)
