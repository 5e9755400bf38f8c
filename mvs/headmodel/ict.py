"""ICT-FaceKit as a head model: 100 identity modes and ARKit-named expressions.

Source: Li et al., "Learning formation of physically-based face attributes" (CVPR 2020).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mvs.canonical.cube import cube_from_cm
from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.headmodel.ict_files import IctHead, read_packed
from mvs.headmodel.ict_folder import read_folder
from mvs.headmodel.ict_layout import SHELLS, SHORT_NAMES
from mvs.headmodel.linear import Basis, LinearHead
from mvs.headmodel.types import Topology
from mvs.types import DoubleArray, IntArray

_UNIT_M = 0.01


def load_ict(path: Path) -> LinearHead:
    """ICT-FaceKit from its packed file, or from its public folder.

    Raises:
        ValueError: if the file is missing or not such a file.
    """
    try:
        return ict_model(read_ict(path))
    except ValueError as error:
        if path.is_dir():
            raise
        raise ValueError(f"{error}; give its folder, or an npz of mvs headmodel pack") from None


def read_ict(path: Path) -> IctHead:
    """The arrays of ICT-FaceKit's packed file or folder.

    Raises:
        ValueError: if it is neither.
    """
    return read_folder(path) if path.is_dir() else read_packed(path)


def ict_model(head: IctHead) -> LinearHead:
    """The model that the files' arrays describe; faces of overlay shells are left out."""
    basis = Basis(
        "ict",
        _UNIT_M,
        _topology(head),
        head.vertices.astype(np.float64),
        head.identity.astype(np.float64),
        head.expression.astype(np.float64),
        tuple(f"identity{k:03d}" for k in range(len(head.identity))),
        head.expression_names,
    )
    return LinearHead(basis, np.tile([0.0, 1.0], (len(head.expression), 1)))


def _topology(head: IctHead) -> Topology:
    shown = head.shown
    faces = np.ascontiguousarray(head.faces[shown])
    uv, face_uv = head.uv, head.face_uv[shown] if len(head.uv) else head.face_uv
    coords = cube_from_cm(head.vertices)
    parts, names = np.zeros(len(coords), np.int32), (*_short(head.part_names), "neck")
    for index, (first, stop) in enumerate(head.part_ranges):
        parts[first:stop] = index
    skin = np.isin(parts, [names.index(name) for name in ("face", "head")])
    parts[skin & (region_of(coords) == REGIONS.index("neck"))] = names.index("neck")
    hidden = [index for index, name in enumerate(head.part_names) if name in SHELLS]
    coords[np.isin(parts, hidden)] = np.nan
    corners, weights = at_vertices(head.landmarks, faces)
    return Topology(faces, uv, face_uv, coords, parts, names, corners, weights)


def at_vertices(vertices: IntArray, faces: IntArray) -> tuple[IntArray, DoubleArray]:
    """Vertices (N,) as places on faces: corners (N, 3) and weights (N, 3).

    The face is the first that has the vertex; a vertex of none is its own corner thrice.
    """
    corners = np.repeat(np.asarray(vertices, np.int32)[:, None], 3, axis=1)
    weights = np.zeros((len(corners), 3))
    weights[:, 0] = 1.0
    for row, vertex in enumerate(vertices):
        found = np.flatnonzero((faces == vertex).any(axis=1))
        if len(found):
            face = faces[found[0]]
            corners[row] = np.roll(face, -int(np.flatnonzero(face == vertex)[0]))
    return corners, weights


def _short(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(SHORT_NAMES.get(name, name.lower().replace(" ", "_")) for name in names)
