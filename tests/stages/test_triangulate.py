from dataclasses import replace

import numpy as np
import pytest

from mvs.stages.match import MATCHERS, MatchOptions, match_views
from mvs.stages.pairs import choose_pairs
from mvs.stages.triangulate import TriangulateOptions, triangulate
from tests.scenes import make_scene, perturb


def run(scene, maps=None, **options):
    maps = maps or scene.cube_maps
    pairs = choose_pairs(scene.cameras, scene.center)
    matches = match_views(maps, scene.cameras, pairs, MatchOptions(**options))
    return triangulate(maps, scene.cameras, scene.images, matches)


@pytest.mark.parametrize("matcher", sorted(MATCHERS))
def test_exact_maps_give_exact_points(scene, matcher):
    result = run(scene, matcher=matcher)
    cloud = result.cloud
    size = result.spacing
    distance = scene.distance(cloud.points)
    assert len(cloud) > 5000
    assert np.median(distance) < 0.02 * size
    assert np.quantile(distance, 0.99) < 0.2 * size
    assert distance.max() < size
    assert np.abs(scene.coords(cloud.points) - cloud.coords).max() < 5e-3
    assert (cloud.normals * scene.normals(cloud.points)).sum(axis=1).mean() > 0.99
    assert cloud.n_views.min() >= 2
    assert (cloud.confidence >= 0).all()
    assert (cloud.confidence <= 1).all()
    assert np.median(cloud.confidence) > 0.95
    assert result.status_counts["ok"] == len(cloud)


def test_tables_fit_together(scene, matches):
    result = triangulate(scene.cube_maps, scene.cameras, scene.images, matches)
    n = len(result.cloud)
    assert result.reference.shape == (n,)
    assert (np.diff(result.reference) >= 0).all()
    assert result.views.shape == (n, 1)
    own = (result.views[:, 0] >> result.reference.astype(np.uint64)) & np.uint64(1)
    assert (own == 1).all()
    np.testing.assert_array_equal(np.bitwise_count(result.views).sum(axis=1), result.cloud.n_views)
    assert sum(result.status_counts.values()) == sum(
        len(set(np.concatenate([m.reference_index for m in matches if m.reference == view])))
        for view in range(6)
    )
    depth = np.nanmedian(scene.depths[0])
    focal = scene.cameras[0].K[0, 0]
    assert result.spacing == pytest.approx(depth / focal, rel=0.05)


def test_colors_are_the_reference_pixels(scene, matches):
    result = triangulate(scene.cube_maps, scene.cameras, scene.images, matches)
    mine = result.reference == 2
    pixels, _ = scene.cameras[2].project(result.cloud.points[mine])
    x, y = np.clip(np.floor(pixels).astype(int), 0, 127).T
    off = np.abs(result.cloud.colors[mine].astype(int) - scene.images[2][y, x]).max(axis=1)
    assert np.quantile(off, 0.95) <= 3


def test_noise_is_averaged_not_amplified(scene):
    bias = 0.006
    result = run(scene, perturb(scene, bias=bias, noise=0.001))
    distance = scene.distance(result.cloud.points) * scene.cube_scale
    assert len(result.cloud) > 4000
    assert np.median(distance) < 0.5 * bias
    assert np.quantile(distance, 0.95) < 2.5 * bias
    assert np.median(result.cloud.confidence) < 0.8


def test_a_view_that_lies_is_outvoted(scene):
    maps = list(scene.cube_maps)
    shifted = np.roll(maps[2].coords, 9, axis=1)
    maps[2] = type(maps[2])(shifted, maps[2].confidence, maps[2].mask, maps[2].image_from_map)
    result = run(scene, maps)
    honest = result.reference != 2
    distance = scene.distance(result.cloud.points[honest])
    assert np.median(distance) < 0.05 * result.spacing
    assert np.quantile(distance, 0.9) < result.spacing
    lies = (result.views[honest, 0] >> np.uint64(2)) & np.uint64(1) == 1
    assert lies.mean() < 0.2


def test_moving_the_world_moves_the_points():
    motion = np.eye(4)
    c, s = np.cos(0.8), np.sin(0.8)
    motion[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    motion[:3, 3] = [120.0, -40.0, 7.0]
    straight, moved = make_scene(3, 64), make_scene(3, 64, motion=motion)
    first, second = run(straight).cloud, run(moved).cloud
    assert abs(len(first) - len(second)) <= 3
    if len(first) == len(second):
        expected = first.points @ motion[:3, :3].T + motion[:3, 3]
        assert np.quantile(np.abs(second.points - expected), 0.99) < 1e-6
    assert np.median(moved.distance(second.points)) < 5e-5


def test_nothing_matched_is_an_empty_cloud(scene):
    result = triangulate(scene.cube_maps, scene.cameras, scene.images, [])
    assert len(result.cloud) == 0
    assert result.cloud.points.shape == (0, 3)
    assert result.views.shape == (0, 1)
    assert set(result.status_counts.values()) == {0}


def test_bad_arguments_are_named(scene):
    with pytest.raises(ValueError, match="cube maps"):
        triangulate(scene.cube_maps, scene.cameras[:2], scene.images, [])
    for bad in (
        {"min_views": 1},
        {"min_agreement": 1.5},
        {"min_angle_deg": 90.0},
        {"max_error_px": 0.0},
        {"tighten": -1.0},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            TriangulateOptions(**bad)


def test_the_pictures_resolution_does_not_matter(scene):
    """A coarse map of a large picture: the same points as of a small picture."""
    maps = perturb(scene, bias=0.004, noise=0.001)
    plain = run(scene, maps)
    factor = 8.0
    cameras = [
        replace(
            camera,
            width=int(factor * camera.width),
            height=int(factor * camera.height),
            params=factor * camera.params,
        )
        for camera in scene.cameras
    ]
    scaled = [replace(m, image_from_map=factor * m.image_from_map) for m in maps]
    matches = match_views(scaled, cameras, choose_pairs(cameras, scene.center))
    images = [np.kron(image, np.ones((8, 8, 1), np.uint8)) for image in scene.images]
    large = triangulate(scaled, cameras, images, matches)
    assert len(large.cloud) == pytest.approx(len(plain.cloud), rel=0.002)
    assert large.spacing == pytest.approx(plain.spacing, rel=1e-3)
    for name in ("confidence", "n_views"):
        mean = getattr(plain.cloud, name).mean()
        assert getattr(large.cloud, name).mean() == pytest.approx(mean, rel=0.01)
    distances = [np.median(scene.distance(r.cloud.points)) for r in (plain, large)]
    assert distances[1] == pytest.approx(distances[0], rel=0.01)


def test_points_far_from_the_head_are_dropped(scene):
    pairs = choose_pairs(scene.cameras, scene.center)
    matches = match_views(scene.cube_maps, scene.cameras, pairs)
    views = (scene.cube_maps, scene.cameras, scene.images, matches)
    all_of_it = triangulate(*views, within=(scene.center, scene.size))
    assert all_of_it.status_counts["far_from_head"] == 0
    side = scene.center + np.array([0.06, 0.0, 0.0])
    part = triangulate(*views, within=(side, 0.06))
    away = np.linalg.norm(part.cloud.points - side, axis=1)
    assert away.max() <= 1.4 * 0.06
    total = len(part.cloud) + part.status_counts["far_from_head"]
    assert total == len(all_of_it.cloud)
    assert 0 < len(part.cloud) < len(all_of_it.cloud)
