"""MVSNet's camera files."""

import numpy as np
import pytest

from calib.capture import CameraFileError, Capture
from calib.formats import read_capture
from calib.mvsnet import write_mvsnet
from tests.calib.captures import make_capture, pose_of

CAMERA = "extrinsic\n1 0 0 0\n0 1 0 0\n0 0 1 2\n0 0 0 1\n\nintrinsic\n100 0 50\n0 100 40\n0 0 1\n\n"


@pytest.mark.parametrize("depths", ["425.0 2.5", "425 2.5 192", "425 2.5 192 935"])
@pytest.mark.parametrize("images", ["images", "blended_images"])
def test_pixels_are_colmaps(tmp_path, depths, images):
    make_capture(tmp_path, n=2)
    (tmp_path / "images").rename(tmp_path / images)
    (tmp_path / "cams").mkdir()
    for name in ("00", "01"):
        (tmp_path / "cams" / f"{name}_cam.txt").write_text(CAMERA + depths)
    camera = read_capture(tmp_path).views[0].camera
    np.testing.assert_allclose(camera.project(np.zeros((1, 3)))[0], [[50, 40]])
    assert (camera.width, camera.height) == (120, 90)
    assert len(read_capture(tmp_path / "cams" / "00_cam.txt", tmp_path / images).views) == 2


def ranges(folder):
    for path in sorted((folder / "cams").iterdir()):
        near, step, n, far = map(float, path.read_text().split()[-4:])
        assert near + step * (n - 1) == pytest.approx(far)
        yield near, far


def test_depths_hold_the_points(tmp_path):
    truth = make_capture(tmp_path)
    write_mvsnet(tmp_path, truth)
    for view, (near, far) in zip(truth.views, ranges(tmp_path), strict=True):
        depth = view.camera.project(truth.points[view.point_ids])[1]
        assert 0.85 * depth.min() < near < depth.min()
        assert depth.max() < far < 1.15 * depth.max()


def test_depths_without_points_hold_what_a_ring_looks_at(tmp_path):
    """Cameras of ``pose_of`` stand around the origin, 2 to 2.3 away from it."""
    views = []
    for index, view in enumerate(make_capture(tmp_path).views):
        turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        pose = np.column_stack([np.linalg.matrix_power(turn[:, [2, 0, 1]], index), [0, 0, 2]])
        empty = np.zeros(0, np.int64)
        views.append(
            type(view)(view.name, view.image_path, None, view.camera.with_pose(pose), empty)
        )
    write_mvsnet(tmp_path, Capture(tmp_path, tuple(views), np.zeros((0, 3)), ()))
    assert all(near < 1 < 3 < far for near, far in ranges(tmp_path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"00_cam\.txt: must hold extrinsic"),
        (CAMERA, "line of depths has 0 numbers"),
        (CAMERA + "1 2 3 4 5", "line of depths has 5 numbers"),
        (CAMERA.replace("0 0 0 1", "0 0 1 1") + "1 2", "must end in 0 0 0 1"),
        (CAMERA.replace("0 0 1 2", "0 0 -1 2") + "1 2", "mirrored"),
        (CAMERA.replace("100 0 50", "100 3 50") + "1 2", "skew"),
        (CAMERA.replace("100 0 50", "100 0 inf") + "1 2", "not finite"),
        (CAMERA.replace("100 0 50", "100 0") + "1 2 3", "must end in 0 0 1"),
    ],
)
def test_what_a_camera_can_have_wrong(tmp_path, text, reason):
    make_capture(tmp_path, n=2)
    (tmp_path / "cams").mkdir()
    for name in ("00", "01"):
        (tmp_path / "cams" / f"{name}_cam.txt").write_text(text)
    with pytest.raises(CameraFileError, match=reason):
        read_capture(tmp_path)


def test_cameras_of_other_pictures_are_not_mixed_in(tmp_path):
    truth = make_capture(tmp_path)
    write_mvsnet(tmp_path, truth)
    write_mvsnet(tmp_path, truth)
    (tmp_path / "cams" / "99_cam.txt").write_text("")
    with pytest.raises(ValueError, match=r"cameras of other pictures \(99_cam\.txt\)"):
        write_mvsnet(tmp_path, truth)


def test_poses_are_as_written(tmp_path):
    write_mvsnet(tmp_path, make_capture(tmp_path))
    for index, view in enumerate(read_capture(tmp_path).views):
        np.testing.assert_allclose(view.camera.cam_from_world, pose_of(index), atol=1e-12)
