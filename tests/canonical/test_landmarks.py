"""Landmarks on exact maps of a known surface, with noise, occluded, cropped and empty."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical.landmarks import (
    LandmarkOptions,
    find_landmarks,
    landmark_names,
    landmark_positions,
)
from mvs.network.crop import paste_cube_map
from mvs.types import CubeMap
from tests.scenes import make_scene, perturb
from tests.shared import ICT

SCENE = make_scene(n_views=3, size=192, arc_deg=60.0)
MIDDLE = 1
SIZE = 192


def seen_places(view, n=60, facing=0.5, seed=0):
    """Cube places that a view sees well, between its pixels, and where their pixels truly are."""
    camera = SCENE.cameras[view]
    rng = np.random.default_rng(seed)
    points = SCENE.surface_points(view)
    points = points[rng.permutation(len(points))[: 20 * n]]
    # Off the pixels' centres, back on the surface.
    points = points + rng.normal(size=points.shape) * 4e-4
    for _ in range(6):
        local = SCENE.head_from_world(points)
        gradient = SCENE.shape.gradient(local)
        step = SCENE.shape.level(local) / (gradient**2).sum(axis=1)
        points = points - (step[:, None] * gradient) @ SCENE.world_from_head[:3, :3].T
    towards = camera.center - points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    keep = (SCENE.normals(points) * towards).sum(axis=1) > facing
    points = points[keep][:n]
    return SCENE.coords(points).astype(np.float32), camera.project(points)[0]


def nearest_pixels(cube_map, places):
    y, x = np.nonzero(cube_map.mask)
    off = np.linalg.norm(cube_map.coords[y, x] - places[:, None], axis=2).argmin(axis=1)
    return np.column_stack([x, y])[off] + 0.5


def test_exact_maps_give_exact_pixels():
    for view in range(3):
        places, true = seen_places(view)
        found = find_landmarks(SCENE.cube_maps[view], places)
        assert found.visible.all()
        assert np.linalg.norm(found.pixels - true, axis=1).max() < 0.1
        assert found.confidence.min() > 0.9
        assert (found.pixels.dtype, found.confidence.dtype) == (np.float64, np.float32)


def test_nearest_pixels_would_not_pass():
    """The bound above says something: the pixel with the nearest coordinate is farther off."""
    places, true = seen_places(MIDDLE)
    nearest = nearest_pixels(SCENE.cube_maps[MIDDLE], places)
    assert np.median(np.linalg.norm(nearest - true, axis=1)) > 0.2


def test_noise_is_averaged():
    """Noise of about a pixel: what is found is better than what one pixel says."""
    places, true = seen_places(MIDDLE, facing=0.6)
    pixel = 1 / (2.6 * SIZE / 0.6) * SCENE.cube_scale
    noisy = perturb(SCENE, bias=1e-9, noise=pixel)[MIDDLE]
    errors = np.linalg.norm(find_landmarks(noisy, places).pixels - true, axis=1)
    assert np.sqrt((errors**2).mean()) < 0.8
    assert errors.max() < 2.0
    naive = np.linalg.norm(nearest_pixels(noisy, places) - true, axis=1)
    assert (naive**2).mean() > 1.5 * (errors**2).mean()


def test_wild_pixels_do_not_count():
    places, true = seen_places(MIDDLE)
    cube_map = SCENE.cube_maps[MIDDLE]
    rng = np.random.default_rng(3)
    wild = rng.random(cube_map.mask.shape) < 0.1
    coords = np.where(wild[..., None], rng.random(cube_map.coords.shape), cube_map.coords)
    found = find_landmarks(replace(cube_map, coords=coords.astype(np.float32)), places)
    assert np.linalg.norm(found.pixels - true, axis=1).max() < 0.2


def test_doubtful_pixels_count_less():
    """Half of the map is shifted and says that it is unsure."""
    places, true = seen_places(MIDDLE)
    cube_map = SCENE.cube_maps[MIDDLE]
    doubtful = np.indices(cube_map.mask.shape).sum(axis=0) % 2 == 0
    coords = cube_map.coords + np.where(doubtful, 0.004, 0)[..., None].astype(np.float32)
    shifted = np.linalg.norm(find_landmarks(replace(cube_map, coords=coords), places).pixels - true)
    unsure = np.where(doubtful, 0.01, 1.0).astype(np.float32)
    weighted = find_landmarks(replace(cube_map, coords=coords, confidence=unsure), places)
    assert np.linalg.norm(weighted.pixels - true) < 0.3 * shifted


def test_hidden_places_are_not_visible_but_placed():
    """The side of the head that another view sees; its bumps are no affine image of the rest."""
    left, right = 0, 2
    places, _ = seen_places(left, n=400, facing=0.2)
    world = (places.astype(np.float64) - 0.5) / SCENE.cube_scale
    towards = SCENE.cameras[right].center - world
    facing = (SCENE.normals(world) * towards).sum(axis=1) / np.linalg.norm(towards, axis=1)
    hidden = facing < -0.25
    assert hidden.sum() > 5
    found = find_landmarks(SCENE.cube_maps[right], places[hidden])
    assert not found.visible.any()
    true = SCENE.cameras[right].project(world[hidden])[0]
    assert np.linalg.norm(found.pixels - true, axis=1).max() < 0.05 * SIZE


def test_masked_places_are_not_visible():
    places, true = seen_places(MIDDLE)
    cube_map = SCENE.cube_maps[MIDDLE]
    mask = cube_map.mask.copy()
    mask[:, SIZE // 2 :] = False
    found = find_landmarks(replace(cube_map, mask=mask), places)
    inside = true[:, 0] < SIZE / 2 - 4
    outside = true[:, 0] > SIZE / 2 + 8
    assert inside.any()
    assert outside.any()
    assert found.visible[inside].all()
    assert not found.visible[outside].any()
    assert np.median(np.linalg.norm(found.pixels - true, axis=1)[outside]) < 0.05 * SIZE


def test_places_before_or_behind_the_surface_are_not_visible():
    """Hair over a brow: the map's surface passes at a distance."""
    places, _ = seen_places(MIDDLE)
    out = SCENE.normals((places.astype(np.float64) - 0.5) / SCENE.cube_scale)
    for shift in (0.03, -0.03):
        found = find_landmarks(SCENE.cube_maps[MIDDLE], (places + shift * out).astype(np.float32))
        assert not found.visible.any()
        assert found.confidence.max() < 0.1


def test_a_crop_or_another_resolution_gives_the_same_places():
    places, true = seen_places(MIDDLE, facing=0.6)
    cube_map = SCENE.cube_maps[MIDDLE]
    whole = find_landmarks(cube_map, places)
    crop = CubeMap(
        cube_map.coords[10:, 15:],
        cube_map.confidence[10:, 15:],
        cube_map.mask[10:, 15:],
        np.array([[1.0, 0, 15.0], [0, 1.0, 10.0]]),
    )
    np.testing.assert_allclose(find_landmarks(crop, places).pixels, whole.pixels, atol=1e-5)
    # Twice the resolution, interpolated.
    half = replace(cube_map, image_from_map=np.array([[2.0, 0, 0], [0, 2.0, 0]]))
    larger = find_landmarks(paste_cube_map(half, 2 * SIZE, 2 * SIZE), places)
    assert larger.visible.all()
    assert np.linalg.norm(larger.pixels / 2 - true, axis=1).max() < 0.15


def test_the_rows_do_not_depend_on_each_other():
    places, _ = seen_places(MIDDLE, n=20)
    cube_map = SCENE.cube_maps[MIDDLE]
    together = find_landmarks(cube_map, places)
    backwards = find_landmarks(cube_map, places[::-1])
    np.testing.assert_array_equal(together.pixels, backwards.pixels[::-1])
    alone = find_landmarks(cube_map, places[:1])
    np.testing.assert_array_equal(alone.pixels, together.pixels[:1])


def test_no_places_and_places_that_are_no_numbers():
    cube_map = SCENE.cube_maps[MIDDLE]
    assert find_landmarks(cube_map, np.zeros((0, 3), np.float32)).pixels.shape == (0, 2)
    places, _ = seen_places(MIDDLE, n=3)
    places[1] = np.nan
    found = find_landmarks(cube_map, places)
    assert found.visible.tolist() == [True, False, True]
    assert np.isnan(found.pixels[1]).all()


@pytest.mark.parametrize("n_pixels", [0, 1, 5])
def test_hopeless_maps_give_nothing(n_pixels):
    cube_map = SCENE.cube_maps[MIDDLE]
    mask = np.zeros_like(cube_map.mask)
    mask.flat[np.flatnonzero(cube_map.mask)[:n_pixels]] = True
    found = find_landmarks(replace(cube_map, mask=mask), landmark_positions())
    assert np.isnan(found.pixels).all()
    assert not found.visible.any()
    assert not found.confidence.any()


def test_pixels_that_are_no_numbers_are_left_out():
    places, true = seen_places(MIDDLE)
    cube_map = SCENE.cube_maps[MIDDLE]
    coords = cube_map.coords.copy()
    coords[::7, ::5] = np.nan
    found = find_landmarks(replace(cube_map, coords=coords), places)
    assert np.linalg.norm(found.pixels - true, axis=1).max() < 0.1


def test_the_shipped_landmarks_are_a_face():
    places, names = landmark_positions(), landmark_names()
    assert places.shape == (68, 3)
    assert places.dtype == np.float32
    assert len(set(names)) == 68
    right = [*range(8), *range(17, 22), 36, 37, 38, 39, 40, 41, 31, 32, 48, 49, 50, 60, 61]
    left = [*range(16, 8, -1), *range(26, 21, -1), 45, 44, 43, 42, 47, 46, 35, 34, 54, 53, 52, 64]
    left.append(63)
    mirrored = places[left] * [-1, 1, 1] + [1, 0, 0]
    assert np.abs(places[right] - mirrored).max() < 0.02
    assert (places[right, 0] < 0.5).all()  # u is the subject's left
    assert places[30, 2] == places[:, 2].max()  # the nose's tip
    assert places[8, 1] == places[:, 1].min()  # the chin
    places[:] = 0
    assert landmark_positions().any()


@pytest.mark.skipif(not ICT.is_file(), reason="needs the head model")
def test_the_shipped_landmarks_are_the_head_model_s():
    from mvs.canonical.cube import cube_from_cm
    from mvs.synthetic.head import load_head

    head = load_head(ICT)
    np.testing.assert_allclose(
        landmark_positions(), cube_from_cm(head.template[head.landmarks]), atol=2e-6
    )


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="layout must be one of 68"):
        landmark_positions("70")
    with pytest.raises(ValueError, match=r"positions must be \(K, 3\)"):
        find_landmarks(SCENE.cube_maps[0], np.zeros((3, 2), np.float32))
    for changes in ({"radius": 0.0}, {"min_pixels": 2.0}, {"max_gap": 0.0}, {"steps": 0}):
        with pytest.raises(ValueError):
            LandmarkOptions(**changes)
