import numba
import numpy as np
import pytest

from mvs.kernels.fusion import (
    Samples,
    average_groups,
    fit_surface,
    group_by_cell,
)
from mvs.kernels.normals import lattice_normals
from tests.reference import fusion as slow


def sphere_samples(n=3000, noise=0.0, seed=0):
    """A cap of a sphere of radius 1 whose cube coordinates are a stretched copy of it."""
    generator = np.random.default_rng(seed)
    xy = generator.uniform(-0.5, 0.5, (n, 2))
    points = np.column_stack([xy, np.sqrt(1 - (xy**2).sum(axis=1))])
    coords = (0.5 + 0.3 * points * [1.0, 0.9, 1.1]).astype(np.float32)
    normals = points.astype(np.float32)
    noisy = points + noise * generator.normal(size=points.shape)
    references = np.uint64(1) << generator.integers(0, 5, (n, 1)).astype(np.uint64)
    return points, Samples(coords, noisy, normals, generator.uniform(0.5, 1.0, n), references)


def test_groups_and_averages_equal_the_slow_ones():
    generator = np.random.default_rng(0)
    points, values = generator.uniform(-3, 3, (500, 3)), generator.normal(size=(500, 4))
    weights = generator.uniform(0.1, 1, 500)
    rows, starts = group_by_cell(points, 0.9)
    np.testing.assert_array_equal(np.sort(rows), np.arange(500))
    means = average_groups(rows, starts, values, weights)
    expected = slow.group_means(points, 0.9, values, weights)
    cells = np.floor((points - points.min(axis=0)) / 0.9).astype(int)
    assert len(means) == len(expected)
    for group, mean in enumerate(means):
        members = rows[starts[group] : starts[group + 1]]
        assert (np.diff(members) > 0).all()
        np.testing.assert_allclose(mean, expected[tuple(cells[members[0]])], rtol=1e-12)


def test_no_points_no_groups():
    rows, starts = group_by_cell(np.empty((0, 3)), 1.0)
    assert len(rows) == 0
    assert average_groups(rows, starts, np.empty((0, 2)), np.empty(0)).shape == (0, 2)


def test_fit_equals_the_slow_one():
    _, samples = sphere_samples(1200, noise=0.02)
    surface = fit_surface(samples, samples, 0.05, 0.03)
    for i in range(0, 1200, 40):
        place, n = slow.fit_point(
            samples, samples.coords[i], samples.points[i], samples.normals[i], 0.05, 0.03
        )
        assert surface.n_neighbors[i] == n
        if place is not None:
            np.testing.assert_allclose(surface.points[i], place, atol=1e-7)
            off = np.linalg.norm(place - samples.points[i])
            assert surface.residuals[i] == pytest.approx(off, abs=1e-7)


def test_exact_points_stay_and_noise_goes_without_shrinkage():
    truth, samples = sphere_samples(4000)
    surface = fit_surface(samples, samples, 0.05, 0.01)
    inside = np.abs(truth[:, :2]).max(axis=1) < 0.4
    assert np.abs(surface.points - truth)[inside].max() < 2e-3
    normals = (surface.normals * truth).sum(axis=1)
    assert normals[inside].min() > 0.999
    truth, samples = sphere_samples(4000, noise=0.02)
    fitted = fit_surface(samples, samples, 0.07, 0.03).points
    inside = np.abs(truth[:, :2]).max(axis=1) < 0.4
    before = np.linalg.norm(samples.points[inside], axis=1) - 1
    after = np.linalg.norm(fitted[inside], axis=1) - 1
    assert after.std() < 0.4 * before.std()
    assert abs(after.mean() - before.mean()) < 1e-3


def test_outliers_do_not_pull():
    truth, samples = sphere_samples(4000, noise=0.002)
    points = samples.points.copy()
    points[::10] += [0.0, 0.0, 0.3]
    samples = Samples(samples.coords, points, samples.normals, samples.weights, samples.references)
    surface = fit_surface(samples, samples, 0.06, 0.01)
    inside = np.abs(truth[:, :2]).max(axis=1) < 0.4
    assert np.abs(surface.points - truth)[inside].max() < 0.01
    assert surface.residuals[inside][::1].max() > 0.25


def test_two_sides_of_a_thin_part_stay_apart():
    generator = np.random.default_rng(1)
    xy = generator.uniform(0, 1, (3000, 2))
    side = np.where(np.arange(3000) % 2 == 0, 1.0, -1.0)
    points = np.column_stack([xy, 0.005 * side])
    normals = np.column_stack([np.zeros((3000, 2)), side]).astype(np.float32)
    ones = np.ones((3000, 1), np.uint64)
    samples = Samples(points.astype(np.float32), points, normals, np.ones(3000), ones)
    fitted = fit_surface(samples, samples, 0.1, 0.05)
    np.testing.assert_allclose(fitted.points[:, 2], points[:, 2], atol=1e-6)
    np.testing.assert_allclose(fitted.normals, normals, atol=1e-4)


def test_counts_views_and_leaves_the_lonely_alone():
    _, samples = sphere_samples(500)
    far = Samples(
        samples.coords[:1] + np.float32(5.0),
        samples.points[:1],
        samples.normals[:1],
        samples.weights[:1],
        samples.references[:1],
    )
    alone = fit_surface(samples, far, 0.1, 0.01)
    assert np.isinf(alone.residuals[0])
    np.testing.assert_array_equal(alone.points, far.points)
    surface = fit_surface(samples, samples, 0.1, 0.01)
    assert surface.n_references.max() == 5
    none = Samples(*(getattr(samples, f)[:0] for f in samples.__dataclass_fields__))
    assert len(fit_surface(samples, none, 0.1, 0.01).points) == 0
    assert np.isinf(fit_surface(none, samples, 0.1, 0.01).residuals).all()


def test_motion_of_the_world_moves_the_fit_with_it():
    _, samples = sphere_samples(1500, noise=0.01)
    expected = fit_surface(samples, samples, 0.06, 0.02)
    c, s = np.cos(0.4), np.sin(0.4)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    moved = Samples(
        samples.coords,
        samples.points @ rotation.T + [4.0, 5.0, 6.0],
        (samples.normals @ rotation.T).astype(np.float32),
        samples.weights,
        samples.references,
    )
    surface = fit_surface(moved, moved, 0.06, 0.02)
    np.testing.assert_allclose(
        surface.points, expected.points @ rotation.T + [4.0, 5.0, 6.0], atol=1e-9
    )


def test_lattice_normals_of_a_sphere():
    y, x = np.mgrid[:40, :50]
    near = (x - 25) ** 2 + (y - 20) ** 2 < 17**2
    flat = np.flatnonzero(near & (x % 2 == 1) & (y % 2 == 0)).astype(np.int32)
    px, py = flat % 50 - 25.0, flat // 50 - 20.0
    points = np.column_stack([px, py, -np.sqrt(20.0**2 - px**2 - py**2)])
    normals = lattice_normals(flat, points, (40, 50), np.array([0.0, 0.0, -500.0]))
    cosine = (normals * points / 20.0).sum(axis=1)
    assert np.median(cosine) > 0.999
    assert cosine.min() > 0.9
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)


def test_lattice_normals_without_neighbors_point_at_the_camera():
    points = np.array([[0.0, 0.0, 5.0]])
    normals = lattice_normals(np.array([3], np.int32), points, (10, 10), np.zeros(3))
    np.testing.assert_allclose(normals, [[0, 0, -1]], atol=1e-7)
    assert lattice_normals(np.empty(0, np.int32), np.empty((0, 3)), (5, 5), np.zeros(3)).size == 0


def test_lattice_normals_do_not_mix_two_surfaces():
    y, x = np.mgrid[:30, :30]
    flat = np.arange(900, dtype=np.int32)
    depth = np.where(x < 15, 100.0, 140.0)
    points = np.column_stack([x.ravel(), y.ravel(), depth.ravel()]).astype(float)
    normals = lattice_normals(flat, points, (30, 30), np.zeros(3))
    np.testing.assert_allclose(normals, np.tile([0, 0, -1], (900, 1)), atol=1e-6)


def test_threads_change_no_bit():
    _, samples = sphere_samples(4000, noise=0.01)
    results = []
    for n_threads in (1, 2):
        numba.set_num_threads(n_threads)
        results.append(fit_surface(samples, samples, 0.05, 0.02))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for name in results[0].__dataclass_fields__:
        assert getattr(results[0], name).tobytes() == getattr(results[1], name).tobytes()
