"""Cameras as they are drawn: pyramids from the centre to the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calib.camera import Camera
from mvs.types import DoubleArray


def vertical_angle(camera: Camera, aspect: float | None = None) -> float:
    """The angle from a picture's lower to its upper border, radians.

    Args:
        camera: whose picture, without distortion, is meant.
        aspect: width by height of a window that shall show all of the picture; None for its own.
    """
    half = camera.height / (2 * camera.K[1, 1])
    if aspect is not None:
        half = max(half, camera.width / (2 * camera.K[0, 0]) / aspect)
    return 2 * float(np.arctan(half))


def picture_plane(camera: Camera, depth: float) -> tuple[float, float, DoubleArray]:
    """Where a camera's picture lies as a plane across its axis.

    Args:
        camera: a pinhole camera.
        depth: of the plane, along the axis.

    Returns:
        Its width, its height, and (3,) its middle in the world.
    """
    K = camera.K
    width, height = camera.width * depth / K[0, 0], camera.height * depth / K[1, 1]
    middle = np.array([camera.width / 2, camera.height / 2])
    offset = (middle - K[:2, 2]) / [K[0, 0], K[1, 1]] * depth
    position = camera.rotation.T @ (np.append(offset, depth) - camera.translation)
    return float(width), float(height), np.asarray(position, np.float64)


def frustum_hit(
    origin: DoubleArray, direction: DoubleArray, cameras: Sequence[Camera], size: float
) -> tuple[float, int] | None:
    """The first drawn camera that a ray meets, by the rectangle of its picture.

    Args:
        origin: (3,) of the ray, world.
        direction: (3,) unit vector.
        cameras: drawn as pyramids up to their pictures.
        size: height of the pyramids, world units.

    Returns:
        The distance along the ray and the camera's number; None where it meets none.
    """
    found = []
    for number, camera in enumerate(cameras):
        half = [camera.width / 2, camera.height / 2] / camera.K[[0, 1], [0, 1]] * size
        start = camera.rotation @ origin + camera.translation
        step = camera.rotation @ direction
        if abs(step[2]) < 1e-12:
            continue
        along = (size - start[2]) / step[2]
        if along > 0 and (np.abs(start[:2] + along * step[:2]) <= half).all():
            found.append((float(along), number))
    return min(found) if found else None
