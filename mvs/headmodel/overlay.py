"""A fitted head drawn over a picture: shaded, half transparent, with its outline and landmarks."""

from __future__ import annotations

import numpy as np

from mvs.canonical.scan import mesh_normals
from mvs.headmodel.types import Fit
from mvs.kernels.raster import rasterise
from mvs.types import BoolArray, ByteArray

_SKIN = np.array([120.0, 190.0, 255.0])
_LINE, _DOT, _HIDDEN_DOT = (20, 60, 220), (255, 60, 30), (255, 200, 60)
_OPACITY = 0.5
# A landmark this share of its depth behind what is drawn is hidden.
_HIDDEN = 0.01


def draw_fit(fit: Fit, frame: int, view: int, picture: ByteArray) -> ByteArray:
    """Draw a fit over one of its pictures.

    Args:
        fit: the heads.
        frame: of the fit.
        view: of the frame.
        picture: (H, W, 3) uint8 RGB, as the camera took it.

    Returns:
        (H, W, 3) uint8 RGB. Landmarks behind the head are drawn paler.

    Raises:
        ValueError: if the picture has not the camera's size.
    """
    camera, topology = fit.cameras[frame][view], fit.model.topology
    if picture.shape != (camera.height, camera.width, 3):
        name = fit.names[frame][view]
        raise ValueError(f"{name}: must be {camera.width} x {camera.height}, is {picture.shape}")
    vertices = fit.vertices(frame)
    pixels, depth = camera.project(vertices)
    seen_from = np.where(np.isfinite(pixels).all(axis=1), depth, -1.0)
    size = (camera.height, camera.width)
    seen = rasterise(np.nan_to_num(pixels, nan=-1e6), seen_from, topology.faces, size)
    on = seen.face >= 0
    normals = mesh_normals(vertices, topology.faces) @ camera.rotation.T
    corners = topology.faces[seen.face[on]]
    facing = -np.einsum("nk,nk->n", seen.barycentric[on], normals[corners, 2])
    drawn = picture.astype(np.float64)
    color = _SKIN * (0.25 + 0.75 * np.clip(facing, 0, 1))[:, None]
    drawn[on] += _OPACITY * (color - drawn[on])
    drawn[_outline(on)] = _LINE
    points, far = camera.project(topology.landmarks_on(vertices))
    return _dots(drawn.astype(np.uint8), points, far, seen.depth)


def _outline(on: BoolArray) -> BoolArray:
    """Pixels at the inside of the drawn head's border."""
    import cv2

    width = max(3, len(on) // 400 * 2 + 1)
    inside = cv2.erode(on.astype(np.uint8), np.ones((width, width), np.uint8))
    return np.asarray(on & (inside == 0))


def _dots(picture: ByteArray, points: np.ndarray, far: np.ndarray, depth: np.ndarray) -> ByteArray:
    import cv2

    height, width = depth.shape
    radius = max(2, height // 250) * 16
    for (x, y), z in zip(points, far, strict=True):
        if not (0 <= x < width and 0 <= y < height):
            continue
        hidden = z > depth[int(y), int(x)] * (1 + _HIDDEN)
        place = (round((x - 0.5) * 16), round((y - 0.5) * 16))
        color = _HIDDEN_DOT if hidden else _DOT
        cv2.circle(picture, place, radius, color, -1, cv2.LINE_AA, 4)
    return picture
