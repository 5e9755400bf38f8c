"""Sharp tracks: features of the pictures, matched where the cube maps say they may be.

Cube maps know where a place is to some millimetres, in any two views; features know it to a part of
a pixel, but not which is which on skin. Together they give tracks that owe nothing to the poses,
which is what poses can be adjusted by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import View
from calib.lens import distort
from mvs.stages.embed import EmbeddedViews
from mvs.stages.match import MatchOptions, match_views
from mvs.stages.pairs import PairOptions, choose_pairs
from mvs.stages.shots import head_mask
from mvs.stages.views import CUBE_PIXELS, cube_per_pixel, picture_pixels
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray, Matches

IdArray = npt.NDArray[np.int64]

# Poses may be off by as much as this, in pixels of a map in which the cube is 512 pixels wide.
_MATCHES = MatchOptions(max_epipolar_px=100.0, min_consistent=0.0, tighten=0.0)
_PAIRS = PairOptions(n_sources=6, min_angle_deg=4.0, max_angle_deg=45.0, best_angle_deg=20.0)
_NEIGHBORS = 4
_MAX_SIZES = 1.6
_MIN_PAIR_MATCHES = 20
_CONFIDENCE = 0.999


@dataclass(frozen=True)
class FeatureOptions:
    """How features become tracks.

    Attributes:
        n_features: SIFT features per view, at most.
        contrast: least contrast of a feature; skin has little.
        search_px: how far from where the cube matches put it a feature is sought, in pixels of a
            map in which the cube is 512 pixels wide.
        max_ratio: distance to the best descriptor over that to the second best nearby.
        max_epipolar_px: matches farther from the epipolar geometry that most of a pair's matches
            agree on are dropped; pixels of the picture.
        min_views: of a track.
        n_tracks: at most, spread over the views and over each picture.
    """

    n_features: int = 8000
    contrast: float = 0.01
    search_px: float = 8.0
    max_ratio: float = 0.85
    max_epipolar_px: float = 1.0
    min_views: int = 3
    n_tracks: int = 4000

    def __post_init__(self) -> None:
        for name in ("n_features", "contrast", "search_px", "max_epipolar_px", "n_tracks"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.max_ratio <= 1:
            raise ValueError(f"max_ratio must be in (0, 1], got {self.max_ratio}")
        if self.min_views < 2:
            raise ValueError(f"min_views must be at least 2, got {self.min_views}")


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one view.

    Attributes:
        pixels: (N, 2) float64.
        sizes: (N,) diameters, pixels.
        values: (N, 128) float32 descriptors of unit length.
    """

    pixels: DoubleArray
    sizes: DoubleArray
    values: FloatArray


def feature_tracks(
    taken: Sequence[View], views: EmbeddedViews, options: FeatureOptions | None = None
) -> DoubleArray:
    """Tracks of features on the head over three or more views.

    Args:
        taken: the capture's views.
        views: the same, embedded; poses only choose pairs and bound the cube matches generously.
        options: see ``FeatureOptions``.

    Returns:
        (N, V, 2) pixels as photographed, NaN where a view does not see a point.
    """
    options = options or FeatureOptions()
    chosen = choose_pairs(views.cameras, views.head.center, options=_PAIRS)
    pairs = sorted({(min(a, b), max(a, b)) for a, sources in chosen for b in sources})
    guides = match_views(views.cube_maps, views.cameras, [(a, [b]) for a, b in pairs], _MATCHES)
    found = [
        find_features(image, head_mask(mask, cube_map, view.mask_path is not None), options)
        for view, image, mask, cube_map in zip(
            taken, views.images, views.masks, views.cube_maps, strict=True
        )
    ]
    links = []
    for (a, b), guide in zip(pairs, guides, strict=True):
        matched = match_guided(
            found[a], found[b], guide, (views.cube_maps[a], views.cube_maps[b]), options
        )
        kept = _consistent(
            matched, found[a], found[b], (views.cameras[a], views.cameras[b]), options
        )
        links.append((a, b, matched[kept]))
    tracks = join_tracks([features.pixels for features in found], links, options)
    for column, view in enumerate(taken):
        tracks[:, column] = distort(view.camera, tracks[:, column])
    return tracks


def find_features(image: ByteArray, mask: BoolArray, options: FeatureOptions) -> Features:
    """SIFT features of a picture (H, W, 3) where a mask (H, W) holds, with RootSIFT descriptors.

    Source:
        Lowe (2004); Arandjelovic and Zisserman (2012).
    """
    sift = cv2.SIFT.create(options.n_features, contrastThreshold=options.contrast)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    keys, values = sift.detectAndCompute(gray, mask.astype(np.uint8))
    pixels = np.array([key.pt for key in keys], np.float64).reshape(-1, 2) + 0.5
    sizes = np.array([key.size for key in keys], np.float64)
    found = np.zeros((0, 128), np.float32) if values is None else np.asarray(values, np.float32)
    total = np.maximum(found.sum(axis=1, keepdims=True), 1e-9)
    return Features(pixels, sizes, np.sqrt(found / total).astype(np.float32))


def match_guided(
    first: Features,
    second: Features,
    guide: Matches,
    cube_maps: tuple[CubeMap, CubeMap],
    options: FeatureOptions,
) -> IdArray:
    """Features that are each other's best near where cube matches put them.

    Args:
        first: features of the guide's reference view.
        second: features of its source view.
        guide: matches of the cube maps.
        cube_maps: of the two views.
        options: see ``FeatureOptions``.

    Returns:
        (M, 2) rows of ``first`` and ``second``.
    """
    from scipy.spatial import cKDTree

    none = np.zeros((0, 2), np.int64)
    if min(len(first.pixels), len(second.pixels), len(guide.reference_index)) < _NEIGHBORS:
        return none
    start = picture_pixels(cube_maps[0], guide.reference_index)
    away, near = cKDTree(start).query(first.pixels, k=_NEIGHBORS)
    weight = 1.0 / (away + 1.0)
    weight /= weight.sum(axis=1, keepdims=True)
    shift = ((guide.source_pixels - start)[near] * weight[..., None]).sum(axis=1)
    guided = np.flatnonzero(away[:, 0] <= options.search_px * _picture_pixels(cube_maps[0]))
    radius = options.search_px * _picture_pixels(cube_maps[1])
    there = cKDTree(second.pixels)
    candidates = there.query_ball_point((first.pixels + shift)[guided], radius, return_sorted=True)
    counts = np.array([len(rows) for rows in candidates], np.int64)
    if not counts.sum():
        return none
    a = np.repeat(guided, counts)
    b = np.concatenate([np.array(rows, np.int64) for rows in candidates])
    ratio = second.sizes[b] / first.sizes[a]
    alike = (ratio < _MAX_SIZES) & (ratio > 1 / _MAX_SIZES)
    a, b = a[alike], b[alike]
    distance = np.linalg.norm(first.values[a] - second.values[b], axis=1)
    best = _is_clear_best(a, distance, options.max_ratio)
    best &= _is_clear_best(b, distance, options.max_ratio)
    return np.column_stack([a[best], b[best]])


def join_tracks(
    pixels: Sequence[DoubleArray],
    links: Sequence[tuple[int, int, IdArray]],
    options: FeatureOptions,
) -> DoubleArray:
    """Tracks of features that are linked, those that see one view twice left out.

    Features in one place, as SIFT has them of several directions, are one.

    Args:
        pixels: (N, 2) features of each view.
        links: two views, and (M, 2) rows of their features that are the same.
        options: see ``FeatureOptions``.

    Returns:
        (T, V, 2), the longest tracks, spread over the pictures; NaN where not seen.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    places, rows_of = zip(*(_distinct(of_view) for of_view in pixels), strict=True)
    starts = np.concatenate([[0], np.cumsum([len(of_view) for of_view in places])])
    view = np.repeat(np.arange(len(pixels)), np.diff(starts))
    ends = [
        np.column_stack([rows_of[a][rows[:, 0]] + starts[a], rows_of[b][rows[:, 1]] + starts[b]])
        for a, b, rows in links
    ]
    joined = np.concatenate([np.zeros((0, 2), np.int64), *ends])
    graph = coo_array((np.ones(len(joined)), joined.T), shape=(starts[-1], starts[-1]))
    n, track = connected_components(graph, directed=False)
    seen = np.zeros((n, len(pixels)), np.int64)
    np.add.at(seen, (track, view), 1)
    good = (seen.max(axis=1, initial=0) == 1) & (seen.sum(axis=1) >= options.min_views)
    kept = np.flatnonzero(good)
    row_of = np.full(n, -1)
    row_of[kept] = np.arange(len(kept))
    tracks = np.full((len(kept), len(pixels), 2), np.nan)
    inside = row_of[track] >= 0
    every = np.concatenate([np.zeros((0, 2)), *places])
    tracks[row_of[track[inside]], view[inside]] = every[inside]
    return tracks[_spread(tracks, options.n_tracks)]


def _distinct(pixels: DoubleArray) -> tuple[DoubleArray, IdArray]:
    """The different places among (N, 2), and (N,) which of them each is."""
    places, rows = np.unique(pixels, axis=0, return_inverse=True)
    return places, rows.ravel()


def _picture_pixels(cube_map: CubeMap) -> float:
    """Pixels of the picture per pixel of a map in which the cube is 512 pixels wide."""
    pixel = np.sqrt(abs(np.linalg.det(cube_map.image_from_map[:, :2])))
    return float(pixel / (cube_per_pixel(cube_map) * CUBE_PIXELS))


def _is_clear_best(rows: IdArray, distance: FloatArray, max_ratio: float) -> BoolArray:
    """Which entries are nearest among those of their row, by a margin from the second."""
    order = np.lexsort((distance, rows))
    sorted_rows, sorted_distance = rows[order], distance[order]
    first = np.concatenate([[True], sorted_rows[1:] != sorted_rows[:-1]])
    rival = np.append(sorted_distance[1:], np.inf)
    rival[np.append(first[1:], True)] = np.inf
    best = np.zeros(len(rows), np.bool_)
    best[order] = first & (sorted_distance <= max_ratio * rival)
    return best


def _consistent(
    matched: IdArray,
    first: Features,
    second: Features,
    cameras: tuple[Camera, Camera],
    options: FeatureOptions,
) -> BoolArray:
    """Matches on the epipolar geometry that most of them agree on, whatever the poses say."""
    if len(matched) < _MIN_PAIR_MATCHES:
        return np.zeros(len(matched), np.bool_)
    at = [
        (features.pixels[rows] - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
        for features, rows, camera in zip((first, second), matched.T, cameras, strict=True)
    ]
    focal = np.mean([camera.K[0, 0] for camera in cameras])
    bound = options.max_epipolar_px / focal
    _, mask = cv2.findEssentialMat(at[0], at[1], np.eye(3), cv2.RANSAC, _CONFIDENCE, float(bound))
    if mask is None or mask.sum() < _MIN_PAIR_MATCHES:
        return np.zeros(len(matched), np.bool_)
    return np.asarray(mask).ravel() > 0


def _spread(tracks: DoubleArray, n: int) -> IdArray:
    """Rows of at most n tracks: long ones first, while their places are not full."""
    order = np.argsort(-np.isfinite(tracks[..., 0]).sum(axis=1), kind="stable")
    if len(tracks) <= n:
        return np.sort(order)
    low, high = np.nanmin(tracks, axis=0), np.nanmax(tracks, axis=0)
    cells = np.floor((tracks - low) / np.maximum(high - low, 1e-9) * 15.99)
    taken: list[int] = []
    crowd = np.zeros((tracks.shape[1], 16, 16), np.int64)
    for row in order.tolist():
        view = np.flatnonzero(np.isfinite(cells[row, :, 0]))
        x, y = cells[row, view].astype(np.int64).T
        # A track is taken while at least one of its places is less crowded than an even share.
        if crowd[view, x, y].min() <= 2 * n / 256:
            taken.append(row)
            crowd[view, x, y] += 1
        if len(taken) == n:
            break
    return np.sort(np.array(taken, np.int64))
