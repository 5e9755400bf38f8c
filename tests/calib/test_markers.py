"""Markers drawn into pictures through the lens: their true size comes back."""

import cv2
import numpy as np
import pytest

from calib.camera import Camera
from calib.capture import Capture, CaptureError, View
from calib.markers import marker_dictionaries, scale_from_markers
from tests.calib.captures import pose_of

SIZE, SIDE = 240, 0.24  # pixels; world units
PLACES = {3: (-0.25, -0.2), 7: (0.05, -0.25), 11: (-0.2, 0.1)}
PINHOLE = ("PINHOLE", [430.0, 425.0, 121.0, 118.0])
OPENCV = ("OPENCV", [430.0, 425.0, 121.0, 118.0, -0.12, 0.05, 0.002, -0.003])


def sheet(places, sides):
    """A function of (N, 2) places on the sheet z = 0 to how bright they are."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    pictures = {n: cv2.aruco.generateImageMarker(dictionary, n, 6) for n in places}

    def shade(xy):
        value = np.full(len(xy), 235.0)
        for number, corner in places.items():
            cell = np.floor((xy - corner) / sides[number] * 6).astype(int)
            inside = ((cell >= 0) & (cell < 6)).all(axis=1)
            value[inside] = pictures[number][cell[inside, 1], cell[inside, 0]] * 0.8 + 20
        return value

    return shade


def photograph(camera, shade, fine=3):
    """The sheet as a camera sees it."""
    at = (np.arange(SIZE * fine) + 0.5) / fine
    x, y = np.meshgrid(at, at)
    rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()]))
    xy = (camera.center - rays * (camera.center[2] / rays[:, 2])[:, None])[:, :2]
    return shade(xy).reshape(SIZE, fine, SIZE, fine).mean(axis=(1, 3)).astype(np.uint8)


def make(folder, lens=PINHOLE, n=3, sides=None, places=None, n_shown=99):
    places = places or PLACES
    shade = sheet(places, dict.fromkeys(places, SIDE) | (sides or {}))
    views = []
    for index in range(n):
        camera = Camera(lens[0], SIZE, SIZE, np.array(lens[1]), 1.0 * pose_of(index))
        gray = photograph(camera, shade if index < n_shown else lambda xy: np.zeros(len(xy)))
        path = folder / f"{index:02d}.png"
        path.write_bytes(cv2.imencode(".png", gray)[1].tobytes())
        views.append(View(path.name, path, None, camera, np.zeros(0, int)))
    return Capture(folder, tuple(views), np.zeros((0, 3)), ())


@pytest.mark.parametrize("lens", [PINHOLE, OPENCV], ids=lambda lens: lens[0])
def test_the_scale_comes_back(tmp_path, lens):
    found = scale_from_markers(make(tmp_path, lens), "4x4_50", 40.0)
    assert [marker.number for marker in found.markers] == sorted(PLACES)
    assert found.similarity.scale == pytest.approx(40.0 / SIDE, rel=2e-3)
    assert np.abs(found.residuals).max() < 4e-3
    for marker in found.markers:
        assert marker.n_views == 3
        x, y = PLACES[marker.number]
        truth = [[x, y, 0], [x + SIDE, y, 0], [x + SIDE, y + SIDE, 0], [x, y + SIDE, 0]]
        np.testing.assert_allclose(marker.corners, truth, atol=3e-3)


def test_a_marker_of_another_size_is_left_out_of_the_mean(tmp_path):
    found = scale_from_markers(make(tmp_path, sides={11: 0.8 * SIDE}), "4X4_50", 40.0)
    assert found.similarity.scale == pytest.approx(40.0 / SIDE, rel=2e-3)
    np.testing.assert_allclose(found.residuals, [0, 0, -0.2], atol=6e-3)


def test_a_marker_that_moved_is_left_out(tmp_path):
    capture = make(tmp_path, n=2)
    (tmp_path / "b").mkdir()
    other = make(tmp_path / "b", n=2, places=PLACES | {11: (-0.2, 0.2)})
    capture = Capture(tmp_path, (capture.views[0], other.views[1]), capture.points, ())
    found = scale_from_markers(capture, "4X4_50", 40.0)
    assert [marker.number for marker in found.markers] == [3, 7]
    assert found.warnings == ("marker 11 is in no place that two views confirm",)


def test_what_gives_no_scale_is_refused(tmp_path):
    capture = make(tmp_path, n=3, n_shown=1)
    with pytest.raises(CaptureError, match=r"no marker of 4X4_50.*marker 3 is seen in one view"):
        scale_from_markers(capture, "4X4_50", 40.0)
    with pytest.raises(CaptureError, match=r"no marker of APRILTAG_36H11 is seen well in two"):
        scale_from_markers(capture, "APRILTAG_36H11", 40.0)
    with pytest.raises(ValueError, match=r"--aruco must be one of 4X4_100, .*got 4X4_51"):
        scale_from_markers(capture, "4X4_51", 40.0)
    with pytest.raises(ValueError, match="--side must be positive"):
        scale_from_markers(capture, "4X4_50", -1.0)


def test_dictionaries_have_plain_names():
    assert {"4X4_50", "APRILTAG_36H11", "ARUCO_ORIGINAL"} <= set(marker_dictionaries())
