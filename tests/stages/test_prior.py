"""A surface known before: brought to where its places are seen, and told where it is not."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvs.stages.fuse import fuse
from mvs.stages.mesh import mesh
from mvs.stages.prior import LEAST_SHARE, Prior, cloud_of, follow
from mvs.stages.shots import Shots
from mvs.stages.triangulate import triangulate
from mvs.types import Mesh
from tests.scenes import move_head


def shots_of(scene):
    masks = [cube_map.mask for cube_map in scene.cube_maps]
    return Shots(
        scene.names, scene.cameras, scene.images, masks, scene.cube_maps, scene.center, scene.size
    )


def motion_of(degrees, metres):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees)).as_matrix()
    motion[:3, 3] = metres
    return motion


@pytest.fixture(scope="module")
def prior(scene, matches):
    points = triangulate(scene.cube_maps, scene.cameras, scene.images, matches)
    surface = mesh(fuse(points, scene.cameras, scene.images))
    return Prior(surface, scene.center, scene.size)


@pytest.mark.parametrize(
    ("degrees", "metres"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((3, -5, 2), (0.004, -0.003, 0.006)),
        ((9, 15, -6), (0.05, 0.03, 0.08)),
    ],
)
def test_the_surface_goes_with_the_head(scene, prior, degrees, metres):
    now = move_head(scene, motion_of(degrees, metres))
    moved, share, shift = follow(prior, shots_of(now))
    assert share > 0.9
    expected = now.world_from_head[:3, 3]
    np.testing.assert_allclose(moved.center, expected, atol=0.001)
    assert shift == pytest.approx(np.linalg.norm(metres) / scene.size, abs=0.01)
    before = np.median(scene.distance(prior.surface.vertices.points))
    after = np.median(now.distance(moved.surface.vertices.points))
    assert after < before + 1e-4
    normals = now.normals(moved.surface.vertices.points)
    assert np.median((moved.surface.vertices.normals * normals).sum(axis=1)) > 0.97
    np.testing.assert_array_equal(moved.surface.faces, prior.surface.faces)


def test_the_world_s_place_and_scale_change_nothing(scene, prior):
    now = move_head(scene, motion_of((3, -5, 2), (0.004, -0.003, 0.006)))
    share = follow(prior, shots_of(now))[1]
    away = np.array([100.0, -200.0, 50.0])
    cameras = []
    for camera in now.cameras:
        pose = camera.cam_from_world.copy()
        pose[:, 3] = 1000 * (pose[:, 3] - pose[:, :3] @ away)
        cameras.append(camera.with_pose(pose))
    vertices = prior.surface.vertices
    far = replace(vertices, points=1000 * (vertices.points + away))
    elsewhere = Prior(
        Mesh(far, prior.surface.faces), 1000 * (prior.center + away), 1000 * prior.radius
    )
    shots = replace(
        shots_of(now), cameras=cameras, center=elsewhere.center, radius=elsewhere.radius
    )
    moved, there, _ = follow(elsewhere, shots)
    assert there == pytest.approx(share, abs=0.005)
    assert np.median(now.distance(moved.surface.vertices.points / 1000 - away)) < 0.001


def spoiled(prior, kind):
    vertices = prior.surface.vertices
    changes = {
        "larger": {"points": 1.6 * vertices.points},
        "mixed up": {"coords": vertices.coords[::-1]},
        "of another cube": {"coords": vertices.coords + np.float32(2)},
        "mirrored": {"points": vertices.points * [1, 1, -1]},
    }
    surface = Mesh(replace(vertices, **changes[kind]), prior.surface.faces)
    return replace(prior, surface=surface)


@pytest.mark.parametrize("kind", ["larger", "mixed up", "of another cube", "mirrored"])
def test_what_the_pictures_do_not_show_is_told(scene, prior, kind):
    assert follow(spoiled(prior, kind), shots_of(scene))[1] < 0.8 * LEAST_SHARE


def test_half_a_head_is_told(scene, prior):
    keep = scene.head_from_world(prior.surface.vertices.points)[:, 0] < -0.01
    half = replace(prior, surface=Mesh(prior.surface.vertices.rows(keep), prior.surface.faces[:0]))
    assert follow(half, shots_of(scene))[1] < LEAST_SHARE


def test_places_are_those_of_the_pictures(scene, prior):
    """Not those that the surface had: they would be carried on from frame to frame."""
    vertices = prior.surface.vertices
    off = replace(
        vertices, coords=vertices.coords + np.float32(0.01), confidence=0 * vertices.confidence
    )
    found = cloud_of(Mesh(off, prior.surface.faces), shots_of(scene))
    assert len(found) > 0.8 * len(vertices)
    error = np.linalg.norm(found.coords - scene.coords(found.points), axis=1)
    assert np.median(error) < 0.002
    assert np.quantile(error, 0.95) < 0.01
    assert found.confidence.min() > 0.99
    assert found.n_views.min() == 2


def test_a_border_where_pixels_show_another_place_is_left_out(scene, prior):
    """There the last place is carried on beyond what was seen; elsewhere faces may have moved."""
    shots, faces = shots_of(scene), prior.surface.faces
    vertices = prior.surface.vertices
    x = scene.head_from_world(vertices.points)[:, 0]
    half = faces[(x[faces] < 0.03).all(axis=1)]
    sides = Counter(frozenset(pair) for face in half.tolist() for pair in combinations(face, 2))
    border = sorted({end for side, n in sides.items() if n == 1 for end in side})
    strange = replace(vertices, coords=vertices.coords + np.float32(0.04))
    kept, found = (cloud_of(Mesh(v, half), shots).points for v in (vertices, strange))
    away = np.linalg.norm(kept[:, None] - vertices.points[border], axis=2).min(axis=1)
    wanted = kept[away >= 0.15 * shots.radius]
    assert 100 < len(wanted) < len(kept) - 100
    np.testing.assert_array_equal(found, wanted)


def test_what_no_two_views_show_is_left_out(scene, prior):
    shots = shots_of(scene)
    right = scene.head_from_world(prior.surface.vertices.points)[:, 0] > 0
    maps = [
        replace(cube_map, mask=cube_map.mask & (cube_map.coords[..., 0] < 0.5))
        for cube_map in scene.cube_maps[:-1]
    ]
    maps.append(scene.cube_maps[-1])
    found = cloud_of(prior.surface, replace(shots, cube_maps=maps))
    assert right.sum() > 100
    assert not (scene.head_from_world(found.points)[:, 0] > 0.003).any()
