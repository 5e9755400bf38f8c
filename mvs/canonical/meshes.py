"""Meshes whose vertices carry cube coordinates, from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.capture import CaptureError
from calib.files import replacing
from mvs.types import ByteArray, DoubleArray, FloatArray, IntArray

# What to do about a file that is none.
REMEDY = "give a mesh.ply of mvs reconstruct"
_COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class CubeMesh:
    """A mesh of a file.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int32.
        coords: (V, 3) float32 cube coordinates, NaN for none.
        colors: (V, 3) uint8 RGB; grey where the file has none.
        properties: all the file says of its vertices, by name.
    """

    vertices: DoubleArray
    faces: IntArray
    coords: FloatArray
    colors: ByteArray
    properties: Mapping[str, npt.NDArray[Any]]

    def write(self, path: Path, colors: ByteArray, **more: npt.NDArray[Any]) -> None:
        """Write the mesh as PLY with other colours (V, 3) and more properties of its vertices."""
        from mvs.stages.ply import write_properties

        columns = dict(self.properties)
        columns |= {name: colors[:, k] for k, name in enumerate(_COLORS)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            write_properties(stream, columns | more, self.faces)


def read_cube_mesh(path: Path) -> CubeMesh:
    """Read a PLY mesh whose vertices have u, v and w.

    Raises:
        CaptureError: if the file is no such mesh.
    """
    from mvs.stages.ply import read_properties

    try:
        columns, faces = read_properties(path)
    except ValueError as error:
        raise CaptureError(path, str(error), REMEDY) from None
    if faces is None or not len(faces):
        raise CaptureError(path, "holds no faces", REMEDY)
    if not {"x", "y", "z", "u", "v", "w"} <= set(columns):
        raise CaptureError(path, "its vertices have no cube coordinates u v w", REMEDY)
    n = len(columns["x"])
    if faces.min() < 0 or faces.max() >= n:
        raise CaptureError(path, "holds faces of vertices that it does not have", REMEDY)
    colors = np.full((n, 3), 180, np.uint8)
    if set(_COLORS) <= set(columns):
        colors = np.column_stack([columns[name] for name in _COLORS]).astype(np.uint8)
    vertices = np.column_stack([columns[name] for name in "xyz"]).astype(np.float64)
    coords = np.column_stack([columns[name] for name in "uvw"]).astype(np.float32)
    coords[~np.isfinite(coords).all(axis=1)] = np.nan
    return CubeMesh(vertices, faces, coords, colors, columns)


def is_mesh(path: Path) -> bool:
    """Whether a source is a mesh and no pictures."""
    return path.suffix.lower() == ".ply"
