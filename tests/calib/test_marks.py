"""Scale from marks: exact pixels give the exact scale, wrong ones are named."""

import json

import numpy as np
import pytest

from calib.capture import CaptureError
from calib.marks import read_marks, scale_from_distance, scale_from_marks
from calib.rays import intersect_rays, reprojection_errors
from tests.calib.captures import FISHEYE, OPENCV, PINHOLE, make_capture

PLACES = np.array([[-0.1, 0.05, 0.02], [0.15, -0.1, 0.1], [0.0, 0.12, -0.1], [0.1, 0.1, 0.05]])


def marks_of(capture, point, views=(0, 1, 2), off=0.0):
    marks = []
    for k in views:
        x, y = capture.views[k].camera.project(point[None])[0][0]
        marks.append({"image": capture.views[k].name, "x": x + off * (k == views[-1]), "y": y})
    return marks


def write(path, **document):
    path.write_text(json.dumps({"unit": "mm"} | document))
    return read_marks(path)


def pair(capture, a, b, scale, **how):
    distance = scale * float(np.linalg.norm(a - b))
    return {
        "distance": distance,
        "first": marks_of(capture, a),
        "second": marks_of(capture, b, **how),
    }


@pytest.mark.parametrize("lens", [PINHOLE, OPENCV, FISHEYE])
def test_rays_meet_where_the_point_is(tmp_path, lens):
    cameras = [view.camera for view in make_capture(tmp_path, lens).views]
    pixels = np.stack([camera.project(PLACES)[0] for camera in cameras], axis=1)
    pixels[0, 2:] = np.nan
    found = intersect_rays(cameras, pixels)
    np.testing.assert_allclose(found, PLACES, atol=1e-7)
    errors = reprojection_errors(cameras, found, pixels)
    assert np.isnan(errors[0, 2:]).all()
    assert np.nanmax(errors) < 1e-4
    pixels[1, 1:] = np.nan
    assert np.isnan(intersect_rays(cameras, pixels)[1]).all()


def test_parallel_rays_meet_nowhere(tmp_path):
    camera = make_capture(tmp_path).views[0].camera
    assert np.isnan(intersect_rays([camera, camera], np.full((1, 2, 2), 40.0))).all()


@pytest.mark.parametrize("lens", [PINHOLE, OPENCV])
def test_a_pair_gives_the_exact_scale(tmp_path, lens):
    capture = make_capture(tmp_path, lens)
    one = write(tmp_path / "m.json", pairs=[pair(capture, PLACES[0], PLACES[1], 1234.5)])
    fit = scale_from_marks(capture, one)
    assert fit.similarity.scale == pytest.approx(1234.5, rel=1e-6)
    np.testing.assert_array_equal(fit.similarity.rotation, np.eye(3))


def test_pairs_that_differ_are_averaged_by_least_squares(tmp_path):
    capture = make_capture(tmp_path)
    pairs = [
        pair(capture, PLACES[0], PLACES[1], 1000.0),
        pair(capture, PLACES[2], PLACES[3], 1010.0),
    ]
    fit = scale_from_marks(capture, write(tmp_path / "m.json", pairs=pairs))
    lengths = np.linalg.norm(PLACES[[0, 2]] - PLACES[[1, 3]], axis=1)
    expected = (1000 * lengths[0] ** 2 + 1010 * lengths[1] ** 2) / (lengths**2).sum()
    assert fit.similarity.scale == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(fit.residuals, [expected / 1000 - 1, expected / 1010 - 1], atol=1e-6)
    assert fit.names == ("pair 1", "pair 2")


def test_known_coordinates_do_without_marks(tmp_path):
    capture = make_capture(tmp_path)
    places = {"first": [0, 0, 0], "second": [0, 0.5, 0]}
    known = write(tmp_path / "m.json", pairs=[{"distance": 100.0} | places])
    assert scale_from_marks(capture, known).similarity.scale == pytest.approx(200.0)
    assert scale_from_distance((0, 0, 0, 0, 0.5, 0), 100.0).scale == pytest.approx(200.0)
    with pytest.raises(ValueError, match="its two places are the same"):
        scale_from_distance((1, 2, 3, 1, 2, 3), 100.0)
    with pytest.raises(ValueError, match="must be positive"):
        scale_from_distance((0, 0, 0, 0, 0.5, 0), -1.0)


def test_points_give_axes_too_and_a_wrong_one_is_named(tmp_path):
    capture = make_capture(tmp_path)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    rng = np.random.default_rng(0)
    places = rng.uniform(-0.15, 0.15, (6, 3))
    targets = 1000 * places @ turn.T + [5, 6, 7]
    targets[4] += 30
    points = [
        {"position": target.tolist(), "at": marks_of(capture, place)}
        for target, place in zip(targets, places, strict=True)
    ]
    fit = scale_from_marks(capture, write(tmp_path / "m.json", points=points))
    assert fit.similarity.scale == pytest.approx(1000, rel=1e-5)
    np.testing.assert_allclose(fit.similarity.rotation, turn, atol=1e-5)
    np.testing.assert_allclose(fit.similarity.translation, [5, 6, 7], atol=1e-2)
    assert fit.warnings == ("left out, as the others contradict: point 5",)


def test_a_mark_that_is_off_is_named(tmp_path):
    capture = make_capture(tmp_path)
    wrong = pair(capture, PLACES[0], PLACES[1], 1000.0, views=(0, 1, 2, 3), off=25.0)
    right = pair(capture, PLACES[0], PLACES[1], 1000.0)
    marks = write(tmp_path / "m.json", pairs=[right, wrong])
    with pytest.raises(ValueError, match=r"pair 2, second: the mark in 03\.png is .* more than 3"):
        scale_from_marks(capture, marks)
    scale_from_marks(capture, marks, max_error_px=50.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"first": [{"image": "09.png", "x": 1, "y": 2}] * 2}, r"pair 1, first: no view '09\.png'"),
        ({"first": [{"image": "00.png", "x": 1, "y": 2}]}, "two or more pictures"),
        ({"first": [{"image": "00.png", "x": 1, "y": 2}] * 2}, "once in each"),
        ({"distance": 0}, "distance must be positive"),
    ],
)
def test_marks_that_do_not_fit_the_capture(tmp_path, change, says):
    capture = make_capture(tmp_path)
    one = pair(capture, PLACES[0], PLACES[1], 1000.0) | change
    with pytest.raises(ValueError, match=says):
        scale_from_marks(capture, write(tmp_path / "m.json", pairs=[one]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{}",
        '{"unit": "inch", "pairs": []}',
        '{"unit": "mm"}',
        '{"unit": "mm", "pairs": []}',
        '{"unit": "mm", "pairs": [{"distance": 1}]}',
        '{"unit": "mm", "pairs": [{"distance": "x", "first": [0,0,0], "second": [0,0,1]}]}',
        '{"unit": "mm", "pairs": [{"distance": 1, "first": [0,0], "second": [0,0,1]}]}',
        '{"unit": "mm", "pairs": [{"distance": 1, "first": [0,0,NaN], "second": [0,0,1]}]}',
        '{"unit": "mm", "pairs": [{"distance": 1, "first": 5, "second": [0,0,1]}]}',
        '{"unit": "mm", "pairs": 5}',
        '{"unit": "mm", "typo": 5}',
    ],
)
def test_a_damaged_file_gets_one_line(tmp_path, text):
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(CaptureError, match=r"m\.json: not a file of marks"):
        read_marks(path)
    with pytest.raises(CaptureError, match=r"n\.json: cannot be read"):
        read_marks(tmp_path / "n.json")
