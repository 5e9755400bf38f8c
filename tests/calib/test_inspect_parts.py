"""The parts of the inspection on exact data."""

import numpy as np
import pytest

from calib.camera import Camera
from calib.inspection.epipolar import epipolar_distances
from calib.inspection.features import Features, PairMatches, match_features
from calib.inspection.geometry import arrange, choose_partners, find_center
from calib.inspection.lens_error import measure_lens_error
from calib.inspection.pictures import PictureLevels, compare_levels, robust_scores
from calib.inspection.plots import error_color, short_names
from calib.inspection.tracks import Tracks, join_tracks, triangulate_tracks
from tests.calib.textured import turned
from tests.scenes import _look_at

LENS = ("OPENCV", (600.0, 610.0, 255.0, 250.0, -0.2, 0.03, 0.001, -0.002))


def ring(n=9, arc_deg=160.0, lens=LENS) -> list[Camera]:
    angles = np.deg2rad(np.linspace(-arc_deg / 2, arc_deg / 2, n))
    poses = [_look_at(a, 0.3 * np.cos(5 * a), 0.8 + 0.2 * np.sin(7 * a)) for a in angles]
    return [Camera(lens[0], 512, 512, np.array(lens[1]), pose) for pose in poses]


def seen(cameras, n=300, noise=0.0, radius=0.18) -> tuple[Tracks, np.ndarray]:
    """Points on a ball, each seen by the cameras of its side."""
    rng = np.random.default_rng(2)
    points = rng.normal(size=(n, 3))
    points *= radius / np.linalg.norm(points, axis=1, keepdims=True)
    point, view, pixels = [], [], []
    for k, x in enumerate(points):
        for v, camera in enumerate(cameras):
            if x @ (camera.center - x) > 0.3 * radius * np.linalg.norm(camera.center - x):
                point.append(k)
                view.append(v)
                pixels.append(camera.project(x[None])[0][0] + rng.normal(0, noise, 2))
    tracks = Tracks(np.array(point), np.array(view), np.array(pixels))
    return tracks, points


def with_params(cameras, change) -> list[Camera]:
    params = np.array(LENS[1]) + change
    return [Camera(c.model, c.width, c.height, params, c.cam_from_world) for c in cameras]


def test_exact_matches_lie_on_their_lines():
    first, second = ring()[2:4]
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 3))
    pixels = (first.project(points)[0], second.project(points)[0])
    for distance, normal in epipolar_distances((first, second), pixels):
        np.testing.assert_allclose(distance, 0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1)


def test_a_shift_across_the_line_is_its_signed_distance():
    lens = ("PINHOLE", (600.0, 610.0, 255.0, 250.0))
    first, second = ring(lens=lens)[2:4]
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (50, 3))
    pixels = (first.project(points)[0], second.project(points)[0])
    normal = epipolar_distances((first, second), pixels)[1][1]
    along = normal[:, ::-1] * [1, -1]
    moved = pixels[1] + 0.7 * normal + 5.0 * along
    found = epipolar_distances((first, second), (pixels[0], moved))[1][0]
    np.testing.assert_allclose(found, 0.7, atol=1e-9)


def test_cameras_in_one_place_have_no_lines():
    first = ring()[0]
    pixels = np.array([[100.0, 100.0]])
    found = epipolar_distances((first, turned(first, 0, 5, 0)), (pixels, pixels))
    assert np.isnan(found[0][0]).all()


def test_a_few_cameras_that_look_elsewhere_do_not_move_the_center():
    cameras = ring(12)
    cameras[3] = turned(cameras[3], 0, 40, 0)
    cameras[8] = turned(cameras[8], 25, 0, 0)
    center, source = find_center(cameras, np.zeros((0, 3)))
    assert source == "axes"
    np.testing.assert_allclose(center, 0, atol=0.02)


def test_parallel_cameras_ask_the_points():
    poses = [np.column_stack([np.eye(3), [-x, 0, 0]]) for x in (0.0, 0.1, 0.2)]
    cameras = [Camera(LENS[0], 512, 512, np.array(LENS[1]), pose) for pose in poses]
    points = np.random.default_rng(0).normal([0.1, 0, 2.0], 0.05, (50, 3))
    center, source = find_center(cameras, points)
    assert source == "points"
    np.testing.assert_allclose(center, [0.1, 0, 2.0], atol=0.03)
    assert find_center(cameras, np.zeros((0, 3)))[1] == "guess"


def test_the_arrangement_does_not_depend_on_the_world():
    cameras = ring()
    around = arrange(cameras, np.zeros((0, 3)))
    R = turned(cameras[0], 20, 30, 40).rotation
    moved = [
        c.with_pose(np.column_stack([c.rotation @ R, c.rotation @ [1.0, 2, 3] + c.translation]))
        for c in cameras
    ]
    again = arrange(moved, np.zeros((0, 3)))
    for name in ("distances", "azimuths_deg", "elevations_deg", "angles_deg", "baselines"):
        np.testing.assert_allclose(getattr(again, name), getattr(around, name), atol=1e-4)


def test_partners_are_few_and_near():
    around = arrange(ring(17), np.zeros((0, 3)))
    pairs = choose_partners(around, 4)
    assert all(i < j for i, j in pairs)
    assert all(around.angles_deg[i, j] < 45 for i, j in pairs)
    for view in range(17):
        assert 2 <= sum(view in pair for pair in pairs) <= 8


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ([0, 0, -0.5, -0.5, 0, 0, 0, 0], "shift"),
        ([9.0, 9.15, 0, 0, 0, 0, 0, 0], "scale"),
        ([0, 0, 0, 0, 0.2, -0.03, 0, 0], "bend"),
    ],
)
def test_what_the_lenses_have_wrong_in_common(change, cause):
    cameras = ring()
    tracks = seen(cameras, noise=0.1)[0]
    found = measure_lens_error(tracks, with_params(cameras, np.array(change)))
    assert found.causes[0] == cause
    assert found.corrected_cost < 0.9 * found.cost
    if cause == "shift":
        np.testing.assert_allclose(found.shift_px[0], -0.5, atol=0.06)
        np.testing.assert_allclose(found.shift_px[1], -0.5, atol=0.2)
    if cause == "scale":
        assert abs(found.scale_share - 0.015) < 0.003
    if cause == "bend":
        truth = 0.2 * (256 / 600) ** 3 * 600
        assert abs(found.bend_px - truth) < 0.25 * truth


def test_noise_alone_is_no_cause():
    cameras = ring()
    found = measure_lens_error(seen(cameras, noise=0.3)[0], cameras)
    assert found.causes == ()
    assert np.abs(found.shift_px).max() < 3 * max(found.shift_error_px)
    assert 0.2 < found.rms_px < 0.4


def test_too_few_points_tell_nothing():
    cameras = ring()
    assert measure_lens_error(seen(cameras, n=20)[0], cameras) is None


def test_exact_tracks_are_triangulated_exactly():
    cameras = ring()
    tracks, points = seen(cameras)
    n_seen = np.bincount(tracks.point, minlength=len(points))
    found = triangulate_tracks(tracks.keep(n_seen[tracks.point] >= 2), cameras)
    np.testing.assert_allclose(found, points[n_seen >= 2], atol=1e-6)


def test_tracks_join_pairs_and_leave_out_contradictions():
    features = [Features(np.arange(2.0 * 5).reshape(5, 2), np.zeros((5, 128)))] * 3
    rows = np.array([0, 1, 2])
    matches = [
        PairMatches((0, 1), rows, rows + 1),
        PairMatches((1, 2), rows + 1, rows),
        # Feature 2 of the first picture would be features 2 and 4 of the third.
        PairMatches((0, 2), np.array([2]), np.array([4])),
    ]
    tracks = join_tracks(features, matches)
    assert tracks.n_points == 2
    np.testing.assert_array_equal(tracks.view, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(tracks.pixels[:3], [[0, 1], [2, 3], [0, 1]])
    assert join_tracks(features, []).n_points == 0


def test_features_match_the_nearest_both_ways():
    rng = np.random.default_rng(1)
    descriptors = rng.integers(0, 100, (30, 128)).astype(np.float32)
    pixels = rng.uniform(0, 100, (30, 2))
    order = rng.permutation(30)
    second = Features(pixels[order], descriptors[order] + rng.integers(0, 3, (30, 128)))
    rows = match_features(Features(pixels, descriptors), second)
    np.testing.assert_array_equal(order[rows[1]], rows[0])
    assert len(rows[0]) == 30
    none = Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    assert len(match_features(none, second)[0]) == 0


def test_levels_are_compared_where_pictures_show_the_same():
    """Three pictures of one gain each that show different parts of a scene."""
    rng = np.random.default_rng(4)
    scene = rng.uniform(3, 5, (60, 4))
    gains = np.array([0.0, 0.3, -0.2])
    rows = [np.arange(0, 40), np.arange(20, 60), np.arange(10, 50)]
    levels = [
        PictureLevels(0, 0, 0, 0, 0, np.zeros((1, 1, 3), np.uint8), scene[r] + gain)
        for r, gain in zip(rows, gains, strict=True)
    ]
    matches = [
        PairMatches((i, j), np.flatnonzero(np.isin(rows[i], rows[j])),
                    np.flatnonzero(np.isin(rows[j], rows[i])))
        for i, j in ((0, 1), (1, 2), (0, 2))
    ]  # fmt: skip
    found = compare_levels(levels, matches)
    np.testing.assert_allclose(found, np.repeat(gains[:, None], 4, axis=1), atol=1e-9)
    assert np.isnan(compare_levels(levels, [])).all()


def test_scores_count_from_the_median():
    scores = robust_scores(np.array([1.0, 1.1, 0.9, 1.0, 3.0, np.nan]), 0.1)
    np.testing.assert_allclose(scores[:4], [0, 0.674, -0.674, 0], atol=0.01)
    assert scores[4] > 10
    assert np.isnan(robust_scores(np.full(3, np.nan), 0.1)).all()


def test_names_are_shortened_where_they_are_long():
    assert short_names(["00.png", "01.png"]) == ["00", "01"]
    assert short_names(["frame_0001.jpg", "frame_0012.jpg"]) == ["01", "12"]
    assert short_names(["a.b.long_name.png"] * 2) == ["e", "e"]


def test_colors_go_from_green_to_red():
    assert error_color(float("nan"), 1.0)[0] == error_color(float("nan"), 2.0)[0]
    red, green, _ = error_color(0.0, 1.0)
    assert green > red
    red, green, _ = error_color(9.0, 1.0)
    assert red > green
