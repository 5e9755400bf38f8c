"""A capture written to a folder is read back, and never over another."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calib.capture import CaptureError
from calib.formats import FORMATS, read_capture
from calib.reference import similarity_to_reference
from calib.scale import Similarity
from calib.write import write_capture
from mvs.cli import main
from tests.calib.captures import OPENCV, assert_same_cameras, make_capture


def capture_with_mask(folder):
    truth = make_capture(folder, OPENCV, unit="cm")
    (folder / "masks").mkdir()
    (folder / "masks" / "01.png").write_bytes(truth.views[1].image_path.read_bytes())
    FORMATS["cameras"].write(folder, truth)
    return read_capture(folder)


@pytest.mark.parametrize("pictures", ["copy", "link"])
@pytest.mark.parametrize("format_", ["colmap", "cameras", "nerfstudio"])
def test_what_is_written_is_read_back(tmp_path, pictures, format_):
    truth = capture_with_mask(tmp_path / "in")
    write_capture(tmp_path / "out", truth, format_, pictures, {"from": "test"})
    found = read_capture(tmp_path / "out")
    assert_same_cameras(found, truth)
    assert found.unit == "cm"
    assert json.loads((tmp_path / "out/capture.json").read_text()) == {"unit": "cm", "from": "test"}
    for a, b in zip(found.views, truth.views, strict=True):
        np.testing.assert_array_equal(a.load_image(), b.load_image())
        assert a.image_path.is_symlink() == (pictures == "link")
        assert (a.mask_path is None) == (b.mask_path is None)


def test_no_pictures_are_written_where_none_are_wanted(tmp_path):
    truth = capture_with_mask(tmp_path / "in")
    write_capture(tmp_path / "out", truth, pictures="none")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["capture.json", "sparse"]
    assert_same_cameras(read_capture(tmp_path / "out", tmp_path / "in/images"), truth)


def test_nothing_is_overwritten(tmp_path):
    truth = capture_with_mask(tmp_path / "in")
    with pytest.raises(CaptureError, match="holds a capture already; choose another --output"):
        write_capture(tmp_path / "in", truth)
    (tmp_path / "out/images").mkdir(parents=True)
    with pytest.raises(CaptureError, match="images: exists already"):
        write_capture(tmp_path / "out", truth)
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptureError, match="is no folder"):
        write_capture(tmp_path / "file", truth)
    with pytest.raises(CaptureError, match="file: is no folder"):
        write_capture(tmp_path / "file/inside", truth)
    with pytest.raises(ValueError, match="pictures must be one of"):
        write_capture(tmp_path / "new", truth, pictures="move")
    with pytest.raises(ValueError, match="format must be one of"):
        write_capture(tmp_path / "new", truth, "obj")
    assert not (tmp_path / "new").exists()


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    truth = capture_with_mask(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("kept")

    def interrupted(source, target):
        target.write_bytes(b"half")
        if source.name == truth.views[-1].name:
            raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfile", interrupted)
    for name, left in (("out", ["mine.txt"]), ("new", [])):
        with pytest.raises(KeyboardInterrupt):
            write_capture(tmp_path / name, truth)
        assert [path.name for path in (tmp_path / name).rglob("*")] == left
    assert not (tmp_path / "new").exists()


def test_nothing_is_left_where_the_format_cannot_hold_what_was_undistorted(tmp_path, capfd):
    capture_with_mask(tmp_path / "in")
    words = ["calib", "convert", str(tmp_path / "in"), "--undistort", "--to", "bundler"]
    assert main.run([*words, "--output", str(tmp_path / "out")]) == 2
    assert "the principal point in the middle" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/mine.png").write_bytes(b"kept")
    assert main.run([*words, "--output", str(tmp_path / "out")]) == 2
    assert (tmp_path / "out/images/mine.png").read_bytes() == b"kept"


def test_a_reference_gives_scale_and_axes(tmp_path):
    """By name, by stem, without its pictures, with one view that is wrong."""
    truth = make_capture(tmp_path / "in", n=7)
    moved = Similarity(250.0, np.diag([-1.0, -1, 1]), np.array([1.0, 2, 3])).capture(truth, "mm")
    wrong = moved.views[2].camera.with_pose(np.eye(3, 4))
    views = list(moved.views)
    views[2] = replace(views[2], camera=wrong)
    views = [replace(view, name=view.name.replace(".png", ".jpg")) for view in views[:-1]]
    write_capture(tmp_path / "ref", replace(moved, views=tuple(views)), pictures="none")
    fit, unit = similarity_to_reference(truth, tmp_path / "ref")
    assert unit == "mm"
    assert fit.inliers.tolist() == [True, True, False, True, True, True]
    assert fit.similarity.scale == pytest.approx(250, rel=1e-9)
    np.testing.assert_allclose(fit.similarity.translation, [1, 2, 3], atol=1e-6)


def test_a_reference_of_other_pictures_is_refused(tmp_path):
    truth = make_capture(tmp_path / "in")
    views = tuple(replace(view, name=f"x{view.name}") for view in truth.views)
    write_capture(tmp_path / "ref", replace(truth, views=views), pictures="none")
    with pytest.raises(CaptureError, match=r"ref: has 0 of the 4 views of .* same names"):
        similarity_to_reference(truth, tmp_path / "ref")
    with pytest.raises(CaptureError, match="no such folder"):
        similarity_to_reference(truth, tmp_path / "nothing")
