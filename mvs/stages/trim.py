"""Which parts of a closed surface were seen: near the cloud, or inside the masks of views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.stages.shots import Shots
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

# Depth buffers for this need not be sharp: pixels across the head.
_ACROSS = 200
# A vertex is hidden if the surface lies before it by this part of the head's radius.
_HIDDEN_BY = 0.03
# The masks' outlines may be off by this many pixels of such a buffer.
_OFF = 1


@dataclass(frozen=True)
class Sightings:
    """How the views see vertices; (N,) int32 each.

    Attributes:
        seen: views that see it inside their mask.
        outside: views in whose picture, but not in whose mask it falls.
    """

    seen: IntArray
    outside: IntArray


def sight(
    points: DoubleArray, faces: IntArray, chosen: IntArray, normals: FloatArray, shots: Shots
) -> Sightings:
    """Count the views that see vertices of a surface, or say that nothing is there.

    Args:
        points: (V, 3) float64 vertices, world.
        faces: (F, 3) int32.
        chosen: (N,) rows of ``points`` that are asked for.
        normals: (N, 3) float32 of those, outwards.
        shots: the views.
    """
    seen, outside = np.zeros(len(chosen), np.int32), np.zeros(len(chosen), np.int32)
    asked = points[chosen]
    for view, camera in enumerate(shots.cameras):
        scale = min(_ACROSS * shots.footprint(view) / (2 * shots.radius), 1.0)
        buffer = shots.depth(view, scale, points, faces)
        mask = shots.mask(view, scale)
        pixels, depth = camera.project(asked)
        pixels = np.nan_to_num(pixels * scale, nan=-1.0)
        inside = (depth > 0) & (pixels >= 0).all(axis=1) & (pixels < mask.shape[::-1]).all(axis=1)
        column, row = np.where(inside[:, None], pixels, 0).astype(np.int64).T
        on_head = inside & mask[row, column]
        faced = (normals * (camera.center - asked)).sum(axis=1) > 0
        seen += on_head & faced & (depth <= buffer[row, column] + _HIDDEN_BY * shots.radius)
        outside += inside & ~_widened(mask)[row, column]
    return Sightings(seen, outside)


def _widened(mask: BoolArray) -> BoolArray:
    import cv2

    kernel = np.ones((2 * _OFF + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)
