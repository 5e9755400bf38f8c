from dataclasses import replace

import numpy as np
import pytest

from mvs.errors import ReconstructionError
from mvs.stages.fuse import FuseOptions, fuse
from mvs.stages.match import match_views
from mvs.stages.pairs import choose_pairs
from mvs.stages.triangulate import triangulate
from tests.scenes import make_scene, perturb


@pytest.fixture(scope="module")
def exact(scene, matches):
    return triangulate(scene.cube_maps, scene.cameras, scene.images, matches)


@pytest.fixture(scope="module")
def cloud(scene, exact):
    return fuse(exact, scene.cameras, scene.images)


def test_exact_points_stay_exact(scene, exact, cloud):
    distance = scene.distance(cloud.points)
    assert np.median(distance) < 0.05 * exact.spacing
    assert np.quantile(distance, 0.99) < 0.25 * exact.spacing
    assert np.quantile(np.abs(scene.coords(cloud.points) - cloud.coords), 0.99) < 2e-3
    normals = (cloud.normals * scene.normals(cloud.points)).sum(axis=1)
    assert np.quantile(normals, 0.05) > 0.99
    assert normals.min() > 0
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1.0, atol=1e-5)


def test_one_point_per_voxel_and_no_surface_lost(exact, cloud):
    from scipy.spatial import cKDTree

    voxel = FuseOptions().voxel * exact.spacing
    cells = np.floor((cloud.points - cloud.points.min(axis=0)) / voxel)
    assert len(np.unique(cells, axis=0)) > 0.85 * len(cloud)
    gap, _ = cKDTree(cloud.points).query(exact.cloud.points)
    assert np.quantile(gap, 0.98) < 1.5 * voxel


def test_attributes_are_those_of_the_surface(scene, cloud):
    assert cloud.n_views.min() >= 2
    assert cloud.n_views.max() <= 6
    assert cloud.confidence.max() <= 1
    assert np.median(cloud.confidence) > 0.95
    view = 2
    pixels, depth = scene.cameras[view].project(cloud.points)
    x, y = np.clip(np.floor(pixels).astype(int), 0, 127).T
    seen = np.abs(depth - scene.depths[view][y, x]) < 0.002
    off = np.abs(cloud.colors[seen].astype(int) - scene.images[view][y, x][seen]).max(axis=1)
    assert np.median(off) <= 8


def test_fusing_averages_the_views_errors():
    scene = make_scene(5, 224)
    maps = perturb(scene, bias=0.002, noise=0.004)
    matches = match_views(maps, scene.cameras, choose_pairs(scene.cameras, scene.center))
    noisy = triangulate(maps, scene.cameras, scene.images, matches)
    fused = fuse(noisy, scene.cameras, scene.images)
    before = scene.distance(noisy.cloud.points)
    after = scene.distance(fused.points)
    assert np.median(after) < 0.9 * np.median(before)
    assert np.quantile(after, 0.95) < 0.85 * np.quantile(before, 0.95)
    assert len(fused) < len(noisy.cloud)


def test_points_of_one_view_alone_are_not_confirmed(scene, exact):
    one = exact.reference == 2
    alone = replace(
        exact,
        cloud=type(exact.cloud)(
            *(getattr(exact.cloud, name)[one] for name in exact.cloud.__dataclass_fields__)
        ),
        reference=exact.reference[one],
        views=exact.views[one],
        error_px=exact.error_px[one],
    )
    with pytest.raises(ReconstructionError, match="confirmed"):
        fuse(alone, scene.cameras, scene.images)
    assert len(fuse(alone, scene.cameras, scene.images, FuseOptions(min_references=1))) > 100


def test_stray_points_are_dropped(scene, exact):
    generator = np.random.default_rng(0)
    points = exact.cloud.points.copy()
    stray = generator.choice(len(points), 300, replace=False)
    points[stray] += generator.normal(0, 0.03, (300, 3))
    dirty = replace(exact, cloud=replace(exact.cloud, points=points))
    distance = scene.distance(fuse(dirty, scene.cameras, scene.images).points)
    assert distance.max() < 3 * exact.spacing


def test_no_points_is_an_error(scene):
    empty = triangulate(scene.cube_maps, scene.cameras, scene.images, [])
    with pytest.raises(ReconstructionError, match="no pixel could be triangulated; "):
        fuse(empty, scene.cameras, scene.images)


def test_bad_options_are_named():
    for bad in (
        {"voxel": 0.0},
        {"radius_scatter": -1.0},
        {"max_off": 0.0},
        {"min_references": 0},
        {"radius_voxels": (3.0, 2.0)},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            FuseOptions(**bad)
