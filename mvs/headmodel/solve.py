"""Least squares with bounds: Levenberg and Marquardt's steps, taken within a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mvs.headmodel.state import State
from mvs.headmodel.terms import Rows
from mvs.kernels.cholesky import solve_positive
from mvs.types import BoolArray, DoubleArray

_AT_BOUND = 1e-9
_MAX_SWAPS = 30
_SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-9, 1e9


@dataclass(frozen=True, eq=False)
class Box:
    """Where unknowns may go.

    Attributes:
        low: (K + E + 3 J,) least coefficients.
        high: (K + E + 3 J,) largest.
        free: (P,) bool unknowns that are solved for.
    """

    low: DoubleArray
    high: DoubleArray
    free: BoolArray

    def limits(self, state: State) -> tuple[DoubleArray, DoubleArray]:
        """(P,) least and largest step from a state; 0 for what is not free."""
        low, high = np.full(state.size, -np.inf), np.full(state.size, np.inf)
        values = state.vector()
        low[: state.n_shape] = np.minimum(self.low - values, 0.0)
        high[: state.n_shape] = np.maximum(self.high - values, 0.0)
        low[~self.free] = high[~self.free] = 0.0
        return low, high

    def loose(self, state: State, gradient: DoubleArray) -> BoolArray:
        """(P,) unknowns that are free and not pushed against a bound."""
        values, n = state.vector(), state.n_shape
        held = (values <= self.low + _AT_BOUND) & (gradient[:n] > 0)
        held |= (values >= self.high - _AT_BOUND) & (gradient[:n] < 0)
        loose = self.free.copy()
        loose[:n] &= ~held
        return loose


@dataclass(frozen=True)
class SolveOptions:
    """When to stop.

    Attributes:
        steps: at most.
        tolerance: stop where a step lowers the energy by less than this part of it.
        damping: at the start, relative to the diagonal of the normal equations.
    """

    steps: int = 10
    tolerance: float = 1e-4
    damping: float = 1e-4

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.tolerance >= 0 and self.damping > 0):
            raise ValueError(f"steps must be at least 1, tolerance >= 0, damping > 0, got {self}")


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the solver stopped.

    Attributes:
        state: of least energy.
        energies: of the start and after each step that was taken.
    """

    state: State
    energies: tuple[float, ...]


def minimise(
    rows: Callable[[State, bool], Sequence[Rows]],
    start: State,
    box: Box,
    options: SolveOptions | None = None,
) -> Solution:
    """Lower an energy step by step.

    Args:
        rows: the terms at a state, with derivatives where the second argument is true.
        start: where to begin.
        box: bounds.
        options: see ``SolveOptions``.

    Source:
        Levenberg (1944), Marquardt (1963); robust weights as in Triggs and others, "Bundle
        adjustment, a modern synthesis" (2000), section 4.3, without the second-order term.
    """
    options = options or SolveOptions()
    state, damping = start, options.damping
    terms = rows(state, True)
    energies = [sum(term.energy() for term in terms)]
    for _ in range(options.steps):
        normal, gradient = add_normal_equations(terms)
        low, high = box.limits(state)
        while damping < _LARGEST_DAMPING:
            damped = normal + damping * np.diag(np.maximum(np.diag(normal), 1e-12))
            step = solve_bounded(damped, gradient, low, high)
            moved = state.moved(step)
            energy = sum(term.energy() for term in rows(moved, False))
            if energy <= energies[-1]:
                break
            damping *= 10
        else:
            break
        gain = energies[-1] - energy
        state = moved
        energies.append(energy)
        damping = max(damping / 10, _SMALLEST_DAMPING)
        if gain <= options.tolerance * energies[-1]:
            break
        terms = rows(state, True)
    return Solution(state, tuple(energies))


def add_normal_equations(terms: Sequence[Rows]) -> tuple[DoubleArray, DoubleArray]:
    """(P, P) and (P,) of all terms together."""
    parts = [term.normal_equations() for term in terms]
    return np.sum([p[0] for p in parts], axis=0), np.sum([p[1] for p in parts], axis=0)


def solve_bounded(
    normal: DoubleArray, gradient: DoubleArray, low: DoubleArray, high: DoubleArray
) -> DoubleArray:
    """The x that minimises x^T normal x / 2 + gradient^T x with low <= x <= high.

    Unknowns that leave the box are held at its border, and let go again where the slope points
    inwards, until neither happens. In the rare case that this does not end, the last answer is
    clipped.

    Args:
        normal: (P, P) symmetric, positive definite over the unknowns that are free.
        gradient: (P,).
        low: (P,) <= 0.
        high: (P,) >= 0.

    Raises:
        numpy.linalg.LinAlgError: if ``normal`` is not positive definite.

    Source:
        Kunisch and Rendl, "An infeasible active set method for quadratic problems with simple
        bounds" (2003).
    """
    fixed = low == high
    at_low, at_high = fixed.copy(), np.zeros_like(fixed)
    x = np.zeros(len(gradient))
    for _ in range(_MAX_SWAPS):
        free = ~(at_low | at_high)
        x = np.where(at_low, low, np.where(at_high, high, 0.0))
        if free.any():
            right = -gradient[free] - np.einsum("ab,b->a", normal[np.ix_(free, ~free)], x[~free])
            x[free] = solve_positive(normal[np.ix_(free, free)], right)
        slope = np.einsum("ab,b->a", normal, x) + gradient
        new_low = fixed | (free & (x < low)) | (at_low & (slope > 0))
        new_high = ~fixed & ((free & (x > high)) | (at_high & (slope < 0)))
        if (new_low == at_low).all() and (new_high == at_high).all():
            break
        at_low, at_high = new_low, new_high
    return np.clip(x, low, high)
