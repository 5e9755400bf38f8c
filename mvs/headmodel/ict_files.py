"""ICT-FaceKit's files: one packed npz, or the public repository's folder of OBJ files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.headmodel.arrays import read_arrays, write_arrays
from mvs.headmodel.ict_layout import PART_NAMES, SHELLS
from mvs.types import BoolArray, FloatArray, IntArray

_LARGEST = 32_767


@dataclass(frozen=True, eq=False)
class IctHead:
    """What the files hold: centimetres, y up, face to +z.

    Attributes:
        vertices: (V, 3) float32 neutral mean head.
        faces: (F, 3) int32 triangles of all parts, counter-clockwise seen from outside.
        uv: (T, 2) float32 texture coordinates; none in some files.
        face_uv: (F, 3) int32 rows of ``uv``; (0, 3) without.
        identity: (K, V, 3) float32 displacement at one unit.
        expression: (E, V, 3) float32 displacement at full activation.
        expression_names: ARKit's, ``Left`` and ``Right`` written ``_L`` and ``_R``.
        landmarks: (68,) int32 vertex of each Multi-PIE landmark.
        part_names: names of the parts.
        part_ranges: (P, 2) int32 first vertex of each part, and the one behind its last.
    """

    vertices: FloatArray
    faces: IntArray
    uv: FloatArray
    face_uv: IntArray
    identity: FloatArray
    expression: FloatArray
    expression_names: tuple[str, ...]
    landmarks: IntArray
    part_names: tuple[str, ...]
    part_ranges: IntArray

    @property
    def shown(self) -> BoolArray:
        """(F,) bool: faces that are not of overlay shells such as lashes."""
        shell = np.zeros(len(self.vertices), np.bool_)
        for name, (first, stop) in zip(self.part_names, self.part_ranges, strict=True):
            if name in SHELLS:
                shell[first:stop] = True
        return np.asarray(~shell[self.faces].any(axis=1))


def read_packed(path: Path) -> IctHead:
    """Read the packed file.

    Args:
        path: npz with vertices, faces, quantised modes, landmarks and part ranges.

    Raises:
        ValueError: if the file is missing or is not such a file.
    """
    try:
        head = _head_of(read_arrays(path))
        check_head(head)
    except KeyError as error:
        raise ValueError(
            f"{path}: not a packed ICT-FaceKit head (holds no {error.args[0]})"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(
            f"{path}: not a packed ICT-FaceKit head ({reason.partition(chr(10))[0]})"
        ) from None
    return head


def write_packed(path: Path, head: IctHead) -> float:
    """Write the packed file: modes rounded to 16 bits of the largest displacement of each.

    Args:
        path: npz; the same head gives the same bytes.
        head: what is written.

    Returns:
        The farthest that a coordinate of a mode is from what is written, in the head's unit.
    """
    quantised: dict[str, npt.NDArray[Any]] = {}
    errors = [0.0]
    for key, modes in (("id", head.identity), ("ex", head.expression)):
        largest = np.abs(modes).max(axis=(1, 2), initial=0.0)
        scale = (np.where(largest > 0, largest, 1.0) / _LARGEST).astype(np.float32)
        steps = np.rint(modes / scale[:, None, None])
        rounded = np.clip(steps, -_LARGEST, _LARGEST).astype(np.int16)
        quantised |= {f"{key}_delta_q": rounded, f"{key}_scale": scale}
        errors += [float(k) for k in np.abs(_dequantise(rounded, scale) - modes).max(axis=(1, 2))]
    write_arrays(
        path,
        {
            "vertices": head.vertices,
            "faces": head.faces,
            "uv": head.uv,
            "face_uv": head.face_uv,
            "ex_names": np.array(head.expression_names),
            "landmarks68": head.landmarks,
            "part_names": np.array(head.part_names),
            "part_vertex_range": head.part_ranges,
            **quantised,
        },
    )
    return max(errors)


def _head_of(arrays: Mapping[str, npt.NDArray[Any]]) -> IctHead:
    ranges = arrays["part_vertex_range"].astype(np.int32)
    faces = arrays["faces"].astype(np.int32)
    textured = "uv" in arrays and "face_uv" in arrays
    names = arrays["part_names"].tolist() if "part_names" in arrays else PART_NAMES[: len(ranges)]
    return IctHead(
        vertices=arrays["vertices"].astype(np.float32),
        faces=faces,
        uv=arrays["uv"].astype(np.float32) if textured else np.zeros((0, 2), np.float32),
        face_uv=arrays["face_uv"].astype(np.int32) if textured else np.zeros((0, 3), np.int32),
        identity=_dequantise(arrays["id_delta_q"], arrays["id_scale"]),
        expression=_dequantise(arrays["ex_delta_q"], arrays["ex_scale"]),
        expression_names=tuple(map(str, arrays["ex_names"].tolist())),
        landmarks=arrays["landmarks68"].astype(np.int32),
        part_names=tuple(map(str, names)),
        part_ranges=ranges,
    )


def _dequantise(deltas: npt.NDArray[Any], scale: npt.NDArray[Any]) -> FloatArray:
    if deltas.ndim != 3 or deltas.dtype != np.int16 or scale.shape != (len(deltas),):
        raise ValueError(f"modes must be int16 with a scale each, are {deltas.shape}")
    modes: FloatArray = deltas.astype(np.float32)
    modes *= scale.astype(np.float32)[:, None, None]
    return modes


def check_head(head: IctHead) -> None:
    """Complain about arrays that do not fit together.

    Raises:
        ValueError: saying which.
    """
    n = len(head.vertices)
    for name, array, shape in (
        ("vertices", head.vertices, (n, 3)),
        ("faces", head.faces, (len(head.faces), 3)),
        ("identity modes", head.identity, (len(head.identity), n, 3)),
        ("expression modes", head.expression, (len(head.expression_names), n, 3)),
        ("landmarks68", head.landmarks, (68,)),
        ("part_vertex_range", head.part_ranges, (len(head.part_names), 2)),
        ("uv", head.uv, (len(head.uv), 2)),
        ("face_uv", head.face_uv, (len(head.faces) if len(head.uv) else 0, 3)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} must be {shape}, is {array.shape}")
    if not n or not len(head.faces):
        raise ValueError("holds no surface")
    for name, rows, stop in (
        ("faces", head.faces, n),
        ("landmarks68", head.landmarks, n),
        ("part_vertex_range", head.part_ranges, n + 1),
        ("face_uv", head.face_uv, len(head.uv)),
    ):
        if rows.size and (rows.min() < 0 or rows.max() >= stop):
            raise ValueError(f"{name} must be in 0..{stop - 1}")
    for name, values in (("vertices", head.vertices), ("modes", head.identity), ("uv", head.uv)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite")
    if not np.isfinite(head.expression).all():
        raise ValueError("modes must be finite")
