import stat
from dataclasses import fields

import numpy as np
import pytest
from plyfile import PlyData

from calib.files import replacing
from mvs.stages.export import (
    read_cloud,
    read_mesh,
    write_cloud,
    write_mesh,
    write_visibility,
)
from mvs.types import Mesh, PointCloud

NAMES = [
    "x",
    "y",
    "z",
    "nx",
    "ny",
    "nz",
    "red",
    "green",
    "blue",
    "confidence",
    "n_views",
    "u",
    "v",
    "w",
    "quality",
]


def random_cloud(n=50, shift=0.0):
    generator = np.random.default_rng(0)
    normals = generator.normal(size=(n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return PointCloud(
        generator.normal(size=(n, 3)) + shift,
        normals.astype(np.float32),
        generator.integers(0, 256, (n, 3)).astype(np.uint8),
        generator.uniform(size=(n, 3)).astype(np.float32),
        generator.uniform(size=n).astype(np.float32),
        generator.integers(2, 9, n).astype(np.int32),
    )


def random_mesh():
    faces = np.random.default_rng(1).integers(0, 50, (70, 3)).astype(np.int32)
    return Mesh(random_cloud(), faces)


def assert_same(first, second, atol):
    np.testing.assert_allclose(first.points, second.points, rtol=0, atol=atol)
    for field in fields(PointCloud)[1:]:
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_cloud_round_trip(tmp_path):
    cloud = random_cloud()
    write_cloud(cloud, tmp_path / "cloud.ply")
    assert_same(cloud, read_cloud(tmp_path / "cloud.ply"), atol=3e-7)
    with pytest.raises(ValueError, match="holds no faces"):
        read_mesh(tmp_path / "cloud.ply")


def test_mesh_round_trip(tmp_path):
    mesh = random_mesh()
    write_mesh(mesh, tmp_path / "mesh.ply")
    back = read_mesh(tmp_path / "mesh.ply")
    assert_same(mesh.vertices, back.vertices, atol=3e-7)
    np.testing.assert_array_equal(mesh.faces, back.faces)


@pytest.mark.parametrize("unit", [None, "cm"])
def test_the_unit_is_a_comment(tmp_path, unit):
    write_mesh(random_mesh(), tmp_path / "mesh.ply", unit)
    write_cloud(random_cloud(), tmp_path / "cloud.ply", unit)
    for name in ("mesh.ply", "cloud.ply"):
        header = (tmp_path / name).read_bytes().partition(b"end_header")[0].decode()
        assert [line for line in header.split("\n") if line.startswith("comment unit")] == (
            ["comment unit cm"] if unit else []
        )
    assert_same(random_cloud(), read_cloud(tmp_path / "cloud.ply"), atol=3e-7)


def test_empty_cloud_round_trip(tmp_path):
    write_cloud(random_cloud(0), tmp_path / "cloud.ply")
    assert len(read_cloud(tmp_path / "cloud.ply")) == 0


def test_header_has_the_promised_names_and_types(tmp_path):
    write_mesh(random_mesh(), tmp_path / "mesh.ply")
    data = PlyData.read(str(tmp_path / "mesh.ply"))
    assert data.byte_order == "<"
    assert not data.text
    properties = data["vertex"].properties
    assert [p.name for p in properties] == NAMES
    kinds = {p.name: p.val_dtype for p in properties}
    assert {kinds[name] for name in ("red", "green", "blue")} == {"u1"}
    assert kinds.pop("n_views") == "i4"
    assert {kinds[name] for name in NAMES if name not in ("red", "green", "blue", "n_views")} == {
        "f4"
    }
    face = data["face"].properties
    assert [(p.name, p.len_dtype, p.val_dtype) for p in face] == [("vertex_indices", "u1", "i4")]
    vertex = data["vertex"].data
    np.testing.assert_array_equal(vertex["quality"], vertex["confidence"])


def test_open3d_reads_both(tmp_path):
    import open3d

    mesh = random_mesh()
    write_cloud(mesh.vertices, tmp_path / "cloud.ply")
    write_mesh(mesh, tmp_path / "mesh.ply")
    cloud = open3d.t.io.read_point_cloud(str(tmp_path / "cloud.ply"))
    np.testing.assert_array_equal(cloud.point.colors.numpy(), mesh.vertices.colors)
    np.testing.assert_allclose(cloud.point.u.numpy()[:, 0], mesh.vertices.coords[:, 0])
    np.testing.assert_array_equal(cloud.point.n_views.numpy()[:, 0], mesh.vertices.n_views)
    read = open3d.io.read_triangle_mesh(str(tmp_path / "mesh.ply"))
    np.testing.assert_allclose(np.asarray(read.vertices), mesh.vertices.points, atol=3e-7)
    np.testing.assert_allclose(np.asarray(read.vertex_normals), mesh.vertices.normals, atol=1e-6)
    np.testing.assert_allclose(np.asarray(read.vertex_colors) * 255, mesh.vertices.colors, atol=0.6)
    np.testing.assert_array_equal(np.asarray(read.triangles), mesh.faces)


def test_far_from_the_origin_positions_are_double(tmp_path):
    cloud = random_cloud(shift=5e6)
    write_cloud(cloud, tmp_path / "far.ply")
    assert_same(cloud, read_cloud(tmp_path / "far.ply"), atol=0)


def test_mode_and_replacement(tmp_path):
    path = tmp_path / "cloud.ply"
    path.write_text("old")
    path.chmod(0o600)
    write_cloud(random_cloud(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["cloud.ply"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "cloud.ply"
    path.write_text("old")

    def write_half():
        with replacing(path) as stream:
            stream.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["cloud.ply"]


def test_the_same_bytes_twice(tmp_path):
    write_mesh(random_mesh(), tmp_path / "a.ply")
    write_mesh(random_mesh(), tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_unknown_endings_and_foreign_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"\.fbx"):
        write_cloud(random_cloud(), tmp_path / "cloud.fbx")
    (tmp_path / "no.ply").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"no\.ply"):
        read_cloud(tmp_path / "no.ply")
    (tmp_path / "other.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n"
    )
    with pytest.raises(ValueError, match=r"other\.ply"):
        read_cloud(tmp_path / "other.ply")


def test_visibility_is_what_colmap_reads(tmp_path):
    views = np.zeros((3, 2), np.uint64)
    views[0, 0], views[1, 1], views[2, 0] = 0b101, 1 << 3, 1 << 63
    write_visibility(views, tmp_path / "cloud.ply.vis")
    data = (tmp_path / "cloud.ply.vis").read_bytes()
    assert np.frombuffer(data[:8], "<u8")[0] == 3
    numbers = np.frombuffer(data[8:], "<u4").tolist()
    assert numbers == [2, 0, 2, 1, 67, 1, 63]
    write_visibility(views[:0], tmp_path / "none.vis")
    assert (tmp_path / "none.vis").read_bytes() == bytes(8)
