"""Every format: what is written is read back, found by itself, and refused when damaged."""

import json

import numpy as np
import pytest

from calib.capture import CameraFileError, CaptureError
from calib.formats import FORMATS, find_cameras, has_cameras, read_capture
from tests.calib.captures import (
    FISHEYE,
    OPENCV,
    PINHOLE,
    RADIAL,
    assert_same_cameras,
    make_capture,
)

# Lenses that a format can hold; a format of none of them would have no round trip.
HOLDS = {
    "colmap": (PINHOLE, OPENCV, RADIAL, FISHEYE),
    "cameras": (PINHOLE, OPENCV, RADIAL, FISHEYE),
    "nerfstudio": (PINHOLE, OPENCV, RADIAL, FISHEYE),
    "middlebury": (PINHOLE,),
    "opencv": (PINHOLE, OPENCV, RADIAL, FISHEYE),
    "metashape": (PINHOLE, OPENCV, RADIAL, FISHEYE),
    "bundler": (RADIAL,),
    "mvsnet": (PINHOLE,),
}
TRIPS = [(name, lens) for name, lenses in HOLDS.items() for lens in lenses]


def test_every_format_has_a_round_trip():
    assert set(HOLDS) == set(FORMATS)


@pytest.mark.parametrize(("name", "lens"), TRIPS, ids=lambda value: str(value)[:24])
def test_round_trip_in_projection(tmp_path, name, lens):
    truth = make_capture(tmp_path, lens)
    file = FORMATS[name].write(tmp_path, truth)
    assert find_cameras(tmp_path) == (name, file)
    found = read_capture(tmp_path)
    assert found.format == name
    assert found.warnings == ()
    assert_same_cameras(found, truth)
    assert_same_cameras(read_capture(file, tmp_path / "images"), truth)
    assert found.views[1].load_image()[-1, 0, 0] == 40


@pytest.mark.parametrize("name", sorted(set(HOLDS) - {"colmap", "cameras"}))
def test_a_lens_that_the_format_cannot_hold_is_refused(tmp_path, name):
    lens = ("FOV", [110.3, 112.7, 61.5, 43.25, 0.3])
    with pytest.raises(ValueError, match=r"FOV.*undistort"):
        FORMATS[name].write(tmp_path, make_capture(tmp_path, lens))
    assert not has_cameras(tmp_path)


def test_points_and_observations_survive(tmp_path):
    truth = make_capture(tmp_path, OPENCV)
    FORMATS["colmap"].write(tmp_path, truth)
    found = read_capture(tmp_path)
    order = [np.argmin(np.linalg.norm(found.points - p, axis=1)) for p in truth.points]
    np.testing.assert_allclose(found.points[order], truth.points, atol=1e-12)
    for view, expected in zip(found.views, truth.views, strict=True):
        rank = np.argsort(np.array(order)[expected.point_ids])
        np.testing.assert_array_equal(view.point_ids, np.array(order)[expected.point_ids][rank])
        np.testing.assert_allclose(view.observed, expected.observed[rank], atol=1e-12)


def test_a_format_asked_for_goes_before_the_one_found(tmp_path):
    truth = make_capture(tmp_path)
    FORMATS["colmap"].write(tmp_path, truth)
    FORMATS["nerfstudio"].write(tmp_path, truth)
    assert read_capture(tmp_path).format == "colmap"
    assert read_capture(tmp_path, format="nerfstudio").format == "nerfstudio"
    with pytest.raises(CaptureError, match=r"holds no \*_par\.txt.*leave --format out"):
        read_capture(tmp_path, format="middlebury")
    with pytest.raises(ValueError, match="format must be one of colmap, "):
        read_capture(tmp_path, format="obj")


def test_the_unit_is_kept(tmp_path):
    truth = make_capture(tmp_path, unit="mm")
    FORMATS["cameras"].write(tmp_path, truth)
    assert read_capture(tmp_path).unit == "mm"
    (tmp_path / "cameras.json").unlink()
    FORMATS["colmap"].write(tmp_path, truth)
    assert read_capture(tmp_path).unit is None
    (tmp_path / "capture.json").write_text('{"unit": "cm"}')
    assert read_capture(tmp_path).unit == "cm"
    for text in ('{"unit": "inch"}', "{}", "[", "7"):
        (tmp_path / "capture.json").write_text(text)
        with pytest.raises(CameraFileError, match=r"capture\.json: must hold .*correct or remove"):
            read_capture(tmp_path)


def test_an_images_folder_that_is_a_link_works(tmp_path):
    truth = make_capture(tmp_path / "elsewhere")
    FORMATS["colmap"].write(tmp_path / "capture", truth)
    (tmp_path / "capture" / "images").symlink_to(tmp_path / "elsewhere" / "images")
    assert_same_cameras(read_capture(tmp_path / "capture"), truth)


def test_nerfstudio_keeps_the_world_of_its_file(tmp_path):
    """applied_transform tells of the past; poses and point cloud of the file are after it."""
    truth = make_capture(tmp_path, OPENCV)
    path = FORMATS["nerfstudio"].write(tmp_path, truth)
    applied = [[0, 1, 0, 0.2], [1, 0, 0, -1], [0, 0, -1, 3.0]]
    document = json.loads(path.read_text()) | {"applied_transform": applied}
    path.write_text(json.dumps(document))
    assert_same_cameras(read_capture(tmp_path), truth)


def test_nerfstudio_axes_are_opengl(tmp_path):
    """A camera at z = 2 that looks down -z sees the origin, with y up in its picture."""
    frame = {"file_path": "images/00", "transform_matrix": np.eye(4).tolist()}
    frame["transform_matrix"][2][3] = 2.0
    make_capture(tmp_path)
    document = {"camera_angle_x": 2 * np.arctan(0.5), "w": 120, "h": 90}
    second = frame | {"file_path": "./images/01.png"}
    (tmp_path / "transforms.json").write_text(json.dumps(document | {"frames": [frame, second]}))
    view = read_capture(tmp_path).views[0]
    assert view.name == "00.png"
    pixels, depth = view.camera.project(np.array([[0, 0, 0], [0, 0.1, 0], [0.1, 0, 0.0]]))
    np.testing.assert_allclose(pixels, [[60, 45], [60, 39], [66, 45]], atol=1e-9)
    np.testing.assert_allclose(depth, 2.0)


def test_middlebury_pixels_start_at_their_centre(tmp_path):
    make_capture(tmp_path, n=2)
    numbers = "100 0 50 0 100 40 0 0 1  1 0 0 0 1 0 0 0 1  0 0 2"
    (tmp_path / "images" / "x_par.txt").write_text(f"2\n00.png {numbers}\n01.png {numbers}\n")
    camera = read_capture(tmp_path).views[0].camera
    np.testing.assert_allclose(camera.project(np.zeros((1, 3)))[0], [[50.5, 40.5]])
    assert (camera.width, camera.height) == (120, 90)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line"),
        ("3\n", "announces 3 pictures and holds 0"),
        ("1\na.png 1 2 3", "has 3 numbers, 21 are needed"),
        ("1\na.png 100 0 50 0 100 40 0 0 1 1 0 0 0 1 0 0 0 -1 0 0 2", "mirrored"),
        ("1\na.png 100 0 50 0 100 40 0 0 1 1 0 0 0 1 0 0 0 2 0 0 2", "not hold a rotation"),
        ("1\na.png 100 9 50 0 100 40 0 0 1 1 0 0 0 1 0 0 0 1 0 0 2", "skew"),
        ("1\n../a.png 100 0 50 0 100 40 0 0 1 1 0 0 0 1 0 0 0 1 0 0 2", "leaves the images folder"),
        ("1\na.png nan 0 50 0 100 40 0 0 1 1 0 0 0 1 0 0 0 1 0 0 2", "not finite"),
    ],
)
def test_what_a_middlebury_file_can_have_wrong(tmp_path, text, reason):
    (tmp_path / "x_par.txt").write_text(text)
    with pytest.raises(CameraFileError, match=reason):
        read_capture(tmp_path)


def test_pictures_of_another_ending_case_are_found(tmp_path):
    truth = make_capture(tmp_path)
    FORMATS["cameras"].write(tmp_path, truth)
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_suffix(".PNG"))
    assert [view.name for view in read_capture(tmp_path).views] == [f"0{i}.PNG" for i in range(4)]
