from dataclasses import replace

import numpy as np
import pytest

from mvs.errors import ReconstructionError
from mvs.stages.fuse import fuse
from mvs.stages.mesh import MeshOptions, mesh
from mvs.stages.triangulate import join_clouds, triangulate


@pytest.fixture(scope="module")
def cloud(scene, matches):
    points = triangulate(scene.cube_maps, scene.cameras, scene.images, matches)
    return fuse(points, scene.cameras, scene.images)


@pytest.fixture(scope="module")
def result(cloud):
    return mesh(cloud)


def test_lies_on_the_surface_and_carries_its_attributes(scene, cloud, result):
    vertices = result.vertices
    spacing = 2 * 0.7 / (2.6 * 128)
    distance = scene.distance(vertices.points)
    assert np.median(distance) < 0.05 * spacing
    assert np.quantile(distance, 0.98) < 0.5 * spacing
    assert np.quantile(np.abs(scene.coords(vertices.points) - vertices.coords), 0.9) < 5e-3
    assert len(vertices.colors) == len(vertices.confidence) == len(vertices)
    assert vertices.colors.std() > 10
    assert vertices.n_views.min() >= 2
    np.testing.assert_allclose(np.linalg.norm(vertices.normals, axis=1), 1.0, atol=1e-5)


def test_faces_are_whole_and_face_outwards(result):
    points, faces = result.vertices.points, result.faces
    assert faces.dtype == np.int32
    assert faces.min() == 0
    assert len(np.unique(faces)) == len(points) == faces.max() + 1
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normal * result.vertices.normals[faces[:, 0]]).sum(axis=1) > 0
    assert outward.mean() > 0.99


def test_nothing_is_made_up_behind(scene, result):
    back = scene.head_from_world(result.vertices.points)[:, 2] < -0.09
    assert not back.any()


def test_the_same_bytes_twice(cloud, result):
    again = mesh(cloud)
    assert again.faces.tobytes() == result.faces.tobytes()
    assert again.vertices.points.tobytes() == result.vertices.points.tobytes()


def test_far_from_the_origin_nothing_is_lost(cloud, result):
    shift = np.array([4e5, 5e6, 300.0])
    far = mesh(replace(cloud, points=cloud.points + shift))
    assert abs(len(far.faces) - len(result.faces)) < 0.02 * len(result.faces)
    gap = np.abs(far.vertices.points.mean(axis=0) - shift - result.vertices.points.mean(axis=0))
    assert gap.max() < 1e-3


def test_small_pieces_are_dropped(cloud, result):
    crumb = replace(cloud, points=cloud.points * 0.05 + [0.3, 0.0, 0.0])
    keep = np.arange(len(cloud)) % 40 == 0
    crumb = type(cloud)(*(getattr(crumb, f)[keep] for f in cloud.__dataclass_fields__))
    both = mesh(join_clouds([cloud, crumb]))
    assert both.vertices.points[:, 0].max() < 0.2


def test_simplified_to_a_number_of_faces(scene, cloud, result):
    """A quarter of the faces lies as near the surface, and covers as much."""
    wanted = len(result.faces) // 4
    less = mesh(cloud, MeshOptions(max_faces=wanted))
    assert 0.95 * wanted <= len(less.faces) <= wanted
    spacing = 2 * 0.7 / (2.6 * 128)
    assert np.median(scene.distance(less.vertices.points)) < 0.1 * spacing

    def area(surface):
        a, b, c = (surface.vertices.points[surface.faces[:, k]] for k in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()

    assert area(less) == pytest.approx(area(result), rel=0.02)
    assert len(np.unique(less.faces)) == len(less.vertices) == len(less.vertices.colors)
    again = mesh(cloud, MeshOptions(max_faces=wanted))
    assert again.faces.tobytes() == less.faces.tobytes()


def test_too_few_points_is_an_error_not_an_empty_mesh(cloud):
    few = type(cloud)(*(getattr(cloud, f)[:50] for f in cloud.__dataclass_fields__))
    with pytest.raises(ReconstructionError, match="50 points"):
        mesh(few)
    with pytest.raises(ReconstructionError, match="0 points"):
        mesh(join_clouds([]))
    with pytest.raises(ReconstructionError, match="coincide"):
        mesh(replace(cloud, points=np.zeros_like(cloud.points)))
    with pytest.raises(ReconstructionError, match="near the cloud"):
        mesh(cloud, MeshOptions(max_distance=1e-9))


def test_bad_options_are_named():
    for bad in (
        {"mesher": "none"},
        {"depth": 2},
        {"max_distance": 0.0},
        {"min_piece": 2.0},
        {"n_neighbors": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            MeshOptions(**bad)
