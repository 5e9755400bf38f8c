"""ICT-FaceKit's public folder ``FaceXModel``: an OBJ file per mode.

A folder of another topology than ICT's own needs a ``layout.json`` beside its files::

    {"parts": [{"name": "Face", "vertices": [0, 1200]}, ...], "landmarks": [12, 7, ...]}
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.headmodel.ict_files import IctHead, check_head
from mvs.headmodel.ict_layout import LANDMARKS, N_VERTICES, PART_NAMES, PARTS
from mvs.types import DoubleArray, FloatArray, IntArray

NEUTRAL = "generic_neutral_mesh"
LAYOUT = "layout.json"
_IDENTITY = re.compile(r"identity(\d+)")
_REMEDY = "give ICT-FaceKit's folder FaceXModel"


def read_folder(folder: Path, progress: Callable[[], None] | None = None) -> IctHead:
    """Read the folder.

    Args:
        folder: with ``generic_neutral_mesh.obj``, ``identity000.obj`` and so on, and an OBJ file
            per expression.
        progress: called once per file.

    Returns:
        The head; its modes are the files' vertices less the neutral ones, expressions by name.

    Raises:
        ValueError: if files are missing, broken, or of different topologies.
    """
    neutral = folder / f"{NEUTRAL}.obj"
    if not neutral.is_file():
        raise ValueError(f"{folder}: holds no {neutral.name}; {_REMEDY}")
    vertices, faces, uv, face_uv = _read_mesh(neutral)
    if progress is not None:
        progress()
    parts, landmarks = _layout(folder, len(vertices))
    names = sorted(path.stem for path in folder.glob("*.obj") if path.stem != NEUTRAL)
    identities = sorted(filter(_IDENTITY.fullmatch, names))
    expected = [f"identity{k:03d}" for k in range(len(identities))]
    missing = set(expected) - set(identities)
    if missing:
        raise ValueError(f"{folder}: holds no {min(missing)}.obj; {_REMEDY}")
    expressions = [name for name in names if name not in identities]
    head = IctHead(
        vertices.astype(np.float32),
        *(faces, uv, face_uv),
        _modes(folder, expected, vertices, progress),
        _modes(folder, expressions, vertices, progress),
        tuple(expressions),
        np.array(landmarks, np.int32),
        tuple(name for name, _ in parts),
        np.array([span for _, span in parts], np.int32).reshape(-1, 2),
    )
    try:
        check_head(head)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}; {_REMEDY}") from None
    return head


def _modes(
    folder: Path,
    names: Sequence[str],
    neutral: DoubleArray,
    progress: Callable[[], None] | None,
) -> FloatArray:
    modes = np.empty((len(names), *neutral.shape), np.float32)
    for mode, name in zip(modes, names, strict=True):
        path = folder / f"{name}.obj"
        vertices = _read_vertices(path, _bytes(path))
        if vertices.shape != neutral.shape:
            raise ValueError(
                f"{path}: has {len(vertices)} vertices, {NEUTRAL}.obj has {len(neutral)}; {_REMEDY}"
            )
        mode[:] = vertices - neutral
        if progress is not None:
            progress()
    return modes


def _layout(folder: Path, n: int) -> tuple[list[tuple[str, list[int]]], Sequence[int]]:
    """Names and vertex ranges of the parts, and the vertices of the landmarks."""
    path = folder / LAYOUT
    if path.is_file():
        try:
            document: Any = json.loads(path.read_text(encoding="utf-8"))
            parts = [
                (str(part["name"]), [int(k) for k in part["vertices"]])
                for part in document["parts"]
            ]
            return parts, [int(k) for k in document["landmarks"]]
        except (ValueError, LookupError, TypeError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{path}: not a layout of parts and landmarks ({reason})") from None
    if n != N_VERTICES:
        raise ValueError(
            f"{folder}: has {n} vertices, ICT-FaceKit {N_VERTICES}; say in {LAYOUT} what its parts "
            "and landmarks are"
        )
    starts = [*(first for _, first in PARTS), n]
    bounds = [list(pair) for pair in pairwise(starts)]
    return list(zip(PART_NAMES, bounds, strict=True)), LANDMARKS


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; {_REMEDY}") from None


def _read_vertices(path: Path, data: bytes) -> DoubleArray:
    """(V, 3) float64 of the lines that begin with v."""
    return _table(path, data.partition(b"\nf ")[0], b"v ", 3)


def _read_mesh(path: Path) -> tuple[DoubleArray, IntArray, FloatArray, IntArray]:
    """Vertices, triangles (F, 3), texture places, and the triangles' rows of those."""
    data = _bytes(path)
    uv = _table(path, data, b"vt ", 2).astype(np.float32)
    try:
        corners = _fans([line.split()[1:] for line in _lines(data, b"f ")])
    except ValueError:
        raise ValueError(f"{path}: holds a face that is not v/vt v/vt v/vt; {_REMEDY}") from None
    face_uv = corners[:, :, 1] if len(uv) and corners.shape[2] > 1 else np.zeros((0, 3))
    uv = uv if len(face_uv) else uv[:0]
    return (
        _read_vertices(path, data),
        np.ascontiguousarray(corners[:, :, 0], np.int32),
        uv,
        np.ascontiguousarray(face_uv, np.int32),
    )


def _lines(data: bytes, key: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.startswith(key)]


def _table(path: Path, data: bytes, key: bytes, n: int) -> DoubleArray:
    """The first ``n`` numbers of each line that begins with ``key``, (M, n) float64."""
    lines = _lines(data, key)
    if not lines:
        return np.zeros((0, n))
    try:
        table = np.loadtxt(io.BytesIO(b"\n".join(lines)), usecols=range(1, n + 1), ndmin=2)
    except (ValueError, IndexError):
        raise ValueError(
            f"{path}: holds a line of {key.decode().strip()} without {n} numbers; {_REMEDY}"
        ) from None
    return np.asarray(table, np.float64)


def _fans(polygons: Sequence[Sequence[bytes]]) -> npt.NDArray[np.int64]:
    """Rows (F, 3, k) from 0 on of the triangles that polygons fan out to, in their order."""
    counts = np.array([len(polygon) for polygon in polygons], np.int64)
    if not len(counts) or counts.min() < 3:
        raise ValueError
    kinds = polygons[0][0].count(b"/") + 1
    flat = b" ".join(b" ".join(polygon) for polygon in polygons).replace(b"/", b" ").split()
    corners = np.array(flat, np.int64).reshape(-1, kinds) - 1
    if len(corners) != counts.sum() or corners.min() < 0:
        raise ValueError
    starts = np.cumsum(counts) - counts
    polygon = np.repeat(np.arange(len(counts)), counts - 2)
    step = np.arange(len(polygon)) - np.repeat(np.cumsum(counts - 2) - (counts - 2), counts - 2)
    first = starts[polygon]
    return corners[np.stack([first, first + step + 1, first + step + 2], axis=1)]
