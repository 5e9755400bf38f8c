"""Which other pictures show what a pixel shows, by their depth buffers."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.patches import Sources, warp
from mvs.kernels.threads import prange
from mvs.types import BoolArray, FloatArray


def visible_sources(
    planes: FloatArray,
    mask: BoolArray,
    sources: Sources,
    buffers: list[FloatArray],
    scale: float,
    tolerance: float,
    radius: int,
    n_wanted: int,
) -> npt.NDArray[np.uint64]:
    """Sources that show each pixel: nothing lies before it there, and they face its plane.

    Args:
        planes: (H, W, 3) float32.
        mask: (H, W) pixels that count.
        sources: at most 64, the most wanted first.
        buffers: camera z of the surface in each source, 0 where none is to be seen there.
        scale: pixels of the buffers per pixel of the sources.
        tolerance: how far behind the buffer a place may be, as a part of its distance.
        radius: of the patches.
        n_wanted: sources per pixel at most.

    Returns:
        (H, W) uint64 bit sets.
    """
    size = (max(b.shape[0] for b in buffers), max(b.shape[1] for b in buffers))
    stack = np.zeros((len(buffers), *size), np.float32)
    for layer, buffer in zip(stack, buffers, strict=True):
        layer[: buffer.shape[0], : buffer.shape[1]] = buffer
    seen = np.zeros(mask.shape, np.uint64)
    _see(planes, mask, sources, stack, scale, tolerance, radius, n_wanted, seen)
    return seen


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _see(planes, mask, sources, buffers, scale, tolerance, radius, n_wanted, seen):  # type: ignore[no-untyped-def]
    height, width = mask.shape
    for row in prange(height):
        for column in range(width):
            if not mask[row, column]:
                continue
            w, wx, wy = planes[row, column, 0], planes[row, column, 1], planes[row, column, 2]
            x, y = column + 0.5, row + 0.5
            n = 0
            for s in range(len(buffers)):
                shown, u, v, _, _, _, _, _, _ = warp(sources, s, x, y, w, wx, wy, radius)
                if not shown:
                    continue
                m, t = sources.rotations, sources.translations
                z = (m[s, 2, 0] * x + m[s, 2, 1] * y + m[s, 2, 2] + w * t[s, 2]) / w
                r, c = int((v + 0.5) * scale), int((u + 0.5) * scale)
                if r >= buffers.shape[1] or c >= buffers.shape[2]:
                    continue
                if buffers[s, r, c] * (1 + tolerance) >= z:
                    seen[row, column] |= np.uint64(1) << np.uint64(s)
                    n += 1
                    if n == n_wanted:
                        break
