"""Where a cube map comes nearest to places of the cube: a quadratic surface fitted around each.

The fit is robust (reweighted by residual), weighted by confidence, by distance in the cube and by
distance in the map. Each place is solved by one thread, its pixels in the order given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.threads import prange
from mvs.types import DoubleArray

_CHUNK = 64
_ROBUST_SCALE = 1.4826
# No surface is larger in the map than one that faces the camera: width of the window in the map,
# by the radius in the cube.
_WIDTH = 1.5
# A fit that moved less than this, in pixels of the map, has ended; the robust weights need a few
# steps all the same.
_STILL = 1e-5
_MIN_STEPS = 3


@dataclass(frozen=True)
class Neighborhoods:
    """The pixels around each place.

    Attributes:
        rows: (M,) int64 of the samples, one place's after the other's.
        starts: (K + 1,) int64 where each place's begin.
        radius: (K,) float64 of the Gaussian in the cube.
    """

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    radius: DoubleArray


@dataclass(frozen=True)
class SurfacePlaces:
    """What came of each place; NaN where it has no pixels.

    Attributes:
        pixels: (K, 2) where the surface comes nearest.
        coords: (K, 3) the surface's cube coordinates there.
        weight: (K,) mean of the samples' weight around it.
        moved: (K,) length of the last step, in pixels.
        beside: (K,) distance to the nearest sample, in pixels.
    """

    pixels: DoubleArray
    coords: DoubleArray
    weight: DoubleArray
    moved: DoubleArray
    beside: DoubleArray


def fit_places(
    samples: tuple[DoubleArray, DoubleArray, DoubleArray],
    places: DoubleArray,
    near: Neighborhoods,
    step: float,
    steps: int,
) -> SurfacePlaces:
    """Fit a surface, map to cube, around each place and find where it comes nearest.

    Args:
        samples: pixels (N, 2), cube coordinates (N, 3) and weight (N,) of the map's pixels.
        places: (K, 3) in the cube.
        near: the pixels to fit to.
        step: distance in the cube between neighbouring pixels.
        steps: of the fit, at most.

    Raises:
        ValueError: if the shapes do not fit.
    """
    pixels, coords, weight = (np.ascontiguousarray(a, np.float64) for a in samples)
    k = len(places)
    if pixels.shape != (len(weight), 2) or coords.shape != (len(weight), 3):
        raise ValueError("samples must be (N, 2), (N, 3) and (N,)")
    if places.shape != (k, 3) or len(near.starts) != k + 1 or len(near.radius) != k:
        raise ValueError(f"places must be (K, 3) with K neighborhoods, got {places.shape}")
    shapes: tuple[tuple[int, ...], ...] = ((k, 2), (k, 3), (k,), (k,), (k,))
    found = SurfacePlaces(*(np.full(shape, np.nan) for shape in shapes))
    lists = (near.rows, near.starts, near.radius)
    out = (found.pixels, found.coords, found.weight, found.moved, found.beside)
    if k:
        _fit_places(
            (pixels, coords, weight),
            np.ascontiguousarray(places, np.float64),
            lists,
            (float(step), int(steps)),
            out,
        )
    return found


@numba.njit(cache=True, error_model="numpy")
def _weighted_median(values, weight):  # type: ignore[no-untyped-def]
    order = np.argsort(values, kind="mergesort")
    total = 0.0
    for i in range(len(weight)):
        total += weight[i]
    half, sum_ = 0.5 * total, 0.0
    for i in order:
        sum_ += weight[i]
        if sum_ >= half:
            return values[i]
    return values[order[-1]]


@numba.njit(cache=True, error_model="numpy", inline="always")
def _monomials(x, y):  # type: ignore[no-untyped-def]
    return (1.0, x, y, x * x, x * y, y * y)


@numba.njit(cache=True, error_model="numpy")
def _solve(normal, right):  # type: ignore[no-untyped-def]
    """Solve (6, 6) x = (6, 3) in place by Cholesky's method; a trace of ridge keeps it finite."""
    n = len(normal)
    ridge = 1e-9 * np.trace(normal) / n + 1e-300
    for i in range(n):
        normal[i, i] += ridge
    for i in range(n):
        for j in range(i + 1):
            total = normal[i, j]
            for k in range(j):
                total -= normal[i, k] * normal[j, k]
            if i == j:
                normal[i, i] = np.sqrt(max(total, ridge * 1e-3))
            else:
                normal[i, j] = total / normal[j, j]
    for c in range(right.shape[1]):
        for i in range(n):
            total = right[i, c]
            for k in range(i):
                total -= normal[i, k] * right[k, c]
            right[i, c] = total / normal[i, i]
        for i in range(n - 1, -1, -1):
            total = right[i, c]
            for k in range(i + 1, n):
                total -= normal[k, i] * right[k, c]
            right[i, c] = total / normal[i, i]


@numba.njit(cache=True, error_model="numpy")
def _fit(offsets, coords, weight, fit):  # type: ignore[no-untyped-def]
    """Weighted least squares of coords (n, 3) by quadratics of offsets (n, 2), into fit (6, 3)."""
    normal = np.zeros((6, 6))
    fit[:] = 0.0
    for i in range(len(weight)):
        basis = _monomials(offsets[i, 0], offsets[i, 1])
        for a in range(6):
            scaled = weight[i] * basis[a]
            for b in range(a + 1):
                normal[a, b] += scaled * basis[b]
            for c in range(3):
                fit[a, c] += scaled * coords[i, c]
    _solve(normal, fit)


@numba.njit(cache=True, error_model="numpy")
def _value(fit, x, y, c):  # type: ignore[no-untyped-def]
    basis = _monomials(x, y)
    total = 0.0
    for a in range(6):
        total += basis[a] * fit[a, c]
    return total


@numba.njit(cache=True, error_model="numpy")
def _nearest_on(fit, place):  # type: ignore[no-untyped-def]
    """Offset at which a quadratic surface comes nearest to a place, by Gauss-Newton."""
    x = y = 0.0
    for _ in range(4):
        xx = xy = yy = bx = by = 0.0
        for c in range(3):
            across = fit[1, c] + 2 * x * fit[3, c] + y * fit[4, c]
            down = fit[2, c] + x * fit[4, c] + 2 * y * fit[5, c]
            rest = place[c] - _value(fit, x, y, c)
            xx += across * across
            xy += across * down
            yy += down * down
            bx += across * rest
            by += down * rest
        ridge = 1e-9 * (xx + yy) + 1e-30
        xx, yy = xx + ridge, yy + ridge
        determinant = xx * yy - xy * xy
        x = min(max(x + (yy * bx - xy * by) / determinant, -2.0), 2.0)
        y = min(max(y + (xx * by - xy * bx) / determinant, -2.0), 2.0)
    return x, y


@numba.njit(cache=True, error_model="numpy")
def _fit_place(pixels, coords, weight, place, radius, settings, row, out):  # type: ignore[no-untyped-def]
    """Solve one place from the samples around it."""
    step, steps = settings
    n = len(weight)
    near, off = np.empty(n), np.empty(n)
    window, robust = np.empty(n), np.ones(n)
    offsets, fit = np.empty((n, 2)), np.zeros((6, 3))
    for i in range(n):
        squared = 0.0
        for c in range(3):
            squared += (coords[i, c] - place[c]) ** 2
        near[i] = weight[i] * np.exp(-0.5 * squared / radius**2)
    width = _WIDTH * radius / step
    x, y = _weighted_median(pixels[:, 0], near), _weighted_median(pixels[:, 1], near)
    origin_x, origin_y = x, y
    for taken in range(steps):
        origin_x, origin_y = x, y
        for i in range(n):
            dx, dy = (pixels[i, 0] - x) / width, (pixels[i, 1] - y) / width
            offsets[i, 0], offsets[i, 1] = dx, dy
            window[i] = near[i] * np.exp(-0.5 * (dx * dx + dy * dy))
        _fit(offsets, coords, window * robust, fit)
        for i in range(n):
            squared = 0.0
            for c in range(3):
                squared += (coords[i, c] - _value(fit, offsets[i, 0], offsets[i, 1], c)) ** 2
            off[i] = np.sqrt(squared)
        scale = 3.0 * _ROBUST_SCALE * _weighted_median(off, window) + 1e-9
        for i in range(n):
            robust[i] = 1.0 / (1.0 + (off[i] / scale) ** 2) ** 2
        dx, dy = _nearest_on(fit, place)
        x = origin_x + width * min(max(dx, -0.5), 0.5)
        y = origin_y + width * min(max(dy, -0.5), 0.5)
        if taken + 1 >= _MIN_STEPS and max(abs(x - origin_x), abs(y - origin_y)) < _STILL:
            break
    found, surface, mean, moved, besides = out
    for c in range(3):
        surface[row, c] = _value(fit, (x - origin_x) / width, (y - origin_y) / width, c)
    total = sure = 0.0
    beside = np.inf
    for i in range(n):
        total += window[i] * robust[i]
        sure += window[i] * robust[i] * weight[i]
        beside = min(beside, (pixels[i, 0] - x) ** 2 + (pixels[i, 1] - y) ** 2)
    found[row, 0], found[row, 1] = x, y
    mean[row] = sure / total
    moved[row] = max(abs(x - origin_x), abs(y - origin_y))
    besides[row] = np.sqrt(beside)


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _fit_places(samples, places, lists, settings, out):  # type: ignore[no-untyped-def]
    pixels, coords, weight = samples
    rows, starts, radius = lists
    n = len(places)
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        for k in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, n)):
            chosen = rows[starts[k] : starts[k + 1]]
            if len(chosen) > 0:
                _fit_place(
                    pixels[chosen],
                    coords[chosen],
                    weight[chosen],
                    places[k],
                    radius[k],
                    settings,
                    k,
                    out,
                )
