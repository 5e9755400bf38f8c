from dataclasses import replace

import numpy as np
import open3d
import pycolmap
import pytest

from calib.formats import read_capture
from calib.write import write_capture
from mvs.stages.dense import read_map, view_depth, write_depths, write_map, write_workspace
from tests.ball import look_from, make_ball, rays_of
from tests.calib.captures import make_capture


def test_a_depth_map_is_the_surfaces(tmp_path):
    ball, camera = make_ball(60, 120), look_from([0.5, 4, 1.5])
    found = view_depth(ball.mesh, camera)
    rays = rays_of(camera)
    along = -(rays @ camera.center)
    gap = along**2 - (camera.center @ camera.center - 1.0)
    hit = gap > 0.02
    points = camera.center + (along[hit] - np.sqrt(gap[hit]))[:, None] * rays[hit]
    truth = camera.project(points)[1]
    depth, normals = found.depth.ravel()[hit], found.normals.reshape(-1, 3)[hit]
    assert np.abs(depth - truth).max() < 0.02
    np.testing.assert_allclose(normals, points @ camera.rotation.T, atol=0.03)
    assert not found.depth.ravel()[gap < -0.02].any()


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3)])
def test_maps_are_colmaps(tmp_path, shape):
    """Read as COLMAP's own scripts do: Fortran's order of width, height, channels."""
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    write_map(tmp_path / "a.bin", values)
    blob = (tmp_path / "a.bin").read_bytes()
    width, height, channels = (int(n) for n in blob.split(b"&")[:3])
    start = len(b"&".join(blob.split(b"&")[:3])) + 1
    array = np.frombuffer(blob[start:], np.float32).reshape((width, height, channels), order="F")
    np.testing.assert_array_equal(np.transpose(array, (1, 0, 2)).squeeze(), values)
    np.testing.assert_array_equal(read_map(tmp_path / "a.bin"), values)
    (tmp_path / "a.bin").write_bytes(blob[:-1])
    with pytest.raises(ValueError, match="bytes"):
        read_map(tmp_path / "a.bin")


def test_the_dense_workspace_is_colmaps(tmp_path):
    capture = make_capture(tmp_path / "capture", n=3)
    write_capture(tmp_path / "capture", capture, pictures="none")
    capture = read_capture(tmp_path / "capture")
    ball = make_ball(30, 60)
    mesh = replace(
        ball.mesh, vertices=replace(ball.mesh.vertices, points=0.3 * ball.mesh.vertices.points)
    )
    folder = tmp_path / "dense"
    write_workspace(folder, capture, mesh, mesh.vertices)
    model = pycolmap.Reconstruction(folder / "sparse")
    names = [model.images[key].name for key in sorted(model.images)]
    assert names == [view.name for view in capture.views]
    assert (folder / "stereo/fusion.cfg").read_text().split() == names
    for view in capture.views:
        depth = read_map(folder / f"stereo/depth_maps/{view.name}.geometric.bin")
        normals = read_map(folder / f"stereo/normal_maps/{view.name}.geometric.bin")
        assert depth.shape == (view.camera.height, view.camera.width)
        assert (depth > 0).any()
        # Towards the camera.
        assert normals[depth > 0][:, 2].max() < 0.2
        assert (folder / "images" / view.name).is_file()
    cloud = open3d.io.read_point_cloud(str(folder / "fused.ply"))
    np.testing.assert_allclose(np.asarray(cloud.points), mesh.vertices.points, atol=1e-6)
    seen = np.fromfile(folder / "fused.ply.vis", "<u4")
    assert seen[0] == len(mesh.vertices)
    # The point nearest to a camera is seen by it.
    nearest = np.linalg.norm(mesh.vertices.points - capture.views[1].camera.center, axis=1).argmin()
    at = 2
    for _ in range(nearest):
        at += 1 + seen[at]
    assert 1 in seen[at + 1 : at + 1 + seen[at]]


def test_depths_are_written_for_each_view(tmp_path):
    capture = make_capture(tmp_path / "capture", n=2)
    write_depths(tmp_path / "depths", make_ball().mesh, capture.views)
    with np.load(tmp_path / "depths" / "00.png.npz") as data:
        assert data["depth"].shape == (
            capture.views[0].camera.height,
            capture.views[0].camera.width,
        )
        np.testing.assert_array_equal(data["K"], capture.views[0].camera.K)
