"""OpenCV's YAML files: its functions are the oracle for pixels, its FileStorage for the text."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calib.capture import CameraFileError, CaptureError
from calib.formats import read_capture
from calib.opencv import write_opencv
from tests.calib.captures import (
    FISHEYE,
    HEIGHT,
    OPENCV,
    PINHOLE,
    WIDTH,
    assert_same_cameras,
    make_capture,
    seen_by,
)

FULL_OPENCV = (
    "FULL_OPENCV",
    [110.3, 112.7, 61.5, 43.25, -0.08, 0.02, 0.001, -0.002, 0.01, 0.03, -0.01, 0.004],
)
PAIR = """%YAML:1.0
---
names:
   - "00"
   - "01"
"""
K = "!!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: [100, 0, 60, 0, 100, 45, 0, 0, 1]"


def storage(path):
    return cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)


@pytest.mark.parametrize("lens", [PINHOLE, OPENCV, FULL_OPENCV, FISHEYE], ids=lambda lens: lens[0])
def test_opencv_reads_what_we_write(tmp_path, lens):
    truth = make_capture(tmp_path, lens)
    path = write_opencv(tmp_path, truth)
    intri, extri = storage(path), storage(tmp_path / "extri.yml")
    names = intri.getNode("names")
    assert [names.at(i).string() for i in range(names.size())] == ["00", "01", "02", "03"]
    for view in truth.views:
        name = view.name[:2]
        assert intri.getNode(f"W_{name}").real() == WIDTH
        R, t = extri.getNode(f"Rot_{name}").mat(), extri.getNode(f"T_{name}").mat()
        matrix, distortion = intri.getNode(f"K_{name}").mat(), intri.getNode(f"dist_{name}").mat()
        points = seen_by(view.camera, np.random.default_rng(1))[:, None]
        rvec = Rotation.from_matrix(R).as_rotvec()
        if lens is FISHEYE:
            assert intri.getNode(f"model_{name}").string() == "fisheye"
            pixels = cv2.fisheye.projectPoints(points, rvec, t, matrix, distortion)[0]
        else:
            pixels = cv2.projectPoints(points, rvec, t, matrix, distortion)[0]
        expected = view.camera.project(points[:, 0])[0]
        np.testing.assert_allclose(pixels[:, 0] + 0.5, expected, atol=1e-8)


def write_one_per_camera(folder, truth, keys, with_size=True):
    """Files of OpenCV's FileStorage with these names for K, distortion, rotation, translation."""
    folder.mkdir(exist_ok=True)
    for view in truth.views:
        camera = view.camera
        file = cv2.FileStorage(str(folder / f"{view.name[:2]}.yml"), cv2.FILE_STORAGE_WRITE)
        file.write(keys[0], camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        file.write(keys[1], np.array([camera.params[4:]]))
        R = camera.rotation
        file.write(keys[2], Rotation.from_matrix(R).as_rotvec() if keys[2] == "rvec" else R)
        file.write(keys[3], camera.translation)
        if with_size:
            file.write("image_width", camera.width)
            file.write("image_height", camera.height)
        file.release()


@pytest.mark.parametrize("folder", [".", "cameras", "calib"])
@pytest.mark.parametrize(
    "keys",
    [
        ("camera_matrix", "distortion_coefficients", "R", "T"),
        ("K", "dist_coeffs", "rvec", "tvec"),
        ("M1", "D", "rotation", "translation"),
    ],
)
def test_a_file_per_camera(tmp_path, folder, keys):
    truth = make_capture(tmp_path, OPENCV)
    write_one_per_camera(tmp_path / folder, truth, keys, with_size=folder != "calib")
    found = read_capture(tmp_path)
    assert (found.format, found.source) == ("opencv", tmp_path / folder)
    assert_same_cameras(found, truth)
    assert_same_cameras(read_capture(tmp_path / folder / "00.yml", tmp_path / "images"), truth)


def test_other_yaml_files_are_no_cameras(tmp_path):
    truth = make_capture(tmp_path, OPENCV)
    keys = ("K", "D", "R", "T")
    write_one_per_camera(tmp_path, truth, keys)
    (tmp_path / "environment.yml").write_text("name: x\nK: 5\ndependencies:\n  - python\n")
    assert_same_cameras(read_capture(tmp_path), truth)


def test_pictures_in_a_folder_per_camera(tmp_path):
    truth = make_capture(tmp_path)
    path = write_opencv(tmp_path, truth)
    for file in sorted((tmp_path / "images").iterdir()):
        (tmp_path / "images" / file.stem).mkdir()
        file.rename(tmp_path / "images" / file.stem / "000000.png")
    found = read_capture(tmp_path)
    assert [view.name for view in found.views] == [f"0{i}/000000.png" for i in range(4)]
    assert write_opencv(tmp_path, found).read_bytes() == path.read_bytes()
    for name in ("00", "01", "02"):
        (tmp_path / "images" / name / "000001.png").write_bytes(b"")
    with pytest.raises(CaptureError, match=r"3 of 4 pictures are missing: 00, 01, 02"):
        read_capture(tmp_path)


def pair(tmp_path, distortion="[ 0, 0, 0, 0, 0 ]", extra="", rotation=True):
    make_capture(tmp_path, n=2)
    intri, extri = PAIR, PAIR
    for index, name in enumerate(("00", "01")):
        intri += f"K_{name}: {K}\ndist_{name}: {distortion}\n{extra.replace('#', name)}"
        if rotation or index:
            extri += f"R_{name}: [ 0, {0.1 * index}, 0 ]\nT_{name}: [ 0, 0, 2 ]\n"
    (tmp_path / "intri.yml").write_text(intri.replace("\n", "\r\n"))
    (tmp_path / "extri.yml").write_text(extri)
    return tmp_path


def test_pixels_start_at_their_centre_and_rotations_are_rodrigues(tmp_path):
    view = read_capture(pair(tmp_path)).views[1]
    np.testing.assert_allclose(view.camera.project(np.zeros((1, 3)))[0], [[60.5, 45.5]])
    expected = Rotation.from_euler("y", 0.1).as_matrix()
    np.testing.assert_allclose(view.camera.rotation, expected, atol=1e-15)
    assert (view.camera.width, view.camera.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("distortion", "extra", "model"),
    [
        ("[ 0, 0, 0, 0, 0 ]", "", "PINHOLE"),
        ("[ 0.1, 0, 0, 0 ]", "", "OPENCV"),
        ("[ 0.1, 0, 0, 0, 0 ]", "", "OPENCV"),
        ("[ 0.1, 0, 0, 0, 0.2 ]", "", "FULL_OPENCV"),
        ("[ 0.1, 0, 0, 0, 0.2, 0, 0, 0.1, 0, 0, 0, 0 ]", "", "FULL_OPENCV"),
        ("[ 0.1, 0, 0, 0 ]", "model_#: fisheye\n", "OPENCV_FISHEYE"),
        ("[]", "H_#: -1\nW_#: -1\n", "PINHOLE"),
    ],
)
def test_the_number_of_coefficients_tells_the_lens(tmp_path, distortion, extra, model):
    assert read_capture(pair(tmp_path, distortion, extra)).views[0].camera.model == model


@pytest.mark.parametrize(
    ("distortion", "extra", "reason"),
    [
        ("[ 0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0, 0, 0 ]", "", "thin prism or tilt"),
        ("[ 0, 0, 0 ]", "", "has 3 distortion coefficients"),
        ("[ 0, 0, x, 0 ]", "", "not a list of numbers"),
        ("[ 0, 0, .Nan, 0 ]", "", "not a list of numbers"),
        ("&a [ 0, 0, 0, 0 ]\nx: *a", "", r"intri\.yml: has a YAML alias"),
        ("[ 0, 0, 0, 0 ]\n#" + "x" * (1 << 18), "", r"intri\.yml: is larger than 256 kB"),
        ("!!python/object/apply:os.getcwd []", "", "could not determine a constructor"),
        ("[ 0, 0, 0, 0, 0.1 ]", "model_#: fisheye\n", "5 coefficients, not 4"),
        ("[ 0 ]", "model_#: spherical\n", "lens model spherical, which is not supported"),
        ("{ rows: 1, cols: 5, dt: d, data: [ 0, 0 ] }", "", "announces 5 numbers and holds 2"),
        ("[ 0", "", r"intri\.yml: no YAML: .* in line \d+"),
    ],
)
def test_what_such_a_file_can_have_wrong(tmp_path, distortion, extra, reason):
    with pytest.raises(CameraFileError, match=reason):
        read_capture(pair(tmp_path, distortion, extra))


def test_a_camera_without_a_pose(tmp_path):
    pair(tmp_path, rotation=False)
    with pytest.raises(CameraFileError, match=r"1 registered view"):
        read_capture(tmp_path)
    (tmp_path / "extri.yml").unlink()
    with pytest.raises(CameraFileError, match=r"has no extri\.yml beside it"):
        read_capture(tmp_path)
    (tmp_path / "intri.yml").unlink()
    for name in ("00", "01"):
        (tmp_path / f"{name}.yml").write_text(f"%YAML:1.0\n---\nK: {K}\n")
    with pytest.raises(CameraFileError, match="'00' has none of R, rotation, rotation_matrix"):
        read_capture(tmp_path)
    (tmp_path / "00.yml").write_text(f"%YAML:1.0\n---\nM1: {K}\nM2: {K}\n")
    with pytest.raises(CameraFileError, match="stereo pair"):
        read_capture(tmp_path)


def test_names_that_are_no_keys_are_not_written(tmp_path):
    truth = make_capture(tmp_path, n=2)
    for name in ("a b.png", "é.png", "a/b/c.png"):
        with pytest.raises(ValueError, match=r"letters, digits, - and _; rename it"):
            write_opencv(tmp_path, replace(truth, views=(replace(truth.views[0], name=name),)))
    twice = replace(truth.views[0], name="01.jpg")
    with pytest.raises(ValueError, match="two pictures have one name"):
        write_opencv(tmp_path, replace(truth, views=(twice, truth.views[1])))
    assert not list(tmp_path.glob("*.yml"))
