"""``mvs calib inspect`` on a small capture, whole and damaged."""

import json

import cv2
import pytest

from calib.formats import FORMATS
from mvs.cli import main
from tests.calib.captures import HEIGHT, WIDTH, make_capture


@pytest.fixture
def capture(tmp_path):
    truth = make_capture(tmp_path / "head", unit="m")
    FORMATS["cameras"].write(tmp_path / "head", truth)
    FORMATS["nerfstudio"].write(tmp_path / "head", truth)
    return tmp_path / "head"


def run(capfd, *arguments):
    code = main.run(["calib", "inspect", *map(str, arguments)])
    out, err = capfd.readouterr()
    return code, out, err


def test_tables_json_and_picture(capture, tmp_path, capfd):
    json_file, picture = tmp_path / "out/report.json", tmp_path / "out/report.png"
    code, out, err = run(capfd, capture, "--json", json_file, "--picture", picture)
    assert (code, err) == (0, "")
    assert "4 views, 30 points, format cameras, unit m" in out
    assert "PINHOLE" in out
    assert "note: transforms.json of the format nerfstudio lies there, too" in out
    found = json.loads(json_file.read_text())
    assert found["n_views"] == 4
    assert set(found["views"]) == {"00.png", "01.png", "02.png", "03.png"}
    assert found["lenses"][0]["focal_px"] == [110.3, 112.7]
    assert found["views"]["01.png"]["epipolar"]["error_px"] is None
    listed = [finding["code"] for finding in found["findings"]]
    assert "few-views" in listed
    for finding in found["findings"]:
        assert f"[{finding['code']}]" in out
    drawn = cv2.imread(str(picture))
    assert drawn.shape[1] > 1000
    first = picture.read_bytes()
    assert run(capfd, capture, "--picture", picture, "--threads", 1, "--quiet") == (0, "", "")
    assert picture.read_bytes() == first


def test_warnings_leave_the_exit_code_at_zero(capture, capfd):
    path = capture / "images" / "02.png"
    cv2.imwrite(str(path), cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_90_CLOCKWISE))
    code, out, _ = run(capfd, capture)
    assert code == 0
    assert f"serious: 1 picture(s) are {HEIGHT} x {WIDTH}, the camera {WIDTH} x {HEIGHT}" in out


def test_bad_input_gets_one_line(capture, tmp_path, capfd):
    for arguments, says in (
        ((tmp_path / "nowhere",), "no such folder"),
        ((capture, "--format", "middlebury"), "leave --format out"),
        ((capture, "--picture", tmp_path / "a.jpg"), "must end in .png"),
        ((capture, "--threads", 0), "--threads must be at least 1"),
    ):
        code, out, err = run(capfd, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("mvs: ")
        assert err.count("\n") == 1
        assert says in err
