"""The texels of an atlas: what each shows of the surface, and what lies between the charts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mvs.kernels.raster import rasterise
from mvs.types import BoolArray, ByteArray, FloatArray, IntArray

# Rows of texels at a time.
_STRIP = 256


def strips(
    uv: FloatArray, uv_faces: IntArray, size: int
) -> Iterator[tuple[slice, IntArray, FloatArray, BoolArray]]:
    """Rows of an atlas, strip by strip.

    Args:
        uv: (W, 2) places in the atlas, [0, 1]^2, y up.
        uv_faces: (F, 3) rows of ``uv`` of each face's corners.
        size: width and height of the atlas.

    Yields:
        The rows, from the top; of the T texels inside charts, row by row, the face (T,) and the
        weights (T, 3) of its corners; and which texels these are, (rows, size) bool.
    """
    pixels = np.column_stack([uv[:, 0], 1.0 - uv[:, 1].astype(np.float64)]) * size
    depths = np.ones(len(uv))
    for top in range(0, size, _STRIP):
        height = min(_STRIP, size - top)
        found = rasterise(
            pixels - [0, top], depths, uv_faces, (height, size), cull_back=False, orthographic=True
        )
        inside = found.face >= 0
        yield slice(top, top + height), found.face[inside], found.barycentric[inside], inside


def with_gutter(
    texture: ByteArray, charted: BoolArray, gutter: int, beyond: npt.ArrayLike | None = None
) -> ByteArray:
    """Charts widened by their nearest colours.

    Args:
        texture: (H, W, 3) uint8, changed in place.
        charted: (H, W) texels inside charts.
        gutter: texels around charts that repeat the nearest colour.
        beyond: colour (3,) of what lies farther away; the charts' mean if None.
    """
    import cv2

    if charted.all() or not charted.any():
        return texture
    empty = (~charted).astype(np.uint8)
    distance, label = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Labels count the texels of charts from 1, row by row, in no promised order.
    owner = np.zeros(int(label.max()) + 1, np.int64)
    owner[label[charted]] = np.flatnonzero(charted)
    near = ~charted & (distance <= gutter)
    flat = texture.reshape(-1, 3)
    if beyond is None:
        beyond = np.rint(flat[charted.ravel()].mean(axis=0, dtype=np.float64))
    texture[~charted] = np.asarray(beyond).astype(np.uint8)
    texture[near] = flat[owner[label[near]]]
    return texture
