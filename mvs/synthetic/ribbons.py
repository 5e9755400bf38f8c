"""Locks as ribbons that face a camera."""

from __future__ import annotations

from functools import cache

import numpy as np

from mvs.synthetic.drawing import (
    COVER,
    LEVEL,
    N_FEATURES,
    OCCLUSION,
    SIDE,
    STRAND,
    TANGENT,
    TINT,
    Surface,
)
from mvs.synthetic.locks import Locks
from mvs.synthetic.regions import region_index
from mvs.types import DoubleArray, FloatArray, IntArray


def spread(
    locks: Locks, pixels: DoubleArray, depths: DoubleArray, focal: float
) -> tuple[DoubleArray, DoubleArray, Surface]:
    """Widen projected curves into ribbons.

    Args:
        locks: S curves of K points.
        pixels: (S * K, 2) where their points project.
        depths: (S * K,) cm.
        focal: pixels.

    Returns:
        Pixels (2 * S * K, 2), depths (2 * S * K,) and the surface of the ribbons; a ribbon is at
        least a pixel wide and more transparent instead.
    """
    n, k = locks.width.shape
    line = pixels.reshape(n, k, 2)
    along = np.gradient(line, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-9)
    aside = np.stack([-along[..., 1], along[..., 0]], axis=2)
    wide = locks.width * focal / np.maximum(depths.reshape(n, k), 1.0)
    half = 0.5 * np.maximum(wide, 1.0)[..., None]
    both = np.stack([line - half * aside, line + half * aside], axis=2)
    alpha = np.clip(wide, 0.25, 1.0)
    return both.reshape(-1, 2), np.repeat(depths, 2), _surface(locks, alpha)


def _surface(locks: Locks, alpha: DoubleArray) -> Surface:
    n, k = locks.width.shape
    features = np.zeros((n, k, 2, N_FEATURES), np.float32)
    tangent = np.gradient(locks.points, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-9)
    features[..., COVER] = alpha[..., None]
    features[..., LEVEL] = np.linspace(0, 1, k)[None, :, None]
    features[..., TANGENT : TANGENT + 3] = tangent[:, :, None]
    features[..., TINT] = locks.tint[:, None, None]
    features[..., OCCLUSION] = (0.25 + 0.75 * locks.depth)[..., None]
    features[..., SIDE] = (-1.0, 1.0)
    faces = _faces(n, k)
    return Surface(
        _twice(locks.points),
        _twice(locks.canonical),
        _twice(locks.normals),
        features.reshape(-1, N_FEATURES),
        faces,
        np.full(len(faces), STRAND, np.uint8),
        np.full(2 * n * k, region_index("hair"), np.uint8),
    )


def _twice(values: FloatArray) -> FloatArray:
    return np.repeat(values.reshape(-1, 3), 2, axis=0)


@cache
def _faces(n: int, k: int) -> IntArray:
    i, j = (index.ravel() for index in np.indices((n, k - 1)))
    a = 2 * (i * k + j)
    # The two halves of a quad follow each other: the shading kernel treats them as one.
    quads = [np.stack([a, a + 1, a + 2], 1), np.stack([a + 1, a + 3, a + 2], 1)]
    return np.stack(quads, axis=1).reshape(-1, 3).astype(np.int32)
