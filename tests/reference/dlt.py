"""Triangulation of one point at a time with general solvers."""

import numpy as np
from scipy.optimize import least_squares


def linear(projections, pixels):
    """Inhomogeneous direct linear transform by least squares."""
    rows = pixels[:, :, None] * projections[:, 2:3] - projections[:, :2]
    rows = rows.reshape(-1, 4)
    return np.linalg.lstsq(rows[:, :3], -rows[:, 3], rcond=None)[0]


def refined(projections, pixels, roots=None):
    """The point of least reprojection error, weighted by upper triangular roots (V, 3)."""

    def errors(point):
        h = projections @ np.append(point, 1.0)
        error = pixels - h[:, :2] / h[:, 2:]
        if roots is None:
            return error.ravel()
        weighted = np.column_stack(
            [roots[:, 0] * error[:, 0] + roots[:, 1] * error[:, 1], roots[:, 2] * error[:, 1]]
        )
        return weighted.ravel()

    start = linear(projections, pixels)
    return least_squares(errors, start, xtol=1e-15, ftol=1e-15, gtol=1e-15).x
