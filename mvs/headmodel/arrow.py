"""Least squares of many frames that share some unknowns: a block arrow, solved block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvs.headmodel.energy import Energy
from mvs.headmodel.solve import Box, SolveOptions, add_normal_equations
from mvs.headmodel.state import State
from mvs.headmodel.terms import Rows
from mvs.kernels.cholesky import solve_positive
from mvs.types import BoolArray, DoubleArray

_SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-9, 1e9


def minimise_frames(
    energies: Sequence[Energy],
    states: Sequence[State],
    boxes: Sequence[Box],
    shared: BoolArray,
    options: SolveOptions | None = None,
) -> tuple[list[State], tuple[float, ...]]:
    """Lower the sum of the frames' energies, with some unknowns the same in all of them.

    Each frame's own unknowns are eliminated (Schur's complement), so that the cost grows with the
    number of frames. Coefficients at a bound that the energy pushes against are held there, and
    what a step takes beyond one is clipped.

    Args:
        energies: one per frame.
        states: one per frame, alike in what is shared.
        boxes: one per frame.
        shared: (P,) bool unknowns that all frames share.
        options: see ``SolveOptions``.

    Returns:
        The states, and the energy at the start and after each step.

    Source:
        Bertsekas, "Projected Newton methods for optimization problems with simple constraints"
        (1982); Triggs and others, "Bundle adjustment, a modern synthesis" (2000), section 6.
    """
    options = options or SolveOptions()
    found, damping = list(states), options.damping
    terms = [energy.rows(state, True) for energy, state in zip(energies, found, strict=True)]
    totals = [_total(terms)]
    for _ in range(options.steps):
        systems = [add_normal_equations(rows) for rows in terms]
        free = [
            box.loose(state, gradient)
            for state, box, (_, gradient) in zip(found, boxes, systems, strict=True)
        ]
        while damping < _LARGEST_DAMPING:
            steps = _arrow_steps(systems, free, shared, damping)
            moved = [
                state.moved(step).clipped(box.low, box.high)
                for state, step, box in zip(found, steps, boxes, strict=True)
            ]
            total = _total([e.rows(s, False) for e, s in zip(energies, moved, strict=True)])
            if total <= totals[-1]:
                break
            damping *= 10
        else:
            break
        gain, found = totals[-1] - total, moved
        totals.append(total)
        damping = max(damping / 10, _SMALLEST_DAMPING)
        if gain <= options.tolerance * total:
            break
        terms = [energy.rows(state, True) for energy, state in zip(energies, found, strict=True)]
    return found, tuple(totals)


def _total(terms: Sequence[Sequence[Rows]]) -> float:
    return sum(row.energy() for rows in terms for row in rows)


def _arrow_steps(
    systems: Sequence[tuple[DoubleArray, DoubleArray]],
    free: Sequence[BoolArray],
    shared: BoolArray,
    damping: float,
) -> list[DoubleArray]:
    """Steps (P,) of all frames, equal in what is shared."""
    common = np.flatnonzero(shared & np.all(free, axis=0))
    total, right = np.zeros((len(common), len(common))), np.zeros(len(common))
    parts = []
    for (normal, gradient), loose in zip(systems, free, strict=True):
        own = np.flatnonzero(loose & ~shared)
        damped = normal + damping * np.diag(np.maximum(np.diag(normal), 1e-12))
        inner, cross = damped[np.ix_(own, own)], damped[np.ix_(own, common)]
        solved = solve_positive(inner, np.column_stack([cross, gradient[own]]))
        total += damped[np.ix_(common, common)] - cross.T @ solved[:, :-1]
        right += gradient[common] - cross.T @ solved[:, -1]
        parts.append((own, solved))
    both = -solve_positive(total, right) if len(common) else np.zeros(0)
    steps = []
    for own, solved in parts:
        step = np.zeros(len(shared))
        step[common] = both
        step[own] = -solved[:, -1] - solved[:, :-1] @ both
        steps.append(step)
    return steps
