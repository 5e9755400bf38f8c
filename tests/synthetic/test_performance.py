"""A rendered performance: still cameras, one topology, smooth motion, masks where the truth is."""

import json
from pathlib import Path

import numpy as np
import pytest

from calib.formats import find_cameras, read_cameras
from calib.image_files import read_picture
from mvs.batch.frames import Pattern, find_by_pattern
from mvs.batch.rig import read_rig
from mvs.evaluation.registration import CanonicalTruth
from mvs.stages.ply import read_properties
from mvs.synthetic.capture import WORLD_FROM_HEAD, studio_shot, world_camera
from mvs.synthetic.head import FACE
from mvs.synthetic.performance import (
    PerformanceOptions,
    activations,
    head_motion,
    moved_shot,
    write_performance,
)

N_FRAMES, N_VIEWS, SIZE = 2, 2, 64


@pytest.fixture(scope="module")
def performance(head_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("performance")
    options = PerformanceOptions(
        head=head_file,
        output=folder,
        n_frames=N_FRAMES,
        n_views=N_VIEWS,
        size=SIZE,
        fps=4.0,
        supersampling=1,
    )
    write_performance(options)
    return folder


def face_of(path):
    vertex, _ = read_properties(path)
    points = np.column_stack([vertex[name] for name in "xyz"]).astype(np.float64)
    return points[vertex["part"] == FACE]


def test_the_truth_is_where_the_masks_are(performance):
    """Projected by the one calibration, each frame's skin falls on that frame's masks."""
    images = {i.name: i for i in read_cameras(*find_cameras(performance)).images}
    for frame in range(N_FRAMES):
        for view in range(N_VIEWS):
            camera = images[f"cam{view:02d}.jpg"].camera(SIZE, SIZE)
            path = performance / "masks" / f"cam{view:02d}" / f"{frame:06d}.png"
            mask = read_picture(path)[0][..., 0] > 0
            pixels, depth = camera.project(face_of(performance / "gt" / f"{frame:06d}.ply"))
            x, y = np.floor(pixels).astype(int).T
            inside = (depth > 0) & (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
            assert inside.sum() > 500
            assert mask[y[inside], x[inside]].mean() > 0.85


def test_a_moving_head_is_seen_as_its_camera_sees_it():
    options = PerformanceOptions(head=Path(), output=Path(), size=SIZE).capture()
    shot, motion = studio_shot(options, 3), head_motion(0.3)
    head = np.random.default_rng(0).uniform(-8, 8, (50, 3))
    world = (head @ motion[:, :3].T + motion[:, 3]) @ WORLD_FROM_HEAD.T
    pixels, depth = world_camera(shot).project(world)
    seen = moved_shot(shot, motion)
    local = head @ seen.R.T + seen.t
    np.testing.assert_allclose(local[:, 2] / 100, depth, rtol=1e-9)
    expected = local[:, :2] / local[:, 2:] * seen.focal + seen.center
    np.testing.assert_allclose(pixels, expected, atol=1e-8)


def test_the_truth_keeps_its_topology_and_moves(performance):
    first, second = (CanonicalTruth(performance / "gt" / f"{k:06d}.ply") for k in range(2))
    np.testing.assert_array_equal(first.skin_faces, second.skin_faces)
    moved = np.linalg.norm(first.points - second.points, axis=1)
    assert 0.001 < np.median(moved) < 0.02
    document = json.loads((performance / "gt" / "performance.json").read_text())
    assert document["frames"]["000001"]["expression"]["eyeBlink_L"] == pytest.approx(
        np.sin(np.pi / 2) ** 2
    )


def test_a_batch_finds_its_frames(performance):
    rig = read_rig(performance)
    assert rig.unit == "m"
    images, masks = (
        Pattern(f"{performance}/{kind}/{{camera}}/{{frame:06d}}.{ending}")
        for kind, ending in (("images", "jpg"), ("masks", "png"))
    )
    found = find_by_pattern(rig, images, masks)
    assert found.warnings == ()
    assert [len(frame.pictures) for frame in found.frames] == [N_VIEWS] * N_FRAMES


def test_motion_is_smooth_and_periodic():
    times = np.arange(0, 1.5, 1 / 96)
    poses = np.stack([head_motion(time) for time in times])
    rotations = poses[:, :, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.eye(3)[None] + 0 * rotations, atol=1e-12
    )
    assert np.abs(np.diff(poses[:, :, 3], 2, axis=0)).max() < 0.02
    np.testing.assert_allclose(head_motion(0.2), head_motion(1.7), atol=1e-9)
    acts = np.array([list(activations(time).values()) for time in times])
    assert acts.min() == 0
    assert acts.max() <= 1
    assert np.abs(np.diff(acts, axis=0)).max() < 0.12
    assert set(activations(0.0).values()) == {0.0}


def test_options_that_make_no_sense_are_refused(head_file, tmp_path):
    with pytest.raises(ValueError, match="n_frames"):
        PerformanceOptions(head=head_file, output=tmp_path, n_frames=0)
