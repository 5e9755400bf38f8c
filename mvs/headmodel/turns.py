"""Rotation vectors: their matrices, and how those change with them."""

from __future__ import annotations

import numpy as np

from mvs.types import DoubleArray

# Below this angle the series are exact to rounding, and the closed forms are not.
_SMALL = 1e-2
_GENERATORS: DoubleArray = np.array(
    [
        [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[0, 0, 1], [0, 0, 0], [-1, 0, 0]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
    ],
    np.float64,
)


def turn_matrices(vectors: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Rotations of rotation vectors, and their derivatives.

    Args:
        vectors: (N, 3) radians.

    Returns:
        (N, 3, 3) matrices and (N, 3, 3, 3) derivatives, the component of the vector first.

    Source:
        Rodrigues: R = I + a W + b W W, W the cross product with w, a = sin |w| / |w| and
        b = (1 - cos |w|) / |w|^2.
    """
    w = np.asarray(vectors, np.float64).reshape(-1, 3)
    cross = np.einsum("nk,kab->nab", w, _GENERATORS)
    square = np.einsum("nab,nbc->nac", cross, cross)
    a, b, a_slope, b_slope = (k[:, None, None] for k in _factors((w**2).sum(axis=1)))
    matrices = np.eye(3) + a * cross + b * square
    change = np.einsum("kab,nbc->nkac", _GENERATORS, cross)
    change += np.einsum("nab,kbc->nkac", cross, _GENERATORS)
    slopes = (a_slope * cross + b_slope * square)[:, None] * w[:, :, None, None]
    return matrices, slopes + a[:, None] * _GENERATORS + b[:, None] * change


def _factors(square: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray]:
    """Of squared angles (N,): a, b, and their derivatives by the angle divided by the angle."""
    small = square < _SMALL**2
    s = np.where(small, 1.0, square)
    angle = np.sqrt(s)
    sine, cosine = np.sin(angle), np.cos(angle)
    a, b = sine / angle, (1 - cosine) / s
    exact = (a, b, (cosine - a) / s, (a - 2 * b) / s)
    s = np.where(small, square, 0.0)
    series = (
        1 - s / 6 + s**2 / 120,
        0.5 - s / 24 + s**2 / 720,
        -1 / 3 + s / 30 - s**2 / 840,
        -1 / 12 + s / 180 - s**2 / 6720,
    )
    values = [np.where(small, near, far) for near, far in zip(series, exact, strict=True)]
    return values[0], values[1], values[2], values[3]
