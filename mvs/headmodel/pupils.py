"""The distance between the pupils: what tells the size of a head that one camera sees."""

from __future__ import annotations

import numpy as np

from mvs.headmodel.places import Places
from mvs.headmodel.state import State
from mvs.headmodel.types import HeadModel, Shape
from mvs.types import DoubleArray

# What it is measured to, mm.
_SIGMA = 0.5
# Vertices of an eyeball that are looked at, about.
_N_ROWS = 64


class PupilDistance:
    """A known distance between the pupils when they look far away: of the eyeballs' centres."""

    def __init__(self, model: HeadModel, mm: float) -> None:
        """Takes hold of the model's eyeballs.

        Args:
            model: head model.
            mm: the distance, millimetres.

        Raises:
            ValueError: if the model has no eyeballs.
        """
        self._mm, self._unit_mm = mm, 1000 * model.unit_m
        self._eyes = [_eyeball(model, side) for side in ("left_eye", "right_eye")]

    def errors(self, state: State, derive: bool) -> tuple[DoubleArray, DoubleArray | None]:
        """Residual (1, 1) in standard deviations and its derivatives (1, 1, P)."""
        at_rest, scale = _at_rest(state.shape), self._unit_mm / _SIGMA
        left, right = (eye.points(at_rest).mean(axis=0) for eye in self._eyes)
        apart = left - right
        distance = float(np.sqrt((apart**2).sum()))
        error = np.array([[scale * distance - self._mm / _SIGMA]])
        if not derive:
            return error, None
        n = state.shape.identity.size
        slopes = [eye.jacobian(at_rest)[:, :, :n].mean(axis=0) for eye in self._eyes]
        jacobian = np.zeros((1, 1, state.size))
        towards = (scale * apart / distance)[:, None]
        jacobian[0, 0, :n] = (towards * (slopes[0] - slopes[1])).sum(axis=0)
        return error, jacobian


def _at_rest(shape: Shape) -> Shape:
    """Eyes that turn do not move apart."""
    return Shape(shape.identity, np.zeros_like(shape.expression), np.zeros_like(shape.joints))


def _eyeball(model: HeadModel, name: str) -> Places:
    """Vertices of an eyeball."""
    topology = model.topology
    if name in topology.part_names:
        rows = np.flatnonzero(topology.parts == topology.part_names.index(name))
        if len(rows):
            rows = rows[:: max(len(rows) // _N_ROWS, 1)].astype(np.int32)
            corners = np.repeat(rows[:, None], 3, axis=1).astype(np.int32)
            return Places(model, corners, np.tile([1.0, 0.0, 0.0], (len(rows), 1)))
    raise ValueError("the head model has no eyeballs, between which pupils_mm could be measured")
