"""A painted ball of radius 1 seen by cameras around it: pictures exact to half a grey level."""

from dataclasses import dataclass

import numpy as np

from calib.camera import Camera
from calib.capture import PinholeView
from mvs.types import Mesh, PointCloud


def paint(points):
    """(N, 3) colours, 0 to 255, smooth over the ball."""
    x, y, z = (points / np.linalg.norm(points, axis=1, keepdims=True)).T
    red = 128 + 60 * np.sin(3 * x + 2 * y)
    green = 120 + 50 * np.cos(4 * z - x)
    blue = 110 + 40 * np.sin(2 * y * z + 3 * z)
    return np.column_stack([red, green, blue])


def cloud_of(points, normals=None, colors=None):
    n = len(points)
    points = np.asarray(points, np.float64)
    normals = points / np.linalg.norm(points, axis=1, keepdims=True) if normals is None else normals
    colors = np.full((n, 3), 77) if colors is None else colors
    return PointCloud(
        points,
        np.asarray(normals, np.float32),
        np.asarray(colors, np.uint8),
        np.asarray(0.5 + 0.3 * points, np.float32),
        np.linspace(0.1, 1, n, dtype=np.float32),
        np.full(n, 3, np.int32),
    )


@dataclass(frozen=True)
class Atlas:
    mesh: Mesh
    uv: np.ndarray
    uv_faces: np.ndarray


def make_ball(rows=40, columns=80):
    """A mesh of degrees of latitude and longitude, with those as its atlas, cut at the back."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    angle, height = 2 * np.pi * u.ravel(), np.pi * (v.ravel() - 0.5)
    points = np.column_stack(
        [np.cos(height) * np.cos(angle), np.cos(height) * np.sin(angle), np.sin(height)]
    )
    index = np.arange(len(points)).reshape(rows + 1, columns + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    quads = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    uv_faces = np.concatenate(quads).astype(np.int32)
    # One vertex for the two ends of a degree of latitude, and for all of a pole.
    whole = index.copy()
    whole[:, -1] = whole[:, 0]
    whole[0], whole[-1] = whole[0, 0], whole[-1, 0]
    faces = whole.ravel()[uv_faces].astype(np.int32)
    good = (
        (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    )
    uv = np.column_stack([0.02 + 0.96 * u.ravel(), 0.02 + 0.96 * v.ravel()]).astype(np.float32)
    return Atlas(Mesh(cloud_of(points), faces[good]), uv, uv_faces[good])


def texel_points(size):
    """(size, size, 3) places on the ball of the texels' centres, NaN outside the chart."""
    centers = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid((centers - 0.02) / 0.96, (1 - centers - 0.02) / 0.96)
    angle, height = 2 * np.pi * u, np.pi * (v - 0.5)
    points = np.stack(
        [np.cos(height) * np.cos(angle), np.cos(height) * np.sin(angle), np.sin(height)], -1
    )
    points[(u < 0) | (u > 1) | (v < 0) | (v > 1)] = np.nan
    return points


def look_from(position, size=200, focal=420.0, target=(0.0, 0.0, 0.0)):
    position = np.asarray(position, np.float64)
    ahead = np.asarray(target) - position
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.1, 0.2, 1.0])
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(ahead, right), ahead])
    params = np.array([focal, focal, size / 2, size / 2])
    return Camera("PINHOLE", size, size, params, np.column_stack([R, -R @ position]))


def rays_of(camera):
    row, column = np.mgrid[: camera.height, : camera.width]
    return camera.unproject(np.column_stack([column.ravel(), row.ravel()]) + 0.5)


def picture_of(camera, gain=1.0):
    """The ball on a red background, (H, W, 3) uint8."""
    rays = rays_of(camera)
    along = -(rays @ camera.center)
    gap = along**2 - (camera.center @ camera.center - 1.0)
    image = np.tile(np.array([255.0, 0.0, 0.0]), (len(rays), 1))
    hit = gap > 0
    distance = along[hit] - np.sqrt(gap[hit])
    image[hit] = paint(camera.center + distance[:, None] * rays[hit]) * gain
    shape = camera.height, camera.width, 3
    return np.clip(np.rint(image), 0, 255).astype(np.uint8).reshape(shape)


def make_views(n=8, gains=None, elevations=(0.5, -0.5)):
    views = []
    for k in range(n):
        angle, lift = 2 * np.pi * k / n, elevations[k % len(elevations)]
        camera = look_from(4.5 * np.array([np.cos(angle), np.sin(angle), lift]))
        image = picture_of(camera, 1.0 if gains is None else gains[k])
        views.append(PinholeView(f"{k:02d}.png", camera, image, np.ones(image.shape[:2], np.bool_)))
    return views
