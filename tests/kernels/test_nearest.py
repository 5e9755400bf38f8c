import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvs.kernels.grid import build_grid
from mvs.kernels.nearest import mutual_nearest, nearest
from tests.reference.nearest import nearest as slow_nearest


def surface(n, seed=0, scale=1.0, shift=0.0):
    """Points of a wavy sheet in raster order, as a cube map gives them."""
    side = int(np.sqrt(n))
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    noise = np.random.default_rng(seed).normal(0, 0.1 / side, (side * side, 3))
    points = np.stack([x, y, 0.2 * np.sin(5 * x) + 0.1 * y], axis=-1).reshape(-1, 3) + noise
    return ((points + shift) * scale).astype(np.float32)


@pytest.mark.parametrize("max_distance", [np.inf, 0.05, 0.004, 0.0])
@pytest.mark.parametrize("shift", [0.0, 0.003, 0.7, 30.0])
def test_equals_brute_force_on_surfaces(max_distance, shift):
    targets, queries = surface(2500), surface(1600, seed=1, shift=shift)
    found = nearest(build_grid(targets), queries, max_distance)
    index, squared = slow_nearest(targets, queries, max_distance)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.squared_distance, squared)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    levels=st.sampled_from([2, 5, 1000]),
    max_distance=st.sampled_from([np.inf, 0.3, 0.0]),
    cell=st.sampled_from([None, 0.01, 0.3, 5.0]),
)
@settings(max_examples=150, deadline=None)
def test_equals_brute_force_on_lattices_with_ties(seed, n, levels, max_distance, cell):
    generator = np.random.default_rng(seed)
    targets = (generator.integers(0, levels, (n, 3)) / levels).astype(np.float32)
    queries = (generator.integers(0, 2 * levels, (40, 3)) / (2 * levels)).astype(np.float32)
    found = nearest(build_grid(targets, cell), queries, max_distance)
    index, squared = slow_nearest(targets, queries, max_distance)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.squared_distance, squared)


@given(offset=st.sampled_from([0.0, 1.0, -100.0, 1e4]), scale=st.sampled_from([1e-6, 1.0, 1e5]))
@settings(max_examples=12, deadline=None)
def test_equals_brute_force_at_any_scale_and_place(offset, scale):
    targets, queries = surface(400, scale=scale), surface(256, seed=2, scale=scale)
    targets, queries = targets + np.float32(offset * scale), queries + np.float32(offset * scale)
    index, squared = slow_nearest(targets, queries)
    found = nearest(build_grid(targets), queries)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.squared_distance, squared)


def test_guesses_change_nothing():
    targets, queries = surface(2500), surface(2500, seed=3)
    grid = build_grid(targets)
    plain = nearest(grid, queries, 0.01)
    guess = np.random.default_rng(4).integers(-1, len(targets), len(queries)).astype(np.int32)
    guided = nearest(grid, queries, 0.01, guess)
    np.testing.assert_array_equal(plain.index, guided.index)
    np.testing.assert_array_equal(plain.squared_distance, guided.squared_distance)


def test_order_of_queries_changes_nothing():
    targets, queries = surface(2500), surface(2500, seed=3, shift=0.2)
    order = np.random.default_rng(5).permutation(len(queries))
    grid = build_grid(targets)
    expected = nearest(grid, queries, 0.05).index[order]
    np.testing.assert_array_equal(nearest(grid, queries[order], 0.05).index, expected)


@pytest.mark.parametrize("max_distance", [np.inf, 0.5, 0.01])
def test_scattered_queries_equal_brute_force(max_distance):
    generator = np.random.default_rng(8)
    targets = generator.permutation(surface(2500))
    queries = generator.permutation(surface(1600, seed=9, shift=0.4))
    queries[[5, 700]] = np.nan
    found = nearest(build_grid(targets), queries, max_distance)
    index, squared = slow_nearest(targets, queries, max_distance)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.squared_distance, squared)


def test_mutual_is_nearest_both_ways():
    first, second = surface(900), surface(1225, seed=6)
    there, back = mutual_nearest(build_grid(first), build_grid(second), 0.02)
    np.testing.assert_array_equal(there.index, slow_nearest(second, first, 0.02)[0])
    np.testing.assert_array_equal(back.index, slow_nearest(first, second, 0.02)[0])


def test_rows_that_are_not_finite_are_never_found_and_find_nothing():
    targets, queries = surface(400), surface(400)
    targets[7] = np.nan
    targets[8, 1] = np.inf
    queries[3, 2] = np.nan
    queries[4, 0] = -np.inf
    found = nearest(build_grid(targets), queries)
    assert found.index[3] == found.index[4] == -1
    assert np.isinf(found.squared_distance[[3, 4]]).all()
    assert not np.isin(found.index, [7, 8]).any()
    np.testing.assert_array_equal(found.index, slow_nearest(targets, queries)[0])


def test_degenerate_sets():
    empty, one = np.empty((0, 3), np.float32), np.full((1, 3), 0.5, np.float32)
    assert len(nearest(build_grid(one), empty).index) == 0
    assert nearest(build_grid(empty), one).index[0] == -1
    assert nearest(build_grid(np.full((2, 3), np.nan)), one).index[0] == -1
    same = np.repeat(one, 500, axis=0)
    np.testing.assert_array_equal(nearest(build_grid(same), same).index, 0)
    line = np.column_stack([np.linspace(0, 1, 300)] * 3).astype(np.float32)
    np.testing.assert_array_equal(nearest(build_grid(line), line).index, np.arange(300))


def test_threads_change_no_bit():
    targets, queries = surface(40_000), surface(40_000, seed=1, shift=0.1)
    grid = build_grid(targets)
    results = []
    for n_threads in (1, 2):
        numba.set_num_threads(n_threads)
        results.append(nearest(grid, queries, 0.08))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert results[0].index.tobytes() == results[1].index.tobytes()
    assert results[0].squared_distance.tobytes() == results[1].squared_distance.tobytes()


def test_bad_arguments_are_named():
    points = surface(100)
    with pytest.raises(ValueError, match="points must have shape"):
        build_grid(points[:, :2])
    with pytest.raises(ValueError, match="cell must be positive"):
        build_grid(points, cell=0.0)
    with pytest.raises(ValueError, match="max_distance"):
        nearest(build_grid(points), points, -1.0)
    with pytest.raises(ValueError, match="max_distance"):
        nearest(build_grid(points), points, float("nan"))
    with pytest.raises(ValueError, match="guess must have shape"):
        nearest(build_grid(points), points, 1.0, np.zeros(3, np.int32))
