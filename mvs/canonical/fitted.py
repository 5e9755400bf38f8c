"""A fitted head model wrapped onto the scan that it was fitted to: the fit and a non-rigid step.

Its skin is wrapped as a template is, from where the fit has put it; what lies inside, eyeballs and
teeth, goes along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calib.scale import umeyama
from mvs.canonical.openness import openness
from mvs.canonical.parts import region_of
from mvs.canonical.register import RegisterOptions, Registration, Start, register
from mvs.canonical.scan import Scan
from mvs.canonical.surface import find_pieces
from mvs.canonical.template import Template
from mvs.stages.obj import read_obj
from mvs.stages.ply import read_properties
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray

# Parts of a fit's PLY that are skin: face; head and neck.
_SKIN = (0, 1)
# Skin seen from no more than the first share of the directions that it faces has no place on a
# scan, from the second or more it has.
_HIDDEN, _OPEN = 0.1, 0.4
# Vertices of the skin nearest to one inside that this follows.
_N_FOLLOWED = 12


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A fit as a template that is near its scan.

    Attributes:
        whole: all of it; of no region is what is no skin, and its cube coordinates may be NaN.
        vertices: (V, 3) float64 in the scan's frame and unit.
        skin: (S,) int32 vertices of the skin and of what hangs together with it, as the mouth's
            inside and the eyes' sockets do.
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
    try:
        return make_fitted(vertices, faces, coords, vertex["part"], _atlas(path, faces))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def make_fitted(
    vertices: DoubleArray,
    faces: IntArray,
    coords: DoubleArray,
    part: ByteArray,
    atlas: tuple[FloatArray, IntArray],
) -> FittedHead:
    """A fit of arrays.

    Args:
        vertices: (V, 3) posed, in the scan's frame and unit.
        faces: (F, 3).
        coords: (V, 3) cube coordinates, NaN where there are none.
        part: (V,) as in a fit's PLY.
        atlas: texture places (T, 2) and the faces' rows of them (F, 3); both may be empty.

    Raises:
        ValueError: if there is no skin.
    """
    usable: BoolArray = np.asarray(np.isfinite(coords).all(axis=1))
    outer: BoolArray = np.asarray(usable & np.isin(part, _SKIN))
    kept = faces[usable[faces].all(axis=1)]
    pieces = find_pieces(kept, len(coords))
    with_skin = pieces[kept[outer[kept].all(axis=1)][:, 0]]
    kept = kept[np.isin(pieces[kept[:, 0]], with_skin)]
    if not len(kept):
        raise ValueError("holds no skin (part 0 or 1) with u v w")
    skin, corners = np.unique(kept, return_inverse=True)
    found = coords.astype(np.float32)
    region = np.zeros(len(found), np.uint8)
    region[outer] = region_of(found[outer])
    whole = Template(found, faces, *atlas, region)
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
    seen = openness(head.vertices, head.whole.faces)[skin]
    trust = np.clip((seen - _HIDDEN) / (_OPEN - _HIDDEN), 0, 1)
    trust[head.whole.region[skin] == 0] = 0.0
    start = Start(head.vertices[skin], trust)
    wrapped = register(scan, outer, options, progress, start)
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
    """All vertices; each body inside is moved as a whole, as the skin around it is."""
    from scipy.spatial import cKDTree

    start = head.vertices[head.skin]
    tree = cKDTree(start)
    vertices = head.vertices.copy()
    vertices[head.skin] = moved
    inside = np.setdiff1d(np.arange(len(vertices)), head.skin)
    body = _bodies(head.vertices, head.whole.faces, inside)
    for rows in (inside[body == number] for number in range(body.max(initial=-1) + 1)):
        k = np.arange(1, min(_N_FOLLOWED, len(start)) + 1)
        near = np.unique(tree.query(head.vertices[rows], k=k)[1])
        try:
            vertices[rows] = umeyama(start[near], moved[near]).points(head.vertices[rows])
        except ValueError:  # the skin around it is too little to turn by
            vertices[rows] += (moved - start)[near].mean(axis=0)
    loose = inside[body < 0]
    if len(loose):
        near = tree.query(head.vertices[loose])[1]
        vertices[loose] += (moved - start)[near]
    return vertices


def _bodies(vertices: DoubleArray, faces: IntArray, inside: IntArray) -> IntArray:
    """(N,) number of the body of each vertex of ``inside``; -1 for those without faces.

    Pieces whose boxes overlap are one, as the gums and all teeth are.
    """
    from scipy.sparse.csgraph import connected_components

    pieces = find_pieces(faces, len(vertices))[inside]
    names = np.unique(pieces[pieces >= 0])
    boxes = [vertices[inside[pieces == name]] for name in names]
    low, high = (
        np.array([end(box, axis=0) for box in boxes]).reshape(-1, 3) for end in (np.min, np.max)
    )
    meet = ((low[:, None] <= high) & (high[:, None] >= low)).all(axis=2)
    body = np.full(len(inside), -1, np.int32)
    label = connected_components(meet, directed=False)[1] if len(names) else []
    for name, number in zip(names, label, strict=True):
        body[pieces == name] = number
    return body


def _rows_of(head: FittedHead) -> IntArray:
    """Which faces of the whole are the skin's, in their order."""
    on = np.zeros(len(head.vertices), np.bool_)
    on[head.skin] = True
    return np.flatnonzero(on[head.whole.faces].all(axis=1)).astype(np.int32)


def _atlas(path: Path, faces: IntArray) -> tuple[FloatArray, IntArray]:
    """Texture places of the OBJ beside a PLY, none where there is none of the same faces."""
    beside = path.with_suffix(".obj")
    if beside.is_file():
        mesh = read_obj(beside)
        same = mesh.faces.shape == faces.shape and (mesh.faces == faces).all()
        if same and mesh.texture is not None and mesh.texture_faces is not None:
            return mesh.texture, mesh.texture_faces
    return np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
