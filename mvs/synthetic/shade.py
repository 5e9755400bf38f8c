"""Shading of rasterised surfaces in Numba: procedural materials under harmonics and lamps.

A layer is drawn over what is there already; hair is several translucent layers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from mvs.synthetic.drawing import CLOTH, EYE, HAIR, SKIN, STRAND, Constants, Film, Lighting, Surface
from mvs.synthetic.illuminate import illuminate
from mvs.synthetic.patterns import normalise
from mvs.synthetic.skin import shade_eye, shade_skin
from mvs.synthetic.strands import shade_hair, shade_strand
from mvs.synthetic.stuff import shade_stuff
from mvs.types import FloatArray, IntArray

# Samples of one block share their shading if their depths differ by less (cm).
_SAME_SURFACE = 0.7
# Coverage below this is not drawn.
_CLEAR = 0.02


@numba.njit(cache=True)
def draw_layer(
    face: IntArray,
    barycentric: FloatArray,
    depth: FloatArray,
    surface: Surface,
    light: Lighting,
    constants: Constants,
    film: Film,
) -> None:
    """Shade what a raster buffer sees and draw it onto the film.

    Args:
        face: (H, W) int32 face index, -1 for none.
        barycentric: (H, W, 3) float32.
        depth: (H, W) float32.
        surface: the layer's triangles.
        light: what lights it.
        constants: look, eyes and camera.
        film: drawn on in place.
    """
    height, width = face.shape
    look = constants.look[0]
    rate = constants.rate
    at = np.zeros(
        20, np.float32
    )  # position 0:3, canonical 3:6, normal 6:9, view 9:12, features 12:
    out = np.zeros(8, np.float32)  # albedo 0:3, alpha 3, roughness 4, specular 5, strand 6, wrap 7
    rgb = np.zeros(3, np.float32)
    for block in range((height // rate) * (width // rate)):
        top, left = block // (width // rate) * rate, block % (width // rate) * rate
        shaded, near, lock = -1, np.float32(0.0), -1
        for sample in range(rate * rate):
            row, column = top + sample // rate, left + sample % rate
            f, z = face[row, column], depth[row, column]
            if f < 0 or z >= film.depth[row, column]:
                continue
            kind = surface.materials[f]
            other = f >> 1 != lock if kind == STRAND else abs(z - near) > _SAME_SURFACE
            if kind != shaded or other:
                shaded, near, lock = kind, z, f >> 1
                _interpolate(surface, f, barycentric[row, column], constants.camera, at)
                _material(kind, at, look, constants, out)
                if out[3] > _CLEAR:
                    illuminate(kind, at, light, out, rgb)
            alpha = out[3]
            if alpha <= _CLEAR:
                continue
            for k in range(3):
                film.color[row, column, k] += alpha * (rgb[k] - film.color[row, column, k])
            if alpha >= 0.5:
                weights = barycentric[row, column]
                _label(surface, f, weights, film, row, column)
                if kind >= CLOTH:
                    _face_camera(surface, f, weights, film, (row, column, constants.camera))
                film.material[row, column] = kind
                film.depth[row, column] = z


@numba.njit(cache=True)
def _material(kind: int, at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    if kind == SKIN:
        shade_skin(at, look, constants, out)
    elif kind == HAIR:
        shade_hair(at, look, constants, out)
    elif kind == STRAND:
        shade_strand(at, look, constants, out)
    elif kind == EYE:
        shade_eye(at, look, constants, out)
    else:
        shade_stuff(kind, at, look, constants, out)


@numba.njit(inline="always")
def _label(
    surface: Surface, f: int, weights: FloatArray, film: Film, row: int, column: int
) -> None:
    """Write canonical position, smooth normal (not of unit length) and region of a sample."""
    a, b, c = surface.faces[f, 0], surface.faces[f, 1], surface.faces[f, 2]
    u, v, w = weights[0], weights[1], weights[2]
    for k in range(3):
        film.canonical[row, column, k] = (
            u * surface.canonical[a, k] + v * surface.canonical[b, k] + w * surface.canonical[c, k]
        )
        film.normals[row, column, k] = (
            u * surface.normals[a, k] + v * surface.normals[b, k] + w * surface.normals[c, k]
        )
    film.regions[row, column] = _majority(
        surface.regions[a], surface.regions[b], surface.regions[c], weights
    )


@numba.njit(inline="always")
def _face_camera(
    surface: Surface, f: int, weights: FloatArray, film: Film, place: tuple[int, int, FloatArray]
) -> None:
    """Turn the normal just written where it looks away from the camera."""
    row, column, camera = place
    towards = np.float32(0.0)
    for k in range(3):
        at = np.float32(0.0)
        for corner in range(3):
            at += weights[corner] * surface.positions[surface.faces[f, corner], k]
        towards += film.normals[row, column, k] * (camera[k] - at)
    if towards < 0:
        for k in range(3):
            film.normals[row, column, k] = -film.normals[row, column, k]


@numba.njit(inline="always")
def _majority(a: int, b: int, c: int, weights: FloatArray) -> int:
    """The region that has most of the weight of a face's corners."""
    u, v, w = weights[0], weights[1], weights[2]
    if a == b:
        u += v
    elif b == c:
        v += w
    elif c == a:
        w += u
    if u >= v and u >= w:
        return a
    return b if v >= w else c


@numba.njit(cache=True)
def _interpolate(
    surface: Surface, f: int, weights: FloatArray, camera: FloatArray, at: FloatArray
) -> None:
    a, b, c = surface.faces[f, 0], surface.faces[f, 1], surface.faces[f, 2]
    u, v, w = weights[0], weights[1], weights[2]
    for k in range(3):
        at[k] = (
            u * surface.positions[a, k] + v * surface.positions[b, k] + w * surface.positions[c, k]
        )
        at[3 + k] = (
            u * surface.canonical[a, k] + v * surface.canonical[b, k] + w * surface.canonical[c, k]
        )
        at[6 + k] = (
            u * surface.normals[a, k] + v * surface.normals[b, k] + w * surface.normals[c, k]
        )
        at[9 + k] = camera[k] - at[k]
    for k in range(8):
        at[12 + k] = (
            u * surface.features[a, k] + v * surface.features[b, k] + w * surface.features[c, k]
        )
    normalise(at, 9)
    normalise(at, 6)
    if at[6] * at[9] + at[7] * at[10] + at[8] * at[11] < 0 and surface.materials[f] >= CLOTH:
        for k in range(6, 9):
            at[k] = -at[k]
