"""Landmarks in space and on meshes, queries and tracks, on exact maps of a known surface."""

from dataclasses import replace

import numpy as np
import pytest

from mvs.canonical import landmarks3d
from mvs.canonical.carry import Correspondences, carry, map_locally
from mvs.canonical.landmarks import find_inside, find_layout
from mvs.canonical.landmarks3d import Landmarks3dOptions, find_landmarks_3d
from mvs.canonical.layouts import Layout
from mvs.canonical.mark_files import draw_landmarks, write_pts
from mvs.canonical.mesh_places import SurfaceMesh, find_on_mesh
from mvs.canonical.query import MarkedPixels, collect_marked, query_layout, query_places
from mvs.canonical.track import TrackOptions, smooth_path, track_places
from mvs.errors import ReconstructionError
from mvs.evaluation.landmarks import read_pts
from tests.canonical.test_landmarks import MIDDLE, SCENE, SIZE, seen_places
from tests.scenes import perturb, unit_ball

MM = 1e-3


def layout_of(places, inside=False):
    names = tuple(f"m{k}" for k in range(len(places)))
    return Layout("m", names, np.asarray(places, np.float32), np.full(len(places), inside))


def world_of(places):
    return (np.asarray(places, np.float64) - 0.5) / SCENE.cube_scale


@pytest.fixture
def spread(monkeypatch):
    """Support on the scene's own surface, which is not the shipped head's."""
    points = np.concatenate([SCENE.coords(SCENE.surface_points(v)[::23]) for v in range(3)])
    monkeypatch.setattr(landmarks3d, "spread_points", lambda n: points[:n].astype(np.float32))


def test_exact_maps_give_exact_points_in_space(spread):
    places, _ = seen_places(MIDDLE, facing=0.6)
    found = find_landmarks_3d(SCENE.cube_maps, SCENE.cameras, layout_of(places))
    off = np.linalg.norm(found.points - world_of(places), axis=1)
    assert off.max() < 0.1 * MM
    assert (found.n_views >= 1).all()
    assert np.nanmax(found.error_px) < 0.2
    assert found.confidence[found.n_views > 1].min() > 0.7
    assert found.confidence.max() < 0.9


def test_errors_of_the_maps_are_averaged(spread):
    """Each map is wrong by 2 mm; a single place triangulated would be wrong by more than 1."""
    places, _ = seen_places(MIDDLE, facing=0.6)
    maps = perturb(SCENE, bias=1e-9, noise=2 * MM * SCENE.cube_scale)
    found = find_landmarks_3d(maps, SCENE.cameras, layout_of(places))
    off = np.linalg.norm(found.points - world_of(places), axis=1)
    assert off.mean() < 0.5 * MM
    assert off.max() < 1.5 * MM


def test_places_inside_and_hidden_are_found_in_space(spread):
    inside = np.array([[0.5, 0.5, 0.5], [0.55, 0.45, 0.6], [0.45, 0.6, 0.55]])
    layout = layout_of(inside, True)
    found = find_landmarks_3d(SCENE.cube_maps, SCENE.cameras, layout)
    assert np.linalg.norm(found.points - world_of(inside), axis=1).max() < 0.3 * MM
    assert not found.n_views.any()
    assert np.isnan(found.error_px).all()
    assert not any(view.visible.any() for view in found.views)


def test_one_wrong_view_is_dropped(spread):
    places, _ = seen_places(MIDDLE, facing=0.6)
    shifted = replace(SCENE.cube_maps[0], coords=SCENE.cube_maps[0].coords + np.float32(0.05))
    maps = (shifted, *SCENE.cube_maps[1:])
    found = find_landmarks_3d(maps, SCENE.cameras, layout_of(places))
    off = np.linalg.norm(found.points - world_of(places), axis=1)
    assert np.median(off) < 1.0 * MM


def test_views_that_see_nothing_together_are_refused(spread):
    blind = [replace(m, mask=np.zeros_like(m.mask)) for m in SCENE.cube_maps]
    with pytest.raises(ReconstructionError, match="agree on 0"):
        find_landmarks_3d(blind, SCENE.cameras, layout_of([[0.5, 0.5, 0.5]]))
    with pytest.raises(ValueError, match="cameras"):
        find_landmarks_3d(SCENE.cube_maps, SCENE.cameras[:1], layout_of([[0.5, 0.5, 0.5]]))
    with pytest.raises(ValueError, match="support"):
        Landmarks3dOptions(support=3)


def test_places_inside_a_picture_lie_where_the_camera_sees_them():
    inside = np.array([[0.5, 0.5, 0.5], [0.55, 0.45, 0.6], [0.45, 0.6, 0.55]])
    true = SCENE.cameras[MIDDLE].project(world_of(inside))[0]
    found = find_inside(SCENE.cube_maps[MIDDLE], inside.astype(np.float32))
    assert np.linalg.norm(found.pixels - true, axis=1).max() < 0.03 * SIZE
    assert not found.visible.any()
    both = Layout(
        "both", ("a", "b"), np.float32([seen_places(MIDDLE)[0][0], inside[0]]), np.array([0, 1]) > 0
    )
    located = find_layout(SCENE.cube_maps[MIDDLE], both)
    assert located.visible.tolist() == [True, False]
    np.testing.assert_array_equal(located.pixels[1], found.pixels[0])


def test_dense_layouts_are_nearly_as_good():
    places, true = seen_places(MIDDLE, n=40)
    many = layout_of(np.tile(places, (30, 1)))
    assert len(many) > 1000
    found = find_layout(SCENE.cube_maps[MIDDLE], many)
    assert found.visible[: len(places)].all()
    assert np.linalg.norm(found.pixels[: len(places)] - true, axis=1).max() < 0.3


def test_a_gap_is_seen_by_the_camera():
    """A place behind the surface, seen from the side, lies beside the nearest pixel."""
    places, true = seen_places(MIDDLE, n=400, facing=0.2)
    out = SCENE.normals(world_of(places))
    behind = places - 0.006 * out
    pixels = find_layout(SCENE.cube_maps[MIDDLE], layout_of(behind)).pixels
    wanted = SCENE.cameras[MIDDLE].project(world_of(behind))[0]
    slanted = np.linalg.norm(wanted - true, axis=1) > 0.6
    assert slanted.sum() > 10
    off, unmoved = (np.linalg.norm(p - wanted, axis=1)[slanted].mean() for p in (pixels, true))
    assert off < 0.4 * unmoved


def test_an_affine_map_is_carried_exactly():
    rng = np.random.default_rng(0)
    coords = rng.random((400, 3))
    values = coords @ rng.normal(size=(3, 2)) + 3.0
    places = rng.random((5, 3)) * 1.4 - 0.2
    true = 3.0 + places @ np.linalg.lstsq(coords, values - 3.0, rcond=None)[0]
    seen = Correspondences(coords, values, np.ones(400))
    np.testing.assert_allclose(carry(seen, places, 0.05), true, atol=1e-6)
    found, sure = map_locally(seen, places, 0.07)
    np.testing.assert_allclose(found, true, atol=1e-6)
    assert ((sure > 0) & (sure <= 1)).all()
    flat = replace(seen, coords=coords * [1, 1, 0])
    assert np.isnan(map_locally(flat, places, 0.07)[0]).all()
    assert np.isnan(carry(flat, places, 0.05)).all()


def test_a_place_is_carried_alike_alone_and_among_others():
    rng = np.random.default_rng(3)
    coords, places = rng.random((5000, 3)), rng.random((9, 3))
    seen = Correspondences(coords, np.sin(4 * coords), rng.random(5000))
    together = map_locally(seen, places, 0.1)
    for k in range(len(places)):
        alone = map_locally(seen, places[k : k + 1], 0.1)
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], many[k])


def ball_mesh(noise=0.0):
    """A ball of radius 0.1 m whose cube coordinates are its positions', with noise."""
    unit, faces = unit_ball(60, 90)
    coords = 0.5 + 0.3 * unit
    coords += np.random.default_rng(1).normal(size=coords.shape) * noise
    return SurfaceMesh(0.1 * unit, coords, np.full(len(unit), 0.9), faces)


def ball_places(n=50):
    ray = np.random.default_rng(2).normal(size=(n, 3))
    return ray / np.linalg.norm(ray, axis=1, keepdims=True)


def test_places_on_a_mesh():
    ray = ball_places()
    found = find_on_mesh(ball_mesh(), layout_of(0.5 + 0.3 * ray))
    assert np.linalg.norm(found.points - 0.1 * ray, axis=1).max() < 0.2 * MM
    assert (found.normals * ray).sum(axis=1).min() > 0.99
    assert found.confidence.min() > 0.85
    assert found.distance.max() < 0.001


def test_noise_of_a_mesh_s_coordinates_is_averaged():
    ray, mesh = ball_places(), ball_mesh(noise=0.004)
    found = find_on_mesh(mesh, layout_of(0.5 + 0.3 * ray), radius=0.03)
    off = np.linalg.norm(found.points - 0.1 * ray, axis=1)
    nearest = np.linalg.norm(mesh.coords - (0.5 + 0.3 * ray)[:, None], axis=2).argmin(axis=1)
    assert off.mean() < 0.5 * np.linalg.norm(mesh.points[nearest] - 0.1 * ray, axis=1).mean()
    assert off.mean() < 0.7 * MM


def test_a_mesh_without_the_place_says_so():
    found = find_on_mesh(ball_mesh(), layout_of([[0.5, 0.5, 0.9], [0.5, 0.5, 0.8]]))
    assert np.isnan(found.points).all(axis=1).tolist() == [True, False]
    assert found.confidence[0] == 0
    inside = find_on_mesh(ball_mesh(), layout_of([[0.52, 0.5, 0.55]], True))
    np.testing.assert_allclose(inside.points, [[0.02 / 3, 0, 0.05 / 3]], atol=0.1 * MM)


def test_a_clicked_pixel_is_found_in_another_view():
    places, pixels = seen_places(MIDDLE, n=200, facing=0.6)
    found, sure = query_places(SCENE.cube_maps[MIDDLE], pixels)
    assert np.linalg.norm(found - places, axis=1).max() < 0.2 * MM * SCENE.cube_scale
    assert sure.min() > 0.9
    other = find_layout(SCENE.cube_maps[2], layout_of(found))
    true = SCENE.cameras[2].project(world_of(places))[0]
    assert other.visible.sum() > 100
    assert np.linalg.norm(other.pixels - true, axis=1)[other.visible].max() < 0.3


def test_noise_of_a_click_is_averaged():
    places, pixels = seen_places(MIDDLE, facing=0.6)
    cube_map, rng = SCENE.cube_maps[MIDDLE], np.random.default_rng(0)
    noise = rng.normal(size=cube_map.coords.shape) * MM * SCENE.cube_scale
    noise[rng.random(noise.shape[:2]) < 0.05] = 0.2
    coords = (cube_map.coords + noise).astype(np.float32)
    found, _ = query_places(replace(cube_map, coords=coords), pixels)
    off = np.linalg.norm(found - places, axis=1) / SCENE.cube_scale
    assert off.mean() < 0.8 * MM
    assert off.max() < 2.0 * MM


def test_clicks_off_the_head_are_refused():
    places, sure = query_places(
        SCENE.cube_maps[MIDDLE], np.array([[2.0, 2.0], [-50, 3], [np.nan, 1]])
    )
    assert np.isnan(places).all()
    assert not sure.any()
    marked = MarkedPixels(("a",), np.array([[2.0, 2.0]]))
    with pytest.raises(ValueError, match=r"one\.png: point a at 2 2 is not on the head"):
        query_layout(SCENE.cube_maps[MIDDLE], marked, "one.png")
    with pytest.raises(ValueError, match="must be"):
        query_places(SCENE.cube_maps[MIDDLE], np.zeros((2, 3)))


def test_files_of_marked_points(tmp_path):
    (tmp_path / "a.csv").write_text("name,x,y\nm,1.5,2\nn,3,4\n")
    (tmp_path / "a.json").write_text('{"points": [{"name": "m", "pixel": [1.5, 2]}]}')
    both = collect_marked(tmp_path / "a.csv", ((7.0, 8.0),))
    assert both.names == ("m", "n", "p0")
    assert both.pixels.tolist() == [[1.5, 2], [3, 4], [7, 8]]
    assert collect_marked(tmp_path / "a.json").pixels.tolist() == [[1.5, 2]]
    for text in ("name,x\nm,1\n", "", "name,x,y\nm,1,nan\n", "name,x,y\nm,1,2\nm,1,2\n"):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.csv"):
            collect_marked(tmp_path / "bad.csv")
    with pytest.raises(ValueError, match="--point"):
        collect_marked(None)


def moving_maps(n=9):
    """The middle view as a video that slides by two pixels a frame."""
    base = SCENE.cube_maps[MIDDLE]
    return [
        replace(base, image_from_map=np.array([[1.0, 0, 2.0 * t], [0, 1.0, 0]])) for t in range(n)
    ]


def test_tracks_go_on_behind_what_hides_them():
    places, true = seen_places(MIDDLE, n=20, facing=0.6)
    maps = moving_maps()
    hidden = np.zeros((len(maps), len(places)), bool)
    for t in (3, 4, 5):
        mask = maps[t].mask.copy()
        mask[:, : SIZE // 2] = False
        maps[t] = replace(maps[t], mask=mask)
        hidden[t] = true[:, 0] < SIZE / 2 - 4
    tracks = track_places(maps, layout_of(places), TrackOptions(smooth=0))
    moved = true + np.arange(len(maps))[:, None, None] * [2.0, 0]
    off = np.linalg.norm(tracks.pixels - moved, axis=2)
    assert hidden.any()
    assert not tracks.visible[hidden].any()
    away = np.abs(true[:, 0] - SIZE / 2) > 8
    assert tracks.visible[:, away][~hidden[:, away]].all()
    assert off[:, away][~hidden[:, away]].max() < 0.15
    assert off[hidden].max() < 0.06 * SIZE
    assert off[6:].max() < 0.15


def test_frames_without_a_head_are_bridged():
    places, true = seen_places(MIDDLE, n=5, facing=0.6)
    maps = moving_maps(5)
    maps[2] = replace(maps[2], mask=np.zeros_like(maps[2].mask))
    tracks = track_places(maps, layout_of(places), TrackOptions(smooth=0))
    assert not tracks.visible[2].any()
    assert np.linalg.norm(tracks.pixels[2] - true - [4.0, 0], axis=1).max() < 0.15


def test_smoothing_keeps_lines_and_calms_noise():
    t = np.arange(40.0)
    line = np.column_stack([3 * t, 5 - t])
    np.testing.assert_allclose(smooth_path(line, np.ones(40), 1.0), line, atol=1e-6)
    noisy = line + np.random.default_rng(0).normal(size=line.shape)
    calm = smooth_path(noisy, np.ones(40), 2.0)
    assert np.linalg.norm(calm - line) < 0.6 * np.linalg.norm(noisy - line)
    assert smooth_path(noisy, np.ones(40), 0.0) is noisy


def test_pts_files_are_those_of_300_w(tmp_path):
    pixels = np.random.default_rng(0).random((68, 2)) * 200
    write_pts(tmp_path / "a.pts", pixels)
    # What 300-W calls 1 is the first pixel's centre, 0.5 here.
    np.testing.assert_allclose(read_pts(tmp_path / "a.pts") + (0.5 - 1), pixels, atol=1e-6)


def test_drawings_show_what_is_visible():
    image = np.zeros((64, 64, 3), np.uint8)
    pixels = np.array([[16.0, 16.0], [48.0, 48.0], [np.nan, 3.0], [1e9, 0.0]])
    drawn = draw_landmarks(image, pixels, np.array([True, False, True, True]))
    assert drawn[15, 15, 1] > 100
    assert drawn[40:56, 40:56].any()
    assert not drawn[:8].any()
    assert not image.any()
