"""FLAME as a head model: modes of shape and expression, joints of neck, jaw and eyes.

Source: Li, Bolkart, Black, Li and Romero, "Learning a model of facial shape and expression from 4D
scans" (2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mvs.canonical.landmarks import landmark_positions
from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.canonical.surface import Surface, find_pieces
from mvs.headmodel.cube_positions import Marks, find_eyeballs, place_template
from mvs.headmodel.flame_files import Extras, FlameFile, read_extras, read_flame
from mvs.headmodel.linear import Basis
from mvs.headmodel.skinned import Skeleton, SkinnedHead
from mvs.headmodel.types import Topology
from mvs.types import DoubleArray, FloatArray, IntArray

_JOINTS = ("neck", "jaw", "left_eye", "right_eye")
_UNIT_M = 1.0
_PARTS = ("face", "head", "neck", "right_eye", "left_eye", "other")
# Masks of the file that make a part; later ones win.
_MASKS = {
    "scalp": "head",
    "left_ear": "head",
    "right_ear": "head",
    "face": "face",
    "neck": "neck",
    "left_eyeball": "left_eye",
    "right_eyeball": "right_eye",
}
_N_JAW = 17


def load_flame(path: Path) -> SkinnedHead:
    """FLAME of 2019 to 2023 from its pickle or an npz.

    Landmarks, masks and texture places are taken from FLAME's own files of their usual names
    beside it; without those they come from the canonical head.

    Args:
        path: of the model.

    Raises:
        ValueError: if the file, or one beside it, is not what it should be.
    """
    file = read_flame(path)
    extras = read_extras(path.parent, file.faces, len(file.template))
    try:
        return flame_model(file, extras)
    except ValueError as error:
        raise ValueError(f"{path}: not a FLAME model ({error})") from None


def flame_model(file: FlameFile, extras: Extras) -> SkinnedHead:
    """The model that files describe.

    Raises:
        ValueError: if its template is no head.
    """
    from scipy.sparse import csr_matrix

    skeleton = Skeleton(
        _JOINTS, file.parents, csr_matrix(file.regressor), file.weights, file.correctives
    )
    basis = Basis(
        "flame",
        _UNIT_M,
        _topology(file, extras),
        file.template,
        file.shapes,
        file.expressions,
        tuple(f"shape{k:03d}" for k in range(len(file.shapes))),
        tuple(f"expression{k:03d}" for k in range(len(file.expressions))),
    )
    return SkinnedHead(basis, skeleton)


def _topology(file: FlameFile, extras: Extras) -> Topology:
    coords = file.coords
    if coords is None:
        coords = place_template(file.template, file.faces, _UNIT_M, _marks(file.faces, extras))
    pieces = find_pieces(file.faces, len(coords))
    corners, weights = _landmarks(coords, file.faces, pieces, extras)
    parts = _parts(file, coords, pieces, extras.masks)
    return Topology(file.faces, extras.uv, extras.face_uv, coords, parts, _PARTS, corners, weights)


def _marks(faces: IntArray, extras: Extras) -> Marks | None:
    """The inner landmarks, which are ours; those of the jaw's line need not be."""
    if not len(extras.faces):
        return None
    inner = slice(len(extras.faces) - 51, None)
    coords = landmark_positions()[_N_JAW:].astype(np.float64)
    return Marks(faces[extras.faces[inner]], extras.weights[inner], coords)


def _landmarks(
    coords: FloatArray, faces: IntArray, pieces: IntArray, extras: Extras
) -> tuple[IntArray, DoubleArray]:
    """Corners (68, 3) and weights (68, 3): the file's, else the skin nearest in the cube."""
    skin = np.where((pieces == 0)[:, None], coords, np.nan).astype(np.float64)
    found, weights, _ = Surface(skin, faces).closest(landmark_positions().astype(np.float64))
    n = len(extras.faces)
    if n:
        found[68 - n :], weights[68 - n :] = extras.faces, extras.weights
    return faces[found], weights


def _parts(
    file: FlameFile, coords: FloatArray, pieces: IntArray, masks: Mapping[str, IntArray]
) -> IntArray:
    """(V,) index into ``_PARTS``."""
    region = region_of(coords)
    parts = np.full(len(coords), _PARTS.index("other"), np.int32)
    skin = pieces == 0
    parts[skin] = _PARTS.index("face")
    parts[skin & np.isin(region, [REGIONS.index(r) for r in ("hair", "ear")])] = 1
    parts[skin & (region == REGIONS.index("neck"))] = _PARTS.index("neck")
    for mask, part in _MASKS.items():
        if mask in masks:
            parts[masks[mask]] = _PARTS.index(part)
    eyes = find_eyeballs(file.template, pieces, _UNIT_M)
    for name, inside in zip(("right_eye", "left_eye"), eyes, strict=False):
        parts[inside] = _PARTS.index(name)
    return parts
