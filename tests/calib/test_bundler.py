"""Bundler's files by the formulas of its manual."""

import numpy as np
import pytest

from calib.bundler import write_bundler
from calib.capture import CameraFileError
from calib.formats import find_cameras, read_capture
from tests.calib.captures import HEIGHT, OPENCV, PINHOLE, RADIAL, WIDTH, make_capture


def manual(values, points):
    """Bundler's pixels: from the middle, y up; ``values`` are f k1 k2 R t."""
    f, k1, k2 = values[:3]
    P = points @ values[3:12].reshape(3, 3).T + values[12:]
    p = -P[:, :2] / P[:, 2:]
    r2 = (p**2).sum(axis=1, keepdims=True)
    return f * (1 + k1 * r2 + k2 * r2**2) * p


def written(tmp_path, **options):
    truth = make_capture(tmp_path, RADIAL, **options)
    path = write_bundler(tmp_path, truth)
    return truth, path, path.read_text().splitlines()


def test_what_is_written_is_by_the_manual(tmp_path):
    truth, _, lines = written(tmp_path)
    assert lines[1] == "4 30"
    for index, view in enumerate(truth.views):
        values = np.array(" ".join(lines[2 + 5 * index : 7 + 5 * index]).split(), float)
        pixels = manual(values, truth.points)
        expected = view.camera.project(truth.points)[0] - [WIDTH / 2, HEIGHT / 2]
        np.testing.assert_allclose(pixels, expected * [1, -1], atol=1e-9)
    n, camera, feature, x, y = lines[22 + 2].split()[:5]
    assert (n, camera, feature) == ("1", "0", "0")
    u, v = truth.views[0].observed[0]
    np.testing.assert_allclose([float(x), float(y)], [u - WIDTH / 2, HEIGHT / 2 - v], atol=1e-12)


def test_points_and_observations_survive(tmp_path):
    truth, _, _ = written(tmp_path)
    found = read_capture(tmp_path)
    np.testing.assert_array_equal(found.points, truth.points)
    for view, expected in zip(found.views, truth.views, strict=True):
        np.testing.assert_array_equal(view.point_ids, expected.point_ids)
        np.testing.assert_allclose(view.observed, expected.observed, atol=1e-12)


def test_a_camera_that_is_not_registered_is_left_out(tmp_path):
    _, path, lines = written(tmp_path)
    lines[2:7] = ["0 0 0"] * 5
    path.write_text("\n".join(lines))
    found = read_capture(tmp_path)
    assert [view.name for view in found.views] == ["01.png", "02.png", "03.png"]
    assert found.warnings == ("1 of 4 pictures are not registered",)
    assert found.views[0].point_ids[0] == 1


@pytest.mark.parametrize(
    ("bundle", "listed", "line"),
    [
        ("bundle.out", "list.txt", "./images/{}"),
        ("bundle/bundle.out", "list.txt", "images/{} 0 531.4"),
        ("x.bundle.out", "x.list.txt", "{}"),
        ("x.out", "x.list.txt", "/home/x/{} 0 531.4"),
        ("x.out", "x.out.list.txt", "C:\\x\\{}"),
    ],
)
def test_where_the_list_is_and_what_it_says(tmp_path, bundle, listed, line):
    truth, path, _ = written(tmp_path)
    text = path.read_text()
    path.unlink()
    (tmp_path / "bundle.list.txt").unlink()
    (tmp_path / bundle).parent.mkdir(exist_ok=True)
    (tmp_path / bundle).write_text(text)
    (tmp_path / listed).write_text("".join(line.format(v.name) + "\n" for v in truth.views))
    assert find_cameras(tmp_path) == ("bundler", tmp_path / bundle)
    assert len(read_capture(tmp_path).views) == 4
    assert len(read_capture(tmp_path / bundle).views) == 4


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("4 30", "4 31", "announces 4 cameras and 31 points, which take 115 lines; it has 112"),
        ("4 30", "4 -1", "second line must be"),
        ("4 30", "99999999999999999999 30", "cut off"),
        ("110.3 ", "nan ", "not finite"),
        ("110.3 ", "-110.3 ", "has the parameters"),
        ("128 128 128\n1 0 0", "128 128 128\n2 0 0", "list of views of point 0"),
        ("128 128 128\n1 0 0", "128 128 128\n1 4 0", "seen by camera 4, which is not there"),
    ],
)
def test_what_a_bundle_file_can_have_wrong(tmp_path, old, new, reason):
    _, path, _ = written(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CameraFileError, match=reason):
        read_capture(tmp_path)


def test_a_list_that_does_not_fit(tmp_path):
    _, path, _ = written(tmp_path)
    (tmp_path / "bundle.list.txt").write_text("00.png\n")
    with pytest.raises(CameraFileError, match=r"has 4 cameras, bundle\.list\.txt has 1 pictures"):
        read_capture(tmp_path)
    (tmp_path / "bundle.list.txt").unlink()
    with pytest.raises(CameraFileError, match="no list of pictures beside it"):
        read_capture(path)


@pytest.mark.parametrize("lens", [PINHOLE, OPENCV], ids=lambda lens: lens[0])
def test_what_it_cannot_hold_is_not_written(tmp_path, lens):
    with pytest.raises(ValueError, match=r"one focal length|cannot hold OPENCV"):
        write_bundler(tmp_path, make_capture(tmp_path, lens))
    assert not (tmp_path / "bundle.out").exists()
