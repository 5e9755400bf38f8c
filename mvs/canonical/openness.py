"""How far the parts of a mesh can be seen from outside at all."""

from __future__ import annotations

import numpy as np

from mvs.canonical.scan import mesh_normals
from mvs.kernels.raster import rasterise
from mvs.types import DoubleArray, IntArray

_N_DIRECTIONS = 48
_SIZE = 384
# A vertex this share of the mesh's size behind what is seen is hidden.
_HIDDEN = 0.004
# Directions more slanted than this do not count.
_MIN_COSINE = 0.2


def openness(vertices: DoubleArray, faces: IntArray) -> DoubleArray:
    """The share of directions that vertices face from which they are seen.

    Args:
        vertices: (V, 3).
        faces: (F, 3) int32, counter-clockwise seen from outside.

    Returns:
        (V,) in [0, 1]; 0 for what lies inside, as a mouth's inside or the eyelids' backs.
    """
    normals = mesh_normals(vertices, faces)
    middle, half = _extent(vertices[np.unique(faces)])
    centred = (vertices - middle) / half
    seen, faced = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in _directions(_N_DIRECTIONS):
        cosine = np.maximum(normals @ direction - _MIN_COSINE, 0.0)
        right, down = _across(direction)
        pixels = 0.5 * _SIZE * (1 + np.column_stack([centred @ right, centred @ down]))
        depth = 3.0 - centred @ direction
        buffers = rasterise(pixels, depth, faces, (_SIZE, _SIZE), orthographic=True)
        x, y = np.clip(pixels.astype(np.int64), 0, _SIZE - 1).T
        seen += cosine * (depth <= buffers.depth[y, x] + 2 * _HIDDEN)
        faced += cosine
    return np.asarray(seen / np.maximum(faced, 1e-9))


def _extent(points: DoubleArray) -> tuple[DoubleArray, float]:
    """Middle of points and the radius around it, with a margin."""
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    return middle, 1.01 * float(np.linalg.norm(points - middle, axis=1).max())


def _directions(n: int) -> DoubleArray:
    """(n, 3) unit vectors spread evenly over the sphere, along a spiral."""
    height = 1 - (2 * np.arange(n) + 1) / n
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    flat = np.sqrt(1 - height**2)
    return np.column_stack([flat * np.cos(turn), flat * np.sin(turn), height])


def _across(direction: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Two unit vectors across a direction: right and down of who looks against it."""
    other = np.eye(3)[int(np.abs(direction).argmin())]
    right = np.cross(other, direction)
    right /= np.linalg.norm(right)
    return right, np.cross(right, direction)
