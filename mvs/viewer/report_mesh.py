"""A run's surface made small for a page: in the head's frame, thinned, packed into text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.stages.model import rotation_from_cube
from mvs.types import DoubleArray, IntArray, Mesh, PointCloud

# Corners are numbered by 16 bits.
MAX_VERTICES = 65_535
_N_TRIES = 12


@dataclass(frozen=True)
class Frame:
    """A frame that looks at the head: x to its left, y up, z forward, about its middle.

    Attributes:
        rotation: (3, 3) frame from world.
        center: (3,) world.
        radius: of a sphere around the middle that holds nearly all of the surface, world units.
        is_known: whether cube coordinates say where the face is; otherwise the cameras do.
    """

    rotation: DoubleArray
    center: DoubleArray
    radius: float
    is_known: bool

    def place(self, points: DoubleArray) -> DoubleArray:
        """Points (N, 3) of the world in this frame, in radii."""
        return np.asarray((points - self.center) @ self.rotation.T / self.radius)


def find_frame(cloud: PointCloud, cameras: Sequence[Camera]) -> Frame:
    """The frame of a head: by its cube coordinates, else by how the cameras are held."""
    low, high = np.quantile(cloud.points, [0.01, 0.99], axis=0)
    center = (low + high) / 2
    radius = float(np.quantile(np.linalg.norm(cloud.points - center, axis=1), 0.995)) or 1.0
    head = rotation_from_cube(cloud)
    if head is not None:
        return Frame(head.T, center, radius, True)
    return Frame(_from_cameras(cameras, center), center, radius, False)


def _from_cameras(cameras: Sequence[Camera], center: DoubleArray) -> DoubleArray:
    """Up is against the pictures' columns, forward towards the cameras."""
    up = -np.mean([camera.rotation[1] for camera in cameras], axis=0)
    if np.linalg.norm(up) < 0.1:
        up = -cameras[0].rotation[1]
    up = up / np.linalg.norm(up)
    for towards in (np.mean([c.center for c in cameras], axis=0), cameras[0].center):
        ahead = towards - center
        ahead = ahead - (ahead @ up) * up
        if np.linalg.norm(ahead) > 0.1 * np.linalg.norm(cameras[0].center - center):
            break
    else:
        ahead = np.cross(up, np.eye(3)[int(np.abs(up).argmin())])
    ahead = ahead / np.linalg.norm(ahead)
    return np.stack([np.cross(up, ahead), up, ahead])


def thin_surface(surface: Mesh, max_faces: int) -> Mesh:
    """A surface of fewer faces: vertices in a cell of a lattice become one, their mean.

    Args:
        surface: a mesh, or points without faces.
        max_faces: it has about so many at most; of points, half as many points.

    Source:
        Rossignac and Borrel (1993).
    """
    max_vertices = min(max_faces // 2, MAX_VERTICES)
    if len(surface.vertices) <= max_vertices and len(surface.faces) <= max_faces:
        return surface
    low = surface.vertices.points.min(axis=0)
    local = surface.vertices.points - low
    small, large = 0.0, float(local.max()) or 1.0
    cell = _cells(local, large)
    for _ in range(_N_TRIES):
        middle = (small + large) / 2 if small else large / 8
        found = _cells(local, middle)
        if found.max() < max_vertices:
            large, cell = middle, found
            if found.max() > 0.9 * max_vertices:
                break
        else:
            small = middle
    vertices = _means(surface.vertices, cell)
    faces = cell[surface.faces].astype(np.int32)
    faces = _distinct(faces)
    return Mesh(vertices, faces)


def _cells(points: DoubleArray, size: float) -> npt.NDArray[np.int64]:
    """Number of each point's cell, of those that hold points, in the order of x, y, z."""
    index = np.floor(points / size).astype(np.int64)
    wide = index.max(axis=0) + 1
    key = (index[:, 0] * wide[1] + index[:, 1]) * wide[2] + index[:, 2]
    return np.asarray(np.unique(key, return_inverse=True)[1], np.int64)


def _means(cloud: PointCloud, cell: npt.NDArray[np.int64]) -> PointCloud:
    count = np.bincount(cell)

    def mean(values: npt.NDArray[Any]) -> DoubleArray:
        columns = values.reshape(len(values), -1).T
        total = np.column_stack([np.bincount(cell, column) for column in columns])
        return np.asarray((total / count[:, None]).reshape(-1, *values.shape[1:]))

    normals = mean(cloud.normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return PointCloud(
        mean(cloud.points),
        normals.astype(np.float32),
        np.rint(mean(cloud.colors)).astype(np.uint8),
        mean(cloud.coords).astype(np.float32),
        mean(cloud.confidence).astype(np.float32),
        np.rint(mean(cloud.n_views)).astype(np.int32),
    )


def _distinct(faces: IntArray) -> IntArray:
    """Faces of three vertices each, one of those that have the same."""
    a, b, c = faces.T
    whole = faces[(a != b) & (b != c) & (c != a)].astype(np.int64)
    low, middle, high = np.sort(whole, axis=1).T
    rows = np.unique((low << 40) | (middle << 20) | high, return_index=True)[1]
    return np.asarray(whole[np.sort(rows)], np.int32)


def pack_surface(surface: Mesh, frame: Frame, seen: IntArray) -> dict[str, Any]:
    """A surface as JSON: sizes, and columns of little-endian numbers one after the other in base64.

    Args:
        surface: thinned.
        frame: that positions and normals are put into.
        seen: (V,) int32 views that see each vertex.

    Returns:
        ``vertices``, ``faces``, ``reach`` (of positions, in radii), and ``data`` with: positions
        (V, 3) uint16 from -reach to reach, corners (F, 3) uint16, normals (V, 3) int8 of 127,
        colours (V, 3), coordinates (V, 3), confidence (V,), views that agree (V,) and views that
        see (V,), uint8 each.
    """
    cloud = surface.vertices
    if len(cloud) > MAX_VERTICES:
        raise ValueError(f"surface must have at most {MAX_VERTICES} vertices, has {len(cloud)}")
    place = frame.place(cloud.points)
    reach = float(np.abs(place).max()) if len(place) else 1.0
    reach = reach or 1.0
    columns = [
        np.rint((place / reach + 1) / 2 * 65535).astype("<u2"),
        surface.faces.astype("<u2"),
        np.rint(cloud.normals @ frame.rotation.T * 127).astype(np.int8),
        cloud.colors,
        np.rint(np.clip(np.nan_to_num(cloud.coords), 0, 1) * 255).astype(np.uint8),
        np.rint(np.clip(cloud.confidence, 0, 1) * 255).astype(np.uint8),
        np.clip(cloud.n_views, 0, 255).astype(np.uint8),
        np.clip(seen, 0, 255).astype(np.uint8),
    ]
    data = b"".join(column.tobytes() for column in columns)
    return {
        "vertices": len(cloud),
        "faces": len(surface.faces),
        "reach": round(reach, 6),
        "data": base64.b64encode(data).decode("ascii"),
    }


def pack_cameras(
    names: Sequence[str], cameras: Sequence[Camera], frame: Frame
) -> list[dict[str, Any]]:
    """Where the views were taken from: centre, pose and half the width and height at distance 1."""
    packed = []
    for name, camera in zip(names, cameras, strict=True):
        axes = camera.rotation @ frame.rotation.T
        half = [camera.width / 2 / camera.K[0, 0], camera.height / 2 / camera.K[1, 1]]
        packed.append(
            {
                "name": name,
                "center": np.round(frame.place(camera.center[None])[0], 4).tolist(),
                "axes": np.round(axes.ravel(), 4).tolist(),
                "half": [round(float(h), 4) for h in half],
            }
        )
    return packed
