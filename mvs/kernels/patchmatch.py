"""Slanted planes per pixel: how well they fit, and their spread from neighbour to neighbour.

After PatchMatch stereo (Bleyer et al. 2011) and its checkerboard form (Galliani et al. 2015).
"""

from __future__ import annotations

import numba
import numpy as np

from mvs.kernels.patches import (
    FAST,
    Patch,
    Reference,
    Sources,
    compare,
    cube_step,
    make_room,
    middle,
    read_patch,
    warp,
)
from mvs.kernels.threads import prange
from mvs.types import FloatArray

# What a pixel costs that no source shows; worse than any patch.
NOTHING = np.float32(2.0)
OFFSETS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (-5, 0), (5, 0), (0, -5), (0, 5)], np.int32)
# Cube coordinates that are this far apart, in pixels, cost all that they may.
_CUBE_OFF = 12.0
_CUBE_COST = 0.15
# Moves of a patch's corner, in pixels, that are left to Gauss-Newton.
_SAME = 1.2
# Of the noise in a patch's variance; below this the cube coordinates are not asked.
_FLAT = 0.05


def score_planes(
    reference: Reference, sources: Sources, planes: FloatArray, patch: Patch
) -> FloatArray:
    """Cost of every pixel's plane: 1 - ZNCC, mean over the best sources that show it.

    Args:
        reference: picture, mask and what else is known of its pixels.
        sources: other pictures.
        planes: (H, W, 3) float32.
        patch: how they are compared.

    Returns:
        (H, W) float32 in [0, 2]; 2 off the mask and where no source shows the pixel.
    """
    cost = np.full(reference.mask.shape, NOTHING, np.float32)
    _score(reference, sources, planes, patch, cost)
    return cost


def propagate(
    reference: Reference, sources: Sources, planes: FloatArray, cost: FloatArray, patch: Patch
) -> None:
    """One sweep over both colours of the checkerboard: take a neighbour's plane if it fits better.

    Args:
        reference: picture, mask and what else is known of its pixels.
        sources: other pictures.
        planes: (H, W, 3) float32, changed in place.
        cost: (H, W) float32 of the planes, changed in place.
        patch: how they are compared.
    """
    for parity in (0, 1):
        _propagate(reference, sources, planes, cost, patch, parity)


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _cost(reference, row, column, sources, plane, patch, flat, room):  # type: ignore[no-untyped-def]
    """Mean of 1 - ZNCC over the best sources, and what the cube coordinates add."""
    w, wx, wy = plane
    seen = reference.seen[row, column]
    y, x = middle(reference, row, column)
    for k in range(patch.n_best):
        room.likeness[k] = np.float32(-1.0)
    n_shown, n = 0, 0
    off, trusted = 0.0, 0.0
    for s in range(len(sources.pairs)):
        if not (seen >> np.uint64(s)) & np.uint64(1):
            continue
        place = warp(sources, s, x + 0.5, y + 0.5, w, wx, wy, patch.radius)
        new = np.float32(-1.0)
        if place[0]:
            new = compare(sources, s, place, patch, room)
            n_shown += 1
            if flat > 0:
                step, trust = cube_step(reference, row, column, sources, s, place)
                pixels = abs(step) * np.sqrt(place[7] ** 2 + place[8] ** 2)
                off += trust * min(pixels / _CUBE_OFF, 1.0)
                trusted += 1.0
        # The best so far, the most alike first; without branches, which would be guessed wrong.
        for k in range(patch.n_best):
            kept = room.likeness[k]
            room.likeness[k] = max(kept, new)
            new = min(kept, new)
        n += 1
    if n_shown == 0:
        return NOTHING, np.float32(0.0)
    total = np.float32(0.0)
    n_best = min(patch.n_best, n)
    for k in range(n_best):
        total += 1 - room.likeness[k]
    extra = np.float32(flat * _CUBE_COST * off / max(trusted, 1.0))
    return total / np.float32(n_best), extra


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _shift(reference, row, column, sources, w, radius):  # type: ignore[no-untyped-def]
    """Pixels that a pixel moves by in the source that moves most, per unit of inverse depth."""
    most = 0.0
    seen = reference.seen[row, column]
    y, x = middle(reference, row, column)
    for s in range(len(sources.pairs)):
        if (seen >> np.uint64(s)) & np.uint64(1):
            place = warp(sources, s, x + 0.5, y + 0.5, w, 0.0, 0.0, radius)
            most = max(most, np.sqrt(place[7] ** 2 + place[8] ** 2))
    return most


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _score(reference, sources, planes, patch, cost):  # type: ignore[no-untyped-def]
    height, width = reference.mask.shape
    for row in prange(height):
        room = make_room(patch)
        for column in range(width):
            if not reference.mask[row, column]:
                continue
            read_patch(reference, row, column, patch, room)
            plane = planes[row, column, 0], planes[row, column, 1], planes[row, column, 2]
            cost[row, column] = _cost(reference, row, column, sources, plane, patch, 0.0, room)[0]


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _propagate(reference, sources, planes, cost, patch, parity):  # type: ignore[no-untyped-def]
    height, width = reference.mask.shape
    mask = reference.mask
    for row in prange(height):
        room = make_room(patch)
        for column in range((row + parity) % 2, width, 2):
            if not mask[row, column] or not reference.seen[row, column]:
                continue
            variance = read_patch(reference, row, column, patch, room)
            # How little the picture says; there the cube has a say.
            flat = patch.noise * patch.noise / (variance + patch.noise * patch.noise)
            if patch.cube == 0 or flat < _FLAT:
                flat = 0.0
            w, wx, wy = planes[row, column, 0], planes[row, column, 1], planes[row, column, 2]
            best, best_extra = cost[row, column], np.float32(0.0)
            if flat > 0:
                own = _cost(reference, row, column, sources, (w, wx, wy), patch, flat, room)
                best_extra = own[1]
            low, high = reference.limits[row, column, 0], reference.limits[row, column, 1]
            shift = _shift(reference, row, column, sources, w, patch.radius)
            for k in range(len(OFFSETS)):
                r, c = row + OFFSETS[k, 0], column + OFFSETS[k, 1]
                if not (0 <= r < height and 0 <= c < width and mask[r, c]):
                    continue
                # A neighbour that fits worse by far is no help.
                if cost[r, c] > best + np.float32(0.1):
                    continue
                wx, wy = planes[r, c, 1], planes[r, c, 2]
                away = wx * (column - c) + wy * (row - r)
                w = planes[r, c, 0] + reference.stride * away
                w = min(max(w, low), high)
                # What moves the patch's corner by no more than this is left to Gauss-Newton.
                move = abs(w - planes[row, column, 0])
                move += patch.radius * abs(wx - planes[row, column, 1])
                move += patch.radius * abs(wy - planes[row, column, 2])
                if move * shift < _SAME:
                    continue
                new, extra = _cost(reference, row, column, sources, (w, wx, wy), patch, flat, room)
                if new + extra < best + best_extra:
                    best, best_extra = new, extra
                    planes[row, column, 0] = w
                    planes[row, column, 1] = wx
                    planes[row, column, 2] = wy
            cost[row, column] = best
