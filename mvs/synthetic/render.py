"""Photographs of a scene: colour, cube coordinates and material of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.raster import rasterise
from mvs.synthetic import shade
from mvs.synthetic.head import cube_from_cm
from mvs.synthetic.noise import VOLUME
from mvs.synthetic.scene import Scene
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

HEAD_MATERIALS = (
    shade.SKIN,
    shade.EYE,
    shade.MOUTH,
    shade.TEETH,
    shade.HAT,
    shade.FRAME,
    shade.LENS,
    shade.HAIR,
)
# By material + 1.
_ON_HEAD = np.isin(np.arange(-1, shade.HAIR + 1), HEAD_MATERIALS)


@dataclass(frozen=True)
class Shot:
    """A pinhole camera in the head's frame (cm, y up); the camera's y points down.

    Attributes:
        R: (3, 3) camera from head.
        t: (3,) cm.
        focal: pixels.
        center: (x, y) principal point, pixels.
        size: (height, width).
    """

    R: DoubleArray
    t: DoubleArray
    focal: float
    center: tuple[float, float]
    size: tuple[int, int]


@dataclass(frozen=True)
class Rendering:
    """A photograph with its labels.

    Attributes:
        color: (H, W, 3) float32 linear RGB.
        coords: (H, W, 3) float32 cube coordinates, 0 off the head.
        mask: (H, W) bool, head, hair, hat and glasses.
        material: (H, W) int8 of ``shade``'s materials, -1 background.
    """

    color: FloatArray
    coords: FloatArray
    mask: BoolArray
    material: npt.NDArray[np.int8]


def look_at(target: DoubleArray, yaw: float, pitch: float, roll: float, distance: float) -> Shot:
    """A camera that looks at a point, with unit focal length and no size yet.

    Args:
        target: (3,) where it looks, head frame, cm.
        yaw: radians around the vertical; 0 in front of the face, positive to the subject's left.
        pitch: radians above the horizontal.
        roll: radians about the line of sight.
        distance: cm from the target.
    """
    back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    down = np.cross(right, back)
    c, s = np.cos(roll), np.sin(roll)
    R = np.stack([c * right + s * down, -s * right + c * down, -back])
    return Shot(R, -R @ (target + distance * back), 1.0, (0.0, 0.0), (0, 0))


def render(
    scene: Scene, shot: Shot, background: FloatArray, supersampling: int, rate: int
) -> Rendering:
    """Photograph a scene.

    Args:
        scene: what.
        shot: from where.
        background: (H, W, 3) float32 linear RGB, as large as the shot.
        supersampling: samples per pixel along each axis.
        rate: samples along each axis that share one shading, a divisor of ``supersampling``.

    Returns:
        The photograph; labels are means over the samples of a pixel that lie on the head, and the
        mask says where these are the majority.
    """
    n = supersampling
    height, width = shot.size[0] * n, shot.size[1] * n
    film = shade.Film(
        np.repeat(np.repeat(background, n, axis=0), n, axis=1).astype(np.float32),
        np.zeros((height, width, 3), np.float32),
        np.full((height, width), -1, np.int8),
        np.full((height, width), np.inf, np.float32),
    )
    camera = (-shot.R.T @ shot.t).astype(np.float32)
    pixel_cm = float(np.linalg.norm(camera)) / (shot.focal * n) * rate
    constants = shade.Constants(scene.look, scene.eyes, camera, pixel_cm, rate, VOLUME)
    for layer in scene.layers:
        seen = layer.positions.astype(np.float64) @ shot.R.T + shot.t
        pixels = seen[:, :2] / np.maximum(seen[:, 2:], 1e-6) * shot.focal + shot.center
        cull = bool(layer.materials[0] == shade.SKIN)
        buffers = rasterise(pixels * n, seen[:, 2], layer.faces, (height, width), cull)
        shade.draw_layer(
            buffers.face, buffers.barycentric, buffers.depth, layer, scene.lighting, constants, film
        )
    return _develop(film, n)


def _develop(film: shade.Film, n: int) -> Rendering:
    """Average the samples of each pixel."""
    height, width = film.material.shape[0] // n, film.material.shape[1] // n
    color = np.zeros((height, width, 3), np.float32)
    canonical = np.zeros((height, width, 3), np.float32)
    share = np.zeros((height, width), np.int32)
    _average(film, _ON_HEAD, n, color, canonical, share)
    mask = share * 2 > n * n
    coords = np.where(mask[..., None], cube_from_cm(canonical), np.float32(0))
    material = film.material[n // 2 :: n, n // 2 :: n]
    return Rendering(color, coords, mask, np.ascontiguousarray(material))


@numba.njit(cache=True)
def _average(
    film: shade.Film,
    on_head: BoolArray,
    n: int,
    color: FloatArray,
    canonical: FloatArray,
    share: IntArray,
) -> None:
    for row in range(color.shape[0]):
        for column in range(color.shape[1]):
            for sample in range(n * n):
                r, c = row * n + sample // n, column * n + sample % n
                for k in range(3):
                    color[row, column, k] += film.color[r, c, k]
                if on_head[film.material[r, c] + 1]:
                    share[row, column] += 1
                    for k in range(3):
                        canonical[row, column, k] += film.canonical[r, c, k]
            for k in range(3):
                color[row, column, k] /= n * n
                canonical[row, column, k] /= max(share[row, column], 1)
