"""Figures that a run notes for its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.kernels.dlt import Observations
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray

_N_BINS = 40
# What lies above this quantile goes into the last bin.
_SHOWN = 0.99
_ROUND = (1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0)


def picture_errors(
    points: DoubleArray, used: BoolArray, observations: Observations, rows: BoolArray
) -> FloatArray:
    """Root mean square reprojection errors of points, in pixels of the pictures.

    Args:
        points: (N, 3) float64.
        used: (N, V) views that agree on each, at least one.
        observations: of N' points; N of them are asked for.
        rows: (N',) bool, which.

    Returns:
        (N,) float32.
    """
    total = np.zeros(len(points))
    for column, projection in enumerate(observations.projections):
        seen = used[:, column]
        place = points[seen] @ projection[:, :3].T + projection[:, 3]
        off = place[:, :2] / place[:, 2:] - observations.pixels[rows, column][seen]
        total[seen] += (off**2).sum(axis=1)
    return np.asarray(np.sqrt(total / np.maximum(used.sum(axis=1), 1)), np.float32)


def histogram(values: npt.NDArray[np.floating], top: float | None = None) -> dict[str, Any]:
    """Counts of values from 0 up in bins of one width; the last bin holds what lies above, too.

    Args:
        values: (N,), not negative.
        top: upper edge; by default a round number that one value in a hundred exceeds.

    Returns:
        ``edges`` (one more than bins), ``counts``, and ``median`` and ``p95`` (None of no values).
    """
    # Rounded to 32 bits, the upper edge may lie beyond itself.
    values = values[np.isfinite(values)].astype(np.float64)
    if top is None:
        top = _round_up(float(np.quantile(values, _SHOWN))) if len(values) else 1.0
    edges = np.linspace(0.0, top, _N_BINS + 1)
    counts, _ = np.histogram(np.minimum(values, top), edges)
    median, p95 = np.quantile(values, [0.5, 0.95]) if len(values) else (None, None)
    return {
        "edges": [round(float(edge), 6) for edge in edges],
        "counts": counts.tolist(),
        "median": None if median is None else round(float(median), 6),
        "p95": None if p95 is None else round(float(p95), 6),
    }


def mean_confidences(cube_maps: Sequence[CubeMap]) -> list[float | None]:
    """Mean confidence of each map's head pixels; None where it has none."""
    return [
        round(float(found.confidence[found.mask].mean()), 4) if found.mask.any() else None
        for found in cube_maps
    ]


def _round_up(value: float) -> float:
    """The next number whose quarters are easily read."""
    if not value > 0:
        return 1.0
    power = float(10.0 ** np.floor(np.log10(value)))
    return next(k * power for k in _ROUND if k * power >= value * (1 - 1e-9))
