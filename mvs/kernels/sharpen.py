"""Gauss-Newton on slanted planes: fractions of a pixel, held by neighbours on flat pictures."""

from __future__ import annotations

import numba
import numpy as np

from mvs.kernels.patches import (
    FAST,
    LEAST,
    Patch,
    Reference,
    Sources,
    corners,
    cube_step,
    fetch,
    make_room,
    middle,
    read_patch,
    warp,
)
from mvs.kernels.patchmatch import OFFSETS
from mvs.kernels.threads import prange
from mvs.types import FloatArray

# Sources that are less alike than this (ZNCC) have no say.
_ALIKE = 0.2
# The cube coordinates pull no farther than this at a time, pixels.
_CUBE_PULL = 8.0
# Patches of which noise explains less than the rest do without the cube.
_TEXTURED = 0.95


def sharpen(
    reference: Reference,
    sources: Sources,
    planes: FloatArray,
    patch: Patch,
    n_iterations: int = 2,
) -> None:
    """Gauss-Newton on every plane, drawn to its neighbours' where the patch says little.

    Args:
        reference: picture, mask and what else is known of its pixels.
        sources: other pictures.
        planes: (H, W, 3) float32, changed in place.
        patch: how they are compared.
        n_iterations: steps per pixel.
    """
    for parity in (0, 1):
        _sharpen(reference, sources, planes, patch, n_iterations, parity)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _normal_equations(sources, s, place, patch, room, system):  # type: ignore[no-untyped-def]
    """Add one source's equations to ``system``: a triangle of the matrix, the right side."""
    tu, tv = place[7], place[8]
    # Slopes are per pixel of shift, not per unit of inverse depth: of order 1.
    unit = np.sqrt(tu * tu + tv * tv) + 1e-30
    tu, tv = np.float32(tu / unit), np.float32(tv / unit)
    center = fetch(sources, s, place, patch, room)
    zero = np.float32(0.0)
    f, ff, fr = zero, zero, zero
    g0, g1, g2, fg0, fg1, fg2 = zero, zero, zero, zero, zero, zero
    rg0, rg1, rg2 = zero, zero, zero
    g00, g01, g02, g11, g12, g22 = zero, zero, zero, zero, zero, zero
    for i in range(len(patch.near)):
        dx, dy = np.float32(patch.across[i]), np.float32(patch.along[i])
        first, second, third, fourth = corners(room, i)
        fx, fy = room.part[0, i], room.part[1, i]
        top, low = second - first, fourth - third
        left = third - first
        twist = low - top
        value = first + fx * top + fy * (left + fx * twist) - center
        slope = (top + fy * twist) * tu + (left + fx * twist) * tv
        weight = room.own[1, i]
        wv, ws = weight * value, weight * slope
        wr = ws * room.own[0, i]
        wfs, wss = wv * slope, ws * slope
        f += wv
        ff += wv * value
        fr += wv * room.own[0, i]
        g0 += ws
        g1 += ws * dx
        g2 += ws * dy
        fg0 += wfs
        fg1 += wfs * dx
        fg2 += wfs * dy
        rg0 += wr
        rg1 += wr * dx
        rg2 += wr * dy
        g00 += wss
        g01 += wss * dx
        g02 += wss * dy
        g11 += wss * dx * dx
        g12 += wss * dx * dy
        g22 += wss * dy * dy
    scale = 1.0 / np.sqrt(max(ff - f * f, LEAST))
    likeness = fr * scale
    if likeness < _ALIKE:
        return
    # Values of mean 0 and variance 1 in both pictures; slopes without what gain and bias explain.
    on0, on1, on2 = fg0 - f * g0, fg1 - f * g1, fg2 - f * g2
    per = scale * scale
    on0, on1, on2 = on0 * per, on1 * per, on2 * per
    trust = likeness * likeness
    both, single = trust * unit * unit, trust * unit
    one = ff - f * f
    system[0] += both * per * (g00 - g0 * g0 - on0 * on0 * one)
    system[1] += both * per * (g01 - g0 * g1 - on0 * on1 * one)
    system[2] += both * per * (g02 - g0 * g2 - on0 * on2 * one)
    system[3] += both * per * (g11 - g1 * g1 - on1 * on1 * one)
    system[4] += both * per * (g12 - g1 * g2 - on1 * on2 * one)
    system[5] += both * per * (g22 - g2 * g2 - on2 * on2 * one)
    # The part of the reference along the source's own values is what gain explains.
    system[6] += single * scale * (rg0 - on0 * fr)
    system[7] += single * scale * (rg1 - on1 * fr)
    system[8] += single * scale * (rg2 - on2 * fr)


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _sharpen(reference, sources, planes, patch, n_iterations, parity):  # type: ignore[no-untyped-def]
    height, width = reference.mask.shape
    for row in prange(height):
        room = make_room(patch)
        system = np.empty(9)
        for column in range((row + parity) % 2, width, 2):
            if not reference.mask[row, column]:
                continue
            variance = read_patch(reference, row, column, patch, room)
            prior = _neighbors(planes, reference, row, column)
            y, x = middle(reference, row, column)
            w = np.float64(planes[row, column, 0])
            wx, wy = np.float64(planes[row, column, 1]), np.float64(planes[row, column, 2])
            # A patch of noise alone has no say.
            sure = variance / (variance + patch.noise * patch.noise)
            low, high = reference.limits[row, column, 0], reference.limits[row, column, 1]
            for _ in range(n_iterations):
                for k in range(9):
                    system[k] = 0.0
                hold, pull, towards = 0.0, 0.0, 0.0
                for s in range(len(sources.pairs)):
                    if not (reference.seen[row, column] >> np.uint64(s)) & np.uint64(1):
                        continue
                    place = warp(sources, s, x + 0.5, y + 0.5, w, wx, wy, patch.radius)
                    if not place[0]:
                        continue
                    _normal_equations(sources, s, place, patch, room, system)
                    parallax = place[7] ** 2 + place[8] ** 2
                    hold += parallax
                    if patch.cube > 0 and sure < _TEXTURED:
                        step, trust = cube_step(reference, row, column, sources, s, place)
                        farthest = _CUBE_PULL / np.sqrt(parallax + 1e-30)
                        pull += trust * parallax
                        towards += trust * parallax * min(max(step, -farthest), farthest)
                for k in range(9):
                    system[k] *= sure
                # The cube is sure to millimetres only: what pictures say goes before it.
                system[0] += (1 - sure) * patch.cube * pull
                system[6] += (1 - sure) * patch.cube * towards
                # Where no source shows the pixel, only the neighbours are left.
                hold = patch.smoothness * hold if hold > 0 else 1.0
                w, wx, wy = _step(system, w, wx, wy, prior, hold, patch.spread)
                w = min(max(w, low), high)
            planes[row, column, 0] = w
            planes[row, column, 1] = wx
            planes[row, column, 2] = wy


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _neighbors(planes, reference, row, column):  # type: ignore[no-untyped-def]
    """Mean plane that the four neighbours see here; the pixel's own without any."""
    w, wx, wy, n = 0.0, 0.0, 0.0, 0
    mask, half = reference.mask, 0.5 * reference.stride
    for k in range(4):
        r, c = row + OFFSETS[k, 0], column + OFFSETS[k, 1]
        if 0 <= r < planes.shape[0] and 0 <= c < planes.shape[1] and mask[r, c]:
            x, y = planes[r, c, 1], planes[r, c, 2]
            w += planes[r, c, 0] + half * (x * (column - c) + y * (row - r))
            wx += x
            wy += y
            n += 1
    if n == 0:
        return planes[row, column, 0], planes[row, column, 1], planes[row, column, 2]
    return w / n, wx / n, wy / n


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _step(system, w, wx, wy, prior, hold, spread):  # type: ignore[no-untyped-def]
    """Solve for the plane, held to ``prior`` by ``hold``; slopes over ``spread`` pixels."""
    h0 = hold
    h1 = hold * spread * spread
    a00, a01, a02 = system[0] + h0, system[1], system[2]
    a11, a12, a22 = system[3] + h1, system[4], system[5] + h1
    b0 = system[6] + h0 * (prior[0] - w)
    b1 = system[7] + h1 * (prior[1] - wx)
    b2 = system[8] + h1 * (prior[2] - wy)
    c00, c01, c02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
    determinant = a00 * c00 + a01 * c01 + a02 * c02
    if not determinant > 0:
        return w, wx, wy
    c11, c12, c22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
    return (
        w + (c00 * b0 + c01 * b1 + c02 * b2) / determinant,
        wx + (c01 * b0 + c11 * b1 + c12 * b2) / determinant,
        wy + (c02 * b0 + c12 * b1 + c22 * b2) / determinant,
    )
