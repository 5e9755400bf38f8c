"""How well the normals of an embedder's maps agree with the true surface's, in the head's frame.

The head's frame is the cube's, moved rigidly: x to the subject's left, y up, z forward. Where it
stands in a capture's world is what the true surface's cube coordinates say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calib.capture import Capture
from mvs.canonical.pose import head_pose
from mvs.evaluation.truth import PART_NAMES, SurfacePoints, Truth, mesh_scene, tensor
from mvs.stages.embed import EmbeddedViews
from mvs.stages.views import map_from_image
from mvs.types import BoolArray, CubeMap, DoubleArray, IntArray


def normal_figures(
    truth: Truth,
    capture: Capture,
    embedded: EmbeddedViews,
    points: SurfacePoints,
    seen: Sequence[BoolArray],
) -> dict[str, float]:
    """Median angle between the maps' normals and the true ones, over all views, by part.

    Args:
        truth: of the capture.
        capture: whose views were embedded.
        embedded: the views with their maps, in the capture's order.
        points: on the true surface, with cube coordinates.
        seen: per view (N,) bool, which of the points it sees.

    Returns:
        Degrees by name of the part; parts that no map shows are left out, and all of them where the
        maps hold no normals.

    Raises:
        ValueError: if the numbers of views differ.
    """
    if not len(capture.views) == len(embedded.cube_maps) == len(seen):
        raise ValueError(
            f"seen and embedded must have one entry per view ({len(capture.views)}), got "
            f"{len(seen)} and {len(embedded.cube_maps)}"
        )
    if all(cube_map.normals is None for cube_map in embedded.cube_maps):
        return {}
    pose = head_pose(points.coords.astype(np.float64), points.positions)
    true = surface_normals(truth, points.positions) @ pose.rotation
    angles, parts = [], []
    for camera, cube_map, visible in zip(embedded.cameras, embedded.cube_maps, seen, strict=True):
        pixels = camera.project(points.positions)[0]
        rows, found = _look_up(cube_map, pixels, visible)
        cosine = np.clip((found * true[rows]).sum(axis=1), -1.0, 1.0)
        angles.append(np.rad2deg(np.arccos(cosine)))
        parts.append(points.parts[rows])
    angle, part = np.concatenate(angles), np.concatenate(parts)
    return {
        PART_NAMES[number]: float(np.median(angle[part == number]))
        for number in np.unique(part).tolist()
    }


def surface_normals(truth: Truth, positions: DoubleArray) -> DoubleArray:
    """Outward unit normals (N, 3) of the true surface, smooth between vertices, world.

    Args:
        truth: whose faces are counter-clockwise seen from outside.
        positions: (N, 3) on the surface.
    """
    at_vertex = _vertex_normals(truth.vertices, truth.faces)
    scene = mesh_scene([(truth.vertices, truth.faces)])
    found = scene.compute_closest_points(tensor(positions, np.float32))
    faces = found["primitive_ids"].numpy().astype(np.int64)
    uv = found["primitive_uvs"].numpy().astype(np.float64)
    weights = np.column_stack([1 - uv.sum(axis=1), uv])
    mixed = np.einsum("nk,nkc->nc", weights, at_vertex[truth.faces[faces]])
    return _unit(mixed)


def _look_up(
    cube_map: CubeMap, pixels: DoubleArray, visible: BoolArray
) -> tuple[IntArray, DoubleArray]:
    """Rows of visible points that the map has a normal for, and these normals, of unit length."""
    if cube_map.normals is None:
        return np.empty(0, np.int32), np.empty((0, 3))
    to_map = map_from_image(cube_map)
    height, width = cube_map.mask.shape
    place = np.nan_to_num(pixels @ to_map[:, :2].T + to_map[:, 2], nan=-1.0)
    inside = visible & (place >= 0).all(axis=1) & (place < [width, height]).all(axis=1)
    rows = np.flatnonzero(inside)
    column, row = np.floor(place[rows]).astype(np.int64).T
    found = cube_map.normals[row, column].astype(np.float64)
    length = np.linalg.norm(found, axis=1)
    has = cube_map.mask[row, column] & np.isfinite(length) & (length > 0)
    return rows[has].astype(np.int32), found[has] / length[has, None]


def _vertex_normals(vertices: DoubleArray, faces: IntArray) -> DoubleArray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_face = np.cross(b - a, c - a)
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(total, faces[:, corner], of_face)
    return _unit(total)


def _unit(vectors: DoubleArray) -> DoubleArray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.finfo(np.float64).tiny))
