"""``mvs texture`` and ``mvs export`` from the command line."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from calib.capture import Capture, View
from calib.formats import read_capture
from calib.write import _write_png, write_capture
from mvs.cli import main
from mvs.record import note_source
from mvs.stages.export import write_cloud, write_mesh
from mvs.types import Mesh
from tests.ball import make_ball, make_views, paint


def run(capfd, *arguments):
    code = main.run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A capture of the ball, and a run on it."""
    folder = tmp_path_factory.mktemp("ball")
    views = []
    for view in make_views(6):
        path = folder / "capture" / "images" / view.name
        _write_png(path, view.image[..., ::-1])
        views.append(View(view.name, path, None, view.camera, np.zeros(0, np.int64)))
    capture = Capture(folder / "capture", tuple(views), np.zeros((0, 3)), (), "cm")
    write_capture(folder / "capture", capture, pictures="none")
    assert len(read_capture(folder / "capture").views) == 6
    mesh = make_ball().mesh
    (folder / "run").mkdir()
    write_mesh(mesh, folder / "run" / "mesh.ply")
    write_cloud(mesh.vertices, folder / "run" / "cloud.ply")
    note = {"capture": str(folder / "capture"), "unit": "cm"}
    (folder / "run" / "run.json").write_text(json.dumps(note))
    return folder


@pytest.fixture(scope="module")
def textured(folder):
    arguments = ["texture", folder / "capture", folder / "run", "--output", folder / "run"]
    arguments += ["--size", 256, "--max-faces", 2000, "--threads", 2, "--quiet"]
    assert main.run([str(a) for a in arguments]) == 0
    return folder / "run"


def test_a_ball_is_textured_and_exported(capfd, folder, textured):
    """The GLB is in metres, y up; the capture in centimetres, y up by the cube coordinates."""
    code, out, err = run(capfd, "export", textured, "--output", folder / "out" / "a.obj")
    assert (code, err) == (0, "")
    assert [line.rpartition("/")[2] for line in out.split()] == ["a.png", "a.mtl", "a.obj"]
    glb = trimesh.load(textured / "textured.glb", process=False).to_geometry()
    obj = trimesh.load(folder / "out" / "a.obj", process=False)
    np.testing.assert_allclose(np.linalg.norm(glb.vertices, axis=1), 0.01, atol=1e-4)
    np.testing.assert_allclose(
        glb.vertices[glb.faces] * 100, obj.vertices[obj.faces], rtol=0, atol=1e-5
    )
    colors = glb.visual.to_color().vertex_colors[:, :3].astype(float)
    assert np.median(np.abs(colors - paint(glb.vertices))) < 6


def test_a_texture_is_the_same_again(folder, textured, tmp_path):
    arguments = ["texture", folder / "capture", textured / "mesh.ply", "--output", tmp_path]
    arguments += ["--size", 256, "--max-faces", 2000, "--threads", 1, "--quiet"]
    assert main.run([str(a) for a in arguments]) == 0
    for name in ("textured.ply", "textured.npz", "textured.png", "textured.glb"):
        assert (tmp_path / name).read_bytes() == (textured / name).read_bytes(), name


def test_a_cloud_is_exported(capfd, folder, tmp_path):
    code, _, err = run(
        capfd, "export", folder / "run" / "cloud.ply", "--output", tmp_path / "a.ply", "--unit", "m"
    )
    assert (code, err) == (0, "")
    cloud = trimesh.load(tmp_path / "a.ply")
    np.testing.assert_allclose(np.linalg.norm(cloud.vertices, axis=1), 0.01, atol=1e-6)


def test_depths_and_the_workspace_are_exported(capfd, folder, textured, tmp_path):
    code, out, _ = run(capfd, "export", textured, "--output", tmp_path / "d", "--depths")
    assert code == 0
    assert len(out.split()) == len(list((tmp_path / "d").iterdir())) == 6
    code, _, err = run(capfd, "export", textured, "--output", tmp_path / "w", "--colmap-dense")
    assert (code, err) == (0, "")
    assert len(list((tmp_path / "w" / "stereo" / "depth_maps").iterdir())) == 6
    code, _, err = run(capfd, "export", textured, "--output", tmp_path / "w", "--colmap-dense")
    assert code == 2
    assert "holds a capture already" in err


def test_a_mesh_is_exported_with_fewer_faces(capfd, folder, tmp_path):
    sizes = []
    for more in ((), ("--max-faces", 500), ("--max-error", 0.01)):
        path = tmp_path / f"{len(sizes)}.stl"
        words = ["export", folder / "run" / "mesh.ply", "--output", path, *more]
        assert run(capfd, *words)[0] == 0
        mesh = trimesh.load(path)
        sizes.append(len(mesh.faces))
        far = np.abs(np.linalg.norm(mesh.triangles_center, axis=1) - 1)
        # The ball's radius is 1, the diagonal of its box 2 sqrt(3).
        assert far.max() < 0.05
    assert 400 <= sizes[1] <= 500
    assert sizes[2] < sizes[0] / 2


def test_pictures_that_were_named_to_the_run_are_found_again(capfd, folder, tmp_path):
    capture, images = tmp_path / "capture", tmp_path / "elsewhere"
    shutil.copytree(folder / "capture", capture)
    (capture / "images").rename(images)
    shutil.copytree(folder / "run", tmp_path / "run")
    words = ["export", tmp_path / "run", "--output", tmp_path / "d", "--depths"]
    for found, named in ((read_capture(capture, images), 0), (read_capture(folder / "capture"), 2)):
        note = note_source(replace(found, path=capture))
        (tmp_path / "run" / "run.json").write_text(json.dumps(note))
        assert run(capfd, *words)[0] == named


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "nowhere", "--output", "a.glb"], "nowhere: no such file"),
        (["export", ".", "--output", "a.glb"], "holds none of"),
        (["export", "RUN", "--output", "a.fbx"], "ending must be one of"),
        (["export", "RUN", "--output", "a.glb", "--up", "x"], "x"),
        (["export", "RUN/mesh.ply", "--output", "a b.fbx"], "ending"),
        (["export", "flat.ply", "--output", "a.obj", "--up", "z"], "--source-up"),
        (["export", "flat.ply", "--output", "a.obj", "--unit", "m"], "--source-unit"),
        (["export", "flat.ply", "--output", "d", "--depths"], "--capture"),
        (["export", "RUN", "--output", "d", "--depths", "--colmap-dense"], "not both"),
        (["export", "bad.ply", "--output", "a.obj"], "bad.ply: not a PLY file"),
        (["export", "RUN/cloud.ply", "--output", "a.stl", "--max-faces", "900"], "no faces"),
        (["export", "RUN/mesh.ply", "--output", "a.stl", "--max-faces", "9"], "at least 100"),
        (["export", "RUN", "--output", "d", "--depths", "--max-faces", "900"], "leave them out"),
        (["texture", "CAPTURE", "RUN", "--output", "o", "--size", "5"], "size"),
        (["texture", "CAPTURE", "RUN/cloud.ply", "--output", "o"], "no faces"),
        (["texture", "CAPTURE", "nowhere.ply", "--output", "o"], "nowhere.ply: no such"),
        (["texture", "CAPTURE", "far.ply", "--output", "o"], "one frame"),
        (["reconstruct", "CAPTURE", "--output", "o", "--texture", "--until", "fuse"], "--until"),
        (["texture", "nowhere", "RUN", "--output", "o"], "nowhere"),
    ],
)
def test_bad_input_gets_one_line(capfd, folder, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    mesh = make_ball(10, 20).mesh
    flat = replace(mesh.vertices, coords=0 * mesh.vertices.coords)
    write_mesh(Mesh(flat, mesh.faces), tmp_path / "flat.ply")
    far = replace(mesh.vertices, points=mesh.vertices.points + 100)
    write_mesh(Mesh(far, mesh.faces), tmp_path / "far.ply")
    (tmp_path / "bad.ply").write_bytes(b"solid")
    words = [
        a.replace("RUN", str(folder / "run")).replace("CAPTURE", str(folder / "capture"))
        for a in arguments
    ]
    code, out, err = run(capfd, *words)
    assert (code, out) == (2, "")
    assert err.startswith("mvs: ")
    assert err.count("\n") == 1
    assert says in err
