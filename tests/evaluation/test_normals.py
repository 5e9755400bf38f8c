"""The head's pose from its surface, and maps' normals against the true ones, on a ball."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvs.canonical.pose import head_pose
from mvs.evaluation.normals import normal_figures, surface_normals
from mvs.evaluation.truth import Truth
from tests.evaluation.captures import CUBE_PER_METRE, setting, write_ball
from tests.evaluation.maps import ball_views

MOTION = np.eye(4)
MOTION[:3, :3] = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
MOTION[:3, 3] = (0.3, -0.2, 1.5)
SCENE = setting(3, motion=MOTION, scale=1000.0)


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    capture = write_ball(tmp_path_factory.mktemp("ball"), SCENE)
    truth = Truth(capture)
    points = truth.sample(1500)
    seen = [truth.visible(view, points.positions) for view in capture.views]
    return capture, truth, points, seen


def figures(ball, embedded):
    capture, truth, points, seen = ball
    return normal_figures(truth, capture, embedded, points, seen)


def with_normals(embedded, change):
    maps = tuple(replace(m, normals=change(m.normals)) for m in embedded.cube_maps)
    return replace(embedded, cube_maps=maps)


def test_exact_normals_are_right_in_a_turned_world_of_another_unit(ball):
    result = figures(ball, ball_views(ball[0], SCENE, with_normals=True))
    assert set(result) == {"face", "head_neck"}
    assert max(result.values()) < 1.5  # a pixel of the map is half a degree in the middle


def test_mirrored_turned_and_inverted_normals_are_wrong(ball):
    exact = ball_views(ball[0], SCENE, with_normals=True)
    mirrored = figures(ball, with_normals(exact, lambda n: n * np.float32([-1, 1, 1])))
    assert mirrored["face"] > 20
    inverted = figures(ball, with_normals(exact, lambda n: -n))
    assert min(inverted.values()) > 178
    in_world = figures(ball, with_normals(exact, lambda n: n @ MOTION[:3, :3].T.astype("f4")))
    assert min(in_world.values()) > 20
    turn = Rotation.from_rotvec([0, 0, np.deg2rad(10)]).as_matrix().astype(np.float32)
    turned = figures(ball, with_normals(exact, lambda n: n @ turn.T))
    assert 5 < turned["face"] < 10.5


def test_the_length_of_a_normal_does_not_count(ball):
    exact = ball_views(ball[0], SCENE, with_normals=True)
    longer = with_normals(exact, lambda n: 3 * n)
    assert figures(ball, longer) == pytest.approx(figures(ball, exact), abs=1e-3)


def test_maps_without_normals_give_no_figures(ball):
    assert figures(ball, ball_views(ball[0], SCENE)) == {}


def test_pixels_without_a_normal_are_left_out(ball):
    exact = ball_views(ball[0], SCENE, with_normals=True)

    def spoil(normals):
        normals = normals.copy()
        normals[::2] = 0
        normals[1::2, ::2] = np.nan
        return normals

    result = figures(ball, with_normals(exact, spoil))
    assert max(result.values()) < 1.5
    empty = replace(exact.cube_maps[0], normals=None)
    one_less = replace(exact, cube_maps=(empty, *exact.cube_maps[1:]))
    assert max(figures(ball, one_less).values()) < 1.5
    nothing = with_normals(exact, lambda n: 0 * n)
    assert figures(ball, nothing) == {}


def test_the_number_of_views_must_agree(ball):
    capture, truth, points, seen = ball
    with pytest.raises(ValueError, match="one entry per view"):
        normal_figures(truth, capture, ball_views(capture, SCENE), points, seen[:1])


def test_the_surface_s_normals_point_outwards(ball):
    _, truth, points, _ = ball
    middle = SCENE.place(np.zeros((1, 3)))
    out = points.positions - middle
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    normals = surface_normals(truth, points.positions)
    assert (normals * out).sum(axis=1).min() > np.cos(np.deg2rad(1.5))


def test_the_pose_is_exact_on_exact_points(ball):
    _, _, points, _ = ball
    pose = head_pose(points.coords.astype(float), points.positions)
    np.testing.assert_allclose(pose.rotation, MOTION[:3, :3], atol=1e-5)
    assert pose.scale == pytest.approx(1000 / CUBE_PER_METRE, rel=1e-5)
    middle = pose.to_world(np.full((1, 3), 0.5))
    np.testing.assert_allclose(middle, SCENE.place(np.zeros((1, 3))), atol=1e-2)
    above = SCENE.place(np.array([[0.0, 2.0, 0.0]]))[0]
    np.testing.assert_allclose(pose.direction(above), [0, 1, 0], atol=1e-4)


def test_the_pose_bears_points_that_are_elsewhere():
    rng = np.random.default_rng(0)
    coords = rng.random((300, 3))
    positions = 2.0 * coords @ MOTION[:3, :3].T + 1.0
    positions[:90] += rng.normal(size=(90, 3)) + 0.5
    coords[-3:] = np.nan
    pose = head_pose(coords, positions)
    np.testing.assert_allclose(pose.rotation, MOTION[:3, :3], atol=1e-2)
    assert pose.scale == pytest.approx(2.0, rel=1e-2)
    assert np.linalg.det(pose.rotation) == pytest.approx(1.0)


def test_a_mirror_image_is_no_pose():
    coords = np.random.default_rng(0).random((50, 3))
    pose = head_pose(coords, coords * [-1, 1, 1])
    assert np.linalg.det(pose.rotation) == pytest.approx(1.0)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        head_pose(np.zeros((2, 3)), np.zeros((2, 3)))
    line = np.linspace(0, 1, 9)[:, None] * np.array([1.0, 2, 3])
    with pytest.raises(ValueError, match="one line"):
        head_pose(line, line)
