"""What colour pictures give to places on a surface, one band of frequencies at a time."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.threads import prange
from mvs.types import ByteArray, DoubleArray, FloatArray, IntArray

LongArray = npt.NDArray[np.int64]


class Stack(NamedTuple):
    """The parts of the pictures that show a surface, one after the other.

    Attributes:
        projections: (V, 3, 4) float64, pixels of the parts from world.
        centers: (V, 3) float64 of the cameras.
        focal: (V,) float64 pixels.
        sizes: (V, 2) int64 height and width.
        starts: (V,) int64 first row of each part in the following.
        pixels: (N, 3) uint8 colours.
        depth: (N,) float32 camera z of the surface.
        trust: (N,) uint8, 0 where the picture shows no surface, 255 well inside of it.
        smooth: (M, 3) float32 colours of the surface, smoothed more from level to level.
        smooth_sizes: (L, V, 2) int64 height and width.
        smooth_starts: (L, V) int64 first row in ``smooth``.
        smooth_steps: (L, V) int64 pixels per pixel of a level.
        gains: (V, 3) float64 factors of the colours.
    """

    projections: DoubleArray
    centers: DoubleArray
    focal: DoubleArray
    sizes: LongArray
    starts: LongArray
    pixels: ByteArray
    depth: FloatArray
    trust: ByteArray
    smooth: FloatArray
    smooth_sizes: LongArray
    smooth_starts: LongArray
    smooth_steps: LongArray
    gains: DoubleArray


class Surface(NamedTuple):
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64.
        normals: (V, 3) float64 unit vectors, outwards.
        faces: (F, 3) int32.
    """

    vertices: DoubleArray
    normals: DoubleArray
    faces: IntArray


class Choice(NamedTuple):
    """How views share in a colour.

    Attributes:
        powers: (L + 1,) float64 of the views' scores, from the finest band to the smoothest.
        min_cosine: between normal and ray; flatter views of a place do not count.
        slack: how far behind the depth buffer a place may be, world units.
    """

    powers: DoubleArray
    min_cosine: float
    slack: float


def blend(
    face: IntArray, barycentric: FloatArray, surface: Surface, stack: Stack, choice: Choice
) -> tuple[FloatArray, FloatArray]:
    """Colours of places on a surface.

    A view's score is its pixels per area there, times its trust; each band of the pictures'
    frequencies is the mean over the views by the score's power, so that detail comes from the best
    view and brightness changes slowly from view to view.

    Args:
        face: (M,) int32 the places' faces.
        barycentric: (M, 3) float32 weights of the faces' vertices.
        surface: with the faces.
        stack: the pictures.
        choice: how views share.

    Returns:
        (M, 3) float32 colours, 0 where no view sees a place, and (M,) float32 how well the best
        view sees it, 0 to 1.

    Source:
        Burt and Adelson (1983), bands; Baumberg (2002), bands blended over a mesh.
    """
    colors = np.zeros((len(face), 3), np.float32)
    seen = np.zeros(len(face), np.float32)
    _blend(face, barycentric, surface, stack, choice, colors, seen)
    return colors, seen


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _blend(face, barycentric, surface, stack, choice, colors, seen):  # type: ignore[no-untyped-def]
    n_chunks = max(1, min(len(face) // 256, 4096))
    for chunk in prange(n_chunks):
        scores = np.empty(len(stack.focal))
        place = np.empty((len(stack.focal), 2))
        first, last = chunk * len(face) // n_chunks, (chunk + 1) * len(face) // n_chunks
        for i in range(first, last):
            best, how_well = _score(face[i], barycentric[i], surface, stack, choice, scores, place)
            if best > 0:
                seen[i] = how_well
                _mix(stack, choice.powers, scores, best, place, colors[i])


@numba.njit(cache=True, error_model="numpy")
def _score(face, weights, surface, stack, choice, scores, place):  # type: ignore[no-untyped-def]
    """The views' scores and pixels of a place; the best score, and how well that view sees it."""
    a, b, c = surface.faces[face]
    at, up = np.empty(3), np.empty(3)
    for k in range(3):
        at[k] = (
            weights[0] * surface.vertices[a, k]
            + weights[1] * surface.vertices[b, k]
            + weights[2] * surface.vertices[c, k]
        )
        up[k] = (
            weights[0] * surface.normals[a, k]
            + weights[1] * surface.normals[b, k]
            + weights[2] * surface.normals[c, k]
        )
    length = np.sqrt(up[0] ** 2 + up[1] ** 2 + up[2] ** 2)
    best, how_well = 0.0, 0.0
    for v in range(len(scores)):
        scores[v] = 0.0
        rx = stack.centers[v, 0] - at[0]
        ry = stack.centers[v, 1] - at[1]
        rz = stack.centers[v, 2] - at[2]
        distance = np.sqrt(rx * rx + ry * ry + rz * rz)
        cosine = (up[0] * rx + up[1] * ry + up[2] * rz) / (length * distance)
        if not cosine > choice.min_cosine:
            continue
        P = stack.projections[v]
        z = P[2, 0] * at[0] + P[2, 1] * at[1] + P[2, 2] * at[2] + P[2, 3]
        if not z > 0:
            continue
        x = (P[0, 0] * at[0] + P[0, 1] * at[1] + P[0, 2] * at[2] + P[0, 3]) / z
        y = (P[1, 0] * at[0] + P[1, 1] * at[1] + P[1, 2] * at[2] + P[1, 3]) / z
        height, width = stack.sizes[v]
        if not (x >= 0 and y >= 0 and x < width and y < height):
            continue
        row = stack.starts[v] + int(y) * width + int(x)
        # Half a pixel to the side, the surface is farther away by that much.
        tangent = np.sqrt(max(1.0 - cosine * cosine, 0.0)) / cosine
        if z > stack.depth[row] + choice.slack + (0.5 + tangent) * z / stack.focal[v]:
            continue
        trust = _trust(stack, v, x, y)
        well = trust * (cosine - choice.min_cosine) / (1 - choice.min_cosine)
        scores[v] = well * (stack.focal[v] / z) ** 2
        place[v, 0], place[v, 1] = x, y
        if scores[v] > best:
            best = scores[v]
        how_well = max(how_well, well)
    return best, how_well


@numba.njit(cache=True, error_model="numpy")
def _trust(stack, v, x, y):  # type: ignore[no-untyped-def]
    height, width = stack.sizes[v]
    px, py = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    column, line = min(int(px), max(width - 2, 0)), min(int(py), max(height - 2, 0))
    fx, fy = px - column, py - line
    right, below = min(column + 1, width - 1), min(line + 1, height - 1)
    start = stack.starts[v]
    top = stack.trust[start + line * width + column] * (1 - fx)
    top += stack.trust[start + line * width + right] * fx
    bottom = stack.trust[start + below * width + column] * (1 - fx)
    bottom += stack.trust[start + below * width + right] * fx
    return (top * (1 - fy) + bottom * fy) / 255.0


@numba.njit(cache=True, error_model="numpy")
def _mix(stack, powers, scores, best, place, out):  # type: ignore[no-untyped-def]
    """The bands' means over the views, added."""
    n_levels = len(stack.smooth_steps)
    total = np.zeros((n_levels + 1, 4))
    fine, coarse = np.empty(3), np.empty(3)
    for v in range(len(scores)):
        if not scores[v] > 0:
            continue
        share = scores[v] / best
        for level in range(n_levels + 1):
            weight = share ** powers[level]
            # So small a share is nothing that eight bits could tell.
            if weight < 5e-3:
                continue
            if level == 0:
                _cubic(stack, v, place[v, 0], place[v, 1], fine)
            else:
                _linear(stack, level - 1, v, place[v, 0], place[v, 1], fine)
            if level < n_levels:
                _linear(stack, level, v, place[v, 0], place[v, 1], coarse)
            else:
                coarse[:] = 0.0
            for k in range(3):
                total[level, k] += weight * stack.gains[v, k] * (fine[k] - coarse[k])
            total[level, 3] += weight
    for k in range(3):
        value = 0.0
        for level in range(n_levels + 1):
            value += total[level, k] / total[level, 3]
        out[k] = min(max(value, 0.0), 255.0)


@numba.njit(cache=True, error_model="numpy")
def _cubic(stack, v, x, y, out):  # type: ignore[no-untyped-def]
    """A picture's colour by Catmull-Rom interpolation (Keys 1981), which keeps it sharp."""
    height, width = stack.sizes[v]
    start = stack.starts[v]
    px, py = x - 0.5, y - 0.5
    column, line = int(np.floor(px)), int(np.floor(py))
    fx, fy = px - column, py - line
    out[:] = 0.0
    for j in range(-1, 3):
        row = start + min(max(line + j, 0), height - 1) * width
        wy = _catmull_rom(abs(j - fy))
        for i in range(-1, 3):
            weight = wy * _catmull_rom(abs(i - fx))
            at = row + min(max(column + i, 0), width - 1)
            for k in range(3):
                out[k] += weight * stack.pixels[at, k]


@numba.njit(cache=True, error_model="numpy")
def _catmull_rom(t):  # type: ignore[no-untyped-def]
    if t < 1.0:
        return (1.5 * t - 2.5) * t * t + 1.0
    if t < 2.0:
        return ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return 0.0


@numba.njit(cache=True, error_model="numpy")
def _linear(stack, level, v, x, y, out):  # type: ignore[no-untyped-def]
    """A smoothed picture's colour."""
    height, width = stack.smooth_sizes[level, v]
    step, start = stack.smooth_steps[level, v], stack.smooth_starts[level, v]
    px = min(max(x / step - 0.5, 0.0), width - 1.0)
    py = min(max(y / step - 0.5, 0.0), height - 1.0)
    column, line = min(int(px), max(width - 2, 0)), min(int(py), max(height - 2, 0))
    right, below = min(column + 1, width - 1), min(line + 1, height - 1)
    fx, fy = px - column, py - line
    for k in range(3):
        top = stack.smooth[start + line * width + column, k] * (1 - fx)
        top += stack.smooth[start + line * width + right, k] * fx
        bottom = stack.smooth[start + below * width + column, k] * (1 - fx)
        bottom += stack.smooth[start + below * width + right, k] * fx
        out[k] = top * (1 - fy) + bottom * fy
