"""The shape regressor's basis: how faces differ from the mean one, and move, at places of the cube.

Displacements are weighed by area, along the surface half as much as across it, eyes and lips more,
and rid of the head's motion as a whole. Of what is left the principal components are taken, of
people at rest and of expressions apart, and of what is alike and what differs left and right apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from mvs.canonical.cube import CUBE_OFFSET, CUBE_SCALE_PER_CM, cube_from_cm
from mvs.canonical.face_regions import FACE, FACE_REGIONS, face_region_of
from mvs.canonical.scan import mesh_normals
from mvs.canonical.surface import Surface, blend, sample_faces
from mvs.canonical.template import load_template
from mvs.synthetic.head import EYEBALL_RANGES, Head
from mvs.synthetic.portraits import random_activations
from mvs.types import DoubleArray, FloatArray, IntArray

_N_SAMPLES = 60_000
_N_EXPRESSIONS = 6000
# Displacement along the surface counts so much, as a length.
_ALONG = 0.5
# How much closer anchors lie, and how much more they count, by region.
_CLOSER = {"eyes": 2.0, "mouth": 2.0, "nose": 1.4, "brows": 1.4}
_COUNTS = {"eyes": 3.0, "mouth": 2.0}
# Area that the iris counts for, cm^2.
_IRIS = 3.0


@dataclass(frozen=True, eq=False)
class ShapeBasis:
    """See the buffers of ``RegressorNetwork``; arrays in float64."""

    anchors: DoubleArray
    analysis: DoubleArray
    offset: DoubleArray
    energy: DoubleArray
    mirror: DoubleArray


@dataclass(frozen=True, eq=False)
class _Anchors:
    """M places of the mean face in mirrored pairs: place m + M / 2 is that of m in the mirror."""

    points: DoubleArray
    normals: DoubleArray
    area: DoubleArray

    def mirrored(self, moved: DoubleArray) -> DoubleArray:
        """Displacements (N, M, 3) as a mirror shows them."""
        return np.roll(moved, moved.shape[1] // 2, axis=1) * [-1.0, 1.0, 1.0]


def make_basis(head: Head, n_anchors: int, n_identity: int, n_expression: int) -> ShapeBasis:
    """The principal components of a head model's faces.

    Args:
        head: the model.
        n_anchors: places, an even number.
        n_identity: components of people at rest.
        n_expression: components of expressions, drawn as those of portraits are.

    Raises:
        ValueError: if the number of places is odd or below 4, or the model has fewer components.
    """
    if n_anchors < 4 or n_anchors % 2:
        raise ValueError(f"n_anchors must be even and at least 4, got {n_anchors}")
    most = {"n_identity": len(head.identity_modes), "n_expression": len(head.expression_modes)}
    for (name, bound), n in zip(most.items(), (n_identity, n_expression), strict=True):
        if n > bound:
            raise ValueError(f"{name} must be at most {bound}, as the model has, got {n}")
    anchors = _anchors(head, n_anchors)
    cube = anchors.points * CUBE_SCALE_PER_CM + CUBE_OFFSET
    rng = np.random.default_rng(0)
    draws = np.stack([random_activations(head, rng) for _ in range(_N_EXPRESSIONS)])
    expressions = np.tensordot(
        draws.astype(np.float64), at_anchors(head, head.expression_modes, cube), 1
    )
    mean = expressions.mean(axis=0)
    mean = 0.5 * (mean + anchors.mirrored(mean[None])[0])
    spread = (expressions - mean) / np.sqrt(len(draws))
    weigh = _weights(anchors)
    parts = [
        _components(anchors, weigh, at_anchors(head, head.identity_modes, cube), n_identity),
        _components(anchors, weigh, spread, n_expression),
    ]
    analysis, energy, mirror = (np.concatenate(found) for found in zip(*parts, strict=True))
    offset = np.einsum("kmc,mc->k", analysis, mean)
    offset[:n_identity] = 0.0
    return ShapeBasis(cube, analysis, offset, energy, mirror)


def at_anchors(head: Head, modes: FloatArray, cube: DoubleArray) -> DoubleArray:
    """How modes (N, V * 3) of a head move places (M, 3) of the cube: (N, M, 3) cm."""
    surface = Surface(cube_from_cm(head.template).astype(np.float64), head.faces)
    face, shares, _ = surface.closest(cube, 12)
    found = modes.reshape(len(modes), -1, 3)[:, head.faces[face]].astype(np.float64)
    return np.asarray(np.einsum("kmvc,mv->kmc", found, shares))


def _anchors(head: Head, n: int) -> _Anchors:
    """Places spread over the face, denser around eyes and mouth, and the two irises."""
    template = load_template()
    vertices = (template.coords.astype(np.float64) - CUBE_OFFSET) / CUBE_SCALE_PER_CM
    picked, shares = sample_faces(vertices, template.faces, _N_SAMPLES, 0)
    points = blend(vertices, template.faces, picked.astype(np.int32), shares)
    normals = blend(
        mesh_normals(vertices, template.faces), template.faces, picked.astype(np.int32), shares
    )
    corners = vertices[template.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(across, axis=1).sum() / _N_SAMPLES
    region = face_region_of(points * CUBE_SCALE_PER_CM + CUBE_OFFSET)
    kept = np.isin(region, [FACE_REGIONS.index(name) for name in FACE]) & (points[:, 0] > 0)
    points, normals, region = points[kept], normals[kept], region[kept]
    closer, counts = (
        np.array([table.get(name, 1.0) for name in FACE_REGIONS])[region]
        for table in (_CLOSER, _COUNTS)
    )
    chosen = _spread(points, closer, n // 2 - 1)
    owner = cKDTree(points[chosen]).query(points)[1]
    weight = area * np.bincount(owner, counts, len(chosen))
    iris = _iris(head)
    half = np.concatenate([points[chosen], iris[None]])
    across = np.concatenate([normals[chosen], [[0.0, 0.0, 1.0]]])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    weight = np.append(weight, _IRIS)
    flip = np.array([-1.0, 1.0, 1.0])
    weight = np.concatenate([weight, weight])
    return _Anchors(
        np.concatenate([half, half * flip]),
        np.concatenate([across, across * flip]),
        weight / weight.sum(),
    )


def _iris(head: Head) -> DoubleArray:
    """The foremost place of the left eyeball, cm."""
    ball = max(
        (head.template[slice(*head.ranges[k])] for k in EYEBALL_RANGES), key=lambda b: b[0, 0]
    )
    return np.asarray(ball[ball[:, 2].argmax()], np.float64)


def _spread(points: DoubleArray, closer: DoubleArray, n: int) -> IntArray:
    """Rows of points far from each other, in distances multiplied by ``closer``."""
    chosen = [int(points[:, 1].argmin())]
    away = np.full(len(points), np.inf)
    while len(chosen) < n:
        distance = np.linalg.norm(points - points[chosen[-1]], axis=1)
        away = np.minimum(away, distance * closer)
        chosen.append(int(away.argmax()))
    return np.array(chosen, np.int32)


def _weights(anchors: _Anchors) -> DoubleArray:
    """(3 M, 3 M): weighs displacements and takes out what moves the whole head."""
    n = len(anchors.points)
    across = anchors.normals[:, :, None] * anchors.normals[:, None]
    blocks = np.sqrt(anchors.area)[:, None, None] * (across + _ALONG * (np.eye(3) - across))
    rows = np.arange(n)
    spread = np.zeros((n, 3, n, 3))
    spread[rows, :, rows] = blocks
    weights: DoubleArray = spread.reshape(3 * n, 3 * n)
    rigid = np.zeros((n, 3, 6))
    rigid[:, :, :3] = np.eye(3)
    for axis in range(3):
        rigid[:, :, 3 + axis] = np.cross(np.eye(3)[axis], anchors.points)
    basis = np.linalg.qr(weights @ rigid.reshape(3 * n, 6))[0]
    return np.asarray(weights - basis @ (basis.T @ weights))


def _components(
    anchors: _Anchors, weigh: DoubleArray, moved: DoubleArray, n: int
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Analysis (n, M, 3), energy (n,) and mirror (n,) of displacements (N, M, 3).

    What is analysed is the mean of the sums of squares of the displacements and of their mirror
    images.
    """
    other = anchors.mirrored(moved)
    parts = []
    for sign in (1.0, -1.0):
        half = 0.5 * (moved + sign * other)
        seen = half.reshape(len(half), -1) @ weigh.T
        spread, axes = np.linalg.svd(seen, full_matrices=False)[1:]
        parts.append((axes, spread, np.full(len(spread), sign)))
    axes, spread, mirror = (np.concatenate(found) for found in zip(*parts, strict=True))
    first = np.argsort(-spread, kind="stable")[:n]
    analysis = (axes[first] @ weigh) / spread[first, None]
    return analysis.reshape(n, -1, 3), spread[first] ** 2, mirror[first]
