"""Every format, read back by another library."""

import zipfile
from dataclasses import replace

import cv2
import numpy as np
import open3d
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from mvs.stages.export import EXPORTERS, read_mesh, suited, write_model
from mvs.stages.model import Model, Texture, find_up, placed, split_corners
from mvs.stages.textured import read_model, write_textured
from tests.ball import cloud_of, make_ball
from tests.gltf import Glb, assert_valid


def ball_model(textured=True, rows=8, columns=12):
    ball = make_ball(rows, columns)
    generator = np.random.default_rng(5)
    cloud = ball.mesh.vertices
    cloud = replace(cloud, colors=generator.integers(0, 256, (len(cloud), 3)).astype(np.uint8))
    color = cv2.resize(generator.integers(0, 256, (8, 8, 3)).astype(np.uint8), (64, 64))
    picture = Texture(ball.uv, ball.uv_faces, color) if textured else None
    return Model(cloud, ball.mesh.faces, picture, "m", "y")


def bumpy_model():
    """With a normal map, here of noise."""
    model = ball_model()
    noise = np.random.default_rng(2).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    return replace(model, texture=replace(model.texture, normal=noise))


def used(model):
    """Corners (F, 3, 3) of the faces: what is left of a mesh however its vertices are numbered."""
    return model.vertices.points[model.faces]


def srgb(linear):
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("picture", ["png", "jpg"])
def test_glb_with_a_texture(tmp_path, picture):
    model = replace(ball_model(), picture=picture)
    path = tmp_path / "ball.glb"
    assert write_model(model, path) == [path]
    mesh = trimesh.load(path, process=False).to_geometry()
    np.testing.assert_allclose(mesh.vertices[mesh.faces], used(model), atol=1e-6)
    uv = model.texture.uv[model.texture.uv_faces]
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], uv, atol=1e-6)
    # trimesh computes normals of its own.
    normals = model.vertices.normals[split_corners(model.faces, model.texture).rows]
    np.testing.assert_allclose(glb_parts(path)[1]["NORMAL"], normals, atol=1e-6)
    coords = mesh.vertex_attributes["_UVW"][mesh.faces]
    np.testing.assert_allclose(coords, model.vertices.coords[model.faces], atol=1e-7)
    shown = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")).astype(int)
    assert np.abs(shown - model.texture.color).mean() < (0.01 if picture == "png" else 6)


def test_glb_with_colours(tmp_path):
    model = ball_model(textured=False)
    write_model(model, tmp_path / "ball.glb")
    data, attributes = glb_parts(tmp_path / "ball.glb")
    assert data["asset"]["version"] == "2.0"
    colors = srgb(attributes["COLOR_0"][:, :3] / 65535.0) * 255
    assert np.abs(colors - model.vertices.colors).max() < 0.51
    np.testing.assert_array_equal(attributes["_CONFIDENCE"][:, 0], model.vertices.confidence)
    mesh = trimesh.load(tmp_path / "ball.glb", process=False).to_geometry()
    np.testing.assert_allclose(mesh.vertices[mesh.faces], used(model), atol=1e-6)


def test_glb_of_points_and_of_a_world_far_away(tmp_path):
    """A float has 24 bits: places 6 thousand kilometres off go into the node's translation."""
    shift = np.array([6.4e6, -1.2e6, 3.3e5])
    model = ball_model(textured=False)
    far = replace(model, vertices=replace(model.vertices, points=model.vertices.points + shift))
    for name, faces in (("far.glb", far.faces), ("points.glb", None)):
        write_model(replace(far, faces=faces), tmp_path / name)
        data, attributes = glb_parts(tmp_path / name)
        places = attributes["POSITION"] + np.array(data["nodes"][0]["translation"])
        np.testing.assert_allclose(places, far.vertices.points, rtol=0, atol=1e-6)
    assert data["meshes"][0]["primitives"][0]["mode"] == 0


def glb_parts(path):
    """The JSON, and the attributes as they are stored."""
    glb = Glb(path)
    return glb.data, {
        name: values.astype(np.float64 if values.dtype.kind == "u" else np.float32)
        for name, values in glb.attributes().items()
    }


def test_glb_passes_the_validator_of_khronos(tmp_path):
    models = {
        "textured": ball_model(),
        "png": replace(ball_model(), picture="png"),
        "bumps": bumpy_model(),
        "colours": ball_model(textured=False),
        "points": replace(ball_model(textured=False), faces=None),
    }
    for name, model in models.items():
        path = tmp_path / f"{name}.glb"
        write_model(model, path)
        assert_valid(path)


def test_obj_with_a_texture(tmp_path):
    model = ball_model()
    files = write_model(model, tmp_path / "ball.obj")
    assert [f.name for f in files] == ["ball.png", "ball.mtl", "ball.obj"]
    mesh = trimesh.load(tmp_path / "ball.obj", process=False)
    np.testing.assert_allclose(mesh.vertices[mesh.faces], used(model), atol=1e-6)
    uv = model.texture.uv[model.texture.uv_faces]
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], uv, atol=1e-6)
    shown = np.asarray(mesh.visual.material.image.convert("RGB"))
    np.testing.assert_array_equal(shown, model.texture.color)
    other = open3d.io.read_triangle_mesh(str(tmp_path / "ball.obj"), True)
    np.testing.assert_allclose(np.asarray(other.triangle_uvs), uv.reshape(-1, 2), atol=1e-6)
    assert len(other.textures) == 1


def test_obj_with_colours_and_of_points(tmp_path):
    model = ball_model(textured=False)
    write_model(model, tmp_path / "ball.obj")
    mesh = open3d.io.read_triangle_mesh(str(tmp_path / "ball.obj"))
    faces = np.asarray(mesh.triangles)
    np.testing.assert_allclose(np.asarray(mesh.vertices)[faces], used(model), atol=1e-6)
    shown = 255 * np.asarray(mesh.vertex_colors)[faces]
    assert np.abs(shown - model.vertices.colors[model.faces]).max() < 0.51
    write_model(replace(model, faces=None), tmp_path / "points.obj")
    lines = (tmp_path / "points.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == len(model.vertices)
    assert not any(line.startswith("f ") for line in lines)


def test_stl(tmp_path):
    model = ball_model(textured=False)
    write_model(model, tmp_path / "ball.stl")
    mesh = trimesh.load(tmp_path / "ball.stl", process=False)
    np.testing.assert_allclose(mesh.vertices[mesh.faces], used(model), atol=1e-6)
    other = open3d.io.read_triangle_mesh(str(tmp_path / "ball.stl"))
    assert len(other.triangles) == len(model.faces)
    with pytest.raises(ValueError, match="a cloud has none"):
        write_model(replace(model, faces=None), tmp_path / "points.stl")


@pytest.mark.parametrize("ending", [".usd", ".usda", ".usdz"])
def test_usd(tmp_path, ending):
    pxr = pytest.importorskip("pxr.UsdGeom", exc_type=ImportError)
    from pxr import Sdf, Usd, UsdShade

    model = replace(ball_model(), unit="mm", up="z")
    files = write_model(model, tmp_path / f"ball{ending}")
    assert sorted(tmp_path.iterdir()) == sorted(files)
    again = tmp_path / "again"
    again.mkdir()
    for file in write_model(model, again / f"ball{ending}"):
        assert file.read_bytes() == (tmp_path / file.name).read_bytes()
    stage = Usd.Stage.Open(str(tmp_path / f"ball{ending}"))
    assert pxr.GetStageMetersPerUnit(stage) == 0.001
    assert pxr.GetStageUpAxis(stage) == "Z"
    mesh = pxr.Mesh.Get(stage, "/head/mesh")
    np.testing.assert_allclose(
        np.array(mesh.GetPointsAttr().Get()), model.vertices.points, atol=1e-6
    )
    faces = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    np.testing.assert_array_equal(faces, model.faces)
    primvars = pxr.PrimvarsAPI(mesh)
    st = np.array(primvars.GetPrimvar("st").ComputeFlattened()).reshape(-1, 3, 2)
    np.testing.assert_allclose(st, model.texture.uv[model.texture.uv_faces], atol=1e-6)
    uvw = np.array(primvars.GetPrimvar("uvw").Get())
    np.testing.assert_array_equal(uvw, model.vertices.coords)
    material = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()[0]
    assert material.ComputeSurfaceSource()[0].GetIdAttr().Get() == "UsdPreviewSurface"
    picture = UsdShade.Shader.Get(stage, "/head/material/picture").GetInput("file").Get()
    assert picture.resolvedPath
    if ending == ".usdz":
        # The scene comes first, as the specification of .usdz wants it.
        names = Sdf.ZipFile.Open(str(tmp_path / "ball.usdz")).GetFileNames()
        assert names == ["ball.usdc", "ball.png"]
        # No time of writing is in it, which would make two runs differ.
        with zipfile.ZipFile(tmp_path / "ball.usdz") as package:
            assert {info.date_time for info in package.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_usd_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pxr", None)
    with pytest.raises(ValueError, match=r"pip install 'headmvs\[export\]'"):
        write_model(ball_model(), tmp_path / "ball.usdz")
    assert not list(tmp_path.iterdir())


def test_the_own_files_lose_nothing(tmp_path):
    model = replace(ball_model(), unit="cm", up=None)
    write_textured(tmp_path / "textured.ply", model)
    for source in (tmp_path, tmp_path / "textured.ply"):
        back = read_model(source)
        np.testing.assert_array_equal(back.texture.color, model.texture.color)
        np.testing.assert_array_equal(back.texture.uv, model.texture.uv)
        np.testing.assert_array_equal(back.texture.uv_faces, model.texture.uv_faces)
        np.testing.assert_array_equal(back.faces, model.faces)
        np.testing.assert_array_equal(back.vertices.coords, model.vertices.coords)
        assert back.unit == "cm"


def test_a_texture_that_was_cut_off_is_none_and_no_mix_of_two(tmp_path, monkeypatch):
    write_textured(tmp_path / "textured.ply", ball_model())
    write_model(ball_model(textured=False), tmp_path / "mesh.ply")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", killed)
        with pytest.raises(KeyboardInterrupt):
            write_textured(tmp_path / "textured.ply", ball_model(rows=6))
    found = read_model(tmp_path)
    assert found.texture is None
    assert len(found.faces) == len(ball_model().faces)


def test_corners_are_split_where_the_texture_is_cut():
    model = ball_model()
    split = split_corners(model.faces, model.texture)
    np.testing.assert_array_equal(split.rows[split.faces], model.faces)
    uv = model.texture.uv[model.texture.uv_faces]
    np.testing.assert_array_equal(split.uv[split.faces], uv)
    pairs = {(int(r), *map(float, uv)) for r, uv in zip(split.rows, split.uv, strict=True)}
    assert len(pairs) == len(split.rows)


@pytest.mark.parametrize("source", ["x", "-x", "y", "-y", "z", "-z"])
@pytest.mark.parametrize("target", ["y", "z"])
def test_a_model_is_turned_and_scaled(source, target):
    model = replace(ball_model(textured=False), up=source, unit="mm")
    turned = placed(model, target, "m")
    scale = 1e-3
    up = {"x": 0, "y": 1, "z": 2}
    sign = -1 if source[0] == "-" else 1
    before = sign * model.vertices.points[:, up[source[-1]]]
    np.testing.assert_allclose(turned.vertices.points[:, up[target]], scale * before, atol=1e-15)
    # A rotation: distances, and the faces' sides, stay.
    a, b = (np.linalg.det(used(m)[5:60].astype(float)) for m in (model, turned))
    np.testing.assert_allclose(b, a * scale**3, rtol=1e-9, atol=1e-24)
    assert (turned.up, turned.unit) == (target, "m")


def test_z_up_becomes_y_up_as_in_blender():
    model = Model(cloud_of(np.eye(3)), None, None, "m", "z")
    turned = placed(model, "y", None).vertices.points
    np.testing.assert_array_equal(turned, [[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def test_the_head_knows_its_up():
    points = np.random.default_rng(0).normal(size=(200, 3))
    for axis, name in enumerate("xyz"):
        for sign in (1, -1):
            up = sign * np.eye(3)[axis]
            turn = Rotation.align_vectors([up], [[0, 1, 0]])[0]
            tilted = Rotation.from_rotvec([0.2, -0.3, 0.25]) * turn
            cloud = replace(cloud_of(points), points=tilted.apply(points))
            assert find_up(cloud) == ("-" if sign < 0 else "") + name
    flat = replace(cloud_of(points), coords=np.zeros((200, 3), np.float32))
    assert find_up(flat) is None


def test_each_format_gets_its_frame(tmp_path):
    model = replace(ball_model(textured=False), up="z", unit="mm")
    glb, warnings = suited(model, tmp_path / "a.glb")
    assert (glb.up, glb.unit, warnings) == ("y", "m", [])
    assert np.abs(glb.vertices.points).max() <= 0.001
    for ending in (".obj", ".stl", ".ply", ".usd"):
        same, warnings = suited(model, tmp_path / f"a{ending}")
        assert same.vertices.points is model.vertices.points
        assert not warnings
    usd, _ = suited(replace(model, up="-x"), tmp_path / "a.usd")
    assert usd.up == "y"
    unknown = replace(model, up=None, unit=None)
    unknown = replace(unknown, vertices=replace(unknown.vertices, coords=0 * model.vertices.coords))
    _, warnings = suited(unknown, tmp_path / "a.glb")
    assert len(warnings) == 2
    with pytest.raises(ValueError, match="--source-unit"):
        suited(unknown, tmp_path / "a.obj", unit="mm")
    with pytest.raises(ValueError, match="--source-up"):
        suited(unknown, tmp_path / "a.obj", up="y")


def test_an_unknown_ending_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"\.glb.*got '\.fbx'"):
        write_model(ball_model(), tmp_path / "a.fbx")
    assert set(EXPORTERS) >= {".ply", ".glb", ".obj", ".stl", ".usd", ".usdz"}


def test_nothing_is_left_of_a_write_that_fails(tmp_path, monkeypatch):
    """The old file stays."""
    path = tmp_path / "ball.glb"
    write_model(ball_model(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_model(ball_model(textured=False), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_ply_stays_what_it_was(tmp_path):
    model = ball_model(textured=False)
    write_model(model, tmp_path / "a.ply")
    back = read_mesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(back.vertices.coords, model.vertices.coords)
