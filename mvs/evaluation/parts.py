"""Parts of the head that figures are asked for: the truth's own, and finer ones by place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvs.canonical.cube import CUBE_OFFSET, CUBE_SCALE_PER_CM
from mvs.evaluation.truth import PART_NAMES, SurfacePoints
from mvs.synthetic.regions import ear, hair_height
from mvs.types import BoolArray, DoubleArray, FloatArray

# The truth's parts that are skin; the finer parts are taken out of both together.
SKIN = ("face", "head_neck")
FINER = ("face_front", "ear", "scalp", "neck")
ALL_PARTS = (*PART_NAMES, *FINER)
# Under the jaw, on the template in centimetres: below a line from behind the jaw's angle to the
# underside of the chin.
_JAW_BACK, _JAW_HEIGHT, _JAW_SLOPE = 2.0, -3.0, -0.62


def select_part(points: SurfacePoints, name: str) -> BoolArray:
    """Which surface points belong to a part.

    ``face`` and ``head_neck`` are the truth's own parts: ``face`` reaches over the ears and the
    throat, ``head_neck`` is what is behind. The finer parts share both out by canonical place.

    Args:
        points: N of them.
        name: one of ``ALL_PARTS``.

    Returns:
        (N,) bool.
    """
    if name in PART_NAMES:
        return np.asarray(points.parts == PART_NAMES.index(name))
    place = _template_cm(points.coords)
    on_ear, on_scalp = ear(place), hair_height(place) > 0
    below = ~on_ear & ~on_scalp & _below_jaw(place)
    finer = {
        "ear": on_ear,
        "scalp": on_scalp,
        "neck": below,
        "face_front": ~on_ear & ~on_scalp & ~below,
    }
    return np.asarray(finer[name] & select_parts(points, SKIN))


def select_parts(points: SurfacePoints, names: Sequence[str]) -> BoolArray:
    """Which surface points belong to any of several parts, (N,) bool."""
    chosen = np.zeros(len(points.parts), np.bool_)
    for name in names:
        chosen |= select_part(points, name)
    return chosen


def _template_cm(coords: FloatArray) -> DoubleArray:
    """Positions (N, 3) on the template, in centimetres, of cube coordinates."""
    return (coords.astype(np.float64) - CUBE_OFFSET) / CUBE_SCALE_PER_CM


def _below_jaw(place: DoubleArray) -> BoolArray:
    y, z = place[:, 1], place[:, 2]
    jaw = _JAW_HEIGHT + _JAW_SLOPE * np.maximum(z - _JAW_BACK, 0.0)
    # Bare skin behind the ears belongs to the neck, too.
    return np.asarray((y < jaw) | (z < -1.0))
