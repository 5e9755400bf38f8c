"""Captures written anew: converted, undistorted, and refused where that would mix or lose."""

import cv2
import numpy as np
import pytest

from calib.capture import CaptureError
from calib.formats import FORMATS, read_capture
from calib.write import undistort_capture, write_capture
from mvs.cli.main import run
from tests.calib.captures import OPENCV, assert_same_cameras, make_capture


def with_mask(root, name="01.png"):
    mask = np.zeros((90, 120), np.uint8)
    mask[20:70, 30:80] = 255
    (root / "masks").mkdir()
    (root / "masks" / f"{name}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    return mask > 0


def test_a_capture_written_anew_is_the_same(tmp_path):
    truth = make_capture(tmp_path / "a", OPENCV, unit="cm")
    FORMATS["cameras"].write(tmp_path / "a", truth)
    mask = with_mask(tmp_path / "a")
    for pictures in ("copy", "link"):
        out = tmp_path / pictures
        write_capture(out, read_capture(tmp_path / "a"), "nerfstudio", pictures)
        found = read_capture(out)
        assert (found.format, found.unit) == ("nerfstudio", "cm")
        assert_same_cameras(found, truth)
        np.testing.assert_array_equal(found.views[1].load_mask(), mask)
        np.testing.assert_array_equal(found.views[2].load_image(), truth.views[2].load_image())
        assert (out / "images" / "00.png").is_symlink() == (pictures == "link")


def test_what_the_format_cannot_hold_leaves_nothing_behind(tmp_path):
    truth = make_capture(tmp_path / "a", OPENCV)
    with pytest.raises(ValueError, match="undistort"):
        write_capture(tmp_path / "b", truth, "middlebury")
    assert not (tmp_path / "b").exists()


def test_undistorted_pictures_show_points_where_the_new_cameras_see_them(tmp_path):
    """A dot drawn where a point is seen through the lens is found where the pinhole sees it."""
    truth = make_capture(tmp_path / "a", OPENCV)
    point = np.array([[0.45, 0.3, 0.05]])
    for view in truth.views:
        x, y = view.camera.project(point)[0][0]
        rows, columns = np.mgrid[:90, :120] + 0.5
        dot = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
        picture = np.repeat(dot[..., None], 3, axis=2).astype(np.uint8)
        view.image_path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    FORMATS["cameras"].write(tmp_path / "a", truth)
    command = ["calib", "convert", str(tmp_path / "a"), "--output", str(tmp_path / "b")]
    assert run([*command, "--to", "middlebury", "--undistort", "--quiet"]) == 0
    found = read_capture(tmp_path / "b")
    assert found.format == "middlebury"
    for view, before in zip(found.views, truth.views, strict=True):
        assert view.camera.is_pinhole
        image = view.load_image()[..., 0].astype(float)
        rows, columns = np.mgrid[:90, :120] + 0.5
        seen = np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()
        np.testing.assert_allclose(seen, view.camera.project(point)[0][0], atol=0.1)
        assert np.abs(seen - before.camera.project(point)[0][0]).max() > 0.1
        # What undistortion could not fill is masked.
        np.testing.assert_array_equal(view.load_pinhole().mask, before.load_pinhole().mask)


def test_an_output_that_holds_a_capture_is_not_touched(tmp_path, capsys):
    truth = make_capture(tmp_path / "a")
    FORMATS["colmap"].write(tmp_path / "a", truth)
    before = sorted(path.name for path in (tmp_path / "a").rglob("*"))
    command = ["calib", "convert", str(tmp_path / "a"), "--to", "cameras", "--output"]
    assert run([*command, str(tmp_path / "a")]) == 2
    assert "holds a capture already; choose another --output" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "a").rglob("*")) == before
    with pytest.raises(CaptureError, match="holds a capture already"):
        undistort_capture(tmp_path / "a", truth)


def test_convert_says_what_it_wrote(tmp_path, capsys):
    FORMATS["colmap"].write(tmp_path / "a", make_capture(tmp_path / "a", OPENCV))
    command = ["calib", "convert", str(tmp_path / "a"), "--output", str(tmp_path / "b")]
    assert run([*command, "--to", "metashape"]) == 0
    assert "4 cameras, from" in capsys.readouterr().out
    assert read_capture(tmp_path / "b").format == "metashape"
    assert run([*command, "--to", "obj"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
