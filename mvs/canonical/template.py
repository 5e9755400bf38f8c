"""The canonical head: a mesh in the cube, with an atlas and a region per vertex."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mvs.kernels.spread import spread
from mvs.stages.obj import read_obj
from mvs.stages.ply import read_properties
from mvs.types import ByteArray, DoubleArray, FloatArray, IntArray

_SHIPPED = Path(__file__).parent / "template.npz"


@dataclass(frozen=True)
class Template:
    """A head of fixed topology in the canonical cube; open at the neck.

    Attributes:
        coords: (V, 3) float32 cube coordinates of the vertices.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        atlas: (W, 2) float32 places in the texture, [0, 1]^2, y up; W > V, the cut's twice. A
            user's template may have none.
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


def read_template(path: Path, coords_path: Path | None = None) -> Template:
    """A user's template.

    Args:
        path: PLY with faces and ``u v w`` per vertex, or OBJ, whose ``vt`` are its atlas.
        coords_path: ``.npy`` (V, 3) with the cube coordinates of an OBJ's vertices; without it the
            OBJ's vertices themselves are to lie in the cube.

    Raises:
        ValueError: if there are no faces, or no cube coordinates for each vertex.
    """
    from mvs.canonical.parts import region_of

    atlas, atlas_faces = np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
    if path.suffix.lower() == ".obj":
        mesh = read_obj(path)
        coords, faces = mesh.vertices, mesh.faces
        if mesh.texture is not None and mesh.texture_faces is not None:
            atlas, atlas_faces = mesh.texture, mesh.texture_faces
        if coords_path is not None:
            coords = _read_coords(coords_path, len(coords))
    else:
        coords, faces = _read_ply(path)
    if not len(coords) or not ((coords > -0.5) & (coords < 1.5)).all():
        raise ValueError(
            f"{path}: some vertices lie outside the cube; give their cube coordinates as u v w of "
            "a PLY, or those of an OBJ with --template-coords"
        )
    found = coords.astype(np.float32)
    return Template(found, faces, atlas, atlas_faces, region_of(found))


def _read_coords(path: Path, n: int) -> DoubleArray:
    try:
        coords = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ValueError(f"{path}: not a .npy file of cube coordinates") from None
    if coords.shape != (n, 3):
        raise ValueError(f"{path}: must be ({n}, 3), a row per vertex, is {coords.shape}")
    return np.asarray(coords, np.float64)


def _read_ply(path: Path) -> tuple[DoubleArray, IntArray]:
    try:
        vertex, faces = read_properties(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}; give a template in PLY or OBJ") from None
    if faces is None or not len(faces) or not {"u", "v", "w"} <= vertex.keys():
        raise ValueError(f"{path}: a template needs faces and u v w per vertex")
    if faces.min() < 0 or faces.max() >= len(vertex["u"]):
        raise ValueError(f"{path}: holds a face whose corner is no vertex")
    return np.column_stack([vertex[name] for name in "uvw"]).astype(np.float64), faces


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
