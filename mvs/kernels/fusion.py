"""Kernels that fuse clouds: averages over cells, moving least squares over the cube."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.grid import build_grid
from mvs.kernels.threads import prange
from mvs.types import DoubleArray, FloatArray, IntArray

_CHUNK = 512
_MAX_NEIGHBORS = 1024
_MIN_AGREEMENT = 0.2
_ROUNDS = 3
_TUKEY = 5.0
_STIFFNESS = 1e-3


def group_by_cell(
    points: DoubleArray | FloatArray, cell: float, origin: DoubleArray | None = None
) -> tuple[IntArray, IntArray]:
    """Sort points by the cell of a regular grid that they lie in.

    Args:
        points: (N, 3) finite.
        cell: edge of a cell.
        origin: (3,) a corner of some cell; by default the points' least coordinates.

    Returns:
        Rows of ``points`` (N,) int32 cell by cell, ascending within a cell, and where each cell
        starts (G + 1,) int32.
    """
    if len(points) == 0:
        return np.empty(0, np.int32), np.zeros(1, np.int32)
    corner = points.min(axis=0) if origin is None else origin
    keys = np.zeros(len(points), np.int64)
    for axis in range(3):
        cells = np.floor((points[:, axis] - corner[axis]) / cell).astype(np.int64)
        cells -= cells.min()
        keys = keys * (cells.max() + 1) + cells
    order = np.argsort(keys, kind="stable").astype(np.int32)
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return order, np.append(starts, len(order)).astype(np.int32)


def average_groups(
    order: IntArray, starts: IntArray, values: DoubleArray, weights: DoubleArray
) -> DoubleArray:
    """Weighted mean of each group's rows.

    Args:
        order: (N,) int32 rows, group by group.
        starts: (G + 1,) int32 where each group starts.
        values: (N, K) float64.
        weights: (N,) float64, positive.

    Returns:
        (G, K) float64.
    """
    means = np.zeros((len(starts) - 1, values.shape[1]))
    _average_groups(order, starts, values, weights, means)
    return means


@dataclass(frozen=True)
class Samples:
    """Positions known at places of the cube; N rows.

    Attributes:
        coords: (N, 3) float32 places in the cube.
        points: (N, 3) float64 positions.
        normals: (N, 3) float32 rough unit normals, to keep the two sides of thin parts apart.
        weights: (N,) float64, positive.
        references: (N, W) uint64 bit sets of the views that the samples come from.
    """

    coords: FloatArray
    points: DoubleArray
    normals: FloatArray
    weights: DoubleArray
    references: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class FittedSurface:
    """The fitted surface at each query's place in the cube; M rows.

    Attributes:
        points: (M, 3) float64 positions; the query's own without a fit.
        normals: (M, 3) float32 unit normals, on the side of the query's; its own without a fit.
        residuals: (M,) float64 distance from the query to the fit, inf without one.
        scatter: (M,) float64 weighted root mean square of the neighbours' distances to the fit,
            inf without one.
        n_neighbors: (M,) int32 samples that agree with it.
        n_references: (M,) int32 different views among those.
    """

    points: DoubleArray
    normals: FloatArray
    residuals: DoubleArray
    scatter: DoubleArray
    n_neighbors: IntArray
    n_references: IntArray


def fit_surface(samples: Samples, queries: Samples, radius: float, scatter: float) -> FittedSurface:
    """Moving least squares of position as a function of the place in the cube.

    Around every query, position is fitted as a quadratic function of two coordinates in the plane
    of the samples near it in the cube, with weights that fall to zero at the radius and, in a
    second and third round, to zero for samples that lie off. The value at the query's own place is
    its new position: it averages the views' errors, without the shrinkage that averaging
    neighbouring positions would bring (Levin 1998, with the cube as the domain).

    Args:
        samples: what the surface is fitted to.
        queries: where it is evaluated; weights and references are not used.
        radius: of the neighbourhood, in the cube.
        scatter: typical distance of a good sample from the surface, in world units.

    Returns:
        Positions and figures.
    """
    n = len(queries.points)
    surface = FittedSurface(
        queries.points.copy(),
        queries.normals.copy(),
        np.full(n, np.inf),
        np.full(n, np.inf),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
    )
    if n == 0 or len(samples.points) == 0:
        return surface
    grid = build_grid(samples.coords, radius / 2)
    _fit_surface(
        (grid.origin, grid.cell, grid.top, grid.start, grid.sorted_index),
        (samples.coords, samples.points, samples.normals, samples.weights, samples.references),
        tuple(map(np.ascontiguousarray, (queries.coords, queries.points, queries.normals))),
        (float(radius), max(float(scatter), 1e-300)),
        (
            surface.points,
            surface.normals,
            surface.residuals,
            surface.scatter,
            surface.n_neighbors,
            surface.n_references,
        ),
    )
    return surface


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _average_groups(order, starts, values, weights, means):  # type: ignore[no-untyped-def]
    for group in prange(len(starts) - 1):
        total = 0.0
        for row in range(starts[group], starts[group + 1]):
            weight = weights[order[row]]
            total += weight
            for k in range(values.shape[1]):
                means[group, k] += weight * values[order[row], k]
        for k in range(values.shape[1]):
            means[group, k] /= total


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _fit_surface(cells, samples, queries, limits, found):  # type: ignore[no-untyped-def]
    n = len(queries[0])
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        rows = (chunk * _CHUNK, min((chunk + 1) * _CHUNK, n))
        _fit_surface_rows(rows, cells, samples, queries, limits, found)


@numba.njit(cache=True, error_model="numpy")
def _fit_surface_rows(rows, cells, samples, queries, limits, found):  # type: ignore[no-untyped-def]
    """The queries rows[0] .. rows[1] - 1, one after the other."""
    coords, points, normals, weights, references = samples
    at, origins, sides = queries
    radius, scatter = limits
    new_points, new_normals, residuals, spread, n_neighbors, n_references = found
    near = np.empty(_MAX_NEIGHBORS, np.int32)
    kernel = np.empty(_MAX_NEIGHBORS)
    share = np.empty(_MAX_NEIGHBORS)
    basis = np.empty((_MAX_NEIGHBORS, 6))
    offset = np.empty((_MAX_NEIGHBORS, 3))
    for i in range(rows[0], rows[1]):
        n = _neighbors(at[i], sides[i], cells, coords, normals, radius, near, kernel)
        if n < 6 or not _plane_basis(at[i], coords, near[:n], kernel, radius, basis):
            continue
        for m in range(n):
            kernel[m] *= weights[near[m]]
            share[m] = kernel[m]
            for k in range(3):
                offset[m, k] = points[near[m], k] - origins[i, k]
        good = True
        total = squared = 0.0
        for _ in range(_ROUNDS):
            good, fit = _solve_quadratic(n, offset, basis, share)
            if not good:
                break
            total, squared = _reweight(n, offset, basis, fit, kernel, scatter, share)
            if not total > 0:
                good = False
                break
        if not good:
            continue
        for k in range(3):
            new_points[i, k] = origins[i, k] + fit[0, k]
        residuals[i] = np.sqrt(fit[0, 0] ** 2 + fit[0, 1] ** 2 + fit[0, 2] ** 2)
        spread[i] = np.sqrt(squared / total)
        _orient(i, fit, sides, new_normals)
        n_neighbors[i], n_references[i] = _support(near[:n], share, references)


@numba.njit(cache=True, error_model="numpy")
def _neighbors(q, side, cells, coords, normals, radius, near, kernel):  # type: ignore[no-untyped-def]
    """Samples within the radius whose normals agree, and their weights by distance."""
    origin, cell, top, start, index = cells
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for k in range(3):
        low[k] = max(int((q[k] - radius - origin[k]) / cell - 1e-3), 0)
        high[k] = min(int((q[k] + radius - origin[k]) / cell + 1e-3), top.shape[k] * 4 - 1)
    n = 0
    for x in range(low[0], high[0] + 1):
        for y in range(low[1], high[1] + 1):
            for bz in range(low[2] >> 2, (high[2] >> 2) + 1):
                block = top[x >> 2, y >> 2, bz]
                if block < 0:
                    continue
                row = (block << 6) | ((x & 3) << 4) | ((y & 3) << 2)
                first = start[row + max(low[2] - (bz << 2), 0)]
                last = start[row + min(high[2] - (bz << 2), 3) + 1]
                for s in range(first, last):
                    j = index[s]
                    squared = agree = 0.0
                    for k in range(3):
                        squared += (coords[j, k] - q[k]) ** 2
                        agree += normals[j, k] * side[k]
                    inside = 1.0 - squared / (radius * radius)
                    if inside > 0 and agree > _MIN_AGREEMENT and n < len(near):
                        near[n] = j
                        kernel[n] = inside * inside
                        n += 1
    return n


@numba.njit(cache=True, error_model="numpy")
def _plane_basis(q, coords, near, kernel, radius, basis):  # type: ignore[no-untyped-def]
    """Basis (1, s, t, ss, st, tt) in the plane of the neighbours; s, t over the radius."""
    mean = np.zeros(3)
    total = 0.0
    for m in range(len(near)):
        total += kernel[m]
        for k in range(3):
            mean[k] += kernel[m] * coords[near[m], k]
    mean /= total
    covariance = np.zeros((3, 3))
    for m in range(len(near)):
        for a in range(3):
            da = kernel[m] * (coords[near[m], a] - mean[a])
            for b in range(3):
                covariance[a, b] += da * (coords[near[m], b] - mean[b])
    if not np.isfinite(covariance.sum()):
        return False
    vectors = np.linalg.eigh(covariance)[1]
    for m in range(len(near)):
        s = t = 0.0
        for k in range(3):
            d = (coords[near[m], k] - q[k]) / radius
            s += d * vectors[k, 2]
            t += d * vectors[k, 1]
        basis[m, 0] = 1.0
        basis[m, 1] = s
        basis[m, 2] = t
        basis[m, 3] = s * s
        basis[m, 4] = s * t
        basis[m, 5] = t * t
    return True


@numba.njit(cache=True, error_model="numpy")
def _reweight(n, offset, basis, fit, kernel, scatter, share):  # type: ignore[no-untyped-def]
    """Tukey weights by distance from the fit; total weight and weighted squared distance."""
    total = squared = 0.0
    bound = (_TUKEY * scatter) ** 2
    for m in range(n):
        off = 0.0
        for k in range(3):
            value = -offset[m, k]
            for b in range(6):
                value += basis[m, b] * fit[b, k]
            off += value * value
        inside = max(1.0 - off / bound, 0.0)
        share[m] = kernel[m] * inside * inside
        total += share[m]
        squared += share[m] * off
    return total, squared


@numba.njit(cache=True, error_model="numpy")
def _solve_quadratic(n, offset, basis, share):  # type: ignore[no-untyped-def]
    """Weighted least squares of the neighbours' offsets; (6, 3) coefficients."""
    matrix = np.zeros((6, 6))
    right = np.zeros((6, 3))
    for m in range(n):
        for a in range(6):
            scaled = share[m] * basis[m, a]
            for b in range(a, 6):
                matrix[a, b] += scaled * basis[m, b]
            for k in range(3):
                right[a, k] += scaled * offset[m, k]
    total = matrix[0, 0]
    if not total > 0:
        return False, right
    # A little stiffness: where neighbours are few or on one side, the fit bends less.
    matrix[1, 1] += 1e-6 * total
    matrix[2, 2] += 1e-6 * total
    for a in range(3, 6):
        matrix[a, a] += _STIFFNESS * total
    for a in range(6):  # Cholesky in the upper triangle, then the two triangular systems
        for b in range(a):
            for c in range(a, 6):
                matrix[a, c] -= matrix[b, a] * matrix[b, c]
        if not matrix[a, a] > 1e-12 * total:
            return False, right
        root = np.sqrt(matrix[a, a])
        for c in range(a, 6):
            matrix[a, c] /= root
    for k in range(3):
        for a in range(6):
            for b in range(a):
                right[a, k] -= matrix[b, a] * right[b, k]
            right[a, k] /= matrix[a, a]
        for a in range(5, -1, -1):
            for b in range(a + 1, 6):
                right[a, k] -= matrix[a, b] * right[b, k]
            right[a, k] /= matrix[a, a]
    return True, right


@numba.njit(cache=True, error_model="numpy")
def _orient(i, fit, normals, new_normals):  # type: ignore[no-untyped-def]
    """Normal of the fit at its centre, on the side of the rough one."""
    x = fit[1, 1] * fit[2, 2] - fit[1, 2] * fit[2, 1]
    y = fit[1, 2] * fit[2, 0] - fit[1, 0] * fit[2, 2]
    z = fit[1, 0] * fit[2, 1] - fit[1, 1] * fit[2, 0]
    length = np.sqrt(x * x + y * y + z * z)
    if length > 0:
        side = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
        length = length if side >= 0 else -length
        new_normals[i, 0] = x / length
        new_normals[i, 1] = y / length
        new_normals[i, 2] = z / length


@numba.njit(cache=True, error_model="numpy")
def _support(near, share, references):  # type: ignore[no-untyped-def]
    """Neighbours that have a weight, and the different views among them."""
    n = views = 0
    for m in range(len(near)):
        n += share[m] > 0
    for word in range(references.shape[1]):
        bits = np.uint64(0)
        for m in range(len(near)):
            if share[m] > 0:
                bits |= references[near[m], word]
        while bits != np.uint64(0):
            bits &= bits - np.uint64(1)
            views += 1
    return n, views
