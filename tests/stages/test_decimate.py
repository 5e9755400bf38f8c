"""Meshes of fewer faces: their attributes, their outlines, and how close they stay."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.kernels.spread import spread
from mvs.stages.decimate import decimate_to, decimate_within
from mvs.types import Mesh
from tests.ball import cloud_of


def cap(n=70):
    """The upper half of the unit ball, open at its equator, with attributes linear in space."""
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    # Concentric squares to discs (Shirley and Chiu 1997), then up to the ball.
    radius = np.maximum(np.abs(x), np.abs(y))
    length = np.hypot(x, y)
    scale = np.where(length > 0, radius / np.maximum(length, 1e-9), 0)
    angle = radius * np.pi / 2
    points = np.stack([x * scale, y * scale, 0 * x], -1)
    flat = np.linalg.norm(points, axis=2, keepdims=True)
    points = points / np.maximum(flat, 1e-9) * np.sin(angle)[..., None]
    points[..., 2] = np.cos(angle)
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    quads = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    points = points.reshape(-1, 3)
    cloud = cloud_of(points, colors=np.rint(125 + 100 * points))
    cloud = replace(cloud, confidence=np.asarray(0.5 + 0.4 * points[:, 0], np.float32))
    return Mesh(cloud, np.concatenate(quads).astype(np.int32))


def border(mesh):
    """Vertices of edges that only one face has."""
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    pairs, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    return np.unique(pairs[count == 1])


def gap(mesh):
    """How far places on a mesh lie from the unit ball."""
    face, weights = spread(mesh.vertices.points, mesh.faces, 20000)
    places = np.einsum("nk,nkc->nc", weights, mesh.vertices.points[mesh.faces[face]])
    return np.abs(np.linalg.norm(places, axis=1) - 1)


@pytest.mark.parametrize("shift", [0.0, 4000.0])
def test_attributes_and_the_border_survive(shift):
    mesh = cap()
    moved = Mesh(replace(mesh.vertices, points=mesh.vertices.points + shift), mesh.faces)
    less = decimate_to(moved, 900)
    assert 800 < len(less.faces) <= 900
    points = less.vertices.points - shift
    assert np.abs(less.vertices.coords - (0.5 + 0.3 * points)).max() < 0.003
    assert np.abs(less.vertices.confidence - (0.5 + 0.4 * points[:, 0])).max() < 0.005
    assert np.abs(less.vertices.colors - (125 + 100 * points)).max() < 1.5
    assert (less.vertices.n_views == 3).all()
    edge = points[border(less)]
    assert len(edge) > 20
    assert np.abs(edge[:, 2]).max() < 0.01
    assert np.abs(np.linalg.norm(edge[:, :2], axis=1) - 1).max() < 0.01
    # The border goes all around.
    angles = np.sort(np.arctan2(edge[:, 1], edge[:, 0]))
    assert np.diff(np.append(angles, angles[0] + 2 * np.pi)).max() < 0.5
    inner = np.setdiff1d(np.arange(len(points)), border(less))
    cosine = (less.vertices.normals * points)[inner].sum(axis=1)
    assert cosine.min() > np.cos(np.radians(8))


@pytest.mark.parametrize("error", [0.002, 0.01])
def test_an_error_is_kept_with_few_faces(error):
    """Faces of edge a lie a^2 / 8 below the ball: as many as the area needs, within a factor."""
    mesh = cap()
    less = decimate_within(mesh, error)
    assert np.quantile(gap(less), 0.99) < error + gap(mesh).max()
    assert len(less.faces) < len(mesh.faces) / 3
    finer = decimate_within(mesh, error / 4)
    assert 2 * len(less.faces) < len(finer.faces)


def test_what_cannot_be_simplified_stays():
    mesh = cap(20)
    assert decimate_to(mesh, 10000) is mesh
    assert decimate_within(mesh, 1e-9) is mesh
    again = [decimate_within(mesh, 0.01) for _ in range(2)]
    np.testing.assert_array_equal(again[0].vertices.points, again[1].vertices.points)
    with pytest.raises(ValueError, match="max_faces"):
        decimate_to(mesh, 7)
    with pytest.raises(ValueError, match="max_error"):
        decimate_within(mesh, 0.0)
