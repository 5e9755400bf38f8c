"""FLAME's files: the model as pickle or npz, and what may lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

from mvs.headmodel.arrays import read_arrays
from mvs.headmodel.unpickle import as_array, read_pickle
from mvs.stages.obj import read_obj
from mvs.types import DoubleArray, FloatArray, IntArray

_ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
# FLAME has 300 modes of shape before those of expression; other files say how many.
_N_MODES, _N_SHAPE = 400, 300
_EMBEDDINGS = (
    "landmark_embedding.npy",
    "flame_static_embedding_68.pkl",
    "flame_static_embedding_68.npz",
    "flame_static_embedding.pkl",
)
_EMBEDDING_KEYS = (
    ("full_lmk_faces_idx", "full_lmk_bary_coords"),
    ("lmk_face_idx", "lmk_b_coords"),
    ("static_lmk_faces_idx", "static_lmk_bary_coords"),
)
_REMEDY = "give FLAME's pickle, or an npz of the same arrays"
_MASKS = "FLAME_masks.pkl"
_TEXTURE = "FLAME_texture.npz"
_TEXTURED = ("head_template_mesh.obj", "head_template.obj", "uv_template.obj")
_UNREADABLE = (OSError, KeyError, ValueError, TypeError)


@dataclass(frozen=True, eq=False)
class FlameFile:
    """What the model's file holds: metres, y up, face to +z.

    Attributes:
        template: (V, 3) float64.
        faces: (F, 3) int32.
        shapes: (K, V, 3) float64 displacement at one deviation.
        expressions: (E, V, 3) float64 likewise.
        correctives: (V, 3, 9 (J - 1)) float64.
        regressor: (J, V) float64.
        parents: (J,) int32, -1 for the root.
        weights: (V, J) float64.
        coords: (V, 3) float32 cube positions, in files that ``mvs headmodel pack`` wrote.
    """

    template: DoubleArray
    faces: IntArray
    shapes: DoubleArray
    expressions: DoubleArray
    correctives: DoubleArray
    regressor: DoubleArray
    parents: IntArray
    weights: DoubleArray
    coords: FloatArray | None


@dataclass(frozen=True, eq=False)
class Extras:
    """What lay beside the model.

    Attributes:
        faces: (M,) int32 of 68 or of the inner 51 landmarks, in order; none without.
        weights: (M, 3) float64 on them.
        masks: vertices (N,) int32 by the name of the part.
        uv: (T, 2) float32, none without.
        face_uv: (F, 3) int32 likewise, (0, 3) without.
    """

    faces: IntArray
    weights: DoubleArray
    masks: Mapping[str, IntArray]
    uv: FloatArray
    face_uv: IntArray


def read_flame(path: Path) -> FlameFile:
    """Read the model.

    Args:
        path: pickle of FLAME 2019 to 2023, or npz with the same names.

    Raises:
        ValueError: if the file is missing or is no such model.
    """
    try:
        arrays = _arrays(path)
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise ValueError(f"holds no {' '.join(missing)}")
        found = {name: _named(name, arrays[name]) for name in _ARRAYS}
        n_shape = int(as_array(arrays["n_shape"])) if "n_shape" in arrays else None
        coords = as_array(arrays["cube_coords"]) if "cube_coords" in arrays else None
        model = _model(found, n_shape, coords)
        _check(model)
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(
            f"{path}: not a FLAME model ({reason.partition(chr(10))[0]}); {_REMEDY}"
        ) from None
    return model


def read_extras(folder: Path, faces: IntArray, n_vertices: int) -> Extras:
    """Landmarks, masks and texture places beside a model, by their usual names.

    Raises:
        ValueError: if one of the files is not what its name says, or of another topology.
    """
    marks = np.zeros(0, np.int32), np.zeros((0, 3))
    for path in filter(Path.is_file, (folder / name for name in _EMBEDDINGS)):
        marks = _embedding(path, len(faces))
        break
    masks = _masks(folder / _MASKS, n_vertices) if (folder / _MASKS).is_file() else {}
    return Extras(*marks, masks, *_texture_places(folder, faces, n_vertices))


def is_flame(path: Path) -> bool:
    """Whether an npz file has FLAME's arrays; pickles are taken to be FLAME's."""
    if path.suffix.lower() != ".npz":
        return True
    try:
        with path.open("rb") as stream, ZipFile(stream) as archive:
            return bool({"shapedirs.npy", "v_template.npy"} & set(archive.namelist()))
    except (OSError, ValueError, BadZipFile):
        return False


def _arrays(path: Path) -> Mapping[str, Any]:
    if path.suffix.lower() == ".npz":
        return read_arrays(path)
    found = read_pickle(path)
    if not isinstance(found, dict):
        raise ValueError("holds no table of arrays")
    return found


def _named(name: str, value: Any) -> npt.NDArray[Any]:
    try:
        return as_array(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _model(
    arrays: Mapping[str, npt.NDArray[Any]], n_shape: int | None, coords: npt.NDArray[Any] | None
) -> FlameFile:
    modes = arrays["shapedirs"].astype(np.float64)
    if modes.ndim != 3:
        raise ValueError(f"shapedirs must be (V, 3, K), is {modes.shape}")
    if n_shape is None and modes.shape[2] != _N_MODES:
        raise ValueError(
            f"shapedirs has {modes.shape[2]} modes and not {_N_MODES}; add n_shape, the number of "
            "those that are of shape"
        )
    n_shape = _N_SHAPE if n_shape is None else n_shape
    if not 0 <= n_shape <= modes.shape[2]:
        raise ValueError(f"n_shape must be in 0..{modes.shape[2]}, is {n_shape}")
    tree = arrays["kintree_table"]
    if tree.ndim != 2 or len(tree) != 2 or not tree.shape[1]:
        raise ValueError(f"kintree_table must be (2, J), is {tree.shape}")
    parents = tree[0].astype(np.int64)
    parents[0] = -1
    rows = np.moveaxis(modes, 2, 0)
    return FlameFile(
        template=arrays["v_template"].astype(np.float64),
        faces=arrays["f"].astype(np.int64).astype(np.int32),
        shapes=rows[:n_shape],
        expressions=rows[n_shape:],
        correctives=arrays["posedirs"].astype(np.float64),
        regressor=arrays["J_regressor"].astype(np.float64),
        parents=parents.astype(np.int32),
        weights=arrays["weights"].astype(np.float64),
        coords=None if coords is None else coords.astype(np.float32),
    )


def _check(model: FlameFile) -> None:
    """Complain about arrays that do not fit together."""
    n, joints = len(model.template), len(model.parents)
    coords = np.zeros((n, 3)) if model.coords is None else model.coords
    for name, values, shape in (
        ("v_template", model.template, (n, 3)),
        ("f", model.faces, (len(model.faces), 3)),
        ("shapedirs", model.shapes, (len(model.shapes), n, 3)),
        ("posedirs", model.correctives, (n, 3, 9 * (joints - 1))),
        ("J_regressor", model.regressor, (joints, n)),
        ("weights", model.weights, (n, joints)),
        ("cube_coords", coords, (n, 3)),
    ):
        if values.shape != shape:
            raise ValueError(f"{name} must be {shape}, is {values.shape}")
        if name != "cube_coords" and not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite")
    if not np.isfinite(model.expressions).all():
        raise ValueError("shapedirs must be finite")
    if not n or not len(model.faces):
        raise ValueError("holds no surface")
    if model.faces.min() < 0 or model.faces.max() >= n:
        raise ValueError(f"f must be in 0..{n - 1}")
    if joints != 5 or (model.parents[1:] < 0).any() or (model.parents >= range(joints)).any():
        raise ValueError("kintree_table must have a root, the neck, the jaw and the eyes in order")
    if np.abs(model.weights.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("weights must add up to 1 at each vertex")


def _embedding(path: Path, n_faces: int) -> tuple[IntArray, DoubleArray]:
    """Faces (M,) and weights (M, 3) of 68 or of 51 landmarks."""
    try:
        found = _arrays(path)
        for face_key, weight_key in _EMBEDDING_KEYS:
            if face_key not in found or weight_key not in found:
                continue
            faces = as_array(found[face_key]).astype(np.int32).ravel()
            weights = as_array(found[weight_key]).astype(np.float64).reshape(len(faces), 3)
            if len(faces) not in (51, 68) or faces.min() < 0 or faces.max() >= n_faces:
                raise ValueError(f"{len(faces)} landmarks, or on other faces than the model's")
            if not np.isfinite(weights).all():
                raise ValueError("weights must be finite")
            return faces, weights
        raise ValueError(f"holds no {_EMBEDDING_KEYS[0][0]} and no {_EMBEDDING_KEYS[1][0]}")
    except _UNREADABLE as error:
        raise ValueError(
            f"{path}: not a landmark embedding ({error}); mend it or move it away"
        ) from None


def _texture_places(folder: Path, faces: IntArray, n_vertices: int) -> tuple[FloatArray, IntArray]:
    """Texture places (T, 2) and faces' rows (F, 3) of a mesh or texture of the same topology."""
    for path in filter(Path.is_file, (folder / name for name in _TEXTURED)):
        mesh = read_obj(path)
        same = len(mesh.vertices) == n_vertices and np.array_equal(mesh.faces, faces)
        if same and mesh.texture is not None and mesh.texture_faces is not None:
            return mesh.texture, mesh.texture_faces
    path = folder / _TEXTURE
    if path.is_file():
        try:
            found = read_arrays(path, ("vt", "ft"))
            uv, rows = found["vt"].astype(np.float32), found["ft"].astype(np.int32)
            if uv.shape[1:] != (2,) or rows.shape != faces.shape:
                raise ValueError(f"vt and ft are {uv.shape} and {rows.shape}")
            if rows.min() < 0 or rows.max() >= len(uv):
                raise ValueError("ft holds rows that vt does not have")
            return uv, rows
        except _UNREADABLE as error:
            raise ValueError(
                f"{path}: not FLAME's texture ({error}); mend it or move it away"
            ) from None
    return np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)


def _masks(path: Path, n_vertices: int) -> Mapping[str, IntArray]:
    try:
        found = read_pickle(path)
        if not isinstance(found, dict):
            raise ValueError("holds no table of vertices")
        masks = {str(name): as_array(rows).astype(np.int32).ravel() for name, rows in found.items()}
        for name, rows in masks.items():
            if len(rows) and (rows.min() < 0 or rows.max() >= n_vertices):
                raise ValueError(f"{name} holds vertices that the model does not have")
        return masks
    except _UNREADABLE as error:
        raise ValueError(f"{path}: not FLAME's masks ({error}); mend it or move it away") from None
