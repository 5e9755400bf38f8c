"""Normals baked from a bumpy ball onto a smooth one, decoded from the files that carry them."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.kernels.raster import vertex_normals
from mvs.stages.export import write_model
from mvs.stages.model import Model, Texture, placed
from mvs.stages.normal_map import FLAT, bake_normals
from mvs.stages.tangents import corner_tangents
from mvs.stages.texels import strips
from mvs.stages.textured import read_model, write_textured
from mvs.types import Mesh
from tests.ball import cloud_of, make_ball
from tests.stages.test_formats import glb_parts

SIZE = 256
# Waves on the ball: height, and how many.
HEIGHT, WAVES = 0.02, 8.0


def height(directions):
    x, y, z = directions.T
    return 1 + HEIGHT * (np.sin(WAVES * x) * np.cos(WAVES * y) + np.sin(WAVES * z))


def bumpy_normals(directions):
    """Exact normals of r = height(direction): direction times r, less the tangential gradient."""
    x, y, z = directions.T
    slope = HEIGHT * WAVES
    gradient = np.stack(
        [
            slope * np.cos(WAVES * x) * np.cos(WAVES * y),
            -slope * np.sin(WAVES * x) * np.sin(WAVES * y),
            slope * np.cos(WAVES * z),
        ],
        axis=1,
    )
    gradient -= (gradient * directions).sum(axis=1, keepdims=True) * directions
    normals = directions * height(directions)[:, None] - gradient
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def mesh_of(ball, points):
    cloud = cloud_of(points)
    return Mesh(replace(cloud, normals=vertex_normals(points, ball.mesh.faces)), ball.mesh.faces)


@pytest.fixture(scope="module")
def dense():
    ball = make_ball(150, 300)
    directions = ball.mesh.vertices.points
    return mesh_of(ball, directions * height(directions)[:, None])


def coarse_model(dense, is_mirrored):
    ball = make_ball(14, 28)
    mesh = mesh_of(ball, ball.mesh.vertices.points)
    uv = ball.uv * [-1, 1] + [1, 0] if is_mirrored else ball.uv
    color = np.full((64, 64, 3), 150, np.uint8)
    texture = Texture(uv.astype(np.float32), ball.uv_faces, color)
    normal = bake_normals(dense, mesh, texture, SIZE)
    return Model(mesh.vertices, mesh.faces, replace(texture, normal=normal), "m", "y")


def angles(a, b):
    return np.degrees(np.arccos(np.clip((a * b).sum(axis=1), -1, 1)))


def decoded(path, normal):
    """World places and normals as a viewer of the GLB has them, by its own attributes."""
    data, parts = glb_parts(path)
    position, upright = parts["POSITION"], parts["NORMAL"].astype(float)
    tangent = parts["TANGENT"].astype(float)
    assert data["materials"][0]["normalTexture"] == {"index": 1}
    assert len(data["images"]) == 2
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=1), 1, atol=1e-6)
    assert np.abs((tangent[:, :3] * upright).sum(axis=1)).max() < 1e-6
    binormal = np.cross(upright, tangent[:, :3]) * tangent[:, 3:]
    blob = path.read_bytes()
    view = data["bufferViews"][data["accessors"][primitive(data)["indices"]]["bufferView"]]
    start = 28 + int(np.frombuffer(blob[12:16], "<u4")[0]) + view["byteOffset"]
    faces = np.frombuffer(blob[start : start + view["byteLength"]], "<u4").reshape(-1, 3)
    uv = parts["TEXCOORD_0"] * [1, -1] + [0, 1]
    places, normals = [], []
    for rows, face, weights, inside in strips(uv, faces.astype(np.int32), SIZE):
        corners = faces[face]
        axes = [
            np.einsum("nk,nkc->nc", weights, v[corners])
            for v in (tangent[:, :3], binormal, upright)
        ]
        axes = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in axes]
        texel = normal[rows][inside] / 127.5 - 1
        world = sum(texel[:, [k]] * axes[k] for k in range(3))
        normals.append(world / np.linalg.norm(world, axis=1, keepdims=True))
        places.append(np.einsum("nk,nkc->nc", weights, position[corners]))
    return np.concatenate(places), np.concatenate(normals), tangent[:, 3]


def primitive(data):
    return data["meshes"][0]["primitives"][0]


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("up", ["y", "z"])
def test_bumps_come_back_from_the_glb(tmp_path, dense, is_mirrored, up):
    """Whichever way the texture runs and the frame is turned."""
    model = placed(coarse_model(dense, is_mirrored), up, None)
    write_model(model, tmp_path / "a.glb")
    places, normals, signs = decoded(tmp_path / "a.glb", model.texture.normal)
    turn = np.eye(3) if up == "y" else np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    directions = places @ turn / np.linalg.norm(places, axis=1, keepdims=True)
    truth = bumpy_normals(directions)
    error = angles(normals @ turn, truth)
    assert np.median(error) < 0.5
    assert np.quantile(error, 0.95) < 1.0
    # Without the map, the smooth ball's normals are that far off.
    assert np.median(angles(directions, truth)) > 6
    # Not at the poles, where the faces have no direction.
    assert np.median(signs) == (-1 if is_mirrored else 1)


def test_green_points_up_and_red_right(dense):
    """A slope that rises to the right leans left: by OpenGL's convention, red below a half."""
    ball = make_ball(14, 28)
    smooth = mesh_of(ball, ball.mesh.vertices.points)
    points = dense.vertices.points / np.linalg.norm(dense.vertices.points, axis=1, keepdims=True)
    fine = make_ball(150, 300)
    # Around +x: larger towards +y, which is where u grows, or towards +z, where v does.
    for axis, channel in ((1, 0), (2, 1)):
        slanted = mesh_of(fine, points * (1 + 0.2 * points[:, [axis]]))
        texture = Texture(ball.uv, ball.uv_faces, np.zeros((64, 64, 3), np.uint8))
        normal = bake_normals(slanted, smooth, texture, SIZE).astype(float) / 127.5 - 1
        middle = normal[SIZE // 2 - 4 : SIZE // 2 + 4, 8:12].mean(axis=(0, 1))
        assert middle[channel] == pytest.approx(-np.sin(np.arctan(0.2)), abs=0.02)
        assert abs(middle[1 - channel]) < 0.05


def test_a_mesh_on_itself_is_flat():
    ball = make_ball(30, 60)
    mesh = mesh_of(ball, ball.mesh.vertices.points)
    texture = Texture(ball.uv, ball.uv_faces, np.zeros((64, 64, 3), np.uint8))
    normal = bake_normals(mesh, mesh, texture, SIZE)
    assert np.abs(normal[20:-20].astype(int) - FLAT).max() <= 2
    assert (normal[0, 0] == FLAT).all()


def test_tangents_of_a_plane_are_its_textures():
    points = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    upright = np.tile([0.0, 0, 1], (4, 1))
    turned = np.array([[0, 0], [0, 1], [-1, 1], [-1, 0]], float)
    found = corner_tangents(points, upright, turned, faces)
    np.testing.assert_allclose(found, np.tile([0, -1, 0, 1], (4, 1)), atol=1e-12)
    found = corner_tangents(points, upright, turned[:, ::-1], faces)
    np.testing.assert_allclose(found, np.tile([1, 0, 0, -1], (4, 1)), atol=1e-12)
    lost = corner_tangents(points, upright, 0 * turned, faces)
    np.testing.assert_allclose(np.linalg.norm(lost[:, :3], axis=1), 1)
    assert (lost[:, 2] == 0).all()


def test_the_map_comes_with_the_model(tmp_path, dense):
    model = coarse_model(dense, False)
    files = write_textured(tmp_path / "textured.ply", model)
    assert "textured_normal.png" in [file.name for file in files]
    back = read_model(tmp_path)
    np.testing.assert_array_equal(back.texture.normal, model.texture.normal)
    plain = replace(model, texture=replace(model.texture, normal=None))
    write_textured(tmp_path / "textured.ply", plain)
    assert read_model(tmp_path).texture.normal is None
    names = [file.name for file in write_model(model, tmp_path / "head.obj")]
    assert names == ["head.png", "head_normal.png", "head.mtl", "head.obj"]
    lines = (tmp_path / "head.mtl").read_text().splitlines()
    assert "norm head_normal.png" in lines
    assert "map_Bump -bm 1 head_normal.png" in lines


def test_usd_has_the_map(tmp_path, dense):
    pxr = pytest.importorskip("pxr.UsdShade")
    from pxr import Usd

    model = coarse_model(dense, False)
    names = [file.name for file in write_model(model, tmp_path / "head.usda")]
    assert names == ["head.png", "head_normal.png", "head.usda"]
    stage = Usd.Stage.Open(str(tmp_path / "head.usda"))
    shader = pxr.Shader(stage.GetPrimAtPath("/head/material/surface"))
    source = shader.GetInput("normal").GetConnectedSource()[0].GetPrim()
    reader = pxr.Shader(source)
    assert reader.GetInput("file").Get().path == "./head_normal.png"
    assert reader.GetInput("sourceColorSpace").Get() == "raw"
    assert tuple(reader.GetInput("scale").Get()) == (2, 2, 2, 1)
    assert tuple(reader.GetInput("bias").Get()) == (-1, -1, -1, 0)
