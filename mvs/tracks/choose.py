"""Which of the possible pairs are taken, and which of their points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvs.tracks.options import TracksOptions
from mvs.tracks.pairs import MatchedPair

# What a pair without any motion counts for, pixels.
_LEAST_MOTION = 0.01


def choose_pairs(
    candidates: Sequence[MatchedPair], picture: int, options: TracksOptions
) -> list[MatchedPair]:
    """Draw pairs that end in one picture, in proportion to their motion, and their points.

    Args:
        candidates: possible pairs.
        picture: number of the picture, which with the seed determines what is drawn.
        options: how many pairs and points.

    Returns:
        The pairs in the candidates' order, with no more than ``max_points`` points each.
    """
    if not candidates:
        return []
    rng = np.random.default_rng((options.seed, picture))
    weights = np.array([pair.motion + _LEAST_MOTION for pair in candidates])
    n = min(options.pairs_per_picture, len(candidates))
    taken = rng.choice(len(candidates), n, replace=False, p=weights / weights.sum())
    return [_thin(candidates[index], options.max_points, rng) for index in sorted(taken.tolist())]


def _thin(pair: MatchedPair, most: int, rng: np.random.Generator) -> MatchedPair:
    if len(pair.points) <= most:
        return pair
    rows = np.sort(rng.choice(len(pair.points), most, replace=False))
    return pair._replace(points=pair.points[rows], errors=pair.errors[rows])
