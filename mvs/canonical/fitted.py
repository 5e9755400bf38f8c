"""A fitted head model wrapped onto the scan that it was fitted to: the fit and a non-rigid step.

Its skin is wrapped as a template is, from where the fit has put it; what lies inside, eyeballs and
teeth, goes along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mvs.canonical.parts import region_of
from mvs.canonical.register import RegisterOptions, Registration, register
from mvs.canonical.scan import Scan
from mvs.canonical.template import Template
from mvs.stages.obj import read_obj
from mvs.stages.ply import read_properties
from mvs.types import DoubleArray, IntArray

# Parts of a fit's PLY that are skin: face; head and neck.
_SKIN = (0, 1)
# Places of the skin that what lies inside follows.
_N_FOLLOWED = 12


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A fit as a template that is near its scan.

    Attributes:
        whole: all of it; of no region is what is no skin, and its cube coordinates may be NaN.
        vertices: (V, 3) float64 in the scan's frame and unit.
        skin: (S,) int32 vertices of the skin.
        skin_faces: (G, 3) int32 rows of ``skin``.
    """

    whole: Template
    vertices: DoubleArray
    skin: IntArray
    skin_faces: IntArray


def read_fitted(path: Path) -> FittedHead:
    """Read ``posed.ply`` of ``mvs fit``; texture places come from ``posed.obj`` beside it.

    Raises:
        ValueError: if the file is no such mesh.
    """
    try:
        vertex, faces = read_properties(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give posed.ply of mvs fit") from None
    if faces is None or not len(faces) or not {*"xyzuvw", "part"} <= vertex.keys():
        raise ValueError(f"{path}: needs faces, u v w and part; give posed.ply of mvs fit")
    vertices, coords = (
        np.column_stack([vertex[name] for name in names]).astype(np.float64)
        for names in ("xyz", "uvw")
    )
    usable = np.isin(vertex["part"], _SKIN) & np.isfinite(coords).all(axis=1)
    kept = faces[usable[faces].all(axis=1)]
    if not len(kept):
        raise ValueError(f"{path}: holds no skin (part 0 or 1) with u v w")
    skin, corners = np.unique(kept, return_inverse=True)
    found = coords.astype(np.float32)
    region = np.zeros(len(found), np.uint8)
    region[skin] = region_of(found[skin])
    whole = Template(found, faces, *_atlas(path, faces), region)
    return FittedHead(
        whole, vertices, skin.astype(np.int32), corners.reshape(-1, 3).astype(np.int32)
    )


def register_fitted(
    scan: Scan,
    head: FittedHead,
    options: RegisterOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> Registration:
    """Wrap a fit onto its scan.

    Args:
        scan: in the frame and unit of the fit.
        head: from ``read_fitted``.
        options: see ``RegisterOptions``.
        progress: called ``options.iterations`` times.

    Returns:
        Of all vertices of the fit; what is no skin is never visible and has no confidence.

    Raises:
        ValueError: if the scan is no head.
    """
    skin = head.skin
    none = np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
    outer = Template(head.whole.coords[skin], head.skin_faces, *none, head.whole.region[skin])
    wrapped = register(scan, outer, options, progress, head.vertices[skin])
    vertices = _carry(head, wrapped.vertices)
    n = len(vertices)
    confidence, visible = np.zeros(n, np.float32), np.zeros(n, np.bool_)
    confidence[skin], visible[skin] = wrapped.confidence, wrapped.visible
    distance = scan.distance(vertices)
    distance[skin] = wrapped.distance
    folded = np.zeros(len(head.whole.faces), np.bool_)
    folded[_rows_of(head)] = wrapped.folded
    return replace(
        wrapped,
        template=head.whole,
        vertices=vertices,
        confidence=confidence,
        visible=visible,
        distance=distance,
        folded=folded,
    )


def _carry(head: FittedHead, moved: DoubleArray) -> DoubleArray:
    """All vertices, those inside moved as the skin nearest to them is."""
    from scipy.spatial import cKDTree

    start = head.vertices[head.skin]
    inside = np.setdiff1d(np.arange(len(head.vertices)), head.skin)
    vertices = head.vertices.copy()
    vertices[head.skin] = moved
    if len(inside):
        k = np.arange(1, min(_N_FOLLOWED, len(start)) + 1)
        away, rows = cKDTree(start).query(head.vertices[inside], k=k)
        weight = 1 / (away**2 + 1e-12)
        weight /= weight.sum(axis=1, keepdims=True)
        vertices[inside] += np.einsum("nk,nkc->nc", weight, (moved - start)[rows])
    return vertices


def _rows_of(head: FittedHead) -> IntArray:
    """Which faces of the whole are the skin's, in their order."""
    on = np.zeros(len(head.vertices), np.bool_)
    on[head.skin] = True
    return np.flatnonzero(on[head.whole.faces].all(axis=1)).astype(np.int32)


def _atlas(path: Path, faces: IntArray) -> tuple[np.ndarray, IntArray]:
    """Texture places of the OBJ beside a PLY, none where there is none of the same faces."""
    beside = path.with_suffix(".obj")
    if beside.is_file():
        mesh = read_obj(beside)
        same = mesh.faces.shape == faces.shape and (mesh.faces == faces).all()
        if same and mesh.texture is not None and mesh.texture_faces is not None:
            return mesh.texture, mesh.texture_faces
    return np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
