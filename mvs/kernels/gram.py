"""Normal equations of weighted least squares, the same bits for any number of threads."""

from __future__ import annotations

import numba
import numpy as np

from mvs.kernels.threads import prange
from mvs.types import DoubleArray

_CHUNK = 1024


def normal_equations(
    jacobian: DoubleArray, residual: DoubleArray, weight: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """J^T W J and J^T W r.

    Args:
        jacobian: (M, P).
        residual: (M,).
        weight: (M,), rows of weight 0 are skipped.

    Returns:
        (P, P) and (P,) float64.

    Raises:
        ValueError: if shapes do not fit.
    """
    if jacobian.ndim != 2 or not len(jacobian) == len(residual) == len(weight):
        raise ValueError(
            f"jacobian must be (M, P), residual and weight (M,), got {jacobian.shape}, "
            f"{residual.shape}, {weight.shape}"
        )
    rows = np.ascontiguousarray(jacobian, np.float64)
    n, width = rows.shape
    n_chunks = -(-n // _CHUNK)
    grams = np.zeros((n_chunks, width, width))
    rights = np.zeros((n_chunks, width))
    ends = (np.asarray(residual, np.float64), np.asarray(weight, np.float64))
    _accumulate(rows, *ends, grams, rights)
    gram, right = np.zeros((width, width)), np.zeros(width)
    for k in range(n_chunks):
        gram += grams[k]
        right += rights[k]
    upper = np.triu(gram)
    return upper + np.triu(gram, 1).T, right


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _accumulate(rows, residual, weight, grams, rights):  # type: ignore[no-untyped-def]
    n, width = rows.shape
    for k in prange(len(grams)):
        gram, right = grams[k], rights[k]
        stop = min(n, (k + 1) * _CHUNK)
        m = k * _CHUNK
        # Two rows at a time: each entry of the sum is loaded half as often.
        while m < stop:
            w = weight[m]
            v = weight[m + 1] if m + 1 < stop else 0.0
            if w == 0.0 and v == 0.0:
                m += 2
                continue
            # What a row of weight 0 holds may be no number.
            first, second = m if w != 0.0 else m + 1, m + 1 if v != 0.0 else m
            a, b = rows[first], rows[second]
            r, s = residual[first], residual[second]
            for i in range(width):
                p, q = w * a[i], v * b[i]
                right[i] += p * r + q * s
                line = gram[i]
                for j in range(i, width):
                    line[j] += p * a[j] + q * b[j]
            m += 2
