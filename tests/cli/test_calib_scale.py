"""``mvs calib scale`` from end to end, and one line for what is wrong."""

import json

import numpy as np
import pytest

from calib.formats import FORMATS, read_capture
from calib.scale import Similarity
from calib.write import write_capture
from mvs.cli import main
from tests.calib.captures import OPENCV, make_capture

FIT = Similarity(1000.0, np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), np.array([1.0, 2, 3]))


@pytest.fixture
def capture(tmp_path):
    truth = make_capture(tmp_path / "in", OPENCV)
    FORMATS["colmap"].write(tmp_path / "in", truth)
    return read_capture(tmp_path / "in")


def run(capfd, tmp_path, *arguments):
    words = ["calib", "scale", str(tmp_path / "in"), "--output", str(tmp_path / "out"), *arguments]
    code = main.run(words)
    out, err = capfd.readouterr()
    return code, out, err


def notes(tmp_path):
    return json.loads((tmp_path / "out/capture.json").read_text())


def test_a_distance_in_the_world(capfd, tmp_path, capture):
    between = ["--between", "0", "0", "0", "0", "0.5", "0"]
    code, out, err = run(capfd, tmp_path, "--distance", "100", *between, "--unit", "mm")
    assert (code, err) == (0, "")
    assert out == "scale 200, to mm\n"
    found = read_capture(tmp_path / "out")
    assert found.unit == "mm"
    np.testing.assert_allclose(found.points, capture.points * 200)
    assert notes(tmp_path) == {"unit": "mm", "from": "distance", "scale": 200.0}


@pytest.mark.parametrize("align", [False, True])
def test_a_reference_in_another_unit(capfd, tmp_path, capture, align):
    write_capture(tmp_path / "ref", FIT.capture(capture, "mm"), pictures="none")
    words = ["--reference", str(tmp_path / "ref"), "--unit", "cm", *["--align"] * align]
    code, out, _ = run(capfd, tmp_path, *words)
    assert code == 0
    assert "4 of 4 common views agree" in out
    expected = 0.1 * FIT.points(capture.points) if align else 100 * capture.points
    np.testing.assert_allclose(read_capture(tmp_path / "out").points, expected, atol=1e-7)


def test_marks_bring_their_unit(capfd, tmp_path, capture):
    pair = {"distance": 25.0, "first": [0, 0, 0], "second": [0, 0.5, 0]}
    (tmp_path / "m.json").write_text(json.dumps({"unit": "cm", "pairs": [pair]}))
    code, out, _ = run(capfd, tmp_path, "--marks", str(tmp_path / "m.json"))
    assert code == 0
    assert out == "pair 1: off by +0.000%\nscale 50, to cm\n"
    assert read_capture(tmp_path / "out").unit == "cm"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of --marks, --distance, --aruco, --ipd, --reference"),
        (["--ipd", "63", "--aruco", "4X4_50"], "give one of"),
        (["--distance", "5"], "--distance and --between need each other"),
        (["--aruco", "4X4_50"], "--aruco and --side need each other"),
        (["--ipd", "63", "--align"], "--ipd gives no axes"),
        (["--ipd", "-1"], "--ipd must be positive"),
        (["--marks", "nothing.json"], "nothing.json: cannot be read"),
        (["--aruco", "x", "--side", "1"], "--aruco must be one of"),
        (["--aruco", "4X4_50", "--side", "1"], "no marker of 4X4_50"),
        (["--reference", "nothing"], "nothing: no such folder"),
        (["--distance", "0", "--between", *"000100"], "must be positive"),
        (["--distance", "1", "--between", *"000000"], "are the same"),
        (["--unit", "inch", "--ipd", "63"], "inch"),
    ],
)
def test_what_is_wrong_gets_one_line(capfd, tmp_path, capture, arguments, says):
    code, out, err = run(capfd, tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "out").exists()


def test_a_reference_without_unit_asks_for_one(capfd, tmp_path, capture):
    code, _, err = run(capfd, tmp_path, "--reference", str(tmp_path / "in"))
    assert code == 2
    assert "does not say its unit; say it with --unit" in err


def test_an_output_in_use_is_left_alone(capfd, tmp_path, capture):
    words = [
        "calib",
        "scale",
        str(tmp_path / "in"),
        "--output",
        str(tmp_path / "in"),
        "--ipd",
        "63",
    ]
    assert main.run(words) == 2
    assert "holds a capture already" in capfd.readouterr().err
