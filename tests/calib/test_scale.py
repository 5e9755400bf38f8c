"""Similarities against exact truth: with noise, wrong pairs, and what determines none."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.scale import Similarity, align_cameras, robust_mean, robust_similarity, umeyama
from tests.calib.captures import OPENCV, PINHOLE, make_capture, seen_by


def random_similarity(seed: int) -> Similarity:
    rng = np.random.default_rng(seed)
    R = Rotation.random(rng=rng).as_matrix()
    return Similarity(float(np.exp(rng.uniform(-5, 5))), R, rng.normal(size=3) * 10)


def assert_same(found: Similarity, truth: Similarity, tolerance: float) -> None:
    assert found.scale == pytest.approx(truth.scale, rel=tolerance)
    np.testing.assert_allclose(found.rotation, truth.rotation, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        found.translation, truth.translation, rtol=0, atol=tolerance * max(truth.scale, 1) * 10
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("flat", [False, True])
def test_exact_pairs_give_the_exact_similarity(seed, flat):
    truth = random_similarity(seed)
    source = np.random.default_rng(seed).normal(size=(4 if flat else 9, 3)) + 3
    if flat:
        source[:, 2] = 1.0  # a mirrored fit would be as good, and must not come out
    assert_same(umeyama(source, truth.points(source)), truth, 1e-10)
    assert_same(robust_similarity(source, truth.points(source)).similarity, truth, 1e-10)


def test_noise_is_met_by_least_squares():
    """No similarity near it has a smaller weighted sum, and weights matter."""
    rng = np.random.default_rng(1)
    truth = random_similarity(1)
    source = rng.normal(size=(12, 3))
    target = truth.points(source) + truth.scale * rng.normal(size=(12, 3)) * 0.1
    weights = rng.uniform(0.1, 3, 12)
    found = umeyama(source, target, weights)

    def rest(x):
        fit = Similarity(np.exp(x[0]), Rotation.from_rotvec(x[1:4]).as_matrix(), x[4:])
        return (np.sqrt(weights)[:, None] * (fit.points(source) - target)).ravel()

    rotvec = Rotation.from_matrix(truth.rotation).as_rotvec()
    start = np.array([np.log(truth.scale), *rotvec, *truth.translation])
    best = least_squares(rest, start, xtol=1e-14, ftol=1e-14, gtol=1e-14).x
    assert found.scale == pytest.approx(np.exp(best[0]), rel=1e-6)
    np.testing.assert_allclose(found.translation, best[4:], rtol=1e-5, atol=1e-7)
    assert abs(umeyama(source, target).scale / found.scale - 1) > 1e-4


def test_it_is_invariant():
    """Neither order nor another frame on either side changes the similarity."""
    rng = np.random.default_rng(2)
    source = rng.normal(size=(10, 3))
    target = random_similarity(2).points(source) + rng.normal(size=(10, 3)) * 0.05
    found = umeyama(source, target)
    order = rng.permutation(10)
    assert_same(umeyama(source[order], target[order]), found, 1e-12)
    before, after = random_similarity(3), random_similarity(4)
    moved = umeyama(before.points(source), after.points(target))
    assert_same(after.inverse().compose(moved).compose(before), found, 1e-9)


@pytest.mark.parametrize(("n", "n_wrong"), [(6, 2), (9, 4), (16, 7), (60, 28)])
def test_nearly_half_of_the_pairs_may_be_wrong(n, n_wrong):
    rng = np.random.default_rng(n)
    truth = random_similarity(n)
    source = rng.normal(size=(n, 3))
    target = truth.points(source + rng.normal(size=(n, 3)) * 1e-5)
    wrong = rng.permutation(n)[:n_wrong]
    target[wrong] += truth.scale * rng.normal(size=(n_wrong, 3)) * 2
    found = robust_similarity(source, target)
    assert_same(found.similarity, truth, 2e-4)
    assert not found.inliers[wrong].any()
    # The same wrong pairs ruin plain least squares.
    assert abs(umeyama(source, target).scale / truth.scale - 1) > 0.005


def test_robust_fit_is_the_plain_one_without_outliers():
    rng = np.random.default_rng(5)
    source = rng.normal(size=(30, 3))
    target = source + rng.uniform(-1, 1, (30, 3)) * 0.01
    found = robust_similarity(source, target)
    assert found.inliers.all()
    assert_same(found.similarity, umeyama(source, target), 1e-12)


LINE = np.arange(5.0)[:, None] * [1.0, 2.0, -1.0] + 4


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (LINE, "on one line"),
        (LINE[:2], "needs 3 pairs"),
        (np.ones((5, 3)), "on one line"),
        (np.full((5, 3), np.nan), "finite"),
        (np.zeros((5, 2)), r"must be \(N, 3\)"),
    ],
)
def test_what_determines_nothing_is_refused(source, says):
    for fit in (umeyama, robust_similarity):
        with pytest.raises(ValueError, match=says):
            fit(source, source * 2)


def test_targets_on_a_line_are_refused():
    with pytest.raises(ValueError, match="on one line"):
        umeyama(np.random.default_rng(0).normal(size=(5, 3)), LINE)


def test_a_similarity_must_be_one():
    for arguments in (
        (0.0, np.eye(3), np.zeros(3)),
        (1.0, np.diag([1.0, 1, -1]), np.zeros(3)),
        (1.0, 2 * np.eye(3), np.zeros(3)),
        (1.0, np.eye(3), np.array([0, 0, np.inf])),
    ):
        with pytest.raises(ValueError, match="must be"):
            Similarity(*arguments)


def test_inverse_and_composition():
    first, second = random_similarity(6), random_similarity(7)
    points = np.random.default_rng(6).normal(size=(5, 3))
    both = second.compose(first)
    np.testing.assert_allclose(both.points(points), second.points(first.points(points)))
    np.testing.assert_allclose(first.inverse().points(first.points(points)), points, atol=1e-9)


@pytest.mark.parametrize("lens", [PINHOLE, OPENCV])
def test_a_moved_capture_sees_the_same(tmp_path, lens):
    truth = random_similarity(8)
    capture = make_capture(tmp_path, lens)
    moved = truth.capture(capture, "cm")
    assert moved.unit == "cm"
    np.testing.assert_allclose(moved.points, truth.points(capture.points))
    for before, after in zip(capture.views, moved.views, strict=True):
        points = seen_by(before.camera, np.random.default_rng(0))
        pixels, depth = before.camera.project(points)
        again, deeper = after.camera.project(truth.points(points))
        np.testing.assert_allclose(again, pixels, atol=1e-7)
        np.testing.assert_allclose(deeper, truth.scale * depth)
        np.testing.assert_allclose(
            after.camera.center, truth.points(before.camera.center[None])[0], rtol=1e-9
        )
        assert after.observed is before.observed


def on_a_line(n: int) -> list[Camera]:
    rng = np.random.default_rng(9)
    cameras = []
    for k in range(n):
        R = Rotation.random(rng=rng).as_matrix()
        center = np.array([1.0, 0.5, 0.2]) + k * np.array([0.3, 0.1, 0.0])
        cameras.append(Camera(PINHOLE[0], 9, 9, np.array(PINHOLE[1]), np.c_[R, -R @ center]))
    return cameras


@pytest.mark.parametrize("n", [2, 3, 6])
def test_cameras_on_a_line_are_aligned_by_their_directions(n):
    truth, cameras = random_similarity(10), on_a_line(n)
    found = align_cameras(cameras, [truth.camera(camera) for camera in cameras])
    assert_same(found.similarity, truth, 1e-9)
    assert found.errors.max() < 1e-6 * truth.scale


def test_cameras_in_one_place_are_refused():
    cameras = on_a_line(1) * 4
    with pytest.raises(ValueError, match="do not determine"):
        align_cameras(cameras, cameras)
    with pytest.raises(ValueError, match="two or more"):
        align_cameras(cameras[:1], cameras[:1])


def test_the_robust_mean_leaves_out_what_is_far():
    mean, deviation, kept = robust_mean(np.array([1.0, 1.1, 0.9, 1.0, 7.0]))
    assert mean == pytest.approx(1.0)
    assert deviation == pytest.approx(np.sqrt(0.005))
    assert kept.tolist() == [True] * 4 + [False]
    assert robust_mean(np.array([2.0, 2.0, 2.0]))[:2] == (2.0, 0.0)
    assert robust_mean(np.array([2.0]))[0] == 2.0
