"""Heads with joints: linear modes, pose correctives, and linear blend skinning.

Sources: Loper et al., "SMPL: a skinned multi-person linear model" (2015), equations 2 to 4 and 8
to 10; Li et al., "Learning a model of facial shape and expression from 4D scans" (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mvs.headmodel.linear import Basis, LinearHead
from mvs.headmodel.turns import turn_matrices
from mvs.headmodel.types import Shape
from mvs.types import DoubleArray, IntArray

# Vertices whose derivatives are made together: their arrays stay in the processor's cache.
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints of a head; the first is its root, which stays at rest.

    Attributes:
        names: of the joints but the root.
        parents: (J,) int32 the joint before each; the root's is -1, others' come before them.
        regressor: (J, V) float64, sparse or not: joints from the vertices of a head at rest.
        weights: (V, J) float64, how much each vertex goes with each joint; rows add up to one.
        correctives: (V, 3, 9 (J - 1)) float64 displacement by the entries, row by row, of the
            joints' rotations less the identity.
    """

    names: tuple[str, ...]
    parents: IntArray
    regressor: Any
    weights: DoubleArray
    correctives: DoubleArray


@dataclass(frozen=True, eq=False)
class _Posed:
    """Joints in a pose: world = turns @ rest + shifts.

    Attributes:
        local: (J, 3, 3) own rotations, with slopes (J, 3, 3, 3) by their vectors.
        turns: (J, 3, 3), shifts (J, 3): from the rest.
        places: (J, 3) of the joints at rest.
    """

    local: DoubleArray
    slopes: DoubleArray
    turns: DoubleArray
    shifts: DoubleArray
    places: DoubleArray


class SkinnedHead(LinearHead):
    """A model with joints; see ``HeadModel`` for what it can do.

    Attributes:
        skeleton: its joints.
    """

    def __init__(self, basis: Basis, skeleton: Skeleton) -> None:
        """Put a model together; expressions are free.

        Args:
            basis: its template and modes.
            skeleton: its joints.
        """
        super().__init__(basis, np.tile([-np.inf, np.inf], (len(basis.expression), 1)))
        self.skeleton, self.joint_names = skeleton, skeleton.names
        n = len(self.template)
        self._joints = np.asarray(skeleton.regressor @ self.template)
        flat = np.asarray(skeleton.regressor @ self.modes.reshape(n, -1))
        self._joint_modes = flat.reshape(len(self._joints), 3, -1)

    def vertices(self, shape: Shape, rows: IntArray | None = None) -> DoubleArray:
        """(N, 3) positions of all vertices, or of those of ``rows``; see ``LinearHead``."""
        posed = self._pose(shape)
        weights = self.skeleton.weights if rows is None else self.skeleton.weights[rows]
        rest = self._corrected(posed, shape, rows)
        turns = np.einsum("vj,jab->vab", weights, posed.turns)
        shifts = np.einsum("vj,ja->va", weights, posed.shifts)
        return np.asarray(np.einsum("vab,vb->va", turns, rest) + shifts)

    def jacobian(self, shape: Shape, rows: IntArray) -> DoubleArray:
        """(N, 3, K + E + 3 J) derivatives of ``vertices(shape, rows)``."""
        posed = self._pose(shape)
        rows, weights = np.asarray(rows), self.skeleton.weights[rows]
        turns = np.einsum("vj,jab->vab", weights, posed.turns)
        shifts = self._shape_shifts(posed, shape)
        n = shifts.shape[2]
        flat = shifts.reshape(len(shifts), -1)
        found = np.empty((len(rows), 3, n + 3 * len(self.joint_names)))
        for first in range(0, len(rows), _BLOCK):
            part = slice(first, first + _BLOCK)
            turned = turns[part] @ super().jacobian(shape, rows[part])
            moved = np.einsum("vj,jk->vk", weights[part], flat).reshape(turned.shape)
            np.add(turned, moved, out=found[part, :, :n])
        rest = self._corrected(posed, shape, rows)
        found[..., n:] = self._joint_columns(posed, rows, rest, turns)
        return found

    def _corrected(self, posed: _Posed, shape: Shape, rows: IntArray | None) -> DoubleArray:
        """The rest shape (N, 3) with the pose's correctives."""
        correctives = self.skeleton.correctives
        rest = super().vertices(shape, rows)
        rest += np.einsum(
            "vck,k->vc", correctives if rows is None else correctives[rows], _features(posed)
        )
        return rest

    def _pose(self, shape: Shape) -> _Posed:
        identity, expression = self.checked(shape)
        used = self.columns(len(identity))
        places = self._joints + np.einsum(
            "jck,k->jc", self._joint_modes[..., used], np.concatenate([identity, expression])
        )
        # The root's own rotation is the world's business.
        vectors = np.concatenate([np.zeros((1, 3)), np.asarray(shape.joints, np.float64)])
        local, slopes = turn_matrices(vectors)
        turns, shifts = local.copy(), np.zeros_like(places)
        for joint, parent in enumerate(self.skeleton.parents):
            if parent >= 0:
                turns[joint] = turns[parent] @ local[joint]
                own = places[joint] - local[joint] @ places[joint]
                shifts[joint] = turns[parent] @ own + shifts[parent]
        return _Posed(local, slopes, turns, shifts, places)

    def _shape_shifts(self, posed: _Posed, shape: Shape) -> DoubleArray:
        """How the shifts change with identity and expression, (J, 3, K + E)."""
        modes = self._joint_modes[..., self.columns(len(shape.identity))]
        changes = np.zeros_like(modes)
        for joint, parent in enumerate(self.skeleton.parents):
            if parent >= 0:
                own = posed.turns[parent] @ (np.eye(3) - posed.local[joint])
                changes[joint] = own @ modes[joint] + changes[parent]
        return changes

    def _joint_columns(
        self, posed: _Posed, rows: IntArray, rest: DoubleArray, turns: DoubleArray
    ) -> DoubleArray:
        """(N, 3, 3 J) derivatives by the joints' vectors."""
        weights, correctives = self.skeleton.weights[rows], self.skeleton.correctives[rows]
        columns = []
        for joint in range(1, len(self.skeleton.parents)):
            own = correctives[..., 9 * (joint - 1) : 9 * joint]
            for slope in posed.slopes[joint]:
                turned, shifted = self._moved(posed, joint, slope)
                column = np.einsum("vab,vb->va", turns, own @ slope.ravel())
                blended = np.einsum("vj,jab->vab", weights, turned)
                column += np.einsum("vab,vb->va", blended, rest)
                columns.append(column + np.einsum("vj,ja->va", weights, shifted))
        return np.stack(columns, axis=2)

    def _moved(
        self, posed: _Posed, joint: int, slope: DoubleArray
    ) -> tuple[DoubleArray, DoubleArray]:
        """Changes of all turns and shifts when one joint's own rotation changes by ``slope``."""
        turned, shifted = np.zeros_like(posed.turns), np.zeros_like(posed.shifts)
        parents = self.skeleton.parents
        before = posed.turns[parents[joint]]
        turned[joint] = before @ slope
        shifted[joint] = -turned[joint] @ posed.places[joint]
        for other in range(joint + 1, len(parents)):
            parent = parents[other]
            place, local = posed.places[other], posed.local[other]
            turned[other] = turned[parent] @ local
            shifted[other] = turned[parent] @ (place - local @ place) + shifted[parent]
        return turned, shifted


def _features(posed: _Posed) -> DoubleArray:
    """What the correctives go by: (9 (J - 1),)."""
    return np.asarray((posed.local[1:] - np.eye(3)).reshape(-1))
