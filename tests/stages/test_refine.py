from dataclasses import replace

import numpy as np
import pytest

from mvs.errors import ReconstructionError
from mvs.stages.confirm import ConfirmOptions, confirm
from mvs.stages.fuse import fuse
from mvs.stages.match import match_views
from mvs.stages.mesh import mesh
from mvs.stages.pairs import choose_pairs
from mvs.stages.refine import RefineOptions, refine
from mvs.stages.shots import Shots
from mvs.stages.triangulate import triangulate
from tests.scenes import make_scene, perturb

N_VIEWS = 5


@pytest.fixture(scope="module")
def scene():
    return make_scene(N_VIEWS, 192, 70.0)


@pytest.fixture(scope="module")
def coarse(scene):
    """What maps that are off by 4 mm give."""
    maps = perturb(scene, 0.015, 0.002)
    matches = match_views(maps, scene.cameras, choose_pairs(scene.cameras, scene.center))
    cloud = fuse(
        triangulate(maps, scene.cameras, scene.images, matches), scene.cameras, scene.images
    )
    return cloud, mesh(cloud)


@pytest.fixture(scope="module")
def masks(scene):
    return [cube_map.mask for cube_map in scene.cube_maps]


@pytest.fixture(scope="module")
def shots(scene, masks):
    return Shots(
        scene.names, scene.cameras, scene.images, masks, scene.cube_maps, scene.center, scene.size
    )


@pytest.fixture(scope="module")
def maps(coarse, shots):
    steps = []
    found = refine(coarse[1], shots, progress=lambda: steps.append(1))
    assert len(steps) == N_VIEWS
    return found


def corner(whole, part):
    """Row and column of a part's first pixel in the picture."""
    return round(whole.K[1, 2] - part.K[1, 2]), round(whole.K[0, 2] - part.K[0, 2])


def test_depths_are_sharpened_many_times_over(scene, coarse, maps):
    before = np.median(scene.distance(coarse[0].points))
    for depth_map, camera, depth in zip(maps, scene.cameras, scene.depths, strict=True):
        top, left = corner(camera, depth_map.camera)
        height, width = depth_map.mask.shape
        true = depth[top : top + height, left : left + width]
        seen = depth_map.mask & np.isfinite(true)
        assert seen.sum() > 0.75 * np.isfinite(depth).sum()
        error = np.abs(1 / depth_map.planes[..., 0] - true)[seen]
        assert np.median(error) < 0.35 * before
        assert np.median(error) < 3e-4  # a pixel is 1.4 mm wide


def test_every_second_pixel_at_full_sharpness(scene, coarse, shots, maps):
    """A quarter of the depths, as sharp as all, where the half picture's are twice as far off."""
    sparse = refine(coarse[1], shots, RefineOptions(every=2))
    off = {}
    for name, found in (("all", maps), ("sparse", sparse)):
        points = np.concatenate([m.points() for m in found])
        off[name] = np.median(scene.distance(points))
    for one, few in zip(maps, sparse, strict=True):
        assert few.mask.sum() == pytest.approx(one.mask.sum() / 4, rel=0.15)
    assert off["sparse"] < 1.3 * off["all"]
    small = refine(coarse[1], shots, RefineOptions(max_size=114))
    points = np.concatenate([m.points() for m in small])
    assert np.median(scene.distance(points)) > 1.5 * off["sparse"]


def test_points_and_normals_are_those_of_the_surface(scene, maps):
    for depth_map in maps:
        points, normals = depth_map.points(), depth_map.normals()
        near = scene.distance(points) < 5e-4
        assert near.mean() > 0.7
        cosine = (normals * scene.normals(points)).sum(axis=1)
        assert np.median(np.rad2deg(np.arccos(np.clip(cosine[near], -1, 1)))) < 6
        pixels = depth_map.camera.project(points)[0]
        row, column = np.nonzero(depth_map.mask)
        np.testing.assert_allclose(pixels, np.column_stack([column, row]) + 0.5, atol=1e-3)


def test_the_cloud_is_accurate_and_keeps_its_places_in_the_cube(scene, coarse, maps):
    cloud, _ = confirm(maps, scene.cameras, scene.images, coarse[0], ConfirmOptions(fill=0))
    assert np.median(scene.distance(cloud.points)) < 2e-4
    assert np.quantile(scene.distance(cloud.points), 0.9) < 8e-4
    assert len(cloud) > 0.5 * len(coarse[0])
    off = np.linalg.norm(cloud.coords - scene.coords(cloud.points), axis=1)
    assert np.median(off) < 0.01
    assert cloud.n_views.min() >= 2
    three = ConfirmOptions(fill=0, min_views=3)
    strict, _ = confirm(maps, scene.cameras, scene.images, coarse[0], three)
    assert strict.n_views.min() >= 3
    assert len(strict) < len(cloud)
    cosine = (cloud.normals * scene.normals(cloud.points)).sum(axis=1)
    assert np.median(cosine) > np.cos(np.deg2rad(5))


def test_single_views_fill_what_nobody_confirms(scene, coarse, maps):
    """Of one view nothing is confirmed by three; its own depths fill in, and are near."""
    three = ConfirmOptions(fill=0, min_views=3)
    none = [m if k < 3 else None for k, m in enumerate(maps)]
    bare, _ = confirm(none, scene.cameras, scene.images, coarse[0], three)
    filled, _ = confirm(
        none, scene.cameras, scene.images, coarse[0], ConfirmOptions(fill=5, min_views=3)
    )
    assert len(filled) > len(bare)
    np.testing.assert_array_equal(filled.points[: len(bare)], bare.points)
    added = filled.points[len(bare) :]
    assert np.median(scene.distance(added)) < 1.5e-3
    assert filled.confidence[len(bare) :].max() <= 0.1 + 1e-6


def test_a_wrong_pose_confirms_nothing_there(scene, coarse, maps):
    """One view's depths are moved by a centimetre: no point of it is confirmed."""
    moved = list(maps)
    planes = maps[2].planes.copy()
    planes[..., 0] /= 1 + 0.01 * planes[..., 0]
    moved[2] = type(maps[2])(maps[2].camera, planes, maps[2].cost, maps[2].mask)
    three = ConfirmOptions(fill=0, min_views=3)
    cloud, _ = confirm(moved, scene.cameras, scene.images, coarse[0], three)
    assert np.quantile(scene.distance(cloud.points), 0.95) < 1e-3


def test_nothing_confirmed_is_an_error(scene, coarse, maps):
    with pytest.raises(ReconstructionError, match="agree nowhere"):
        confirm(maps, scene.cameras, scene.images, coarse[0], ConfirmOptions(max_cost=1e-9))


def test_a_view_that_sees_nothing_has_no_map(coarse, shots):
    masks = [shots.masks[0], np.zeros_like(shots.masks[1]), *shots.masks[2:]]
    blind = replace(shots, masks=masks)
    found = refine(coarse[1], blind, RefineOptions(steps="S"))
    assert found[1] is None
    assert found[0] is not None


@pytest.mark.parametrize(
    "bad", [{"n_best": 0}, {"n_best": 9}, {"reach": 0.0}, {"steps": "SX"}, {"radius": 0}]
)
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError):
        RefineOptions(**bad)


def test_the_views_of_a_point_are_those_that_agree(scene, coarse, maps):
    cloud, views = confirm(maps, scene.cameras, scene.images, coarse[0], ConfirmOptions(fill=0))
    bits = np.unpackbits(views.view(np.uint8), axis=1, bitorder="little")
    np.testing.assert_array_equal(bits.sum(axis=1), cloud.n_views)
    for view, camera in enumerate(scene.cameras):
        pixels = camera.project(cloud.points[bits[:, view] == 1])[0]
        assert ((pixels >= 0) & (pixels < [camera.width, camera.height])).all()


def test_exposure_jumps_leave_no_seams(scene, coarse, maps):
    """Every other picture is two thirds as bright: depths hold, colours are even."""
    dark = [
        (image * (0.66 if k % 2 else 1.0)).astype(np.uint8) for k, image in enumerate(scene.images)
    ]
    even, _ = confirm(maps, scene.cameras, scene.images, coarse[0], ConfirmOptions(fill=0))
    uneven, _ = confirm(maps, scene.cameras, dark, coarse[0], ConfirmOptions(fill=0))
    ratio = uneven.colors.astype(float).sum(axis=1) / even.colors.astype(float).sum(axis=1)
    assert ratio.std() < 0.05
    assert 0.66 < ratio.mean() < 1.0


def test_a_blurred_view_and_a_dark_one_do_no_harm(scene, coarse, shots):
    import cv2

    images = [image.copy() for image in scene.images]
    images[1] = cv2.GaussianBlur(images[1], (0, 0), 4)
    images[3] = (images[3] * 0.5 + 20).astype(np.uint8)
    found = refine(coarse[1], replace(shots, images=images))
    cloud, _ = confirm(found, scene.cameras, images, coarse[0])
    assert np.median(scene.distance(cloud.points)) < 4e-4
    assert np.quantile(scene.distance(cloud.points), 0.9) < 1.5e-3


def test_pictures_without_texture_keep_the_coarse_surface(scene, coarse, shots):
    flat = [np.full_like(image, 128) for image in scene.images]
    found = refine(coarse[1], replace(shots, images=flat))
    before = np.median(scene.distance(coarse[1].vertices.points))
    for depth_map in found:
        assert np.median(scene.distance(depth_map.points())) < 1.5 * before
    with pytest.raises(ReconstructionError, match="agree nowhere"):
        confirm(found, scene.cameras, flat, coarse[0])
