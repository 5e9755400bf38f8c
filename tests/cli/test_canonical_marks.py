"""``mvs canonical landmarks | query | track`` on exact maps, and on what they cannot use."""

import csv
import json

import cv2
import numpy as np
import pytest

from mvs.canonical.mark_output import _stems
from mvs.cli import main
from mvs.stages.ply import write_properties
from tests.canonical.test_landmarks import MIDDLE, SCENE, seen_places
from tests.scenes import unit_ball, write_capture, write_cube_maps


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marks")
    write_capture(SCENE, folder / "capture")
    write_cube_maps(SCENE, folder / "maps")
    places, pixels = seen_places(MIDDLE, n=6, facing=0.7)
    rows = [{"name": f"m{k}", "uvw": p.astype(float).tolist()} for k, p in enumerate(places)]
    rows.append({"name": "middle", "uvw": [0.5, 0.5, 0.5], "inside": True})
    (folder / "layout.json").write_text(json.dumps({"layout": "m", "landmarks": rows}))
    return folder, places, pixels


def run(capfd, folder, *words):
    given = ["--embedder", "precomputed", "--cube-maps", str(folder / "maps"), "--quiet"]
    code = main.run([*map(str, words), *given])
    return code, capfd.readouterr().err


def test_pictures_of_a_folder(scene, tmp_path, capfd):
    folder, _, pixels = scene
    words = ["canonical", "landmarks", folder / "capture" / "images", "--output", tmp_path]
    formats = ["--formats", "json", "csv", "pts", "--overlay", "--layout", folder / "layout.json"]
    assert run(capfd, folder, *words, *formats) == (0, "")
    document = json.loads((tmp_path / "landmarks.json").read_text())
    found = document["pictures"]["view_01.png"]
    np.testing.assert_allclose(found["pixels"][:6], pixels, atol=0.1)
    assert found["visible"] == [True] * 6 + [False]
    assert "space" not in document
    with (tmp_path / "landmarks.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 3 * 7
    assert float(table[7]["x"]) == found["pixels"][0][0]
    text = (tmp_path / "pts" / "view_01.pts").read_text().splitlines()
    np.testing.assert_allclose([float(v) for v in text[3].split()], pixels[0] + 0.5, atol=0.1)
    overlay = cv2.imread(str(tmp_path / "overlay" / "view_01.png"))
    assert (overlay[..., ::-1] != SCENE.images[1]).any()


def test_no_two_pictures_share_a_file():
    names = ["a/x.jpg", "b/x.jpg", "x.jpg", "x.png", "y.v2.png"]
    assert _stems(names) == ["a/x", "b/x", "x.jpg", "x.png", "y.v2"]


def test_a_query_is_a_layout_for_others(scene, tmp_path, capfd):
    folder, places, pixels = scene
    clicks = [w for x, y in pixels for w in ("--point", x, y)]
    words = ["canonical", "query", folder / "capture" / "images", "--image", "view_01.png"]
    assert run(capfd, folder, *words, "--output", tmp_path, *clicks) == (0, "")
    document = json.loads((tmp_path / "query.json").read_text())
    uvw = [row["uvw"] for row in document["landmarks"]]
    np.testing.assert_allclose(uvw, places, atol=1e-3)
    again = ["canonical", "landmarks", folder / "capture" / "images", "--output", tmp_path]
    assert run(capfd, folder, *again, "--layout", tmp_path / "query.json") == (0, "")
    found = json.loads((tmp_path / "landmarks.json").read_text())["pictures"]
    assert found == document["pictures"]


def test_a_mesh(tmp_path, capfd):
    unit, faces = unit_ball(40, 60)
    columns = [*(0.1 * unit).T, *(0.5 + 0.3 * unit).T]
    vertex = {n: c.astype(np.float32) for n, c in zip("xyzuvw", columns, strict=True)}
    with (tmp_path / "ball.ply").open("wb") as stream:
        write_properties(stream, vertex, faces)
    rows = [{"name": "front", "uvw": [0.5, 0.5, 0.8]}, {"name": "far", "uvw": [0.9, 0.9, 0.9]}]
    (tmp_path / "two.json").write_text(json.dumps({"landmarks": rows}))
    words = ["canonical", "landmarks", tmp_path / "ball.ply", "--layout", tmp_path / "two.json"]
    assert run(capfd, tmp_path, *words, "--output", tmp_path / "out") == (0, "")
    found = json.loads((tmp_path / "out" / "landmarks.json").read_text())["mesh"]
    np.testing.assert_allclose(found["xyz"][0], [0, 0, 0.1], atol=2e-4)
    assert found["xyz"][1] == [None] * 3
    # A vertex without coordinates, and the faces around it, do not matter.
    vertex["u"][5] = np.nan
    with (tmp_path / "ball.ply").open("wb") as stream:
        write_properties(stream, vertex, faces)
    assert run(capfd, tmp_path, *words, "--output", tmp_path / "holed") == (0, "")
    again = json.loads((tmp_path / "holed" / "landmarks.json").read_text())["mesh"]
    np.testing.assert_allclose(again["xyz"][0], [0, 0, 0.1], atol=2e-4)
    code, err = run(capfd, tmp_path, *words, "--output", tmp_path / "out", "--overlay")
    assert (code, err.count("\n")) == (2, 1)
    (tmp_path / "bad.ply").write_text("ply")
    words[2] = tmp_path / "bad.ply"
    code, err = run(capfd, tmp_path, *words, "--output", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "bad.ply" in err


def test_frames_are_tracked(scene, tmp_path, capfd):
    folder, _, pixels = scene
    (tmp_path / "p.csv").write_text(f"name,x,y\nm,{pixels[0, 0]},{pixels[0, 1]}\n")
    words = ["canonical", "track", folder / "capture" / "images", "--points", tmp_path / "p.csv"]
    words += ["--frame", "1", "--smooth", "0", "--output", tmp_path / "out"]
    assert run(capfd, folder, *words) == (0, "")
    document = json.loads((tmp_path / "out" / "track.json").read_text())
    np.testing.assert_allclose(document["frames"]["view_01.png"]["pixels"], pixels[:1], atol=0.2)
    assert len((tmp_path / "out" / "track.csv").read_text().splitlines()) == 1 + 3
    drawn = [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith("overlay")]
    assert drawn


@pytest.fixture
def headless(scene, tmp_path):
    """Two pictures, the first of which shows no head."""
    folder, _, _ = scene
    (tmp_path / "maps").mkdir()
    (tmp_path / "pictures").mkdir()
    for name in ("view_00.png", "view_01.png"):
        (tmp_path / "pictures" / name).write_bytes(
            (folder / "capture" / "images" / name).read_bytes()
        )
        with np.load(folder / "maps" / f"{name}.npz") as data:
            arrays = dict(data)
        if name == "view_00.png":
            arrays["mask"] = np.zeros_like(arrays["mask"])
        np.savez(tmp_path / "maps" / f"{name}.npz", **arrays)
    return tmp_path


def test_pictures_without_a_head_are_named(headless, capfd):
    words = ["canonical", "landmarks", headless / "pictures", "--output", headless / "out"]
    maps = ["--embedder", "precomputed", "--cube-maps", headless / "maps"]
    assert main.run([*map(str, words + maps)]) == 0
    err = capfd.readouterr().err
    assert "no head is seen in 1 of the pictures: view_00.png" in err
    found = json.loads((headless / "out" / "landmarks.json").read_text())["pictures"]
    assert list(found) == ["view_00.png", "view_01.png"]
    assert not any(found["view_00.png"]["visible"])


@pytest.mark.parametrize(
    "words",
    [
        ["landmarks"],
        ["segment"],
        ["show"],
        ["texture"],
        ["decal", "--at", "chin"],
        ["track", "--layout", "5"],
    ],
)
def test_no_head_at_all_is_an_error_and_nothing_is_written(headless, capfd, words):
    (headless / "pictures" / "view_01.png").unlink()
    cv2.imwrite(str(headless / "t.png"), np.zeros((8, 8, 3), np.uint8))
    words = [*words, "--texture", str(headless / "t.png")] if "--at" in words else words
    out = headless / "out"
    given = ["canonical", words[0], headless / "pictures", "--output", out, *words[1:]]
    code, err = run(capfd, headless, *given)
    assert (code, err.count("\n")) == (2, 1)
    assert "shows a head" in err
    left = [p.name for p in out.iterdir()] if out.is_dir() else []
    assert set(left) <= {"template.png", "atlas.png"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["query", "--image", "view_09.png", "--point", "90", "90"], "view_09.png"),
        (["query", "--image", "view_01.png", "--point", "1", "1"], "not on the head"),
        (["query", "--image", "view_01.png"], "--point"),
        (["landmarks", "--layout", "none.json"], "layout must be"),
        (["track", "--frame", "99", "--point", "90", "90"], "no frame 99"),
        (["track", "--layout", "68", "--point", "90", "90"], "not both"),
    ],
)
def test_what_cannot_be_used_gets_one_line(scene, tmp_path, capfd, words, says):
    folder, _, _ = scene
    source = folder / "capture" / "images"
    code, err = run(
        capfd, folder, "canonical", words[0], source, "--output", tmp_path / "o", *words[1:]
    )
    assert code == 2
    assert err.count("\n") == 1
    assert says in err
