"""Solid noise: a small periodic volume of random values, looked up anywhere in space."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from mvs.types import FloatArray

_CELLS = 32


def _volume() -> FloatArray:
    values = np.random.default_rng(20).uniform(-1, 1, (_CELLS, _CELLS, _CELLS, 4))
    return values.astype(np.float32)


VOLUME = _volume()


def noise_at(points: npt.NDArray[np.floating]) -> FloatArray:
    """Four independent values in [-1, 1] at each position.

    Args:
        points: (N, 3), one unit is one cell; repeats every 32 units.

    Returns:
        (N, 4) float32.

    Source:
        Value noise (Perlin, 1985) with cubic fade.
    """
    return _noise_many(np.ascontiguousarray(points, np.float32), VOLUME)


@numba.njit(cache=True)
def _noise_many(points: FloatArray, volume: FloatArray) -> FloatArray:
    out = np.empty((len(points), 4), np.float32)
    for i in range(len(points)):
        a, b, c, d = noise(points[i, 0], points[i, 1], points[i, 2], volume)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = a, b, c, d
    return out


@numba.njit(inline="always")
def noise(x: float, y: float, z: float, volume: FloatArray) -> Any:
    """Four noise values at one position (kernel form of ``noise_at``)."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    tx, ty, tz = x - fx, y - fy, z - fz
    tx, ty, tz = tx * tx * (3 - 2 * tx), ty * ty * (3 - 2 * ty), tz * tz * (3 - 2 * tz)
    i0, j0, k0 = int(fx) & 31, int(fy) & 31, int(fz) & 31
    i1, j1, k1 = (i0 + 1) & 31, (j0 + 1) & 31, (k0 + 1) & 31
    w00, w01, w10, w11 = (1 - tx) * (1 - ty), (1 - tx) * ty, tx * (1 - ty), tx * ty
    a = b = c = d = np.float32(0.0)
    for i, j, w in ((i0, j0, w00), (i0, j1, w01), (i1, j0, w10), (i1, j1, w11)):
        w0, w1 = np.float32(w * (1 - tz)), np.float32(w * tz)
        p, q = volume[i, j, k0], volume[i, j, k1]
        a += w0 * p[0] + w1 * q[0]
        b += w0 * p[1] + w1 * q[1]
        c += w0 * p[2] + w1 * q[2]
        d += w0 * p[3] + w1 * q[3]
    return a, b, c, d
