"""The canonical head: a mesh in the cube, with an atlas and a region per vertex."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mvs.kernels.spread import spread
from mvs.types import ByteArray, FloatArray, IntArray

_SHIPPED = Path(__file__).parent / "template.npz"


@dataclass(frozen=True)
class Template:
    """A head of fixed topology in the canonical cube; open at the neck.

    Attributes:
        coords: (V, 3) float32 cube coordinates of the vertices.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        atlas: (W, 2) float32 places in the texture, [0, 1]^2, y up; W > V, the cut's twice.
        atlas_faces: (F, 3) int32 rows of ``atlas`` of each face's corners.
        region: (V,) uint8 index into ``mvs.canonical.regions.REGIONS``.
    """

    coords: FloatArray
    faces: IntArray
    atlas: FloatArray
    atlas_faces: IntArray
    region: ByteArray


@cache
def load_template() -> Template:
    """The shipped head: 8,000 vertices, made by ``mvs.synthetic.template``."""
    with np.load(_SHIPPED, allow_pickle=False) as data:
        return Template(*(data[name] for name in Template.__dataclass_fields__))


def spread_points(n: int, template: Template | None = None) -> FloatArray:
    """Points spread evenly over the canonical head; the first points of more are those of less.

    Args:
        n: how many.
        template: the shipped one if None.

    Returns:
        (n, 3) float32 cube coordinates. The same for the same ``n`` on every machine.

    Raises:
        ValueError: if ``n`` is not positive.
    """
    if n < 1:
        raise ValueError(f"n must be positive, got {n}")
    template = template or load_template()
    chosen, weights = spread(template.coords, template.faces, n)
    corners = template.coords[template.faces[chosen]].astype(np.float64)
    return np.asarray(np.einsum("nk,nkc->nc", weights, corners), np.float32)
