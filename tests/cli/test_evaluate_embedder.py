"""``mvs evaluate embedder`` on every kind of source, and on what it cannot use."""

import json
import shutil

import cv2
import numpy as np
import pytest

from mvs.canonical.landmarks import landmark_positions
from mvs.cli import main
from mvs.network.precomputed import write_cube_map
from mvs.types import CubeMap
from tests.evaluation.ball_embedder import SCENE, BallEmbedder, write_maps
from tests.evaluation.captures import write_ball


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """A ball with truth, and its exact maps."""
    folder = tmp_path_factory.mktemp("ball")
    capture = write_ball(folder / "capture", SCENE)
    write_maps(folder / "maps", capture, BallEmbedder())
    return folder


@pytest.fixture
def real(ball, tmp_path):
    """The same ball without truth."""
    shutil.copytree(ball / "capture", tmp_path / "real")
    for name in ("gt", "masks"):
        shutil.rmtree(tmp_path / "real" / name)
    return tmp_path / "real"


@pytest.fixture
def photos(tmp_path):
    """A face on a plane: its landmarks are where its map says."""
    folder = tmp_path / "photos"
    folder.mkdir()
    places = landmark_positions().astype(np.float64)
    basis = [np.ones(68), *places[:, :2].T, places[:, 0] ** 2, places[:, 1] ** 2]
    depth = np.linalg.lstsq(np.column_stack(basis), places[:, 2], rcond=None)[0]
    y, x = (np.mgrid[:160, :160] + 0.5) / 160
    u, v = x, 1 - y
    coords = np.stack([u, v, np.stack([u * 0 + 1, u, v, u * u, v * v], -1) @ depth], -1)
    mask = np.hypot(u - 0.5, v - 0.5) < 0.4
    clipped = np.clip(coords, 0, 1).astype(np.float32)
    cube_map = CubeMap(clipped, mask.astype(np.float32), mask, np.eye(2, 3))
    cv2.imwrite(str(folder / "one.png"), np.full((160, 160, 3), 90, np.uint8))
    write_cube_map(tmp_path / "maps" / "one.png.npz", cube_map)
    # Labels count the centre of the first pixel as 0.
    pixels = np.column_stack([places[:, 0], 1 - places[:, 1]]) * 160 - 0.5
    lines = "\n".join(f"{a:.3f} {b:.3f}" for a, b in pixels)
    (folder / "one.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    return folder


def run(capfd, source, maps, *words):
    given = ["--embedder", "precomputed", "--cube-maps", str(maps)]
    code = main.run(["evaluate", "embedder", str(source), *given, *map(str, words)])
    out, err = capfd.readouterr()
    return code, out, err


def test_a_capture_with_truth(ball, tmp_path, capfd):
    path, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    words = ["--json", path, "--sheet", sheet, "--other", ball / "capture"]
    words += ["--parts", "face", "ear"]
    code, out, err = run(capfd, ball / "capture", ball / "maps", *words)
    assert (code, err) == (0, "warning: 4 views have no mask: 0.png, 1.png, 2.png, 3.png\n")
    assert "face + neck" in out
    assert "by chance" in out
    assert "person to person" in out
    figures = json.loads(path.read_text())
    assert (figures["kind"], figures["embedder"]) == ("truth", "precomputed")
    assert figures["source"] == str(ball / "capture")
    assert {pair["part"] for pair in figures["pairs"]} == {"face", "ear"}
    # Maps of 120 pixels do not reach the rim, where the neck is.
    assert figures["summary"]["pck"][2] > 0.85
    assert figures["cube_error_mm"]["face"] < 0.5
    assert figures["normal_error_deg"] == {}
    assert figures["landmarks"] is None
    assert figures["epipolar"][0]["within_picture"][2] > 0.95
    assert figures["tracks"] == []
    assert {part["part"] for part in figures["identity"]} >= {"face"}
    assert figures["identity"][0]["pck"][2] > 0.85
    assert cv2.imread(str(sheet)).shape[0] > 4 * 224


def test_a_capture_without_truth(ball, real, tmp_path, capfd):
    path, sheet = tmp_path / "figures.json", tmp_path / "sheet.jpg"
    code, out, err = run(capfd, real, ball / "maps", "--json", path, "--sheet", sheet)
    assert (code, err) == (0, "")
    assert "by chance" in out
    assert "PCK" not in out  # no truth, no sparse points
    figures = json.loads(path.read_text())
    assert (figures["kind"], figures["views"], figures["views_with_head"]) == ("real", 4, 4)
    (lines,) = figures["epipolar"]
    assert (lines["angle_deg"], lines["pairs"]) == ([30.0, 45.0], 6)
    assert lines["within_picture"][2] > 0.95
    assert lines["chance_crop"][2] < 0.1
    assert "pairs" not in figures
    assert cv2.imread(str(sheet)) is not None


def test_labelled_photographs(photos, tmp_path, capfd):
    path, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    code, out, err = run(capfd, photos, tmp_path / "maps", "--json", path, "--sheet", sheet)
    assert (code, err) == (0, "")
    assert "mean of those found" in out
    figures = json.loads(path.read_text())
    (photo,) = figures["photos"]
    assert (figures["kind"], photo["name"], photo["found"]) == ("photos", "one.png", True)
    assert photo["nme_inner"] < 0.03
    assert cv2.imread(str(sheet)).shape[0] == 48 + 228


def test_quiet_prints_nothing(ball, real, photos, tmp_path, capfd):
    for source, maps in (
        (ball / "capture", ball / "maps"),
        (real, ball / "maps"),
        (photos, tmp_path / "maps"),
    ):
        assert run(capfd, source, maps, "--quiet") == (0, "", "")


def complaint(capfd, *arguments):
    """The one line that bad input gets."""
    code, out, err = run(capfd, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("mvs: ")
    assert err.count("\n") == 1
    return err


def test_bad_sources_get_one_line(ball, photos, tmp_path, capfd):
    maps = ball / "maps"
    (tmp_path / "empty").mkdir()
    assert "neither" in complaint(capfd, tmp_path / "empty", maps)
    assert "no such folder" in complaint(capfd, tmp_path / "absent", maps)
    (photos / "one.pts").write_text("version: 1\nn_points: 3\n{\n1 2\n}\n")
    assert "one.pts" in complaint(capfd, photos, tmp_path / "maps")
    (photos / "one.png").unlink()
    assert "picture" in complaint(capfd, photos, tmp_path / "maps")


def test_bad_options_get_one_line(ball, real, photos, tmp_path, capfd):
    maps = ball / "maps"
    assert "nose" in complaint(capfd, real, maps, "--parts", "nose")
    assert "sheet.gif" in complaint(capfd, real, maps, "--sheet", tmp_path / "sheet.gif")
    assert "--other" in complaint(capfd, real, maps, "--other", ball / "capture")
    assert "--other" in complaint(capfd, photos, maps, "--other", ball / "capture")
    other = complaint(capfd, ball / "capture", maps, "--other", real)
    assert "ground truth" in other
    none = complaint(capfd, ball / "capture", maps, "--parts", "hair_hat")
    assert "no view sees" in none
