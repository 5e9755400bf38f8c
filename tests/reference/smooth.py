"""Planes fitted to a pixel's neighbourhood by dense least squares, a pixel at a time."""

import numpy as np


def smooth_along(values, weight, guide, width, reach, wild=np.inf, extent=2.0, ridge=0.05):
    """See ``mvs.kernels.smooth``: value of the plane in the middle, and mean weight nearby."""
    height, columns = weight.shape
    n = int(np.ceil(extent * width))
    smooth = np.full(values.shape, np.nan)
    support = np.zeros(weight.shape)
    for y, x in np.ndindex(height, columns):
        if not np.isfinite(guide[y, x]).all():
            continue
        rows = slice(max(y - n, 0), y + n + 1), slice(max(x - n, 0), x + n + 1)
        dy, dx = (k[rows] - c for k, c in zip(np.indices(weight.shape), (y, x), strict=True))
        squared = ((guide[rows] - guide[y, x]) ** 2).sum(axis=-1)
        near = np.where(squared < 16 * reach**2, np.exp(-0.5 * squared / reach**2), 0)
        near *= np.exp(-0.5 * (dx**2 + dy**2) / width**2)
        counts = (near * weight[rows]).ravel()
        if counts.sum() <= 0:
            continue
        support[y, x] = counts.sum() / near.sum()
        shown = np.where(counts[:, None] > 0, values[rows].reshape(counts.size, -1), 0)
        offsets = np.column_stack([dx.ravel(), dy.ravel()]).astype(float)
        fit = _plane(offsets, shown, counts, ridge)
        if np.isfinite(wild):
            told = np.column_stack([np.ones(len(offsets)), offsets]) @ fit
            off = ((shown - told) ** 2).sum(axis=1)
            fit = _plane(offsets, shown, counts / (1 + off / wild**2) ** 2, ridge)
        smooth[y, x] = fit[0]
    return smooth, support


def _plane(offsets, values, weight, ridge):
    middle = np.average(offsets, axis=0, weights=weight)
    mean = np.average(values, axis=0, weights=weight)
    centred = offsets - middle
    normal = (centred * weight[:, None]).T @ centred + ridge * weight.sum() * np.eye(2)
    slopes = np.linalg.solve(normal, (centred * weight[:, None]).T @ (values - mean))
    return np.vstack([mean - middle @ slopes, slopes])
