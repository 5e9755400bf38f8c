from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from mvs.stages.match import MATCHERS, MatchOptions, match_views
from mvs.stages.views import epipolar_segments, prepare_view
from mvs.types import CubeMap
from tests.scenes import perturb


def errors_px(scene, match):
    """Distance in pixels between each match and where the reference pixel's point truly is."""
    size = scene.cameras[0].width
    mask = scene.cube_maps[match.reference].mask
    row_of = np.full(mask.size, -1)
    row_of[np.flatnonzero(mask)] = np.arange(mask.sum())
    points = scene.surface_points(match.reference)[row_of[match.reference_index]]
    pixels, depth = scene.cameras[match.source].project(points)
    x, y = np.clip(np.floor(pixels).astype(int), 0, size - 1).T
    occluded = depth - scene.depths[match.source][y, x] > 0.004
    return np.linalg.norm(match.source_pixels - pixels, axis=1), occluded


@pytest.mark.parametrize("matcher", sorted(MATCHERS))
def test_exact_maps_give_exact_matches(scene, pairs, matcher):
    matches = match_views(scene.cube_maps, scene.cameras, pairs, MatchOptions(matcher=matcher))
    assert [(m.reference, m.source) for m in matches] == [(r, s) for r, ss in pairs for s in ss]
    for match in matches:
        error, occluded = errors_px(scene, match)
        assert np.median(error) < 0.01
        assert np.quantile(error, 0.99) < 0.1
        assert error.max() < 0.5
        assert occluded.mean() < 0.01
        assert match.cube_distance.max() < 2e-3
        assert match.reference_index.dtype == np.int32
        assert match.source_pixels.dtype == np.float32
        assert (np.diff(match.reference_index) > 0).all()


@pytest.mark.parametrize("matcher", sorted(MATCHERS))
def test_most_of_what_both_views_see_is_matched(scene, matcher):
    options = MatchOptions(matcher=matcher, stride=1)
    (match,) = match_views(scene.cube_maps, scene.cameras, [(2, [3])], options)
    points = scene.surface_points(2)
    pixels, depth = scene.cameras[3].project(points)
    x, y = np.clip(np.floor(pixels).astype(int), 0, 127).T
    seen = np.abs(depth - scene.depths[3][y, x]) < 0.001
    toward = scene.cameras[3].center - points
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    seen &= (toward * scene.normals(points)).sum(axis=1) > 0.3
    matched = np.isin(np.flatnonzero(scene.cube_maps[2].mask)[seen], match.reference_index)
    assert matched.mean() > 0.98


@pytest.mark.parametrize("matcher", sorted(MATCHERS))
def test_noisy_maps_still_match(scene, pairs, matcher):
    maps = perturb(scene, bias=0.006, noise=0.001)
    exact = match_views(scene.cube_maps, scene.cameras, pairs, MatchOptions(matcher=matcher))
    noisy = match_views(maps, scene.cameras, pairs, MatchOptions(matcher=matcher))
    n_exact = sum(len(m.reference_index) for m in exact)
    n_noisy = sum(len(m.reference_index) for m in noisy)
    assert n_noisy > 0.75 * n_exact
    error = np.concatenate([errors_px(scene, match)[0] for match in noisy])
    assert np.median(error) < 3.0


def test_maps_of_another_resolution_give_the_same_places(scene):
    # Every second pixel of the map, as its own map: pixel centres of the half map lie on them.
    affine = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]])
    half = []
    for cube_map in scene.cube_maps:
        coords, mask = cube_map.coords[1::2, 1::2].copy(), cube_map.mask[1::2, 1::2].copy()
        half.append(replace(cube_map, coords=coords, mask=mask, image_from_map=affine))
        half[-1] = replace(half[-1], confidence=mask.astype(np.float32))
    options = MatchOptions(stride=1)
    (match,) = match_views(half, scene.cameras, [(2, [3])], options)
    rows, columns = match.reference_index // 64, match.reference_index % 64
    full = replace(match, reference_index=(2 * rows + 1) * 128 + 2 * columns + 1)
    error, _ = errors_px(scene, full)
    assert len(error) > 1000
    assert np.median(error) < 0.03


def test_views_without_head_or_overlap_give_no_matches(scene):
    nothing = replace(scene.cube_maps[1], mask=np.zeros((128, 128), bool))
    nan = replace(scene.cube_maps[1], coords=np.full((128, 128, 3), np.nan, np.float32))
    unsure = replace(scene.cube_maps[1], confidence=np.zeros((128, 128), np.float32))
    for matcher in MATCHERS:
        for useless in (nothing, nan, unsure):
            maps = [scene.cube_maps[0], useless]
            found = match_views(
                maps, scene.cameras[:2], [(0, [1]), (1, [0])], MatchOptions(matcher=matcher)
            )
            assert [len(match.reference_index) for match in found] == [0, 0]
    assert match_views(scene.cube_maps, scene.cameras, [(0, []), (1, [])]) == []


def test_stride_takes_a_lattice(scene):
    for stride in (1, 3):
        (match,) = match_views(
            scene.cube_maps, scene.cameras, [(2, [3])], MatchOptions(stride=stride)
        )
        rows, columns = match.reference_index // 128, match.reference_index % 128
        assert set(rows % stride) == set(columns % stride) == {stride // 2}


def resized(cube_map, size):
    """The map of 128 pixels with so many."""
    coords = cv2.resize(cube_map.coords, (size, size))
    mask = cv2.resize(cube_map.mask.astype(np.uint8), (size, size), interpolation=0) > 0
    affine = np.array([[128 / size, 0.0, 0.0], [0.0, 128 / size, 0.0]])
    return CubeMap(coords, mask.astype(np.float32), mask, affine)


def test_stride_fits_the_map_by_itself(scene):
    """A map of 2 mm pixels is matched whole, one of 0.3 mm pixels every second row."""
    for size, expected in ((128, 1), (704, 2)):
        maps = [resized(cube_map, size) for cube_map in scene.cube_maps[2:4]]
        (match,) = match_views(maps, scene.cameras[2:4], [(0, [1])])
        rows = np.unique(match.reference_index // size)
        assert np.diff(rows).min() == expected


def test_a_lattice_may_be_coarser(scene):
    for coarser, expected in ((1.0, 1), (7.0, 2)):
        wide = MatchOptions(coarser=coarser)
        (match,) = match_views(scene.cube_maps, scene.cameras, [(2, [3])], wide)
        assert np.diff(np.unique(match.reference_index // 128)).min() == expected


def test_epipolar_segments_hold_the_point(scene):
    views = [
        prepare_view(m, c, 0.05, 0.02) for m, c in zip(scene.cube_maps, scene.cameras, strict=True)
    ]
    ys, xs = np.nonzero(scene.cube_maps[1].mask)
    segments = epipolar_segments(views[1], views[4], np.column_stack([xs, ys]) + 0.5)
    pixels, _ = scene.cameras[4].project(scene.surface_points(1))
    start, end = segments[:, :2], segments[:, 2:]
    along = end - start
    length = np.linalg.norm(along, axis=1)
    offset = pixels - start
    across = np.abs(along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]) / length
    ahead = (along * offset).sum(axis=1) / length
    x, y = np.clip(np.floor(pixels).astype(int), 0, 127).T
    mask = scene.cube_maps[4].mask
    seen = binary_erosion(mask, iterations=2)[y, x]
    assert across[seen].max() < 1e-6
    assert ((ahead > -1.0) & (ahead < length + 1.0))[seen].all()


def test_bad_arguments_are_named(scene):
    with pytest.raises(ValueError, match="matcher must be one of"):
        MatchOptions(matcher="best")
    for name in ("max_cube_distance", "max_mutual_px", "max_epipolar_px", "max_edge_px"):
        with pytest.raises(ValueError, match=name):
            MatchOptions(**{name: 0.0})
    with pytest.raises(ValueError, match="stride"):
        MatchOptions(stride=0)
    with pytest.raises(ValueError, match="coarser"):
        MatchOptions(coarser=0.0)
    with pytest.raises(ValueError, match="cube maps"):
        match_views(scene.cube_maps[:2], scene.cameras, [])
