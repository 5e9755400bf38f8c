"""The viewer's own frame, in which any scene is about one unit large, and which way is up in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.stages.model import rotation_from_cube
from mvs.types import DoubleArray
from mvs.viewer.subject import Shape, Subject

# Points beyond this quantile of the distances from the middle do not make the scene larger.
_EXTENT = 0.98
# Shapes are measured by so many of their points.
_SAMPLE = 20000


@dataclass(frozen=True)
class Frame:
    """A shift and a scale: scene = (world - center) / radius.

    Attributes:
        center: (3,) of the scene, world.
        radius: of the scene, world units.
        up: (3,) unit vector.
        front: (3,) unit vector to where the scene is looked at from.
    """

    center: DoubleArray
    radius: float
    up: DoubleArray
    front: DoubleArray

    def to_scene(self, points: npt.NDArray[np.floating]) -> DoubleArray:
        """Places (..., 3) of the scene from the world's."""
        return np.asarray((points - self.center) / self.radius, np.float64)

    def to_world(self, points: npt.NDArray[np.floating]) -> DoubleArray:
        """Places (..., 3) of the world from the scene's."""
        return np.asarray(points * self.radius + self.center, np.float64)


def choose_frame(subjects: Sequence[Subject]) -> Frame:
    """The frame of a scene: around what is shown, or around the cameras where nothing else is.

    Args:
        subjects: what is shown; the first says which way is up, by its cube coordinates, else by
            its cameras.
    """
    shapes = [subject.best for subject in subjects if subject.best is not None]
    cameras = [v.camera for s in subjects if s.capture is not None for v in s.capture.views]
    if shapes:
        samples = [_sample(shape) for shape in shapes]
    else:
        samples = [np.stack([camera.center for camera in cameras])]
    points = np.concatenate(samples)
    center = np.median(points, axis=0)
    radius = float(np.quantile(np.linalg.norm(points - center, axis=1), _EXTENT))
    if not radius > 0:
        radius = 1.0
    up, front = _orientation(shapes, cameras, center)
    return Frame(center, radius, up, front)


def axis_vector(name: str) -> DoubleArray:
    """The unit vector of an axis, such as ``-y``."""
    vector = np.zeros(3)
    vector["xyz".index(name[-1])] = -1.0 if name[0] == "-" else 1.0
    return vector


def wxyz(rotation: DoubleArray) -> DoubleArray:
    """The unit quaternion (4,) of a rotation (3, 3), scalar first and not negative."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat(canonical=True)
    return np.array([w, x, y, z])


def _sample(shape: Shape) -> DoubleArray:
    points = shape.cloud.points
    return points[:: max(len(points) // _SAMPLE, 1)]


def _orientation(
    shapes: Sequence[Shape], cameras: Sequence[Camera], center: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Up and front: the head's own, else the cameras' mean."""
    if shapes and "uvw" in shapes[0].known:
        cloud = shapes[0].cloud
        rotation = rotation_from_cube(cloud.rows(np.asarray(np.isfinite(cloud.coords).all(axis=1))))
        if rotation is not None:
            return rotation[:, 1], rotation[:, 2]
    if not cameras:
        return axis_vector("y"), axis_vector("z")
    up = _first_direction([-np.mean([camera.rotation[1] for camera in cameras], axis=0), [0, 1, 0]])
    away = np.array([camera.center for camera in cameras]) - center
    # Cameras all around have no middle: then the first one's side, or any, is the front.
    candidates = np.array([away.mean(axis=0), away[0], *np.eye(3)])
    return up, _first_direction(candidates - (candidates @ up)[:, None] * up)


def _first_direction(vectors: Sequence[npt.ArrayLike] | DoubleArray) -> DoubleArray:
    """The first of the vectors (N, 3) that is not small beside the longest, as a unit vector."""
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=1)
    first = int(np.argmax(lengths > 0.05 * lengths.max()))
    return np.asarray(np.asarray(vectors[first], np.float64) / lengths[first], np.float64)
