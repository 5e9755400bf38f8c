"""Faces of a bent mesh that are turned over, or run through others."""

from __future__ import annotations

import numpy as np

from mvs.canonical.bend import Bender
from mvs.canonical.surface import unique_pairs
from mvs.types import BoolArray, DoubleArray, IntArray

# A face is turned over when its normal is farther than 90 degrees from where its surroundings
# turned that of the rest.
_OVER = 0.0
# Faces thinner than this share of their length have no direction to speak of.
_SLIVER = 0.02
_PAIRS_AT_ONCE = 200_000


def find_folds(bender: Bender, shape: DoubleArray) -> BoolArray:
    """Faces (F,) whose normal is turned over against their surroundings' turn, slivers aside.

    Args:
        bender: with the rest shape.
        shape: (V, 3).
    """
    faces = bender.faces
    rotation = bender.turns(shape).rotation[faces].mean(axis=1)
    expected = np.einsum("fab,fb->fa", rotation, _normals(bender.rest, faces))
    over = (expected * _normals(shape, faces)).sum(axis=1) <= _OVER
    return np.asarray(over & ~_slivers(bender.rest, faces))


def find_crossings(shape: DoubleArray, faces: IntArray) -> BoolArray:
    """Faces (F,) that an edge of another face, without a common vertex, runs through."""
    from scipy.spatial import cKDTree

    corners = shape[faces]
    middle = corners.mean(axis=1)
    radius = np.linalg.norm(corners - middle[:, None], axis=2).max(axis=1)
    # Few faces are large: those look around farther.
    small = float(np.quantile(radius, 0.95))
    tree = cKDTree(middle)
    large = np.flatnonzero(radius > small)
    pairs = [tree.query_pairs(2 * small, output_type="ndarray")]
    reach = radius[large] + float(radius.max())
    around = tree.query_ball_point(middle[large], reach)
    counts = [len(found) for found in around]
    if sum(counts):
        pairs.append(np.column_stack([np.repeat(large, counts), np.concatenate(around)]))
    first, second = unique_pairs(np.sort(np.concatenate(pairs), axis=1))[0].T
    near = np.linalg.norm(middle[first] - middle[second], axis=1) < radius[first] + radius[second]
    apart = ~(faces[first][:, :, None] == faces[second][:, None]).any(axis=(1, 2))
    first, second = first[near & apart], second[near & apart]
    crossing = np.zeros(len(faces), np.bool_)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        a, b = first[start : start + _PAIRS_AT_ONCE], second[start : start + _PAIRS_AT_ONCE]
        cross = _pierces(corners[a], corners[b]) | _pierces(corners[b], corners[a])
        crossing[a[cross]] = crossing[b[cross]] = True
    return crossing


def _pierces(edges: DoubleArray, faces: DoubleArray) -> BoolArray:
    """Whether an edge of the one triangle (N, 3, 3) runs through the other.

    Source: Moller and Trumbore, "Fast, minimum storage ray/triangle intersection" (1997).
    """
    hit = np.zeros(len(faces), np.bool_)
    first, second = faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]
    for k in range(3):
        start, along = edges[:, k], edges[:, (k + 1) % 3] - edges[:, k]
        p = np.cross(along, second)
        inverse = (first * p).sum(axis=1)
        inverse = 1 / np.where(np.abs(inverse) > 1e-300, inverse, np.inf)
        offset = start - faces[:, 0]
        u = (offset * p).sum(axis=1) * inverse
        q = np.cross(offset, first)
        v = (along * q).sum(axis=1) * inverse
        t = (second * q).sum(axis=1) * inverse
        inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1) & (inverse != 0)
        hit |= inside
    return hit


def _slivers(shape: DoubleArray, faces: IntArray) -> BoolArray:
    a, b, c = (shape[faces[:, k]] for k in range(3))
    double = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    longest = np.max([((b - a) ** 2).sum(1), ((c - b) ** 2).sum(1), ((a - c) ** 2).sum(1)], axis=0)
    return np.asarray(double < _SLIVER * longest)


def _normals(shape: DoubleArray, faces: IntArray) -> DoubleArray:
    a, b, c = (shape[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    return np.asarray(across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300))
