"""The canonical cube in centimetres of the neutral head that it was laid around."""

from __future__ import annotations

import numpy as np

from mvs.types import FloatArray

# Cube of the shipped network: uvw = position in cm on ICT-FaceKit's neutral head * scale + offset,
# a 5 % margin.
CUBE_SCALE_PER_CM = 0.026616902916325333
CUBE_OFFSET = (0.5, 0.563929808269576, 0.4486820788392664)
# The cube's side on the neutral head.
CUBE_MM = round(10 / CUBE_SCALE_PER_CM, 1)


def cube_from_cm(points: FloatArray) -> FloatArray:
    """Cube coordinates (N, 3) of canonical positions (N, 3) in centimetres."""
    offset = np.array(CUBE_OFFSET, np.float32)
    return (points * np.float32(CUBE_SCALE_PER_CM) + offset).astype(np.float32)
