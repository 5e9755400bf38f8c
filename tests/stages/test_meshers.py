"""TSDF against the exact surface; Poisson is tested where it is used, in test_mesh.py."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.stages.mesh import MeshOptions, mesh
from mvs.stages.meshers import _in_order
from mvs.stages.refine import DepthMap
from mvs.stages.triangulate import triangulate

TSDF = MeshOptions(mesher="tsdf", depth=7)


@pytest.fixture(scope="module")
def cloud(scene, matches):
    return triangulate(scene.cube_maps, scene.cameras, scene.images, matches).cloud


@pytest.fixture(scope="module")
def maps(scene):
    """The exact depths; what is not seen is marked by the mask, and by nonsense beneath it."""
    found = []
    for camera, depth in zip(scene.cameras, scene.depths, strict=True):
        mask = np.isfinite(depth)
        planes = np.zeros((*depth.shape, 3), np.float32)
        planes[..., 0] = np.where(mask, 1 / np.where(mask, depth, 1), 7.0)
        found.append(DepthMap(camera, planes, np.zeros(depth.shape, np.float32), mask))
    return found


@pytest.fixture(scope="module")
def result(cloud, maps):
    return mesh(cloud, TSDF, maps=maps)


def test_the_surface_is_where_the_depths_are(scene, cloud, result):
    distance = scene.distance(result.vertices.points)
    voxel = 1.1 * np.ptp(cloud.points, axis=0).max() / 2**7
    assert np.median(distance) < 0.1 * voxel
    assert np.quantile(distance, 0.98) < 0.6 * voxel
    normals = scene.normals(result.vertices.points)
    corners = result.vertices.points[result.faces]
    outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outwards * normals[result.faces[:, 0]]).sum(axis=1) > 0).mean() > 0.99


def test_most_of_what_is_seen_is_there(cloud, result):
    from scipy.spatial import cKDTree

    gap = cKDTree(result.vertices.points).query(cloud.points)[0]
    assert np.mean(gap < 0.004) > 0.95


def test_the_same_bytes_twice(cloud, maps, result):
    again = mesh(cloud, TSDF, maps=maps)
    assert again.faces.tobytes() == result.faces.tobytes()
    assert again.vertices.points.tobytes() == result.vertices.points.tobytes()


@pytest.mark.parametrize("scale", [1000.0, 1e-3])
def test_the_unit_does_not_matter(cloud, maps, result, scale):
    large = replace(cloud, points=cloud.points * scale)
    scaled = []
    for found in maps:
        pose = found.camera.cam_from_world.copy()
        pose[:, 3] *= scale
        planes = found.planes / np.float32(scale)
        scaled.append(replace(found, camera=found.camera.with_pose(pose), planes=planes))
    again = mesh(large, TSDF, maps=scaled)
    assert len(again.faces) == pytest.approx(len(result.faces), rel=0.01)
    np.testing.assert_allclose(
        np.ptp(again.vertices.points, axis=0) / scale,
        np.ptp(result.vertices.points, axis=0),
        rtol=0.02,
    )


def test_without_depths_it_says_what_it_wants(cloud):
    with pytest.raises(ValueError, match="take a --quality that refines"):
        mesh(cloud, TSDF)


def test_the_order_does_not_depend_on_the_order_it_came_in():
    """Also where two vertices are in one place."""
    rng = np.random.default_rng(0)
    vertices = rng.random((30, 3))
    vertices[7] = vertices[21]
    faces = np.array([rng.choice(30, 3, replace=False) for _ in range(50)], np.int32)
    wanted = _in_order(vertices, faces)
    for _ in range(5):
        order = rng.permutation(30)
        rank = np.argsort(order).astype(np.int32)
        shuffled = np.roll(rank[faces[rng.permutation(50)]], 1, axis=1)
        found = _in_order(vertices[order], shuffled)
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


def test_a_moved_map_has_moved_points(maps):
    shift = np.array([0.1, -2.0, 30.0])
    np.testing.assert_allclose(maps[0].moved(shift).points(), maps[0].points() + shift, atol=1e-6)
