from dataclasses import fields, replace

import numpy as np
import pytest

from mvs.stages.extend import ExtendOptions, _WorldFromCube, extend
from mvs.stages.fuse import fuse
from mvs.stages.mesh import MeshOptions, mesh
from mvs.stages.shots import Shots, head_mask
from mvs.stages.triangulate import triangulate
from mvs.types import PointCloud


@pytest.fixture(scope="module")
def shots(scene):
    masks = [cube_map.mask for cube_map in scene.cube_maps]
    return Shots(
        scene.names, scene.cameras, scene.images, masks, scene.cube_maps, scene.center, scene.size
    )


@pytest.fixture(scope="module")
def cloud(scene, matches):
    points = triangulate(scene.cube_maps, scene.cameras, scene.images, matches)
    return fuse(points, scene.cameras, scene.images)


@pytest.fixture(scope="module")
def half(scene, cloud):
    """The cloud without what lies to one side."""
    keep = scene.head_from_world(cloud.points)[:, 0] < 0.02
    return PointCloud(*(getattr(cloud, field.name)[keep] for field in fields(PointCloud)))


def test_what_is_missing_is_carried_on(scene, cloud, half, shots):
    found = extend(half, shots)
    np.testing.assert_array_equal(found.points[: len(half)], half.points)
    added = found.points[len(half) :]
    assert len(added) > 100
    x = scene.head_from_world(added)[:, 0]
    assert (x > 0.02).mean() > 0.5
    assert x.max() > 0.9 * scene.head_from_world(cloud.points)[:, 0].max()
    assert np.median(scene.distance(added)) < 0.004
    cosine = (found.normals[len(half) :] * scene.normals(added)).sum(axis=1)
    assert np.median(cosine) > 0.9


def test_what_is_there_is_left_alone(cloud, shots):
    assert len(extend(cloud, shots)) < 1.05 * len(cloud)
    assert extend(cloud, shots, ExtendOptions(gap=0)) is cloud


def test_places_near_the_cloud_left_out_early_change_nothing(half, shots, monkeypatch):
    maps = [replace(m, normals=np.full_like(m.coords, 0.5)) for m in shots.cube_maps]
    found = extend(half, replace(shots, cube_maps=maps))
    is_far, shares = _WorldFromCube.is_far, []

    def all_are(self, coords, gap):
        shares.append(is_far(self, coords, gap).mean())
        return np.ones(len(coords), np.bool_)

    monkeypatch.setattr(_WorldFromCube, "is_far", all_are)
    slow = extend(half, replace(shots, cube_maps=maps))
    assert len(found) > len(half)
    assert np.mean(shares) < 0.9
    for field in fields(PointCloud):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(slow, field.name))


def test_the_mesh_closes_what_views_see_and_nothing_else(scene, cloud, shots):
    """A hole of a centimetre in the cloud is closed with the views, and stays without."""
    middle = scene.surface_points(len(scene.cameras) // 2).mean(axis=0)
    at = cloud.points[np.argmin(np.linalg.norm(cloud.points - middle, axis=1))]
    keep = np.linalg.norm(cloud.points - at, axis=1) > 0.012
    torn = PointCloud(*(getattr(cloud, field.name)[keep] for field in fields(PointCloud)))
    options = MeshOptions(max_hole=0.2)

    def nearest(surface):
        return np.linalg.norm(surface.vertices.points - at, axis=1).min()

    assert nearest(mesh(torn, options)) > 0.004
    closed = mesh(torn, options, shots)
    assert nearest(closed) < 0.003
    assert not (scene.head_from_world(closed.vertices.points)[:, 2] < -0.09).any()
    nothing = replace(shots, masks=[np.zeros_like(mask) for mask in shots.masks])
    assert nearest(mesh(torn, options, nothing)) > 0.004


def test_without_a_mask_of_the_user_the_cube_map_s_counts(scene):
    cube_map = scene.cube_maps[0]
    whole = np.ones_like(cube_map.mask)
    assert head_mask(whole, cube_map, given=True) is whole
    np.testing.assert_array_equal(head_mask(whole, cube_map, given=False), cube_map.mask)
    with pytest.raises(ValueError):
        ExtendOptions(stride=0)
