"""The surface fit against its slow version."""

import numba
import numpy as np
import pytest

from mvs.kernels.places import Neighborhoods, fit_places
from tests.reference.places import fit_place

RNG = np.random.default_rng(5)
STEP = 0.004


def bent_map():
    """A bent sheet of 40 x 40 pixels with noise, some wild pixels and varying weight."""
    y, x = (np.indices((40, 40)) + 0.5).reshape(2, -1)
    coords = np.column_stack([x, y, 0.02 * (x - 20) ** 2 + 0.01 * x * y]) * STEP
    coords += RNG.normal(size=coords.shape) * 0.3 * STEP
    coords[::17] += 0.1
    return np.column_stack([x, y]), coords, RNG.uniform(0.2, 1.0, len(x))


SAMPLES = bent_map()
PLACES = SAMPLES[1][[205, 610, 850, 1211]] + RNG.normal(size=(4, 3)) * STEP
RADIUS = np.array([3.0, 4.0, 3.0, 5.0]) * STEP


def around(places, radius):
    near = [
        np.flatnonzero(np.linalg.norm(SAMPLES[1] - p, axis=1) < 2.5 * r)
        for p, r in zip(places, radius, strict=True)
    ]
    starts = np.cumsum([0, *map(len, near)])
    return near, Neighborhoods(np.concatenate(near), starts, radius)


def test_it_equals_the_slow_version():
    near, lists = around(PLACES, RADIUS)
    found = fit_places(SAMPLES, PLACES, lists, STEP, 8)
    for k, rows in enumerate(near):
        chosen = tuple(a[rows] for a in SAMPLES)
        pixel, coords, weight, moved, beside = fit_place(chosen, PLACES[k], RADIUS[k], STEP, 8)
        np.testing.assert_allclose(found.pixels[k], pixel, atol=1e-4)
        np.testing.assert_allclose(found.coords[k], coords, atol=1e-6)
        np.testing.assert_allclose(found.weight[k], weight, atol=1e-5)
        np.testing.assert_allclose(found.moved[k], moved, atol=1e-4)
        np.testing.assert_allclose(found.beside[k], beside, atol=1e-4)


def test_threads_do_not_change_a_bit():
    places = np.repeat(PLACES, 50, axis=0)
    _, lists = around(places, np.repeat(RADIUS, 50))
    before = numba.get_num_threads()
    results = []
    for threads in (1, min(2, before)):
        numba.set_num_threads(threads)
        results.append(fit_places(SAMPLES, places, lists, STEP, 8).pixels)
    numba.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_a_place_without_pixels_is_nan():
    empty = Neighborhoods(np.zeros(0, np.int64), np.zeros(2, np.int64), np.ones(1))
    found = fit_places(SAMPLES, PLACES[:1], empty, STEP, 8)
    assert np.isnan(found.pixels).all()
    assert np.isnan(found.weight).all()


def test_wrong_shapes_are_refused():
    _, lists = around(PLACES, RADIUS)
    with pytest.raises(ValueError, match="K neighborhoods"):
        fit_places(SAMPLES, PLACES[:2], lists, STEP, 8)
    with pytest.raises(ValueError, match="samples"):
        fit_places((SAMPLES[0], SAMPLES[0], SAMPLES[2]), PLACES, lists, STEP, 8)
