"""Photographs of a scene: colour, cube coordinates and material of every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from mvs.canonical.cube import cube_from_cm
from mvs.canonical.regions import REGIONS
from mvs.kernels.raster import rasterise
from mvs.synthetic import drawing
from mvs.synthetic.noise import VOLUME
from mvs.synthetic.patterns import normalise
from mvs.synthetic.ribbons import spread
from mvs.synthetic.scene import Scene
from mvs.synthetic.shade import draw_layer
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray

HEAD_MATERIALS = (
    drawing.SKIN,
    drawing.EYE,
    drawing.MOUTH,
    drawing.TEETH,
    drawing.HAT,
    drawing.FRAME,
    drawing.LENS,
    drawing.HAIR,
    drawing.STRAND,
)
# By material + 1.
_ON_HEAD = np.isin(np.arange(-1, drawing.STRAND + 1), HEAD_MATERIALS)
_N_REGIONS = len(REGIONS)


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
        normals: (H, W, 3) float32 unit vectors of the smooth surface, head frame, 0 off the head.
        region: (H, W) uint8 index into ``REGIONS``, of every pixel.
        mask: (H, W) bool, head, hair, hat and glasses.
        material: (H, W) int8 of ``shade``'s materials, -1 background.
    """

    color: FloatArray
    coords: FloatArray
    normals: FloatArray
    region: ByteArray
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
        The photograph; coordinates and normals are means over the samples of a pixel that lie on
        the head, the mask says where these are the majority, and the region is the most frequent.
    """
    n = supersampling
    height, width = shot.size[0] * n, shot.size[1] * n
    film = drawing.Film(
        np.repeat(np.repeat(background, n, axis=0), n, axis=1).astype(np.float32),
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.uint8),
        np.full((height, width), -1, np.int8),
        np.full((height, width), np.inf, np.float32),
    )
    camera = (-shot.R.T @ shot.t).astype(np.float32)
    pixel_cm = float(np.linalg.norm(camera)) / (shot.focal * n) * rate
    constants = drawing.Constants(scene.look, scene.eyes, camera, pixel_cm, rate, VOLUME)
    for layer, pixels, depths in _project(scene, shot, n):
        cull = bool(layer.materials[0] == drawing.SKIN)
        buffers = rasterise(pixels, depths, layer.faces, (height, width), cull)
        draw_layer(
            buffers.face, buffers.barycentric, buffers.depth, layer, scene.lighting, constants, film
        )
    return _develop(film, n)


def _project(
    scene: Scene, shot: Shot, n: int
) -> Iterator[tuple[drawing.Surface, DoubleArray, DoubleArray]]:
    """Surfaces in the order they are drawn, with pixels and depths of their vertices."""

    def see(positions: FloatArray) -> tuple[DoubleArray, DoubleArray]:
        seen = positions.reshape(-1, 3).astype(np.float64) @ shot.R.T + shot.t
        pixels = seen[:, :2] / np.maximum(seen[:, 2:], 1e-6) * shot.focal + shot.center
        return n * pixels, seen[:, 2]

    for layer in scene.layers:
        yield layer, *see(layer.positions)
    if scene.locks is not None:
        pixels, depths, ribbons = spread(scene.locks, *see(scene.locks.points), shot.focal * n)
        yield ribbons, pixels, depths
    if scene.panes is not None:
        yield scene.panes, *see(scene.panes.positions)


def _develop(film: drawing.Film, n: int) -> Rendering:
    """Average the samples of each pixel."""
    height, width = film.material.shape[0] // n, film.material.shape[1] // n
    color, canonical, normals = np.zeros((3, height, width, 3), np.float32)
    share = np.zeros((height, width), np.int32)
    region = np.zeros((height, width), np.uint8)
    _average(film, _ON_HEAD, n, (color, canonical, normals), share, region)
    mask = share * 2 > n * n
    coords = np.where(mask[..., None], cube_from_cm(canonical), np.float32(0))
    normals = np.where(mask[..., None], normals, np.float32(0))
    material = film.material[n // 2 :: n, n // 2 :: n]
    return Rendering(color, coords, normals, region, mask, np.ascontiguousarray(material))


@numba.njit(cache=True)
def _average(
    film: drawing.Film,
    on_head: BoolArray,
    n: int,
    means: tuple[FloatArray, FloatArray, FloatArray],
    share: IntArray,
    region: ByteArray,
) -> None:
    color, canonical, normals = means
    votes = np.zeros(_N_REGIONS, np.int32)
    for row in range(color.shape[0]):
        for column in range(color.shape[1]):
            votes[:] = 0
            for sample in range(n * n):
                r, c = row * n + sample // n, column * n + sample % n
                votes[film.regions[r, c]] += 1
                for k in range(3):
                    color[row, column, k] += film.color[r, c, k]
                if on_head[film.material[r, c] + 1]:
                    share[row, column] += 1
                    for k in range(3):
                        canonical[row, column, k] += film.canonical[r, c, k]
                        normals[row, column, k] += film.normals[r, c, k]
            region[row, column] = votes.argmax()
            normalise(normals[row, column], 0)
            for k in range(3):
                color[row, column, k] /= n * n
                canonical[row, column, k] /= max(share[row, column], 1)
