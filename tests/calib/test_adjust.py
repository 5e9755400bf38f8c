"""Bundle adjustment on exact tracks: back to the truth, and refused where nothing is to gain."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.adjust import (
    AdjustOptions,
    adjust_cameras,
    adjusted_capture,
    linked_views,
    observed_tracks,
    turn_deg,
)
from calib.camera import Camera
from calib.capture import Capture, View
from calib.scale import align_cameras

SIZE = 600
LENS = np.array([1100.0, 1090.0, 305.0, 297.0, -0.08, 0.02, 0.001, -0.002])


def scene(n_views=7, n_points=300, noise=0.0, seed=0):
    """Cameras on an arc around points on a ball, and where each sees those on its side."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n_points, 3))
    points *= 0.12 / np.linalg.norm(points, axis=1, keepdims=True)
    cameras = []
    tracks = np.full((n_points, n_views, 2), np.nan)
    for view, angle in enumerate(np.linspace(-70, 70, n_views)):
        R = Rotation.from_euler("zyx", [3 * view, angle, 8 * np.sin(view)], degrees=True)
        pose = np.column_stack([R.as_matrix(), [0.01, -0.02, 1.0 + 0.03 * view]])
        camera = Camera("OPENCV", SIZE, SIZE, LENS, pose)
        facing = ((camera.center - points) * points).sum(axis=1) > 0
        pixels = camera.project(points[facing])[0]
        tracks[facing, view] = pixels + noise * rng.normal(size=pixels.shape)
        cameras.append(camera)
    return cameras, tracks[np.isfinite(tracks[..., 0]).sum(axis=1) >= 3]


def perturbed(cameras, degrees, share, seed=1):
    rng = np.random.default_rng(seed)
    moved = []
    for camera in cameras:
        axis, step = rng.normal(size=(2, 3))
        R = Rotation.from_rotvec(np.deg2rad(degrees) * axis / np.linalg.norm(axis)).as_matrix()
        R = R @ camera.rotation
        center = camera.center + share * step / np.linalg.norm(step)
        moved.append(camera.with_pose(np.column_stack([R, -R @ center])))
    return moved


def off(found, truth):
    """Largest turn in degrees and distance of the centres, after alignment."""
    fit = align_cameras(found, truth).similarity
    aligned = [fit.camera(camera) for camera in found]
    turns = [turn_deg(a, b) for a, b in zip(aligned, truth, strict=True)]
    away = [np.linalg.norm(a.center - b.center) for a, b in zip(aligned, truth, strict=True)]
    return max(turns), max(away)


@pytest.mark.parametrize("degrees", [0.3, 1.0])
def test_exact_tracks_bring_the_poses_back(degrees):
    truth, tracks = scene()
    given = perturbed(truth, degrees, 0.01)
    found = adjust_cameras(given, tracks)
    assert found.helps
    assert found.adjusted.all()
    assert found.before.median > 2
    assert found.after.p90 < 1e-3
    turn, away = off(found.cameras, truth)
    assert turn < 1e-3
    assert away < 1e-5
    assert found.n_held_out == len(tracks) // 5
    assert found.n_fitted == len(tracks) - found.n_held_out
    for camera, expected in zip(found.cameras, truth, strict=True):
        np.testing.assert_array_equal(camera.params, expected.params)


def test_one_camera_off_leaves_the_others_where_they_are():
    """The gauge is held by most of the cameras: frame and unit stay."""
    truth, tracks = scene()
    given = [*truth[:3], *perturbed(truth[3:4], 0.8, 0.02), *truth[4:]]
    found = adjust_cameras(given, tracks)
    assert found.helps
    for camera, expected in zip(found.cameras, truth, strict=True):
        assert turn_deg(camera, expected) < 2e-3
        assert np.linalg.norm(camera.center - expected.center) < 2e-5
    assert np.argmax(found.turned_deg) == 3
    assert found.turned_deg[3] == pytest.approx(0.8, rel=1e-2)
    assert found.moved[3] == pytest.approx(0.02, rel=0.2)


def test_outliers_and_noise_are_borne():
    truth, tracks = scene(n_points=600, noise=0.3)
    rng = np.random.default_rng(3)
    wrong = (rng.random(tracks.shape[:2]) < 0.05)[..., None]
    tracks = np.where(wrong, tracks + rng.normal(size=tracks.shape) * 40, tracks)
    found = adjust_cameras(perturbed(truth, 0.5, 0.01), tracks)
    assert found.helps
    assert found.after.median < 0.4
    turn, away = off(found.cameras, truth)
    assert turn < 0.12
    assert away < 5e-3


def test_good_poses_are_not_made_worse():
    truth, tracks = scene(noise=0.3)
    found = adjust_cameras(truth, tracks)
    assert not found.helps
    with pytest.raises(ValueError, match=r"does not help: .* go on with the capture as it is"):
        found.check()
    adjust_cameras(perturbed(truth, 0.5, 0.01), tracks).check()


def test_tracks_that_overfit_are_refused():
    """Too few tracks to tell: the fit is better, the tracks held out are not."""
    truth, tracks = scene(n_points=120, noise=3.0)
    found = adjust_cameras(truth, tracks)
    assert off(found.cameras, truth)[0] > 0.05
    assert not found.helps


def test_the_same_tracks_give_the_same_bytes():
    truth, tracks = scene(noise=0.3)
    given = perturbed(truth, 0.5, 0.01)
    first, second = (adjust_cameras(given, tracks) for _ in range(2))
    for a, b in zip(first.cameras, second.cameras, strict=True):
        assert a.cam_from_world.tobytes() == b.cam_from_world.tobytes()


def test_intrinsics_are_refined_where_asked():
    truth, tracks = scene(n_points=800)
    changed = LENS * [1.02, 1.02, 1, 1, 1, 1, 1, 1]
    given = [replace(camera, params=changed) for camera in perturbed(truth, 0.2, 0.002)]
    fixed = adjust_cameras(given, tracks)
    focal = adjust_cameras(given, tracks, AdjustOptions(intrinsics="focal", rounds=8))
    np.testing.assert_array_equal(fixed.cameras[0].params, changed)
    assert len({camera.params.tobytes() for camera in focal.cameras}) == 1
    np.testing.assert_allclose(focal.cameras[0].params[:2], LENS[:2], rtol=1e-3)
    np.testing.assert_array_equal(focal.cameras[0].params[2:4], LENS[2:4])
    assert focal.after.median < 0.1 * fixed.after.median


def test_views_that_do_not_hold_together_keep_their_poses():
    truth, tracks = scene()
    tracks = tracks.copy()
    tracks[:, 6] = np.nan
    given = perturbed(truth, 0.5, 0.005)
    found = adjust_cameras(given, tracks)
    assert found.adjusted.tolist() == [True] * 6 + [False]
    assert found.cameras[6] is given[6]
    assert off(found.cameras[:6], truth[:6])[0] < 1e-3
    with pytest.raises(ValueError, match="nothing to adjust by"):
        adjust_cameras(given, tracks[:10])
    with pytest.raises(ValueError, match="nothing to adjust by"):
        adjust_cameras(given, tracks[:0])
    with pytest.raises(ValueError, match=r"tracks must be \(N, 7, 2\)"):
        adjust_cameras(given, tracks[:, :3])


def test_the_largest_group_is_taken():
    seen = np.zeros((60, 5), bool)
    seen[:20, [0, 3]] = True
    seen[20:50, [1, 2]] = True
    seen[30:50, 4] = True
    assert linked_views(seen).tolist() == [False, True, True, False, True]


def test_small_turns_are_told_from_none():
    camera = scene()[0][0]
    turned = perturbed([camera], 1e-6, 0.0)[0]
    assert turn_deg(camera, turned) == pytest.approx(1e-6, rel=1e-3)
    assert turn_deg(camera, camera) < 1e-12
    assert turn_deg(camera, perturbed([camera], 170, 0.0)[0]) == pytest.approx(170)


def test_points_follow_the_cameras(tmp_path):
    truth, tracks = scene()
    given = perturbed(truth, 0.5, 0.005)
    rows = [np.flatnonzero(np.isfinite(tracks[:, view, 0])) for view in range(7)]
    views = tuple(
        View(f"{k}.png", tmp_path / f"{k}.png", None, camera, rows[k], tracks[rows[k], k])
        for k, camera in enumerate(given)
    )
    stray = np.array([[9.0, 9, 9]])
    capture = Capture(tmp_path, views, np.concatenate([np.zeros((len(tracks), 3)), stray]), ())
    np.testing.assert_array_equal(observed_tracks(capture), tracks)
    found = adjusted_capture(capture, adjust_cameras(given, observed_tracks(capture)))
    np.testing.assert_array_equal(found.points[-1], stray[0])
    for view, seen in zip(found.views, rows, strict=True):
        off_px = view.camera.project(found.points[seen])[0] - view.observed
        assert np.abs(off_px).max() < 0.01


@pytest.mark.parametrize(
    "change", [{"intrinsics": "some"}, {"rounds": 0}, {"loss_px": 0}, {"min_gain": 1}]
)
def test_options_are_checked(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        AdjustOptions(**change)
