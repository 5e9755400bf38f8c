"""Slanted planes per pixel, propagated and sharpened by how alike the pictures are.

The state of a pixel is a plane (w, wx, wy): its inverse depth and how that changes from pixel to
pixel, along which planes in space are linear. A source picture is M (3, 3) and t (3,) with
homogeneous source pixel = M [x, y, 1] + w t.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

_FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
# What a pixel costs that too few sources show; worse than any patch.
_NOTHING = np.float32(2.0)
_OFFSETS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-5, 0), (5, 0), (0, -5), (0, 5)], np.int32)


class Sources(NamedTuple):
    """What the reference picture is compared with.

    Attributes:
        pictures: (S, H, W) float32 brightness, smaller ones filled up.
        sizes: (S, 2) int32 height and width.
        rotations: (S, 3, 3) float64 M.
        translations: (S, 3) float64 t.
    """

    pictures: FloatArray
    sizes: IntArray
    rotations: DoubleArray
    translations: DoubleArray


class Patch(NamedTuple):
    """How pixels are compared.

    Attributes:
        radius: of the square patch, pixels.
        step: between its samples, pixels.
        spread: standard deviation of the weight over distance, pixels.
        contrast: the same over difference in brightness.
        n_best: sources of which the mean is taken.
        noise: standard deviation of the brightness's noise.
        smoothness: weight of the neighbours' planes against a patch of full contrast.
    """

    radius: int
    step: int
    spread: float
    contrast: float
    n_best: int
    noise: float
    smoothness: float


def score_planes(
    reference: FloatArray, sources: Sources, planes: FloatArray, mask: BoolArray, patch: Patch
) -> FloatArray:
    """Cost of every pixel's plane: 1 - ZNCC, mean over the best sources.

    Args:
        reference: (H, W) float32 brightness.
        sources: other pictures.
        planes: (H, W, 3) float32.
        mask: (H, W) pixels that count.
        patch: how they are compared.

    Returns:
        (H, W) float32 in [0, 2]; 2 off the mask.
    """
    cost = np.full(reference.shape, _NOTHING, np.float32)
    _score(reference, sources, planes, mask, patch, cost)
    return cost


def propagate(
    reference: FloatArray,
    sources: Sources,
    planes: FloatArray,
    cost: FloatArray,
    mask: BoolArray,
    patch: Patch,
    limits: FloatArray,
) -> None:
    """One sweep over both colours of the checkerboard: take a neighbour's plane if it fits better.

    Args:
        reference: (H, W) float32 brightness.
        sources: other pictures.
        planes: (H, W, 3) float32, changed in place.
        cost: (H, W) float32 of the planes, changed in place.
        mask: (H, W) pixels that count.
        patch: how they are compared.
        limits: (H, W, 2) float32 lowest and highest inverse depth.
    """
    for parity in (0, 1):
        _propagate(reference, sources, planes, cost, mask, patch, limits, parity)


def sharpen(
    reference: FloatArray,
    sources: Sources,
    planes: FloatArray,
    mask: BoolArray,
    patch: Patch,
    limits: FloatArray,
    n_iterations: int = 2,
) -> None:
    """Gauss-Newton on every plane, drawn to its neighbours' where the patch says little.

    Args:
        reference: (H, W) float32 brightness.
        sources: other pictures.
        planes: (H, W, 3) float32, changed in place.
        mask: (H, W) pixels that count.
        patch: how they are compared.
        limits: (H, W, 2) float32 lowest and highest inverse depth.
        n_iterations: steps per pixel.
    """
    for parity in (0, 1):
        _sharpen(reference, sources, planes, mask, patch, limits, n_iterations, parity)


@numba.njit(cache=True, fastmath=_FAST, inline="always")
def _read(reference, row, column, patch, values, weights):  # type: ignore[no-untyped-def]
    """The reference patch: weights, and values of mean 0 and variance 1; its variance."""
    height, width = reference.shape
    middle = reference[row, column]
    n = 0
    total, mean = np.float32(0.0), np.float32(0.0)
    for dy in range(-patch.radius, patch.radius + 1, patch.step):
        for dx in range(-patch.radius, patch.radius + 1, patch.step):
            r, c = min(max(row + dy, 0), height - 1), min(max(column + dx, 0), width - 1)
            value = reference[r, c]
            off = (value - middle) / patch.contrast
            weight = np.float32(
                np.exp(-0.5 * (dx * dx + dy * dy) / (patch.spread * patch.spread) - 0.5 * off * off)
            )
            values[n], weights[n] = value, weight
            total += weight
            mean += weight * value
            n += 1
    mean /= total
    variance = np.float32(0.0)
    for i in range(n):
        weights[i] /= total
        values[i] -= mean
        variance += weights[i] * values[i] * values[i]
    scale = np.float32(1.0) / np.float32(np.sqrt(variance + np.float32(1e-12)))
    for i in range(n):
        values[i] *= scale
    return variance


@numba.njit(cache=True, fastmath=_FAST)
def _compare(sources, s, x, y, plane, patch, values, weights, found):  # type: ignore[no-untyped-def]
    """ZNCC of a plane's patch with one source, -1 where it leaves the picture."""
    picture = sources.pictures[s]
    height, width = sources.sizes[s, 0], sources.sizes[s, 1]
    m, t = sources.rotations[s], sources.translations[s]
    w, wx, wy = plane
    n = 0
    mean = np.float32(0.0)
    for dy in range(-patch.radius, patch.radius + 1, patch.step):
        for dx in range(-patch.radius, patch.radius + 1, patch.step):
            at = w + wx * dx + wy * dy
            px, py = x + dx, y + dy
            down = m[2, 0] * px + m[2, 1] * py + m[2, 2] + at * t[2]
            u = (m[0, 0] * px + m[0, 1] * py + m[0, 2] + at * t[0]) / down - 0.5
            v = (m[1, 0] * px + m[1, 1] * py + m[1, 2] + at * t[1]) / down - 0.5
            if not (down > 0 and 0 <= u < width - 1 and 0 <= v < height - 1):
                return np.float32(-1.0)
            c, r = int(u), int(v)
            fx, fy = np.float32(u - c), np.float32(v - r)
            top = picture[r, c] + fx * (picture[r, c + 1] - picture[r, c])
            low = picture[r + 1, c] + fx * (picture[r + 1, c + 1] - picture[r + 1, c])
            value = top + fy * (low - top)
            found[n] = value
            mean += weights[n] * value
            n += 1
    both, own = np.float32(0.0), np.float32(1e-12)
    for i in range(n):
        off = found[i] - mean
        both += weights[i] * off * values[i]
        own += weights[i] * off * off
    return both / np.float32(np.sqrt(own))


@numba.njit(cache=True, fastmath=_FAST)
def _cost(sources, x, y, plane, patch, values, weights, found, likeness):  # type: ignore[no-untyped-def]
    """Mean of 1 - ZNCC over the best sources."""
    n_sources = len(sources.pictures)
    for s in range(n_sources):
        likeness[s] = _compare(sources, s, x, y, plane, patch, values, weights, found)
    total = np.float32(0.0)
    n_best = min(patch.n_best, n_sources)
    for _ in range(n_best):
        best = 0
        for s in range(1, n_sources):
            if likeness[s] > likeness[best]:
                best = s
        total += 1 - likeness[best]
        likeness[best] = np.float32(-3.0)
    return total / np.float32(n_best)


@numba.njit(cache=True, inline="always")
def _n_samples(patch):  # type: ignore[no-untyped-def]
    side = (2 * patch.radius) // patch.step + 1
    return side * side


@numba.njit(parallel=True, cache=True)
def _score(reference, sources, planes, mask, patch, cost):  # type: ignore[no-untyped-def]
    height, width = reference.shape
    n = _n_samples(patch)
    for row in numba.prange(height):
        values, weights = np.empty(n, np.float32), np.empty(n, np.float32)
        found, likeness = np.empty(n, np.float32), np.empty(len(sources.pictures), np.float32)
        for column in range(width):
            if not mask[row, column]:
                continue
            _read(reference, row, column, patch, values, weights)
            plane = (planes[row, column, 0], planes[row, column, 1], planes[row, column, 2])
            cost[row, column] = _cost(
                sources, column + 0.5, row + 0.5, plane, patch, values, weights, found, likeness
            )


@numba.njit(parallel=True, cache=True)
def _propagate(reference, sources, planes, cost, mask, patch, limits, parity):  # type: ignore[no-untyped-def]
    height, width = reference.shape
    n = _n_samples(patch)
    for row in numba.prange(height):
        values, weights = np.empty(n, np.float32), np.empty(n, np.float32)
        found, likeness = np.empty(n, np.float32), np.empty(len(sources.pictures), np.float32)
        for column in range((row + parity) % 2, width, 2):
            if not mask[row, column]:
                continue
            _read(reference, row, column, patch, values, weights)
            for k in range(len(_OFFSETS)):
                r, c = row + _OFFSETS[k, 0], column + _OFFSETS[k, 1]
                if not (0 <= r < height and 0 <= c < width and mask[r, c]):
                    continue
                wx, wy = planes[r, c, 1], planes[r, c, 2]
                w = planes[r, c, 0] + wx * (column - c) + wy * (row - r)
                w = min(max(w, limits[row, column, 0]), limits[row, column, 1])
                if abs(w - planes[row, column, 0]) < 1e-6 * w:
                    continue
                plane = (w, wx, wy)
                new = _cost(
                    sources, column + 0.5, row + 0.5, plane, patch, values, weights, found, likeness
                )
                if new < cost[row, column]:
                    cost[row, column] = new
                    planes[row, column, 0] = w
                    planes[row, column, 1] = wx
                    planes[row, column, 2] = wy


@numba.njit(cache=True, fastmath=_FAST)
def _normal_equations(sources, s, x, y, plane, patch, values, weights, found, slopes, system):  # type: ignore[no-untyped-def]
    """Add one source's equations to (3, 4) ``system``; its ZNCC, -1 where it leaves the picture."""
    picture = sources.pictures[s]
    height, width = sources.sizes[s, 0], sources.sizes[s, 1]
    m, t = sources.rotations[s], sources.translations[s]
    w, wx, wy = plane
    n = 0
    mean = np.float32(0.0)
    mean0, mean1, mean2 = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for dy in range(-patch.radius, patch.radius + 1, patch.step):
        for dx in range(-patch.radius, patch.radius + 1, patch.step):
            at = w + wx * dx + wy * dy
            px, py = x + dx, y + dy
            down = m[2, 0] * px + m[2, 1] * py + m[2, 2] + at * t[2]
            u = (m[0, 0] * px + m[0, 1] * py + m[0, 2] + at * t[0]) / down
            v = (m[1, 0] * px + m[1, 1] * py + m[1, 2] + at * t[1]) / down
            ux, vx = (t[0] - u * t[2]) / down, (t[1] - v * t[2]) / down
            u -= 0.5
            v -= 0.5
            if not (down > 0 and 0 <= u < width - 1 and 0 <= v < height - 1):
                return np.float32(-1.0)
            c, r = int(u), int(v)
            fx, fy = np.float32(u - c), np.float32(v - r)
            a, b = picture[r, c], picture[r, c + 1]
            d, e = picture[r + 1, c], picture[r + 1, c + 1]
            across = (1 - fy) * (b - a) + fy * (e - d)
            along = (1 - fx) * (d - a) + fx * (e - b)
            value = a + fx * (b - a) + fy * (d + fx * (e - d) - a - fx * (b - a))
            slope = np.float32(across * ux + along * vx)
            found[n] = value
            slopes[n, 0], slopes[n, 1], slopes[n, 2] = slope, slope * dx, slope * dy
            weight = weights[n]
            mean += weight * value
            mean0 += weight * slopes[n, 0]
            mean1 += weight * slopes[n, 1]
            mean2 += weight * slopes[n, 2]
            n += 1
    own, both = np.float32(1e-12), np.float32(0.0)
    for i in range(n):
        found[i] -= mean
        own += weights[i] * found[i] * found[i]
        both += weights[i] * found[i] * values[i]
    scale = 1 / np.float32(np.sqrt(own))
    likeness = both * scale
    if likeness < 0.2:
        return likeness
    on0, on1, on2 = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(n):
        found[i] *= scale
        slopes[i, 0] = (slopes[i, 0] - mean0) * scale
        slopes[i, 1] = (slopes[i, 1] - mean1) * scale
        slopes[i, 2] = (slopes[i, 2] - mean2) * scale
        on0 += weights[i] * found[i] * slopes[i, 0]
        on1 += weights[i] * found[i] * slopes[i, 1]
        on2 += weights[i] * found[i] * slopes[i, 2]
    trust = likeness * likeness
    for i in range(n):
        j0 = slopes[i, 0] - on0 * found[i]
        j1 = slopes[i, 1] - on1 * found[i]
        j2 = slopes[i, 2] - on2 * found[i]
        rest = values[i] - found[i]
        weight = weights[i] * trust
        system[0, 0] += weight * j0 * j0
        system[0, 1] += weight * j0 * j1
        system[0, 2] += weight * j0 * j2
        system[1, 1] += weight * j1 * j1
        system[1, 2] += weight * j1 * j2
        system[2, 2] += weight * j2 * j2
        system[0, 3] += weight * j0 * rest
        system[1, 3] += weight * j1 * rest
        system[2, 3] += weight * j2 * rest
    return likeness


@numba.njit(parallel=True, cache=True)
def _sharpen(reference, sources, planes, mask, patch, limits, n_iterations, parity):  # type: ignore[no-untyped-def]
    height, width = reference.shape
    n = _n_samples(patch)
    for row in numba.prange(height):
        values, weights = np.empty(n, np.float32), np.empty(n, np.float32)
        found = np.empty(n, np.float32)
        slopes, system = np.empty((n, 3), np.float32), np.empty((3, 4))
        prior = np.empty(3)
        for column in range((row + parity) % 2, width, 2):
            if not mask[row, column]:
                continue
            variance = _read(reference, row, column, patch, values, weights)
            _neighbors(planes, mask, row, column, prior)
            x, y = column + 0.5, row + 0.5
            plane = (
                np.float64(planes[row, column, 0]),
                np.float64(planes[row, column, 1]),
                np.float64(planes[row, column, 2]),
            )
            # A patch of noise alone has no say.
            sure = variance / (variance + patch.noise * patch.noise)
            hold = patch.smoothness * _parallax(sources, x, y, plane[0])
            for _ in range(n_iterations):
                system[:] = 0.0
                for s in range(len(sources.pictures)):
                    _normal_equations(
                        sources, s, x, y, plane, patch, values, weights, found, slopes, system
                    )
                system *= sure
                plane = _step(system, plane, prior, hold, patch.spread)
                low, high = limits[row, column, 0], limits[row, column, 1]
                plane = (min(max(plane[0], low), high), plane[1], plane[2])
            planes[row, column, 0] = plane[0]
            planes[row, column, 1] = plane[1]
            planes[row, column, 2] = plane[2]


@numba.njit(cache=True)
def _neighbors(planes, mask, row, column, prior):  # type: ignore[no-untyped-def]
    """Mean plane that the four neighbours see here; how many there are."""
    prior[:] = 0.0
    n = 0
    for k in range(4):
        r, c = row + _OFFSETS[k, 0], column + _OFFSETS[k, 1]
        if 0 <= r < planes.shape[0] and 0 <= c < planes.shape[1] and mask[r, c]:
            prior[0] += planes[r, c, 0] + 0.5 * (
                planes[r, c, 1] * (column - c) + planes[r, c, 2] * (row - r)
            )
            prior[1] += planes[r, c, 1]
            prior[2] += planes[r, c, 2]
            n += 1
    if n:
        prior /= n
    return n


@numba.njit(cache=True)
def _parallax(sources, x, y, w):  # type: ignore[no-untyped-def]
    """Sum over the sources of the squared shift in pixels per unit of inverse depth."""
    total = 0.0
    for s in range(len(sources.pictures)):
        m, t = sources.rotations[s], sources.translations[s]
        down = m[2, 0] * x + m[2, 1] * y + m[2, 2] + w * t[2]
        u = (m[0, 0] * x + m[0, 1] * y + m[0, 2] + w * t[0]) / down
        v = (m[1, 0] * x + m[1, 1] * y + m[1, 2] + w * t[1]) / down
        total += ((t[0] - u * t[2]) ** 2 + (t[1] - v * t[2]) ** 2) / (down * down)
    return total


@numba.njit(cache=True)
def _step(system, plane, prior, hold, spread):  # type: ignore[no-untyped-def]
    """Solve for the plane, held to ``prior`` by ``hold``; slopes over ``spread`` pixels."""
    h0 = hold
    h1 = hold * spread * spread
    a00, a01, a02 = system[0, 0] + h0, system[0, 1], system[0, 2]
    a11, a12, a22 = system[1, 1] + h1, system[1, 2], system[2, 2] + h1
    b0 = system[0, 3] + h0 * (prior[0] - plane[0])
    b1 = system[1, 3] + h1 * (prior[1] - plane[1])
    b2 = system[2, 3] + h1 * (prior[2] - plane[2])
    c00, c01, c02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
    determinant = a00 * c00 + a01 * c01 + a02 * c02
    if not determinant > 0:
        return plane
    c11, c12, c22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
    return (
        plane[0] + (c00 * b0 + c01 * b1 + c02 * b2) / determinant,
        plane[1] + (c01 * b0 + c11 * b1 + c12 * b2) / determinant,
        plane[2] + (c02 * b0 + c12 * b1 + c22 * b2) / determinant,
    )
