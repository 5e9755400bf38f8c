"""Averages and surface fits, a point at a time."""

import numpy as np


def group_means(points, cell, values, weights):
    """Dictionary from cell to the weighted mean of its rows."""
    groups = {}
    cells = np.floor((points - points.min(axis=0)) / cell).astype(int)
    for row, key in enumerate(map(tuple, cells)):
        groups.setdefault(key, []).append(row)
    return {
        key: np.average(values[rows], axis=0, weights=weights[rows]) for key, rows in groups.items()
    }


def fit_point(samples, coords, point, normal, radius, scatter, stiffness=1e-3):
    """Moving least squares at one place: position and number of neighbours, None without a fit."""
    offset = samples.coords.astype(float) - coords.astype(float)
    inside = 1.0 - (offset**2).sum(axis=1) / radius**2
    agree = samples.normals.astype(float) @ normal.astype(float)
    near = np.flatnonzero((inside > 0) & (agree > 0.2))
    if len(near) < 6:
        return None, 0
    kernel = inside[near] ** 2
    offset = offset[near]
    mean = np.average(offset, axis=0, weights=kernel)
    centered = offset - mean
    vectors = np.linalg.eigh((centered * kernel[:, None]).T @ centered)[1]
    s, t = (offset / radius) @ vectors[:, 2], (offset / radius) @ vectors[:, 1]
    basis = np.column_stack([np.ones(len(s)), s, t, s * s, s * t, t * t])
    kernel = kernel * samples.weights[near]
    share = kernel.copy()
    targets = samples.points[near] - point
    for _ in range(3):
        matrix = basis.T @ (basis * share[:, None])
        total = matrix[0, 0]
        matrix += np.diag([0, 1e-6, 1e-6, stiffness, stiffness, stiffness]) * total
        fit = np.linalg.solve(matrix, basis.T @ (targets * share[:, None]))
        off = ((basis @ fit - targets) ** 2).sum(axis=1)
        share = kernel * np.maximum(1.0 - off / (5.0 * scatter) ** 2, 0.0) ** 2
    return point + fit[0], int((share > 0).sum())
