"""Slow version of ``mvs.kernels.places``: one place at a time, in NumPy."""

import numpy as np

_ROBUST_SCALE = 1.4826


def fit_place(samples, place, radius, step, steps):
    """Pixel, coordinates, weight, last step and distance to the nearest sample of one place."""
    pixels, coords, weight = samples
    near = weight * _kernel(coords, place, radius)
    width = 1.5 * radius / step
    origin = pixel = _weighted_median(pixels, near)
    robust, window, fit = np.ones(len(pixels)), near, np.zeros((6, 3))
    for taken in range(steps):
        origin = pixel
        offsets = (pixels - origin) / width
        window = near * np.exp(-0.5 * (offsets**2).sum(axis=1))
        basis = _basis(offsets)
        fit = _fit(basis, coords, window * robust)
        off = np.linalg.norm(coords - basis @ fit, axis=1)
        scale = 3.0 * _ROBUST_SCALE * float(_weighted_median(off[:, None], window)[0])
        robust = 1.0 / (1.0 + (off / (scale + 1e-9)) ** 2) ** 2
        pixel = origin + width * np.clip(_nearest_on(fit, place), -0.5, 0.5)
        if taken >= 2 and np.abs(pixel - origin).max() < 1e-5:
            break
    surface = _basis((pixel - origin)[None] / width)[0] @ fit
    window = window * robust
    moved = float(np.abs(pixel - origin).max())
    beside = float(np.sqrt(((pixels - pixel) ** 2).sum(axis=1).min()))
    return pixel, surface, float(window @ weight / window.sum()), moved, beside


def _kernel(coords, place, radius):
    """(N,) Gaussian of the distances to a place."""
    squared = ((coords - place) ** 2).sum(axis=1)
    return np.asarray(np.exp(-0.5 * squared / radius**2))


def _basis(offsets):
    """(N, 6) monomials up to the second degree of (N, 2)."""
    x, y = offsets.T
    return np.column_stack([np.ones(len(x)), x, y, x * x, x * y, y * y])


def _fit(basis, values, weight):
    """Weighted least squares; a trace of ridge keeps a deficient fit finite."""
    weighted = basis * weight[:, None]
    normal = weighted.T @ basis
    normal += 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
    return np.asarray(np.linalg.solve(normal, weighted.T @ values))


def _nearest_on(fit, place):
    """Offset (2,) at which a quadratic surface comes nearest to a place, by Gauss-Newton."""
    offset = np.zeros(2)
    for _ in range(4):
        x, y = offset
        across = fit[1] + 2 * x * fit[3] + y * fit[4]
        down = fit[2] + x * fit[4] + 2 * y * fit[5]
        slope = np.column_stack([across, down])
        normal = slope.T @ slope
        normal += 1e-9 * np.trace(normal) * np.eye(2) + 1e-30 * np.eye(2)
        rest = place - _basis(offset[None])[0] @ fit
        offset = np.clip(offset + np.linalg.solve(normal, slope.T @ rest), -2.0, 2.0)
    return offset


def _weighted_median(values, weight):
    """Weighted median of each column of (N, D)."""
    middle = np.empty(values.shape[1])
    for column, row in enumerate(values.T):
        order = np.argsort(row, kind="stable")
        total = np.cumsum(weight[order])
        middle[column] = row[order[np.searchsorted(total, total[-1] / 2)]]
    return middle
