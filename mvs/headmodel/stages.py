"""The stages of a fit: pose first, then everything, judging in between what counts."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from mvs.headmodel.energy import Energy
from mvs.headmodel.options import FitOptions
from mvs.headmodel.solve import minimise
from mvs.headmodel.state import State
from mvs.headmodel.types import HeadModel
from mvs.types import DoubleArray, FloatArray

# A vertex so far from what was seen, in the cube, has two thirds of its confidence.
_REACH = 0.02
_N_NEAR = 4
SHAPE = ("identity", "expression", "joints")


def solve_stages(energy: Energy, state: State, options: FitOptions) -> State:
    """Fit a head, from its rough place to the end.

    Args:
        energy: of the head.
        state: where to begin.
        options: how many stages, and their bounds.
    """
    energy.look(state, options.bound)
    state = minimise(energy.rows, state, energy.box(*SHAPE), options.solve).state
    for bound in np.geomspace(options.bound, options.final_bound, options.stages):
        energy.look(state, float(bound))
        state = minimise(energy.rows, state, energy.box(), options.solve).state
    return state


def vertex_confidence(energy: Energy, state: State, model: HeadModel) -> FloatArray:
    """How well each vertex is borne out by what was seen.

    The confidence of the cube maps and of the reconstruction near the vertex, less where the fit
    does not agree with them, and less with distance in the cube.

    Args:
        energy: after the last stage.
        state: the fit.
        model: whose vertices.

    Returns:
        (V,) float32 in [0, 1]; 0 where nothing was seen.
    """
    coords, sure = energy.evidence(state)
    confidence = np.zeros(len(model.topology.coords), np.float32)
    known = np.flatnonzero(np.isfinite(model.topology.coords).all(axis=1))
    if len(coords):
        n = min(_N_NEAR, len(coords))
        distance, near = cKDTree(coords).query(model.topology.coords[known], k=np.arange(1, n + 1))
        worth: DoubleArray = sure[near] * np.exp(-0.5 * (distance / _REACH) ** 2)
        confidence[known] = np.clip(worth.mean(axis=1), 0, 1)
    return confidence
