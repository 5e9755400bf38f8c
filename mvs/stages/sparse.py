"""A coarse cloud without cube maps: the calibration's sparse points, or matched features.

For what is no head, and for captures whose heads the embedder does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from calib.camera import Camera
from mvs.errors import ReconstructionError
from mvs.kernels.dlt import Observations, TriangulateBounds, triangulate_points
from mvs.stages.pairs import PairOptions, choose_pairs
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray, PointCloud

# Fewer sparse points than this are no surface; features are matched instead.
_ENOUGH = 300
_LEAST = 60
_FEATURES = 8000
_RATIO = 0.85
_MAX_ERROR_PX = 1.5
_MIN_ANGLE_DEG = 2.0
_NEIGHBORS = 16
_PAIRS = PairOptions(n_sources=4, min_angle_deg=3.0, max_angle_deg=45.0, best_angle_deg=15.0)


def sparse_cloud(
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
    masks: Sequence[BoolArray],
    points: DoubleArray,
) -> PointCloud:
    """Sparse points on the surface that most cameras look at, with normals towards those.

    Args:
        cameras: one pinhole camera per view.
        images: one (H, W, 3) uint8 picture per view.
        masks: (H, W) pixels that count.
        points: (N, 3) of the calibration; where there are few, features are matched.

    Returns:
        The cloud; its cube coordinates are 0.

    Raises:
        ReconstructionError: if there are too few points for a surface.
    """
    center = looked_at(cameras)
    found = points[_masked(points, cameras, masks)]
    if len(found) < _ENOUGH:
        found = np.concatenate([found, _match_features(cameras, images, masks, center)])
    found = _without_strays(found)
    if len(found) < _LEAST:
        raise ReconstructionError(
            f"only {len(found)} points could be matched without an embedder",
            "add views 10 to 30 degrees apart, masks, or sparse points in the calibration",
        )
    n = len(found)
    normals, n_views = _normals(found, cameras)
    return PointCloud(
        found,
        normals,
        np.full((n, 3), 128, np.uint8),
        np.zeros((n, 3), np.float32),
        np.full(n, 0.5, np.float32),
        n_views,
    )


def looked_at(cameras: Sequence[Camera]) -> DoubleArray:
    """(3,) the point nearest to all optical axes."""
    axes = np.stack([camera.rotation[2] for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    centers = np.stack([camera.center for camera in cameras])
    total = across.sum(axis=0)
    return np.asarray(
        np.linalg.lstsq(total, np.einsum("vij,vj->i", across, centers), rcond=None)[0]
    )


def _masked(
    points: DoubleArray, cameras: Sequence[Camera], masks: Sequence[BoolArray]
) -> BoolArray:
    """Points that fall into the masks of most views in whose picture they are."""
    inside, on = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    for camera, mask in zip(cameras, masks, strict=True):
        pixels = np.nan_to_num(camera.project(points)[0], nan=-1.0)
        fits = (pixels >= 0) & (pixels < [camera.width, camera.height])
        shown = np.asarray(fits.all(axis=1))
        column, row = np.where(shown[:, None], pixels, 0).astype(np.int64).T
        inside += shown
        on += shown & mask[row, column]
    return np.asarray((on >= 2) & (2 * on > inside))


def _match_features(
    cameras: Sequence[Camera],
    images: Sequence[ByteArray],
    masks: Sequence[BoolArray],
    center: DoubleArray,
) -> DoubleArray:
    """(N, 3) triangulated SIFT matches that lie near their epipolar lines."""
    sift = cv2.SIFT.create(_FEATURES, contrastThreshold=0.02)
    features = []
    for image, mask in zip(images, masks, strict=True):
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        keys, values = sift.detectAndCompute(gray, mask.astype(np.uint8))
        pixels = np.array([key.pt for key in keys], np.float64).reshape(-1, 2) + 0.5
        none = np.empty((0, 128), np.float32)
        found = none if values is None else np.asarray(values, np.float32)
        features.append((pixels, _root(found)))
    parts = [np.empty((0, 3))]
    chosen = choose_pairs(cameras, center, options=_PAIRS)
    for a, b in sorted({(min(a, b), max(a, b)) for a, sources in chosen for b in sources}):
        parts.append(_triangulate_pair(cameras[a], cameras[b], features[a], features[b]))
    return np.concatenate(parts)


def _root(values: FloatArray) -> FloatArray:
    """RootSIFT (Arandjelovic and Zisserman 2012)."""
    total = values.sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(values / np.maximum(total, 1e-9)), np.float32)


def _triangulate_pair(
    first: Camera,
    second: Camera,
    left: tuple[DoubleArray, FloatArray],
    right: tuple[DoubleArray, FloatArray],
) -> DoubleArray:
    if min(len(left[0]), len(right[0])) < 2:
        return np.empty((0, 3))
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    there = _best(matcher.knnMatch(left[1], right[1], k=2))
    back = _best(matcher.knnMatch(right[1], left[1], k=2))
    pairs = [(a, b) for a, b in there.items() if back.get(b) == a]
    if not pairs:
        return np.empty((0, 3))
    rows = np.array(pairs)
    pixels = np.stack([left[0][rows[:, 0]], right[0][rows[:, 1]]], axis=1)
    seen = Observations(np.stack([first.P, second.P]), np.ascontiguousarray(pixels))
    bounds = TriangulateBounds(max_error=_MAX_ERROR_PX, min_angle_deg=_MIN_ANGLE_DEG)
    found = triangulate_points(seen, bounds)
    return np.asarray(found.points[found.status == 0])


def _best(matches: Sequence[Sequence[cv2.DMatch]]) -> dict[int, int]:
    """Matches that are clearly better than the second best."""
    return {
        pair[0].queryIdx: pair[0].trainIdx
        for pair in matches
        if len(pair) == 2 and pair[0].distance < _RATIO * pair[1].distance
    }


def _without_strays(points: DoubleArray) -> DoubleArray:
    """Points without those far from all others."""
    from scipy.spatial import cKDTree

    if len(points) < _LEAST:
        return points
    distance = cKDTree(points).query(points, k=8)[0][:, -1]
    kept = points[distance < 4 * np.median(distance)]
    middle = np.median(kept, axis=0)
    away = np.linalg.norm(kept - middle, axis=1)
    return np.asarray(kept[away < 3 * np.median(away)])


def _normals(points: DoubleArray, cameras: Sequence[Camera]) -> tuple[FloatArray, IntArray]:
    """Normals of the planes through neighbours, towards most cameras, and a number of views.

    A camera counts that the point's side of the whole faces.
    """
    from scipy.spatial import cKDTree

    rows = cKDTree(points).query(points, k=min(_NEIGHBORS, len(points)))[1]
    near = points[rows] - points[rows].mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", near, near))[1][:, :, 0]
    middle = np.median(points, axis=0)
    outward = points - middle
    towards = np.zeros_like(points)
    n_views = np.zeros(len(points), np.int32)
    for camera in cameras:
        ray = camera.center - points
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        faces = (ray * outward).sum(axis=1) > 0
        towards += faces[:, None] * ray
        n_views += faces
    side = (normals * towards).sum(axis=1, keepdims=True)
    return np.where(side < 0, -normals, normals).astype(np.float32), np.maximum(n_views, 2)
