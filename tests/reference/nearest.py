"""Nearest neighbours by trying every pair."""

import numpy as np


def nearest(targets, queries, max_distance=np.inf):
    """Index and squared distance; float32, ties to the lowest index, -1 and inf for none."""
    index = np.full(len(queries), -1, np.int32)
    squared = np.full(len(queries), np.inf, np.float32)
    bound = np.float32(np.float64(max_distance) ** 2)
    with np.errstate(invalid="ignore"):
        for i, query in enumerate(queries.astype(np.float32)):
            d = query - targets.astype(np.float32)
            d = d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + d[:, 2] * d[:, 2]
            d[~np.isfinite(d)] = np.inf
            if len(d) and d.min() <= bound and d.min() < np.inf:
                index[i] = np.argmin(d)
                squared[i] = d.min()
    return index, squared
