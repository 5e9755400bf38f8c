import numba
import numpy as np
import pytest

from mvs.kernels.dlt import Observations, PointStatus, TriangulateBounds, triangulate_points
from tests.reference import dlt as slow


def cameras(n, spread=1.0):
    projections = []
    for angle in np.linspace(-spread / 2, spread / 2, n):
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        K = np.array([[900.0, 0, 320], [0, 910.0, 240], [0, 0, 1]])
        projections.append(K @ np.column_stack([rotation, [0.02 * n, -0.01, 1.0]]))
    return np.stack(projections)


def project(projections, points):
    h = np.einsum("vij,nj->nvi", projections, np.column_stack([points, np.ones(len(points))]))
    return h[..., :2] / h[..., 2:]


def scene(n_points, n_views, seed=0, noise=0.0):
    generator = np.random.default_rng(seed)
    projections = cameras(n_views)
    points = generator.uniform(-0.15, 0.15, (n_points, 3))
    pixels = project(projections, points)
    return projections, points, pixels + noise * generator.normal(size=pixels.shape)


@pytest.mark.parametrize("n_views", [2, 3, 8])
@pytest.mark.parametrize("n_iterations", [0, 10])
def test_exact_without_noise(n_views, n_iterations):
    projections, points, pixels = scene(700, n_views)
    bounds = TriangulateBounds(max_error=1e-6, n_iterations=n_iterations)
    solved = triangulate_points(Observations(projections, pixels), bounds)
    assert (solved.status == PointStatus.OK).all()
    assert solved.used.all()
    np.testing.assert_allclose(solved.points, points, atol=1e-12)
    assert solved.error.max() < 1e-9


@pytest.mark.parametrize("n_views", [2, 3, 6])
def test_equals_general_solver_with_noise(n_views):
    projections, _, pixels = scene(40, n_views, noise=2.0)
    linear = triangulate_points(
        Observations(projections, pixels), TriangulateBounds(n_iterations=0)
    )
    solved = triangulate_points(Observations(projections, pixels))
    for i in range(len(pixels)):
        np.testing.assert_allclose(linear.points[i], slow.linear(projections, pixels[i]), atol=1e-9)
        np.testing.assert_allclose(
            solved.points[i], slow.refined(projections, pixels[i]), atol=2e-8
        )


def test_roots_weigh_the_errors():
    projections, _, pixels = scene(30, 4, noise=3.0)
    generator = np.random.default_rng(1)
    roots = generator.uniform([0.3, -0.5, 0.3], [3.0, 0.5, 3.0], (30, 4, 3)).astype(np.float32)
    solved = triangulate_points(Observations(projections, pixels, roots))
    for i in range(len(pixels)):
        expected = slow.refined(projections, pixels[i], roots[i].astype(float))
        np.testing.assert_allclose(solved.points[i], expected, atol=2e-8)
    plain = triangulate_points(Observations(projections, pixels))
    assert np.abs(plain.points - solved.points).max() > 1e-4
    ones = np.broadcast_to(np.float32([1, 0, 1]), roots.shape)
    same = triangulate_points(Observations(projections, pixels, ones))
    np.testing.assert_allclose(same.points, plain.points, rtol=0, atol=1e-14)


def test_drops_the_view_that_lies():
    projections, points, pixels = scene(200, 6)
    liar = np.arange(200) % 6
    pixels[np.arange(200), liar] += 25.0
    bounds = TriangulateBounds(max_error=0.5)
    solved = triangulate_points(Observations(projections, pixels), bounds)
    assert (solved.status == PointStatus.OK).all()
    np.testing.assert_array_equal(solved.used, liar[:, None] != np.arange(6))
    np.testing.assert_allclose(solved.points, points, atol=1e-10)


def test_keeps_the_first_view_when_asked():
    projections, _, pixels = scene(50, 4)
    pixels[:, 0] += 25.0
    bounds = TriangulateBounds(max_error=0.5, keep_first=True, min_views=3)
    solved = triangulate_points(Observations(projections, pixels), bounds)
    assert (solved.status == PointStatus.LARGE_ERROR).all()
    assert np.isnan(solved.points).all()
    assert not solved.used.any()


def test_agreement_of_too_few_is_not_enough():
    projections, _, pixels = scene(50, 6, seed=3)
    generator = np.random.default_rng(0)
    pixels[:, 2:] += generator.uniform(20, 60, (50, 4, 2)) * generator.choice([-1, 1], (50, 4, 2))
    loose = triangulate_points(Observations(projections, pixels), TriangulateBounds(max_error=0.5))
    strict = triangulate_points(
        Observations(projections, pixels), TriangulateBounds(max_error=0.5, min_agreement=0.5)
    )
    assert (loose.status == PointStatus.OK).any()
    assert (strict.status == PointStatus.LARGE_ERROR).all()


def test_status_of_hopeless_points():
    projections, points, pixels = scene(6, 3)
    pixels[0, 1:] = np.nan
    pixels[1] = np.nan
    pixels[2, 0, 0] = np.inf
    behind = project(projections, np.array([[0.0, 0.0, -3.0]]))
    pixels[3] = behind
    solved = triangulate_points(Observations(projections, pixels), TriangulateBounds(max_error=1.0))
    assert solved.status.tolist() == [1, 1, 0, 3, 0, 0]
    np.testing.assert_allclose(solved.points[[2, 4, 5]], points[[2, 4, 5]], atol=1e-11)
    assert np.isnan(solved.points[[0, 1, 3]]).all()
    wide = triangulate_points(
        Observations(projections, pixels), TriangulateBounds(min_angle_deg=80.0)
    )
    assert wide.status[4] == PointStatus.SMALL_ANGLE


def test_same_camera_twice_is_degenerate():
    projections, _, pixels = scene(20, 2)
    twice = Observations(projections[[0, 0]], pixels[:, [0, 0]])
    solved = triangulate_points(twice, TriangulateBounds(min_angle_deg=0.5))
    assert (solved.status != PointStatus.OK).all()


def test_angle_and_deviation():
    projections, points, pixels = scene(300, 4, noise=0.5)
    solved = triangulate_points(Observations(projections, pixels))
    centers = -np.einsum("vij,vj->vi", np.linalg.inv(projections[:, :, :3]), projections[:, :, 3])
    rays = centers - points[:, None]
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    cosine = np.einsum("nk,nvk->nv", rays[:, 0], rays).min(axis=1)
    np.testing.assert_allclose(solved.angle_deg, np.rad2deg(np.arccos(cosine)), atol=0.2)
    scatter = np.sqrt(((solved.points - points) ** 2).sum(axis=1).mean())
    assert scatter == pytest.approx(0.5 * solved.deviation.mean(), rel=0.15)


def test_invariant_under_motion_scale_and_order_of_views():
    projections, _, pixels = scene(100, 5, noise=1.0)
    expected = triangulate_points(Observations(projections, pixels)).points
    angle = 0.7
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = 1000.0 * rotation, [5e4, -2e4, 1e5]
    solved = triangulate_points(Observations(projections @ np.linalg.inv(moved), pixels)).points
    np.testing.assert_allclose(solved, expected @ moved[:3, :3].T + moved[:3, 3], atol=1e-4)
    order = [3, 1, 4, 0, 2]
    shuffled = triangulate_points(Observations(projections[order], pixels[:, order])).points
    np.testing.assert_allclose(shuffled, expected, atol=1e-10)


def test_threads_change_no_bit():
    projections, _, pixels = scene(5000, 5, noise=2.0)
    results = []
    for n_threads in (1, 2):
        numba.set_num_threads(n_threads)
        observations = Observations(projections, pixels)
        results.append(triangulate_points(observations, TriangulateBounds(max_error=3.0)))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for name in ("points", "status", "used", "error", "angle_deg", "deviation"):
        assert getattr(results[0], name).tobytes() == getattr(results[1], name).tobytes()


def test_empty_and_bad_shapes():
    projections, _, pixels = scene(5, 3)
    assert len(triangulate_points(Observations(projections, pixels[:0])).points) == 0
    with pytest.raises(ValueError, match="projections must have shape"):
        triangulate_points(Observations(projections, pixels[:, :2]))
    with pytest.raises(ValueError, match="roots must have shape"):
        triangulate_points(Observations(projections, pixels, np.ones((5, 2, 3), np.float32)))
