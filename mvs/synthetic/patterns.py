"""Small functions that the shading kernels share."""

from __future__ import annotations

import numba
import numpy as np

from mvs.types import FloatArray


@numba.njit(inline="always")
def normalise(at: FloatArray, first: int) -> None:
    """Give three numbers from ``first`` on unit length, in place."""
    length = np.sqrt(at[first] ** 2 + at[first + 1] ** 2 + at[first + 2] ** 2)
    scale = np.float32(1.0) / max(length, np.float32(1e-9))
    at[first] *= scale
    at[first + 1] *= scale
    at[first + 2] *= scale


@numba.njit(inline="always")
def step(value: float, low: float, high: float) -> float:
    """0 at ``low``, 1 at ``high`` (which may be the smaller), smooth between."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@numba.njit(inline="always")
def fade(frequency: float, pixel_cm: float) -> float:
    """How much of a pattern of so many cells per cm a pixel still resolves."""
    return min(max(1.4 - 1.4 * frequency * pixel_cm, 0.0), 1.0)
