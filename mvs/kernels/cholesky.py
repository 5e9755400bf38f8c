"""Symmetric positive definite systems, the same bits for any number of threads.

LAPACK splits its sums by how many threads there are.
"""

from __future__ import annotations

import numba
import numpy as np

from mvs.types import DoubleArray


def solve_positive(matrix: DoubleArray, right: DoubleArray) -> DoubleArray:
    """The x of matrix x = right, by Cholesky's factors.

    Args:
        matrix: (P, P) symmetric, positive definite; its lower half is read.
        right: (P,) or (P, K).

    Returns:
        Of the shape of ``right``, float64.

    Raises:
        ValueError: if shapes do not fit.
        numpy.linalg.LinAlgError: if the matrix is not positive definite.
    """
    n = len(matrix)
    if matrix.shape != (n, n) or right.shape[:1] != (n,) or right.ndim > 2:
        shapes = f"{matrix.shape} and {right.shape}"
        raise ValueError(f"matrix must be (P, P), right (P,) or (P, K), got {shapes}")
    factor = np.array(matrix, np.float64, order="C")
    found = np.array(right, np.float64, order="C")
    if not _factor(factor):
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    _substitute(factor, found if right.ndim == 2 else found[:, None])
    return found


@numba.njit(cache=True, error_model="numpy")
def _factor(a):  # type: ignore[no-untyped-def]
    """Lower triangle of ``a`` to that of its factor; false where there is none."""
    n = len(a)
    column = np.empty(n)
    for j in range(n):
        if not 0 < a[j, j] < np.inf:
            return False
        a[j, j] = np.sqrt(a[j, j])
        for i in range(j + 1, n):
            a[i, j] /= a[j, j]
            column[i] = a[i, j]
        for i in range(j + 1, n):
            line, share = a[i], column[i]
            for k in range(j + 1, i + 1):
                line[k] -= share * column[k]
    return True


@numba.njit(cache=True, error_model="numpy")
def _substitute(factor, x):  # type: ignore[no-untyped-def]
    """Right sides (P, K) to answers, in place."""
    n, width = x.shape
    for i in range(n):
        line = x[i]
        for k in range(i):
            share, other = factor[i, k], x[k]
            for c in range(width):
                line[c] -= share * other[c]
        for c in range(width):
            line[c] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        line = x[i]
        for k in range(i + 1, n):
            share, other = factor[k, i], x[k]
            for c in range(width):
                line[c] -= share * other[c]
        for c in range(width):
            line[c] /= factor[i, i]
