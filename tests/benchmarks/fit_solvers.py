"""The same energy of one picture lowered by bounded Gauss-Newton steps and by Adam.

    python tests/benchmarks/fit_solvers.py MODEL.npz

The map is exact but for noise as large as a network's. Adam takes 500 steps of three sizes with
momentum as usual, its gradients exact; coefficients beyond their bounds are clipped.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mvs.headmodel.energy import Energy, start_state
from mvs.headmodel.load import load_head_model
from mvs.headmodel.observe import Observer
from mvs.headmodel.options import FitOptions
from mvs.headmodel.solve import SolveOptions, minimise
from mvs.headmodel.stages import SHAPE
from mvs.headmodel.start import place_in_view
from tests.headmodel.maps import camera_at, map_of, person, place

_STEPS = 500
_RATES = (3e-3, 1e-2, 3e-2)


def main(path: Path) -> None:
    model = load_head_model(path)
    camera = camera_at(size=256, focal=508.0)
    cube_map = map_of(model, person(model, 1), place(model, 8.0), camera)
    noise = np.random.default_rng(0).normal(0, 0.008, cube_map.coords.shape)
    cube_map = replace(cube_map, coords=cube_map.coords + noise.astype(np.float32))
    options = FitOptions()
    seen = Observer(model, options.observe).observe(cube_map, camera)
    start = start_state(model, place_in_view(seen, model.unit_m))
    energy = Energy(model, [seen], options, knows_scale=True, knows_focal=True)
    energy.look(start, options.bound)
    start = minimise(energy.rows, start, energy.box(*SHAPE), options.solve).state
    energy.look(start, options.bound)
    box = energy.box()
    minimise(energy.rows, start, box, SolveOptions(1))
    begin = time.perf_counter()
    found = minimise(energy.rows, start, box, SolveOptions(30, 1e-9))
    seconds = time.perf_counter() - begin
    least = found.energies[-1]
    near = next(i for i, e in enumerate(found.energies) if e <= 1.01 * least)
    print(f"start {found.energies[0]:.2f}, least {least:.4f}")
    seconds *= near / (len(found.energies) - 1)
    print(f"Levenberg-Marquardt: within 1 % after {near} steps, {seconds:.2f} s")
    for rate in _RATES:
        print(adam(energy, start, box, rate, least))


def adam(energy, start, box, rate, least):
    """What Adam reaches, and when."""
    state, mean, square = start, np.zeros(start.size), np.zeros(start.size)
    begin, reached = time.perf_counter(), None
    for step in range(1, _STEPS + 1):
        rows = energy.rows(state, True)
        total = sum(row.energy() for row in rows)
        if reached is None and total <= 1.01 * least:
            reached = (step - 1, time.perf_counter() - begin)
        gradient = gradient_of(rows)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        move = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        state = state.moved(-rate * np.where(box.free, move, 0.0)).clipped(box.low, box.high)
    seconds = time.perf_counter() - begin
    told = "never" if reached is None else f"after {reached[0]} steps, {reached[1]:.2f} s"
    return f"Adam {rate:g}: {total:.4f} after {_STEPS} steps, {seconds:.1f} s; within 1 % {told}"


def gradient_of(rows):
    """The energy's gradient, without the Hessian."""
    total = 0.0
    for row in rows:
        weight = (row.weight * row.influence())[:, None] * row.residual
        total = total + 2 * np.einsum("nd,ndp->p", weight, row.jacobian)
    return total


if __name__ == "__main__":
    main(Path(sys.argv[1]))
