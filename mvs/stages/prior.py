"""A surface known before, as that of a moment ago, brought to where the head is now.

Every pixel knows its place in the cube, and so does every vertex of the surface: the rigid motion
is the one that brings the vertices onto the rays of the pixels that show them, in all views
together. How well they then lie there says whether the surface is of use; a face that moves, or
another's, is followed by a smooth field over the cube.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from mvs.stages.shots import Shots
from mvs.stages.views import map_from_image, picture_pixels, sample_coords
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray, Mesh, PointCloud

LEAST_SHARE = 0.8
MOST_SHIFT = 0.1
# How far from its pixel's ray a place of the surface may lie, in radii of the head.
_MAX_OFF = 0.04
# Pixels of a view that are asked, about; and how sure and how near in the cube they must be.
_ASKED = 1500
_MIN_CONFIDENCE = 0.05
_SAME_PLACE = 0.02
_ROUNDS = 12
# The smooth field: cells along the cube's sides, how much they resist, and how often it is sought.
_CELLS = 20
_STIFF = 0.1
_BENDS = 2
# What fewer views show, refinement seeks on its own.
_MIN_VIEWS = 2
# So far from the surface's open border, in radii of the head, what pixels show counts.
_BORDER = 0.15
# A vertex this much behind the nearest surface, in radii of the head, is hidden by it.
_BEHIND = 0.03


@dataclass(frozen=True)
class Prior:
    """What is known of a head before its pictures are looked at.

    Attributes:
        surface: with cube coordinates, world.
        center: (3,) of the sphere that the views were cropped to, world.
        radius: of that sphere.
    """

    surface: Mesh
    center: DoubleArray
    radius: float


def follow(prior: Prior, shots: Shots) -> tuple[Prior, float, float]:
    """Move a surface to where the pictures show its places, rigidly and then by a smooth field.

    Args:
        prior: surface and sphere of before.
        shots: the views with their cube maps.

    Returns:
        Surface and sphere where they are now; the share of the pixels on the head whose place on
        the surface, moved rigidly, lies on their ray (``LEAST_SHARE`` is enough); and how far the
        sphere moved, in its radii (up to ``MOST_SHIFT`` the head is still within its crop).

    Source:
        Gauss-Newton on the distances from points to rays, reweighted by Cauchy's function.
    """
    vertices = prior.surface.vertices
    rows, origins, rays, n_asked = _observe(vertices, shots)
    if len(rows) < 6:
        return prior, 0.0, 0.0
    R, t = np.eye(3), np.zeros(3)
    for _ in range(_ROUNDS):
        moved = vertices.points[rows] @ R.T + t
        away = _off_rays(moved, origins, rays)
        distance = np.linalg.norm(away, axis=1)
        scale = 3 * float(np.median(distance)) + 1e-12
        turn, shift = _step(
            moved, away, rays, 1 / (1 + (distance / scale) ** 2), moved.mean(axis=0)
        )
        R, t = turn @ R, turn @ t + shift
    distance = np.linalg.norm(_off_rays(vertices.points[rows] @ R.T + t, origins, rays), axis=1)
    share = float((distance < _MAX_OFF * prior.radius).sum() / n_asked)
    points = np.asarray(vertices.points @ R.T + t)
    for _ in range(_BENDS):
        away = _off_rays(points[rows], origins, rays)
        points += _bend(vertices.coords, rows, away, rays)
    cloud = replace(
        vertices,
        points=points,
        normals=(vertices.normals @ R.T).astype(np.float32),
    )
    center = R @ prior.center + t
    surface = Mesh(cloud, prior.surface.faces)
    offset = float(np.linalg.norm(center - prior.center)) / prior.radius
    return Prior(surface, center, prior.radius), share, offset


def cloud_of(surface: Mesh, shots: Shots) -> PointCloud:
    """The vertices that two views show, with the places in the cube that these see there.

    By its border a surface reaches beyond what was seen, and would reach further with every frame
    that starts from it: vertices there are left out of views whose pixels show another place.

    Args:
        surface: about where the head is.
        shots: the views with their cube maps.
    """
    vertices = surface.vertices
    total, trust = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
    n_views = np.zeros(len(vertices), np.int32)
    squares = np.zeros(len(vertices))
    doubtful = _by_border(surface, _BORDER * shots.radius)
    for view in range(len(shots)):
        rows, coords, weight, confidence = _look_up(surface, view, shots)
        away = np.linalg.norm(coords - vertices.coords[rows], axis=1)
        same = (away < _SAME_PLACE) | ~doubtful[rows]
        rows = np.flatnonzero(rows)[same]
        coords, weight, confidence = coords[same], weight[same], confidence[same]
        total[rows] += weight[:, None] * coords
        squares[rows] += weight * confidence
        trust[rows] += weight
        n_views[rows] += 1
    found = replace(
        vertices,
        coords=(total / np.maximum(trust, 1e-300)[:, None]).astype(np.float32),
        confidence=(squares / np.maximum(trust, 1e-300)).astype(np.float32),
        n_views=n_views,
    )
    return found.rows(n_views >= _MIN_VIEWS)


def _by_border(surface: Mesh, reach: float) -> BoolArray:
    """(V,) whether a vertex lies within reach of an edge that only one face has."""
    from scipy.spatial import cKDTree

    faces, points = surface.faces, surface.vertices.points
    edges = np.sort(np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]]), axis=1)
    ends, count = np.unique(edges, axis=0, return_counts=True)
    border = np.unique(ends[count == 1])
    if not len(border):
        return np.zeros(len(points), np.bool_)
    away = cKDTree(points[border]).query(points, distance_upper_bound=reach)[0]
    return np.asarray(np.isfinite(away))


def _observe(vertices: PointCloud, shots: Shots) -> tuple[IntArray, DoubleArray, DoubleArray, int]:
    """Rows of vertices that pixels show, the pixels' rays, and how many pixels were asked."""
    from scipy.spatial import cKDTree

    tree = cKDTree(vertices.coords)
    rows, origins, rays, n_asked = [], [], [], 0
    for camera, cube_map in zip(shots.cameras, shots.cube_maps, strict=True):
        sure = np.flatnonzero(cube_map.mask & (cube_map.confidence >= _MIN_CONFIDENCE))
        asked = sure[:: max(len(sure) // _ASKED, 1)]
        distance, row = tree.query(
            cube_map.coords.reshape(-1, 3)[asked], distance_upper_bound=_SAME_PLACE
        )
        known = np.isfinite(distance)
        pixels = picture_pixels(cube_map, asked[known].astype(np.int32))
        rows.append(row[known].astype(np.int32))
        rays.append(camera.unproject(pixels))
        origins.append(np.broadcast_to(camera.center, (len(pixels), 3)))
        n_asked += len(asked)
    return np.concatenate(rows), np.concatenate(origins), np.concatenate(rays), n_asked


def _off_rays(points: DoubleArray, origins: DoubleArray, rays: DoubleArray) -> DoubleArray:
    """From the nearest places of rays (N, 3) to points (N, 3)."""
    towards = points - origins
    return np.asarray(towards - (towards * rays).sum(axis=1, keepdims=True) * rays)


def _step(
    points: DoubleArray,
    away: DoubleArray,
    rays: DoubleArray,
    weight: DoubleArray,
    middle: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """Rotation and translation that bring points nearer to their rays."""
    from scipy.spatial.transform import Rotation

    x, y, z = (points - middle).T
    none = np.zeros_like(x)
    across = np.stack([none, z, -y, -z, none, x, y, -x, none], axis=1).reshape(-1, 3, 3)
    slopes = np.concatenate([across, np.broadcast_to(np.eye(3), across.shape)], axis=2)
    flat = slopes - rays[:, :, None] * np.einsum("nk,nkj->nj", rays, slopes)[:, None]
    matrix = np.einsum("n,nki,nkj->ij", weight, flat, flat)
    target = np.einsum("n,nki,nk->i", weight, flat, away)
    matrix += 1e-9 * np.diag(np.diag(matrix)) + 1e-300 * np.eye(6)
    step = np.linalg.solve(matrix, -target)
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    return turn, middle - turn @ middle + step[3:]


def _bend(coords: FloatArray, rows: IntArray, away: DoubleArray, rays: DoubleArray) -> DoubleArray:
    """Shifts (V, 3) of vertices, smooth over the cube, that bring some of them to their rays.

    Args:
        coords: (V, 3) of the vertices.
        rows: (N,) vertices that are seen.
        away: (N, 3) from their rays.
        rays: (N, 3) unit vectors.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    distance = np.linalg.norm(away, axis=1)
    weight = 1 / (1 + (distance / (3 * float(np.median(distance)) + 1e-12)) ** 2)
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    cells = np.clip((coords * _CELLS).astype(np.int64), 0, _CELLS - 1)
    matrix, target = np.zeros((*(_CELLS,) * 3, 3, 3)), np.zeros((*(_CELLS,) * 3, 3))
    at = tuple(cells[rows].T)
    np.add.at(matrix, at, weight[:, None, None] * across)
    np.add.at(target, at, -weight[:, None] * away)
    matrix = gaussian_filter(matrix, (1, 1, 1, 0, 0)) + _STIFF * np.eye(3)
    target = gaussian_filter(target, (1, 1, 1, 0))
    field = np.linalg.solve(matrix, target[..., None])[..., 0]
    place = coords.T.astype(np.float64) * _CELLS - 0.5
    shifts = [map_coordinates(field[..., k], place, order=1, mode="nearest") for k in range(3)]
    return np.column_stack(shifts)


def _look_up(
    surface: Mesh, view: int, shots: Shots
) -> tuple[BoolArray, FloatArray, DoubleArray, FloatArray]:
    """Which vertices a view shows, and their places in the cube, weight and confidence."""
    camera, cube_map = shots.cameras[view], shots.cube_maps[view]
    points, normals = surface.vertices.points, surface.vertices.normals
    pixels, depth = camera.project(points)
    pixels = np.nan_to_num(pixels, nan=-1e6)
    buffer = shots.depth(view, 0.5, points, surface.faces)
    nearest = _pick(np.where(np.isfinite(buffer), buffer, np.float32(0)), pixels / 2)
    to = map_from_image(cube_map)
    on_map = pixels @ to[:, :2].T + to[:, 2]
    inner = cv2.erode(cube_map.mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    confidence = _pick(np.where(inner > 0, cube_map.confidence, np.float32(0)), on_map)
    towards = camera.center - points
    cosine = (towards * normals).sum(axis=1) / np.linalg.norm(towards, axis=1)
    rows = (cosine > 0) & (depth < nearest + _BEHIND * shots.radius) & (confidence > 0)
    coords = sample_coords(cube_map.coords, on_map[rows])
    sure = confidence[rows]
    return rows, coords, cosine[rows] * sure.astype(np.float64) ** 2, sure


def _pick(values: FloatArray, pixels: DoubleArray) -> FloatArray:
    """Values (H, W) of the pixels that positions (N, 2) lie in; 0 outside."""
    height, width = values.shape
    x, y = np.floor(np.clip(pixels, -1, [width, height])).astype(np.int64).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    picked = values[np.where(inside, y, 0), np.where(inside, x, 0)]
    return np.asarray(np.where(inside, picked, values.dtype.type(0)))
