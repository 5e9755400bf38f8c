"""Pupils on exact maps of a surface that holds their places."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical import eyes
from mvs.canonical.eyes import PUPILS, find_pupils
from mvs.errors import ReconstructionError
from tests.scenes import make_scene

SCENE = make_scene(n_views=5, size=192, arc_deg=60.0)


@pytest.fixture
def places(monkeypatch):
    """Two places of the scene's own surface as pupils, and where they are in the world."""
    points = SCENE.surface_points(2)
    towards = np.argsort(points @ SCENE.cameras[2].rotation[2])[: len(points) // 3]
    near = points[towards]
    chosen = near[[np.argmin(near[:, 0]), np.argmax(near[:, 0])]]
    monkeypatch.setattr(eyes, "PUPILS", SCENE.coords(chosen).astype(np.float32))
    return chosen


def test_exact_maps_give_the_exact_distance(places):
    found = find_pupils(SCENE.cameras, SCENE.cube_maps)
    np.testing.assert_allclose(found.positions, places, atol=2e-4)
    assert found.distance == pytest.approx(np.linalg.norm(places[0] - places[1]), rel=3e-3)
    assert min(found.n_views) >= 4
    assert found.error_px < 0.2


def test_a_view_that_is_wrong_is_left_out(places):
    maps = list(SCENE.cube_maps)
    coords = np.roll(maps[1].coords, 9, axis=1)
    maps[1] = replace(maps[1], coords=coords, mask=np.roll(maps[1].mask, 9, axis=1))
    found = find_pupils(SCENE.cameras, maps)
    np.testing.assert_allclose(found.positions, places, atol=4e-4)


def test_one_view_is_not_enough(places):
    empty = [replace(m, mask=np.zeros_like(m.mask)) for m in SCENE.cube_maps]
    with pytest.raises(ReconstructionError, match="the eyes are seen in 0 views"):
        find_pupils(SCENE.cameras, empty)
    with pytest.raises(ReconstructionError, match="seen in 1 views"):
        find_pupils(SCENE.cameras, [SCENE.cube_maps[0], *empty[1:]])


def test_the_places_are_a_pair():
    """63 mm apart on the mean head, at the same height, mirrored about the middle."""
    assert np.linalg.norm(PUPILS[0] - PUPILS[1]) * 375.7 == pytest.approx(62.7, abs=0.1)
    np.testing.assert_allclose(PUPILS[0] * [-1, 1, 1] + [1, 0, 0], PUPILS[1], atol=1e-6)
