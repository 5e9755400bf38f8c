"""Heads that are a sum: a template and modes of identity and expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.headmodel.types import Shape, Topology
from mvs.types import DoubleArray, IntArray


@dataclass(frozen=True, eq=False)
class Basis:
    """What a model's heads at rest are sums of.

    Attributes:
        name: of the model.
        unit_m: length of its unit in metres.
        topology: what all its heads share.
        template: (V, 3) mean head at rest.
        identity: (K, V, 3) displacement by each mode at one unit.
        expression: (E, V, 3) likewise.
        identity_names: of the K modes.
        expression_names: of the E modes.
    """

    name: str
    unit_m: float
    topology: Topology
    template: DoubleArray
    identity: DoubleArray
    expression: DoubleArray
    identity_names: tuple[str, ...]
    expression_names: tuple[str, ...]


class LinearHead:
    """A model without joints; see ``HeadModel`` for what it can do.

    Attributes:
        template: (V, 3) float64 mean head at rest.
        modes: (V, 3, K + E) float64 displacement at one unit, identity before expression.
    """

    joint_names: tuple[str, ...] = ()

    def __init__(self, basis: Basis, expression_bounds: DoubleArray) -> None:
        """Put a model together.

        Args:
            basis: its template and modes.
            expression_bounds: (E, 2).
        """
        self.name, self.unit_m, self.topology = basis.name, basis.unit_m, basis.topology
        self.identity_names = basis.identity_names
        self.expression_names = basis.expression_names
        self.expression_bounds = expression_bounds
        self.template = np.asarray(basis.template, np.float64)
        k = len(basis.identity)
        # Row by row of a vertex: fits ask for some vertices and all modes.
        self.modes = np.empty((*self.template.shape, k + len(basis.expression)))
        self.modes[..., :k] = np.moveaxis(basis.identity, 0, -1)
        self.modes[..., k:] = np.moveaxis(basis.expression, 0, -1)

    def neutral(self) -> Shape:
        """The mean head at rest."""
        return Shape(
            np.zeros(len(self.identity_names)),
            np.zeros(len(self.expression_names)),
            np.zeros((len(self.joint_names), 3)),
        )

    def vertices(self, shape: Shape, rows: IntArray | None = None) -> DoubleArray:
        """(N, 3) positions of all vertices, or of those of ``rows``.

        Args:
            shape: its identity may have fewer than K modes; the others are 0.
            rows: (N,) vertices.

        Raises:
            ValueError: if the shape is not of this model.
        """
        identity, expression = self.checked(shape)
        template, modes = self.template, self.modes
        if rows is not None:
            template, modes = template[rows], modes[rows]
        k = len(self.identity_names)
        # NumPy's own sums: the same bits whatever the number of threads.
        moved = np.einsum("vck,k->vc", modes[..., : len(identity)], identity)
        moved += np.einsum("vck,k->vc", modes[..., k:], expression)
        return np.asarray(template + moved)

    def jacobian(self, shape: Shape, rows: IntArray) -> DoubleArray:
        """(N, 3, K + E) derivatives of ``vertices(shape, rows)``; the same for all shapes.

        Raises:
            ValueError: if the shape is not of this model.
        """
        identity, _ = self.checked(shape)
        return np.asarray(self.modes[rows][..., self.columns(len(identity))])

    def checked(self, shape: Shape) -> tuple[DoubleArray, DoubleArray]:
        """Coefficients of identity and expression, float64.

        Raises:
            ValueError: if their numbers are not the model's; fewer identity modes are welcome.
        """
        identity = np.asarray(shape.identity, np.float64)
        expression = np.asarray(shape.expression, np.float64)
        most, wanted = len(self.identity_names), (len(self.expression_names),)
        if identity.ndim != 1 or len(identity) > most or expression.shape != wanted:
            raise ValueError(
                f"shape must have up to {most} identity and {wanted[0]} expression coefficients, "
                f"got {identity.shape} and {expression.shape}"
            )
        joints = np.shape(shape.joints)
        if joints != (len(self.joint_names), 3):
            raise ValueError(f"joints must be ({len(self.joint_names)}, 3), got {joints}")
        return identity, expression

    def columns(self, n_identity: int) -> IntArray | slice:
        """Which modes a shape with so many of identity uses."""
        k, n = len(self.identity_names), self.modes.shape[2]
        if n_identity == k:
            return slice(None)
        return np.concatenate([np.arange(n_identity), np.arange(k, n)]).astype(np.int32)
