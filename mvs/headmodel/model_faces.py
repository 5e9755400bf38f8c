"""Which faces of a model pictures see."""

from __future__ import annotations

import numpy as np

from mvs.headmodel.types import HeadModel
from mvs.types import IntArray


def outer_faces(model: HeadModel) -> IntArray:
    """Faces that pictures see: not those of the mouth's inside."""
    topology = model.topology
    hidden = [i for i, name in enumerate(topology.part_names) if _is_inside(name)]
    inside = np.isin(topology.parts, hidden)
    return np.asarray(topology.faces[~inside[topology.faces].any(axis=1)])


def _is_inside(name: str) -> bool:
    return any(word in name for word in ("mouth", "teeth", "gum", "tongue", "socket"))
