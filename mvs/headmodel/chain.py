"""Least squares of a video: one person, and an expression and a pose that change little by little.

Each frame hangs together with the one before it and the one after, and all with the person, so that
the normal equations are tridiagonal by blocks with a border. Frames are eliminated one after the
other as their equations are made: what is kept of each is small, whatever its number of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mvs.headmodel.energy import Energy
from mvs.headmodel.solve import Box, SolveOptions, add_normal_equations
from mvs.headmodel.state import State
from mvs.headmodel.terms import Rows, change
from mvs.kernels.cholesky import solve_positive
from mvs.types import BoolArray, DoubleArray, IntArray

# A step is tried at so many lengths, each half of the one before.
_LENGTHS = 4
# Damping where nothing is known.
_LEAST = 1e-12

Deviations = tuple[float, float, float, float]
# A frame's own unknowns, their equations, those with the border, the right side.
_Last = tuple[IntArray, DoubleArray, DoubleArray, DoubleArray]


def minimise_chain(
    energies: Sequence[Energy],
    states: Sequence[State],
    box: Box,
    shared: BoolArray,
    deviations: Sequence[Deviations],
    options: SolveOptions | None = None,
) -> tuple[list[State], tuple[float, ...]]:
    """Lower the energy of all frames and of the changes between them, together.

    A frame's own coefficients at a bound that the energy pushes against are held there; what a step
    takes beyond a bound is clipped.

    Args:
        energies: one per frame, of its own terms alone; one that saw nothing is bridged.
        states: one per frame, alike in what is shared.
        box: bounds, of every frame.
        shared: (P,) bool unknowns that all frames share, of the identity or the zoom alone.
        deviations: of the change from each frame to the next, see ``change``.
        options: see ``SolveOptions``.

    Returns:
        The states, and the energy at the start and after each step.

    Source:
        Block elimination as in Golub and Van Loan, "Matrix computations", section 4.5; bounds as
        in Bertsekas, "Projected Newton methods" (1982).
    """
    options = options or SolveOptions()
    chain = _Chain(energies, box, shared, deviations, options.damping)
    found = list(states)
    steps, total = chain.look(found, True)
    totals = [total]
    for step in range(1, options.steps + 1):
        for halved in range(_LENGTHS):
            moved = [
                state.moved(0.5**halved * by).clipped(box.low, box.high)
                for state, by in zip(found, steps, strict=True)
            ]
            further, total = chain.look(moved, step < options.steps)
            if total <= totals[-1]:
                break
        else:
            break
        gain, found, steps = totals[-1] - total, moved, further
        totals.append(total)
        if gain <= options.tolerance * total:
            break
    return found, tuple(totals)


@dataclass(frozen=True, eq=False)
class _Link:
    """A change from one frame to the next: residuals (N,), derivatives (N, P) by either."""

    error: DoubleArray
    by_first: DoubleArray
    by_second: DoubleArray


def _link(first: State, second: State, deviations: Deviations) -> _Link:
    error, by_second = change(second, first, deviations)
    # The way back is the negative, and so are its derivatives.
    by_first = change(first, second, deviations)[1]
    if by_first is None or by_second is None:
        raise ValueError("changes have derivatives")
    return _Link(error[:, 0], -by_first[:, 0], by_second[:, 0])


@dataclass(frozen=True, eq=False)
class _Chain:
    """The frames and what hangs them together, see ``minimise_chain``."""

    energies: Sequence[Energy]
    box: Box
    shared: BoolArray
    deviations: Sequence[Deviations]
    damping: float

    def look(self, states: Sequence[State], derive: bool) -> tuple[list[DoubleArray], float]:
        """Steps (P,) from states, equal in what is shared, none without ``derive``; the energy.

        Of each frame the derivatives are let go before those of the next are made.
        """
        links = [
            _link(*ends, spread)
            for ends, spread in zip(pairwise(states), self.deviations, strict=True)
        ]
        total = float(sum((link.error**2).sum() for link in links))
        elimination = _Elimination(_rows(self.shared & self.box.free))
        before: _Link | None = None
        for energy, state, after in zip(self.energies, states, [*links, None], strict=True):
            terms = energy.rows(state, derive)
            energy.forget()
            total += sum(row.energy() for row in terms)
            if derive:
                normal, gradient = self._equations(terms, before, after)
                own = _rows(self.box.loose(state, gradient) & ~self.shared)
                elimination.add(normal, gradient, own, before)
            before = after
        return (elimination.steps(len(self.shared)) if derive else []), total

    def _equations(
        self, terms: Sequence[Rows], before: _Link | None, after: _Link | None
    ) -> tuple[DoubleArray, DoubleArray]:
        """(P, P) and (P,) of one frame; zeros for what is fixed."""
        free, n = _rows(self.box.free), len(self.shared)
        normal, gradient = np.zeros((n, n)), np.zeros(n)
        found = add_normal_equations([row.of_columns(free) for row in terms])
        normal[np.ix_(free, free)], gradient[free] = found
        if before is not None:
            normal += before.by_second.T @ before.by_second
            gradient += before.by_second.T @ before.error
        if after is not None:
            normal += after.by_first.T @ after.by_first
            gradient += after.by_first.T @ after.error
        diagonal = np.diag_indices(n)
        normal[diagonal] += self.damping * np.maximum(normal[diagonal], _LEAST)
        return normal, gradient


def _rows(chosen: BoolArray) -> IntArray:
    return np.flatnonzero(chosen).astype(np.int32)


class _Elimination:
    """Equations of a chain of frames with a border, taken up frame by frame."""

    def __init__(self, border: IntArray) -> None:
        self._border = border
        self._total, self._right = np.zeros((len(border),) * 2), np.zeros(len(border))
        self._last: _Last | None = None
        self._solved: list[tuple[IntArray, DoubleArray]] = []

    def add(
        self, normal: DoubleArray, gradient: DoubleArray, own: IntArray, link: _Link | None
    ) -> None:
        """Take up a frame's equations (P, P) and (P,), linked to those of the frame before."""
        inner, cross = normal[np.ix_(own, own)], normal[np.ix_(own, self._border)]
        known = gradient[own]
        self._total += normal[np.ix_(self._border, self._border)]
        self._right += gradient[self._border]
        if self._last is not None and link is not None:
            coupling = link.by_first[:, self._last[0]].T @ link.by_second[:, own]
            solved = self._solve_last(self._last, coupling)
            n = len(own)
            inner -= coupling.T @ solved[:, :n]
            cross -= coupling.T @ solved[:, n:-1]
            known = known - coupling.T @ solved[:, -1]
        self._last = own, inner, cross, known

    def _solve_last(self, last: _Last, coupling: DoubleArray) -> DoubleArray:
        """Eliminate the last frame: its answers (n, m + b + 1) to the next, border and right."""
        own, inner, cross, known = last
        sides = np.column_stack([coupling, cross, known])
        solved: DoubleArray = np.asarray(solve_positive(inner, sides))
        n = coupling.shape[1]
        self._total -= cross.T @ solved[:, n:-1]
        self._right -= cross.T @ solved[:, -1]
        self._solved.append((own, solved))
        return solved

    def steps(self, size: int) -> list[DoubleArray]:
        """The answer of every frame (size,)."""
        if self._last is None:
            raise ValueError("there is no frame")
        self._solve_last(self._last, np.zeros((len(self._last[0]), 0)))
        both: DoubleArray = np.zeros(0)
        if len(self._border):
            both = np.asarray(-solve_positive(self._total, self._right))
        steps: list[DoubleArray] = []
        after: DoubleArray = np.zeros(0)
        for own, solved in reversed(self._solved):
            n = len(after)
            after = np.asarray(-(solved[:, -1] + solved[:, n:-1] @ both + solved[:, :n] @ after))
            step = np.zeros(size)
            step[self._border], step[own] = both, after
            steps.append(step)
        return steps[::-1]
