"""Fields made smooth along a surface, against dense least squares."""

import numba
import numpy as np
import pytest

from mvs.kernels.smooth import smooth_along
from tests.reference import smooth as reference


def field(seed=0, shape=(17, 23)):
    """Noisy values over two surfaces that meet at an edge, some pixels without weight or place."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    values = np.stack([0.3 * x - 0.1 * y, 0.02 * x * y], axis=2) + rng.normal(0, 0.2, (*shape, 2))
    guide = np.stack([x, y, np.where(x > 11, 40, 0)], axis=2) * 0.01
    weight = rng.random(shape) * (rng.random(shape) > 0.3)
    guide[rng.random(shape) < 0.1] = np.nan
    return (k.astype(np.float32) for k in (values, weight, guide))


@pytest.mark.parametrize("wild", [np.inf, 0.3])
def test_it_is_least_squares(wild):
    values, weight, guide = field()
    values[weight == 0] = np.nan
    smooth, support = smooth_along(values, weight, guide, 1.4, 0.03, wild)
    expected, share = reference.smooth_along(values, weight, guide, 1.4, 0.03, wild)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(expected))
    np.testing.assert_allclose(smooth, expected, atol=2e-5)
    np.testing.assert_allclose(support, share, atol=1e-6)


def test_edges_stay():
    shape = (20, 20)
    y, x = np.indices(shape)
    guide = np.stack([x, y, np.where(x > 9, 80, 0)], axis=2).astype(np.float32) * 0.01
    values = np.where(x > 9, 5.0, 0.0).astype(np.float32)[..., None]
    smooth, _ = smooth_along(values, np.ones(shape, np.float32), guide, 2.0, 0.05)
    np.testing.assert_allclose(smooth, values, atol=1e-5)


def test_threads_change_nothing():
    values, weight, guide = field(1)
    results = []
    before = numba.get_num_threads()
    for n in (1, 2):
        numba.set_num_threads(min(n, before))
        results.append(smooth_along(values, weight, guide, 1.5, 0.05, 0.5)[0])
    numba.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_wrong_arguments_are_refused():
    values, weight, guide = field()
    with pytest.raises(ValueError, match="shapes must fit"):
        smooth_along(values, weight[:-1], guide, 1.0, 0.1)
    with pytest.raises(ValueError, match="width"):
        smooth_along(values, weight, guide, 0.0, 0.1)
