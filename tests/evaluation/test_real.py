"""Figures without ground truth, on a ball whose maps are wrong by known amounts."""

from dataclasses import replace

import numpy as np
import pytest

from calib.camera import Camera
from mvs.evaluation.follow import embed_unmasked
from mvs.evaluation.real import (
    RealEvaluationOptions,
    epipolar_distance,
    evaluate_real,
    evaluate_real_embedded,
)
from mvs.stages.embed import head_square
from tests.evaluation.ball_embedder import BallEmbedder
from tests.evaluation.captures import RADIUS, setting, write_ball

# 20 degrees between neighbours: those fall into 15 to 30, the next but one into 30 to 45.
SCENE = setting(7)
NEAR, NEXT = (15.0, 30.0), (30.0, 45.0)


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """The ball with sparse points on its surface, and one far behind it that views observe, too."""
    capture = write_ball(tmp_path_factory.mktemp("ball"), SCENE)
    normals = np.random.default_rng(0).normal(size=(400, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = np.vstack([normals * RADIUS, [[0.0, 0.0, -0.6]]])
    views = []
    for view in capture.views:
        towards = view.camera.center - points[:-1]
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        facing = (towards * normals).sum(axis=1) > 0.5
        rows = np.append(np.flatnonzero(facing), len(points) - 1)
        views.append(replace(view, point_ids=rows))
    return replace(capture, points=points, views=tuple(views))


@pytest.fixture(scope="module")
def exact(ball):
    return evaluate_real(ball, BallEmbedder(scene=SCENE))


@pytest.fixture(scope="module")
def crop_px(ball):
    """Pixels of a picture per pixel of the crop of 512."""
    embedded = embed_unmasked(ball, BallEmbedder(scene=SCENE))
    return head_square(embedded.cameras[3], embedded.head).side / 512


def by_angle(figures, angle):
    (found,) = (figure for figure in figures if figure.angle_deg == angle)
    return found


def test_exact_maps_lie_on_the_lines(exact):
    assert exact.views == exact.views_with_head == 7
    for figures, n_pairs in ((by_angle(exact.epipolar, NEAR), 12), (exact.epipolar[-1], 10)):
        assert figures.pairs == n_pairs
        assert figures.matches > 0.5 * figures.pixels > 1e4
        assert figures.within_crop[0] > 0.999
        assert figures.within_picture[0] > 0.999
        assert figures.median_px < 0.05
        assert figures.chance_crop[0] < 0.02


def test_exact_maps_find_the_sparse_points(exact):
    for figures in exact.tracks:
        assert figures.points > 100
        assert figures.epe_median_crop < 0.1
        assert figures.within_crop[0] > 0.99
        assert figures.pck[0] > 0.99


def test_maps_that_are_too_low_miss_by_as_much(ball, crop_px):
    """Every other map is 3 px of the crop too low: neighbours differ, the next but one agree.

    The lines are nearly level, so that the distance is the shift times their cosine.
    """
    lift = [3 * crop_px * (k % 2) for k in range(7)]
    result = evaluate_real(ball, BallEmbedder(scene=SCENE, lift=lift))
    near, after = by_angle(result.epipolar, NEAR), by_angle(result.epipolar, NEXT)
    assert near.median_px == pytest.approx(3, rel=0.1)
    assert near.within_crop[:2] == pytest.approx((0, 0), abs=0.02)
    assert near.within_crop[2] > 0.99
    assert after.within_crop[0] > 0.99
    tracks = by_angle(result.tracks, NEAR)
    assert tracks.epe_median_crop == pytest.approx(3, rel=0.1)
    assert tracks.within_crop[0] == 0
    # A picture of 512 is this much finer than the picture of 120.
    picture = 3 * crop_px * 512 / 120
    assert tracks.epe_median_picture == pytest.approx(picture, rel=0.1)


def test_a_wrong_pose_lowers_the_shares(ball, exact):
    turn = np.deg2rad(1.0)
    R = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    views = list(ball.views)
    for index in (1, 3, 5):
        camera = views[index].camera
        wrong = camera.with_pose(R @ camera.cam_from_world)
        views[index] = replace(views[index], camera=wrong)
    result = evaluate_real(replace(ball, views=tuple(views)), BallEmbedder(scene=SCENE))
    # One degree is 1.9 * 120 * tan(1 deg) = 4 pixels of the picture, 17 of 512.
    assert by_angle(result.epipolar, NEAR).within_picture[2] < 0.05
    assert by_angle(exact.epipolar, NEAR).within_picture[2] > 0.99


def test_points_behind_the_head_do_not_count(ball, exact):
    """The point behind projects onto the ball's mask in the middle views, and is left out."""
    without = replace(
        ball,
        points=ball.points[:-1],
        views=tuple(replace(view, point_ids=view.point_ids[:-1]) for view in ball.views),
    )
    assert evaluate_real(without, BallEmbedder(scene=SCENE)).tracks == exact.tracks


def test_points_that_one_view_does_not_observe_do_not_count(ball):
    none = np.zeros(0, np.int64)
    views = tuple(
        view if k < 2 else replace(view, point_ids=none) for k, view in enumerate(ball.views)
    )
    (tracks,) = evaluate_real(replace(ball, views=views), BallEmbedder(scene=SCENE)).tracks
    shared = np.intersect1d(ball.views[0].point_ids, ball.views[1].point_ids)
    assert (tracks.pairs, tracks.points) == (2, 2 * (len(shared) - 1))


def test_without_sparse_points_there_are_no_tracks(ball):
    views = tuple(replace(view, point_ids=np.zeros(0, np.int64)) for view in ball.views)
    bare = replace(ball, points=np.zeros((0, 3)), views=views)
    result = evaluate_real(bare, BallEmbedder(scene=SCENE))
    assert result.tracks == ()
    assert len(result.epipolar) == 2


def test_only_confident_pixels_match(ball):
    """Half of each map is sure: no more than that is asked for, and no more is matched."""
    embedded = embed_unmasked(ball, BallEmbedder(scene=SCENE))
    maps = []
    for cube_map in embedded.cube_maps:
        upper = np.where(np.arange(240) < 120, 0.9, 0.2).astype(np.float32)
        maps.append(replace(cube_map, confidence=np.tile(upper[:, None], 240)))
    result = evaluate_real_embedded(
        ball,
        replace(embedded, cube_maps=tuple(maps)),
        RealEvaluationOptions(confidence_quantile=0.6),
    )
    whole = evaluate_real_embedded(ball, embedded, RealEvaluationOptions())
    for some, every in zip(result.epipolar, whole.epipolar, strict=True):
        assert 0.4 < some.pixels / every.pixels < 0.6
        assert some.matches < some.pixels


def test_pairs_are_limited_per_class(ball):
    result = evaluate_real(
        ball, BallEmbedder(scene=SCENE), options=RealEvaluationOptions(n_pairs=3)
    )
    assert [figures.pairs for figures in result.epipolar] == [3, 3]


def test_epipolar_distance_against_two_points_of_each_ray():
    rng = np.random.default_rng(1)
    first, second = SCENE.cameras[2], SCENE.cameras[5]
    start, place = rng.uniform(20, 100, (50, 2)), rng.uniform(20, 100, (50, 2))
    rays = first.unproject(start)
    ends = [second.project(first.center + depth * rays)[0] for depth in (0.4, 0.6)]
    for k in range(50):
        (x0, y0), (x1, y1), (x, y) = ends[0][k], ends[1][k], place[k]
        area = abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0))
        expected = area / np.hypot(x1 - x0, y1 - y0)
        found = epipolar_distance(first, second, start[k : k + 1], place[k : k + 1])[0]
        assert found == pytest.approx(expected, rel=1e-6)


def test_epipolar_distance_of_level_cameras_is_the_difference_in_rows():
    params = np.array([100.0, 100.0, 50.0, 50.0])
    left = Camera("PINHOLE", 100, 100, params, np.eye(3, 4))
    right = left.with_pose(np.column_stack([np.eye(3), [-1.0, 0, 0]]))
    start, place = np.array([[30.0, 40.0]]), np.array([[10.0, 43.5]])
    assert epipolar_distance(left, right, start, place)[0] == pytest.approx(3.5, abs=1e-12)


@pytest.mark.parametrize(
    "bad",
    [
        {"angles_deg": (30.0, 15.0)},
        {"confidence_quantile": 1.0},
        {"max_cube_distance": 0.0},
        {"max_mutual_px": -1.0},
        {"n_pairs": 0},
    ],
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        RealEvaluationOptions(**bad)
