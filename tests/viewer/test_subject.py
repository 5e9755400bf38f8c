"""What the viewer reads: runs, files and captures."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calib.capture import CaptureError
from mvs.stages.export import write_cloud, write_mesh, write_model
from mvs.stages.model import Model, Texture
from mvs.stages.ply import write_properties
from mvs.stages.textured import write_textured
from mvs.viewer.subject import load_subject
from tests.ball import cloud_of, make_ball
from tests.viewer.results import write_capture_of_ball

ATTRIBUTES = {"normal", "rgb", "uvw", "confidence", "views"}


@pytest.fixture
def ball():
    return make_ball(10, 20)


def texture_of(ball):
    return Texture(ball.uv, ball.uv_faces, np.full((64, 64, 3), 120, np.uint8))


def test_a_run_with_all_its_shapes_and_its_capture(tmp_path, ball):
    write_capture_of_ball(tmp_path / "capture", 3)
    mesh = ball.mesh
    run = tmp_path / "run"
    run.mkdir()
    write_mesh(mesh, run / "mesh.ply")
    write_cloud(mesh.vertices, run / "cloud.ply")
    write_cloud(mesh.vertices.rows(np.arange(9)), run / "points.ply")
    write_textured(run / "textured.ply", Model(mesh.vertices, mesh.faces, texture_of(ball), "cm"))
    note = {"capture": str(tmp_path / "capture"), "unit": "cm"}
    (run / "run.json").write_text(json.dumps(note))
    subject = load_subject(run)
    assert subject.name == "run"
    assert list(subject.shapes) == ["textured", "mesh", "cloud", "points"]
    assert [len(s.cloud) for s in subject.shapes.values()] == [len(mesh.vertices)] * 3 + [9]
    assert subject.shapes["textured"].texture is not None
    assert subject.surface is subject.shapes["mesh"]
    assert all(shape.known == ATTRIBUTES for shape in subject.shapes.values())
    assert len(subject.capture.views) == 3
    assert subject.unit == "cm"
    np.testing.assert_allclose(subject.best.cloud.points, mesh.vertices.points, atol=1e-6)


def test_a_capture_that_is_gone_is_a_warning(tmp_path, ball):
    write_mesh(ball.mesh, tmp_path / "mesh.ply")
    (tmp_path / "run.json").write_text(json.dumps({"capture": str(tmp_path / "gone")}))
    subject = load_subject(tmp_path / "mesh.ply")
    assert subject.capture is None
    assert len(subject.warnings) == 1
    assert "--capture" in subject.warnings[0]
    write_capture_of_ball(tmp_path / "here", 2)
    assert len(load_subject(tmp_path, tmp_path / "here").capture.views) == 2


def test_a_capture_alone(tmp_path):
    write_capture_of_ball(tmp_path, 3, points=np.eye(3))
    subject = load_subject(tmp_path)
    assert len(subject.capture.views) == 3
    assert subject.best.known == frozenset()
    np.testing.assert_allclose(subject.best.cloud.points, np.eye(3))


def test_a_mesh_of_another_program_has_what_it_says(tmp_path, ball):
    """Normals are computed, the rest is not known."""
    points = ball.mesh.vertices.points
    columns = {axis: points[:, k].astype(np.float32) for k, axis in enumerate("xyz")}
    with (tmp_path / "a.ply").open("wb") as stream:
        write_properties(stream, columns, ball.mesh.faces)
    shape = load_subject(tmp_path / "a.ply").surface
    assert shape.known == {"normal"}
    used = np.unique(shape.faces)
    assert (shape.cloud.normals * points)[used].sum(axis=1).min() > 0.98
    assert np.isnan(shape.cloud.coords).all()


def test_points_that_are_no_numbers_are_left_out(tmp_path):
    cloud = cloud_of(np.eye(3))
    points = cloud.points.copy()
    points[1] = np.nan
    write_cloud(replace(cloud, points=points), tmp_path / "a.ply")
    np.testing.assert_allclose(load_subject(tmp_path / "a.ply").best.cloud.points, np.eye(3)[::2])


def test_a_glb_alone_and_one_whose_source_lies_beside(tmp_path, ball):
    """The GLB's frame, twice as large, is not that of the capture; the PLY's is."""
    vertices = ball.mesh.vertices
    model = Model(replace(vertices, points=2 * vertices.points), ball.mesh.faces, texture_of(ball))
    write_model(model, tmp_path / "textured.glb")
    shape = load_subject(tmp_path / "textured.glb").surface
    assert {"normal", "rgb", "uvw", "confidence"} <= shape.known
    corners = shape.cloud.points[shape.faces]
    np.testing.assert_allclose(corners, 2 * vertices.points[ball.mesh.faces], atol=1e-6)
    coords = shape.cloud.coords[shape.faces]
    np.testing.assert_allclose(coords, vertices.coords[ball.mesh.faces], atol=1e-6)
    uv = shape.texture.uv[shape.texture.uv_faces]
    np.testing.assert_allclose(uv, ball.uv[ball.uv_faces], atol=1e-6)
    source = Model(vertices, ball.mesh.faces, texture_of(ball))
    write_textured(tmp_path / "textured.ply", source)
    beside = load_subject(tmp_path / "textured.glb").surface
    np.testing.assert_allclose(beside.cloud.points, vertices.points, atol=1e-6)


def write_bad(folder):
    mesh = make_ball(4, 6).mesh
    columns = {axis: mesh.vertices.points[:, k] for k, axis in enumerate("xyz")}
    with (folder / "faces.ply").open("wb") as stream:
        write_properties(stream, columns, mesh.faces + 9)
    broken = {"x": columns["x"] * np.nan, "y": columns["y"], "z": columns["z"]}
    with (folder / "nan.ply").open("wb") as stream:
        write_properties(stream, broken, mesh.faces)
    with (folder / "flat.ply").open("wb") as stream:
        write_properties(stream, {"x": columns["x"]}, mesh.faces)
    write_cloud(mesh.vertices.rows(np.arange(0)), folder / "none.ply")
    for name in ("bad.ply", "bad.glb", "bad.txt"):
        (folder / name).write_bytes(b"solid")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "no such file"),
        (".", "no result and no camera file"),
        ("bad.txt", "no result and no camera file"),
        ("bad.ply", "not a readable PLY"),
        ("bad.glb", "not a readable GLB"),
        ("faces.ply", "vertices that it does not have"),
        ("nan.ply", "no numbers"),
        ("flat.ply", "no x, y and z"),
        ("none.ply", "no points"),
    ],
)
def test_what_cannot_be_looked_at_says_so(tmp_path, name, says):
    write_bad(tmp_path)
    with pytest.raises(CaptureError, match=says):
        load_subject(tmp_path / name)
