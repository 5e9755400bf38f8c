"""Exposures of the views brought together by what they see in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mvs.types import ByteArray, FloatArray

# Exposure is compared where colours are neither black nor burnt out, on enough points.
_DARK, _BRIGHT = 10, 245
_MIN_EXPOSED = 200
_MAX_GAIN = 4.0


def balance(
    seen: Sequence[npt.NDArray[np.bool_]],
    samples: Sequence[FloatArray | ByteArray],
    shares: Sequence[FloatArray],
    rounds: int,
) -> FloatArray:
    """Factors that bring the views' colours to their mean.

    Args:
        seen: per view, (N,) which points it sees.
        samples: per view, (n, 3) the colours of those points, 0 to 255.
        shares: per view, (n,) their weights in the mean.
        rounds: means taken; more bring views together that have others between them.

    Returns:
        (V, 3) gains; the mean of each channel's logarithms is 0.
    """
    gains = np.ones((len(samples), 3), np.float32)
    for _ in range(rounds):
        mean = mean_colors(seen, samples, shares, gains)
        gains = _gains(seen, samples, mean)
    return gains


def mean_colors(
    seen: Sequence[npt.NDArray[np.bool_]],
    samples: Sequence[FloatArray | ByteArray],
    shares: Sequence[FloatArray],
    gains: FloatArray,
) -> FloatArray:
    """(N, 3) weighted mean of the views' colours times their gains; see ``balance``."""
    total = np.zeros((len(seen[0]), 3), np.float32)
    weight = np.full(len(seen[0]), 1e-12, np.float32)
    for sees, sample, share, gain in zip(seen, samples, shares, gains, strict=True):
        total[sees] += share[:, None] * sample * gain
        weight[sees] += share
    return total / weight[:, None]


def _gains(
    seen: Sequence[npt.NDArray[np.bool_]],
    samples: Sequence[FloatArray | ByteArray],
    mean: FloatArray,
) -> FloatArray:
    """(V, 3) factors that bring the views' colours to the mean; their own mean is 1."""
    gains = np.ones((len(samples), 3), np.float32)
    for gain, sees, sample in zip(gains, seen, samples, strict=True):
        usable = ((sample > _DARK) & (sample < _BRIGHT)).all(axis=1)
        if usable.sum() >= _MIN_EXPOSED:
            gain[:] = np.median(mean[sees][usable] / sample[usable], axis=0)
    gains = np.clip(gains, 1 / _MAX_GAIN, _MAX_GAIN)
    return np.asarray(gains / np.exp(np.log(gains).mean(axis=0)), np.float32)
