"""Places spread evenly over a mesh, the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mvs.types import DoubleArray, IntArray

# Steps of Roberts' R2 sequence, even in the unit square.
_R2 = (0.7548776662466927, 0.5698402909980532)


def spread(
    vertices: npt.NDArray[np.floating], faces: IntArray, n: int
) -> tuple[IntArray, DoubleArray]:
    """Places spread evenly over a mesh; the first places of more are those of less.

    Args:
        vertices: (V, 3).
        faces: (F, 3) int32.
        n: how many.

    Returns:
        (n,) int32 faces, and (n, 3) float64 weights of their vertices.
    """
    corners: DoubleArray = vertices[faces].astype(np.float64)
    sides = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    share = np.cumsum(np.linalg.norm(np.cross(*sides), axis=1))
    index = np.arange(1, n + 1)
    # The golden ratio's multiples choose the face, R2's the place on it.
    chosen = np.searchsorted(share, (index * 0.6180339887498949 % 1.0) * share[-1])
    a, b = (index * step % 1.0 for step in _R2)
    over = a + b > 1
    a, b = np.where(over, 1 - a, a), np.where(over, 1 - b, b)
    return chosen.astype(np.int32), np.column_stack([1 - a - b, a, b])
