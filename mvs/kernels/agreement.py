"""Where depth maps agree with points of another view, and where they contradict them."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.threads import prange
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

# A point so many gaps before a view's surface should not be there.
_BEFORE = 4.0
# Surface that a view sees flatter than this tells little.
_FLATTEST = 0.05


class Depths(NamedTuple):
    """A view's depth map as the kernel wants it.

    Attributes:
        planes: (H, W, 3) float32 inverse depth and its change per pixel.
        cost: (H, W) float32.
        mask: (H, W) where there is a depth.
        projection: (3, 4) float64, homogeneous pixel from world.
        center: (3,) float64 of the camera.
    """

    planes: FloatArray
    cost: FloatArray
    mask: BoolArray
    projection: DoubleArray
    center: DoubleArray


class Tally(NamedTuple):
    """What the views asked so far say of N points; changed in place.

    Attributes:
        offset: (N,) float64 sum of weighted distances to the views' surfaces along the normal.
        weight: (N,) float64 sum of the weights.
        agree: (N,) int32 views that agree.
        deny: (N,) int32 views that look through the point to a surface behind.
        views: (N, W) uint64 bit set of those that agree.
    """

    offset: DoubleArray
    weight: DoubleArray
    agree: IntArray
    deny: IntArray
    views: npt.NDArray[np.uint64]


def ask_view(
    points: DoubleArray,
    normals: FloatArray,
    gap: DoubleArray,
    view: int,
    depths: Depths,
    tally: Tally,
) -> None:
    """Ask one view about points; distances are taken along the points' normals.

    Args:
        points: (N, 3) float64, world.
        normals: (N, 3) float32 unit.
        gap: (N,) float64 largest distance at which they agree.
        view: index of the view, for ``tally.views``.
        depths: what it sees.
        tally: is added to.
    """
    _ask(points, normals, gap, view, depths, *tally)


@numba.njit(parallel=True, cache=True)
def _ask(points, normals, gap, view, depths, offsets, weights, agree, deny, views):  # type: ignore[no-untyped-def]
    height, width = depths.mask.shape
    p, center = depths.projection, depths.center
    word, bit = view // 64, np.uint64(1) << np.uint64(view % 64)
    for i in prange(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        depth = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
        if not depth > 0:
            continue
        u = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / depth
        v = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / depth
        if not (0 <= u < width and 0 <= v < height):
            continue
        c, r = int(u), int(v)
        if not depths.mask[r, c]:
            continue
        w = depths.planes[r, c, 0]
        w += depths.planes[r, c, 1] * (u - c - 0.5) + depths.planes[r, c, 2] * (v - r - 0.5)
        ratio = 1.0 / max(w * depth, 1e-9)
        dx, dy, dz = x - center[0], y - center[1], z - center[2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        cosine = -(normals[i, 0] * dx + normals[i, 1] * dy + normals[i, 2] * dz) / length
        # From the point to where the view has it, along the ray, then along the normal.
        along = (ratio - 1) * length
        offset = -along * cosine
        if cosine > 0 and abs(offset) < gap[i]:
            weight = max(cosine, _FLATTEST) * (1.2 - min(depths.cost[r, c], 1.0))
            offsets[i] += weight * offset
            weights[i] += weight
            agree[i] += 1
            views[i, word] |= bit
        elif along * max(cosine, _FLATTEST) > _BEFORE * gap[i]:
            deny[i] += 1
