"""Bending a mesh smoothly: differential coordinates that turn with the surface.

What is minimised over the vertices x is

    sum A t |x - q|^2 + sum A w (n . (x - p))^2 + l^4 sum B |(Lx - T L r) / A|^2 A

with A the vertices' areas, L the cotangent Laplacian, r the rest shape and T the similarity that
takes the rest to the present shape nearby. l is a length: details of the targets that are smaller
are smoothed. Sources: Sorkine et al., "Laplacian surface editing" (2004); Botsch and Sorkine, "On
linear variational surface deformation methods" (2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mvs.canonical.surface import neighbor_means, unique_pairs
from mvs.types import DoubleArray, IntArray

_MIN_COTANGENT, _MAX_COTANGENT = 0.02, 5.0
# Rounds of taking means, over which a vertex' similarity is fitted.
_FIT_ROUNDS = 4
_CG_STEPS = 60
_CG_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Pulls:
    """What pulls at the vertices; weights are per area.

    Attributes:
        point_weight: (V,) of the pull to a point.
        points: (V, 3).
        plane_weight: (V,) of the pull to a plane.
        plane_points: (V, 3) on the planes.
        plane_normals: (V, 3) unit.
    """

    point_weight: DoubleArray
    points: DoubleArray
    plane_weight: DoubleArray
    plane_points: DoubleArray
    plane_normals: DoubleArray


@dataclass(frozen=True)
class LocalTurns:
    """Similarities (V,) from the rest to a bent shape: turns (V, 3, 3) and scales (V,)."""

    rotation: DoubleArray
    scale: DoubleArray


class Bender:
    """A mesh that can be bent.

    Attributes:
        rest: (V, 3) float64.
        faces: (F, 3) int32.
        areas: (V,) of the rest shape, a third of the faces'.
        cotangent: (V, V) sparse Laplacian, positive.
        laplacian: (V, V) sparse, the same by area.
        curvature: (V, 3) the Laplacian of the rest shape.
        means: (V, V) sparse, takes means over neighbours.
    """

    def __init__(self, rest: DoubleArray, faces: IntArray) -> None:
        from scipy.sparse import diags

        self.rest, self.faces = rest, faces
        self.cotangent, self.areas = _laplacian(rest, faces)
        self.laplacian = (diags(1 / self.areas) @ self.cotangent).tocsr()
        self.curvature = self.laplacian @ rest
        self.means = neighbor_means(faces, len(rest))
        self._edges = unique_pairs(faces[:, [0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0, 2]].reshape(-1, 2))[0]

    def turns(self, shape: DoubleArray) -> LocalTurns:
        """The similarity around every vertex that takes the rest to a shape (V, 3)."""
        start, end = self._edges.T
        before, after = self.rest[end] - self.rest[start], shape[end] - shape[start]
        products = np.einsum("na,nb->nab", after, before).reshape(-1, 9)
        squares = (before**2).sum(axis=1)
        sums = np.column_stack(
            [np.bincount(start, column, len(shape)) for column in (*products.T, squares)]
        )
        for _ in range(_FIT_ROUNDS):
            sums = self.means @ sums
        left, strength, right = np.linalg.svd(sums[:, :9].reshape(-1, 3, 3))
        sign = np.ones((len(shape), 3))
        sign[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
        rotation = np.einsum("vab,vb,vbc->vac", left, sign, right)
        # Of a flat patch the third strength is nothing, so its sign does no harm.
        return LocalTurns(rotation, (strength * sign).sum(axis=1) / sums[:, 9])

    def system(self, length: float, stiffer: DoubleArray, pulls: Pulls) -> System:
        """The equations for vertices bent with a stiffness.

        Args:
            length: l above.
            stiffer: (V,) B above.
            pulls: whose weights are those of the solutions to come, roughly.
        """
        return System(self, length, stiffer, pulls)


class System:
    """Equations for one stiffness, to be solved for different pulls."""

    def __init__(self, bender: Bender, length: float, stiffer: DoubleArray, pulls: Pulls) -> None:
        from scipy.sparse import diags
        from scipy.sparse.linalg import splu

        self._bender = bender
        self._softness = (bender.areas / stiffer)[:, None]
        self._weight = length**4 * (bender.areas * stiffer)[:, None]
        # A third of a plane's pull on each coordinate stands for it. With S = l^2 L + A sqrt(w / B)
        # the product S (B / A) S is, but for a factor of about two, what is to be inverted.
        rough = np.sqrt(pulls.point_weight + pulls.plane_weight / 3 + 1e-5)
        root = length**2 * bender.cotangent + diags(bender.areas * rough / np.sqrt(stiffer))
        # Without symmetric mode, ICT-FaceKit's regular mesh takes forty times as long.
        factors = splu(
            root.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        self._solve = factors.solve

    def _precondition(self, x: DoubleArray) -> DoubleArray:
        return np.asarray(self._solve(self._softness * self._solve(x)))

    def solve(self, start: DoubleArray, pulls: Pulls) -> DoubleArray:
        """Vertices (V, 3) that pulls bend, with the rest turned as it is in ``start``."""
        bender = self._bender
        turns = bender.turns(start)
        curvature = turns.scale[:, None] * np.einsum("vab,vb->va", turns.rotation, bender.curvature)
        point = (bender.areas * (pulls.point_weight + 1e-6))[:, None]
        plane = (bender.areas * pulls.plane_weight)[:, None]
        normals = pulls.plane_normals

        def bend(x: DoubleArray) -> DoubleArray:
            return np.asarray(bender.laplacian.T @ (self._weight * (bender.laplacian @ x)))

        def apply(x: DoubleArray) -> DoubleArray:
            along = (x * normals).sum(axis=1, keepdims=True)
            return np.asarray(bend(x) + point * x + plane * along * normals)

        known = bender.laplacian.T @ (self._weight * curvature) + point * pulls.points
        along = (pulls.plane_points * normals).sum(axis=1, keepdims=True)
        known = known + plane * along * normals
        return _conjugate_gradients(apply, self._precondition, known, start)


def _conjugate_gradients(
    apply: Any, precondition: Any, known: DoubleArray, start: DoubleArray
) -> DoubleArray:
    """Preconditioned conjugate gradients; sums are NumPy's own, whatever the number of threads."""
    x, residual = start.copy(), known - apply(start)
    z = precondition(residual)
    direction, strength = z, float((residual * z).sum())
    goal = _CG_TOLERANCE**2 * max(float((known * precondition(known)).sum()), 1e-300)
    for _ in range(_CG_STEPS):
        if strength <= goal:
            break
        image = apply(direction)
        step = strength / float((direction * image).sum())
        x, residual = x + step * direction, residual - step * image
        z = precondition(residual)
        before, strength = strength, float((residual * z).sum())
        direction = z + strength / before * direction
    return x


def _laplacian(rest: DoubleArray, faces: IntArray) -> tuple[Any, DoubleArray]:
    """Cotangent Laplacian (V, V), positive, and areas (V,)."""
    from scipy.sparse import coo_matrix, diags

    n = len(rest)
    areas, rows, columns, values = np.zeros(n), [], [], []
    for k in range(3):
        a, b, c = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        first, second = rest[b] - rest[a], rest[c] - rest[a]
        double = np.linalg.norm(np.cross(first, second), axis=1)
        areas += np.bincount(a, double / 6, n)
        cotangent = (first * second).sum(axis=1) / np.maximum(double, 1e-300)
        weight = 0.5 * np.clip(cotangent, _MIN_COTANGENT, _MAX_COTANGENT)
        rows += [b, c]
        columns += [c, b]
        values += [weight, weight]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    links = coo_matrix(entries, (n, n)).tocsr()
    small = 1e-3 * float(areas.mean())
    return diags(np.asarray(links.sum(axis=1)).ravel()) - links, np.maximum(areas, small)
