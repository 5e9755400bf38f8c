"""Rays and distances: where a ray meets a shape, what sees a place, how far shapes lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.types import DoubleArray, IntArray
from mvs.viewer.subject import Shape

# A place counts as seen if nothing lies before it by more than this part of the shape's diagonal.
_SLACK = 0.002
# Points of a cloud count as this wide, in distances between neighbours.
_WIDTH = 1.5
_SAMPLE = 5000


@dataclass(frozen=True)
class Hit:
    """Where a ray meets a shape.

    Attributes:
        along: distance from the ray's origin.
        rows: (k,) vertices around the place: a face's three, or a point alone.
        weights: (k,) float64 of those, sum 1.
    """

    along: float
    rows: IntArray
    weights: DoubleArray


class Surface:
    """A mesh that rays are cast at, by Embree through Open3D.

    Attributes:
        shape: the mesh.
    """

    def __init__(self, shape: Shape) -> None:
        """Take a mesh; a cloud is ``Points``."""
        if shape.faces is None:
            raise ValueError("a surface needs faces")
        self.shape = shape
        self._points, self._faces = shape.cloud.points, shape.faces
        self._center = self._points.mean(axis=0)
        self._size = float(np.linalg.norm(np.ptp(self._points, axis=0)))

    def hit(self, origin: DoubleArray, direction: DoubleArray) -> Hit | None:
        """Where a ray first meets the mesh; None where it does not.

        Args:
            origin: (3,) world.
            direction: (3,) of any length but zero.
        """
        toward = direction / np.linalg.norm(direction)
        found = self._cast(origin[None], toward[None])
        if not np.isfinite(found["t_hit"][0]):
            return None
        b, c = found["primitive_uvs"][0].astype(np.float64)
        rows = self._faces[int(found["primitive_ids"][0])]
        weights = np.array([1 - b - c, b, c])
        place = weights @ self._points[rows]
        return Hit(float((place - origin) @ toward), rows, weights)

    def sees(self, camera: Camera, place: DoubleArray) -> bool:
        """Whether nothing of the mesh lies between a camera and a place (3,)."""
        ray = place - camera.center
        distance = float(np.linalg.norm(ray))
        first = float(self._cast(camera.center[None], ray[None] / distance)["t_hit"][0])
        return first * self._scale >= distance - _SLACK * self._size

    def distances(self, places: DoubleArray) -> DoubleArray:
        """Distances (N,) of places (N, 3) to the mesh, negative on its inner side."""
        local = self._local(places)
        found = self._scene.compute_closest_points(_tensor(local))
        nearest = found["points"].numpy().astype(np.float64)
        normal = found["primitive_normals"].numpy()
        gap = local - nearest
        sign = np.where((gap * normal).sum(axis=1) < 0, -1.0, 1.0)
        return np.asarray(sign * np.linalg.norm(gap, axis=1) * self._scale, np.float64)

    def _cast(self, origins: DoubleArray, directions: DoubleArray) -> dict[str, Any]:
        rays = np.concatenate([self._local(origins), directions], axis=1)
        return {name: value.numpy() for name, value in self._scene.cast_rays(_tensor(rays)).items()}

    def _local(self, places: DoubleArray) -> DoubleArray:
        return np.asarray((places - self._center) / self._scale, np.float64)

    @property
    def _scale(self) -> float:
        """Embree computes in float32: places are from the middle, in mesh sizes."""
        return self._size or 1.0

    @cached_property
    def _scene(self) -> Any:
        import open3d

        scene = open3d.t.geometry.RaycastingScene()
        corners = np.ascontiguousarray(self._faces, np.uint32)
        scene.add_triangles(_tensor(self._local(self._points)), _core().Tensor(corners))
        return scene


class Points:
    """A cloud that rays are cast at.

    Attributes:
        shape: the cloud.
    """

    def __init__(self, shape: Shape) -> None:
        """Take a cloud; the faces of a mesh are not looked at."""
        self.shape = shape
        self._points = shape.cloud.points

    def hit(self, origin: DoubleArray, direction: DoubleArray) -> Hit | None:
        """The first point that a ray passes within a point's width; None where there is none."""
        toward = direction / np.linalg.norm(direction)
        offset = self._points - origin
        along = offset @ toward
        beside = np.linalg.norm(offset - along[:, None] * toward, axis=1)
        near = np.flatnonzero((along > 0) & (beside <= _WIDTH * self.spacing))
        if not len(near):
            return None
        # Of the points of the front layer, the one nearest to the ray.
        front = near[along[near] <= along[near].min() + 2 * _WIDTH * self.spacing]
        row = int(front[beside[front].argmin()])
        return Hit(float(along[row]), np.array([row], np.int32), np.ones(1))

    def sees(self, camera: Camera, place: DoubleArray) -> bool:
        """Whether no points lie between a camera and a place (3,)."""
        ray = place - camera.center
        distance = float(np.linalg.norm(ray))
        offset = self._points - camera.center
        along = offset @ (ray / distance)
        size = float(np.linalg.norm(np.ptp(self._points, axis=0)))
        before = (along > 0) & (along < distance - max(_SLACK * size, 3 * self.spacing))
        rest = offset[before] - along[before, None] * (ray / distance)
        return not bool((np.linalg.norm(rest, axis=1) <= _WIDTH * self.spacing).any())

    def distances(self, places: DoubleArray) -> DoubleArray:
        """Distances (N,) of places (N, 3) to the nearest point."""
        from scipy.spatial import cKDTree

        return np.asarray(cKDTree(self._points).query(places)[0], np.float64)

    @cached_property
    def spacing(self) -> float:
        """Median distance between neighbouring points, over a sample."""
        return point_spacing(self._points)


def target_of(shape: Shape) -> Surface | Points:
    """What rays are cast at for a shape."""
    return Points(shape) if shape.faces is None else Surface(shape)


def point_spacing(points: DoubleArray) -> float:
    """Median distance from a point to its nearest neighbour, over a sample; 0 for one point."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return 0.0
    sample = points[:: max(len(points) // _SAMPLE, 1)]
    return float(np.median(cKDTree(points).query(sample, k=2)[0][:, 1]))


def _tensor(values: npt.NDArray[np.floating]) -> Any:
    return _core().Tensor(np.ascontiguousarray(values, np.float32))


def _core() -> Any:
    """Open3D's own stubs leave out the tensor of an array."""
    import open3d

    return open3d.core
