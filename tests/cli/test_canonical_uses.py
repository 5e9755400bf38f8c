"""The commands of what the cube is used for, end to end on an exact capture, and their errors."""

import json

import cv2
import numpy as np
import pytest

from mvs.canonical.template import load_template
from mvs.cli import main
from mvs.stages.ply import read_properties, write_properties
from tests.scenes import make_scene, write_capture, write_cube_maps


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A capture with its exact maps, a texture, a file of regions, and a mesh of the template."""
    folder = tmp_path_factory.mktemp("uses")
    scene = make_scene(n_views=3, size=96, arc_deg=40.0)
    write_capture(scene, folder / "capture")
    write_cube_maps(scene, folder / "maps")
    texture = np.full((16, 16, 4), 255, np.uint8)
    texture[..., :2] = 0
    cv2.imwrite(str(folder / "texture.png"), texture)
    spot = {"name": "spot", "sphere": [0.52, 0.55, 0.83, 0.1]}
    (folder / "regions.json").write_text(json.dumps({"regions": [spot]}))
    head = load_template()
    columns = {n: c.astype(np.float32) for n, c in zip("xyzuvw", [*head.coords.T] * 2, strict=True)}
    for name, shift in (("mesh.ply", 0), ("far.ply", 100)):
        with (folder / name).open("wb") as stream:
            write_properties(stream, columns | {"x": columns["x"] + np.float32(shift)}, head.faces)
    return folder


def run(capfd, place, *words):
    code = main.run(["canonical", *(w.replace("@", str(place)) for w in words), "--quiet"])
    out, err = capfd.readouterr()
    return code, out + err


MAPS = ("--embedder", "precomputed", "--cube-maps", "@/maps")


def test_warp_of_two_views(capfd, place):
    words = ("warp", "view_00.png", "view_01.png", "--capture", "@/capture", "--output", "@/warp")
    assert run(capfd, place, *words, *MAPS) == (0, "")
    with np.load(place / "warp" / "a_from_b.npz") as data:
        assert data["valid"].sum() > 1000
    images = "@/capture/images/view_00.png", "@/capture/images/view_02.png"
    assert run(capfd, place, "warp", *images, "--output", "@/warp2", *MAPS) == (0, "")
    assert (place / "warp2" / "blend.png").is_file()


def test_segment_a_capture_and_a_mesh(capfd, place):
    words = ("segment", "@/capture", "--regions", "@/regions.json", "--output", "@/parts")
    assert run(capfd, place, *words, *MAPS) == (0, "")
    labels = cv2.imread(str(place / "parts" / "view_01.png.labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (96, 96)
    assert set(np.unique(labels)) == {0, 1}
    assert (place / "parts" / "view_01.png.overlay.png").is_file()
    assert run(capfd, place, "segment", "@/mesh.ply", "--split", "--output", "@/parts2") == (0, "")
    names = [
        row["name"] for row in json.loads((place / "parts2" / "labels.json").read_text())["labels"]
    ]
    vertex, _ = read_properties(place / "parts2" / "labels.ply")
    left = vertex["label"] == names.index("left_ear")
    assert left.sum() > 100
    assert vertex["u"][left].min() > 0.5


def test_a_decal_that_does_not_show_is_said(capfd, place):
    cv2.imwrite(str(place / "clear.png"), np.zeros((8, 8, 4), np.uint8))
    words = ("decal", "@/mesh.ply", "--texture", "@/clear.png", "--output", "@/clear")
    code, said = run(capfd, place, *words)
    assert (code, said.count("\n")) == (2, 1)
    assert "nothing of the mesh is painted" in said
    assert not (place / "clear").exists()


def test_decal_on_a_capture_and_a_mesh(capfd, place):
    words = ("--texture", "@/texture.png", "--at", "nose_tip", "--size", "0.2")
    # The scene's head is not the template's: what stands out shall be painted, too.
    high = ("--paint.height", "0.9", "0.8", "--output", "@/ink")
    assert run(capfd, place, "decal", "@/capture", *words, *high, *MAPS) == (0, "")
    before = cv2.imread(str(place / "capture" / "images" / "view_01.png"))
    after = cv2.imread(str(place / "ink" / "view_01.png.png"))
    assert 50 < (before != after).any(axis=2).sum() < 3000
    assert run(capfd, place, "decal", "@/mesh.ply", *words, "--output", "@/ink2") == (0, "")
    vertex, _ = read_properties(place / "ink2" / "decal.ply")
    assert (vertex["green"] != 180).sum() > 100


def test_texture_with_and_without_a_mesh(capfd, place):
    size = ("--size", "64")
    assert run(capfd, place, "texture", "@/capture", *size, "--output", "@/t1", *MAPS) == (0, "")
    assert run(capfd, place, "texture", "@/mesh.ply", *size, "--output", "@/t2") == (0, "")
    texture = cv2.imread(str(place / "t2" / "texture.png"), cv2.IMREAD_UNCHANGED)
    assert texture.shape == (64, 64, 4)
    assert (texture[texture[..., 3] > 0][:, :3] == 180).all()
    assert (cv2.imread(str(place / "t1" / "coverage.png"), cv2.IMREAD_UNCHANGED) > 0).any()
    words = ("texture", "@/capture", "--mesh", "@/far.ply", *size, "--output", "@/t3")
    code, said = run(capfd, place, *words)
    assert code == 2
    assert "far.ply: no view of the capture sees the mesh" in said


def test_show(capfd, place):
    assert run(capfd, place, "show", "@/capture", "--output", "@/show", *MAPS) == (0, "")
    for name in ("template", "atlas", "cube", "uvw", "matches"):
        assert (place / "show" / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("warp", "a.png", "b.png"), "a.png"),
        (("warp", "a.png", "b.png", "--capture", "@/capture"), "has no view a.png"),
        (("segment", "@/none"), "no such file or folder"),
        (("segment", "@/capture", "--regions", "@/none.json"), "none.json"),
        (("segment", "@/texture.ply"), "not a readable PLY file"),
        (("decal", "@/capture"), "give --texture"),
        (("decal", "@/capture", "--texture", "@/none.png"), "none.png: no such picture"),
        (("decal", "@/capture", "--texture", "@/texture.png", "--at", "elbow"), "'elbow'"),
        (("decal", "@/capture", "--texture", "@/texture.png", "--size", "0"), "size"),
        (("texture", "@/mesh.ply", "--mesh", "@/mesh.ply"), "--mesh"),
        (("texture", "@/capture", "--size", "4"), "size must be in"),
        (("show", "--layout", "70"), "layout must be one of"),
        (("show", "--max-pictures", "0"), "--max-pictures"),
    ],
)
def test_bad_input_gets_one_line(capfd, place, words, says):
    code, said = run(capfd, place, *words, "--output", "@/bad", *MAPS)
    assert code == 2
    assert said.count("\n") == 1
    assert says in said
    assert not (place / "bad").is_dir() or not list((place / "bad").iterdir())
