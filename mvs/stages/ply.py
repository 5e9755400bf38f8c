"""PLY files; the one module that imports plyfile (GPL-3)."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from plyfile import PlyData, PlyElement, PlyParseError

from mvs.types import IntArray, PointCloud

_COMMENT = "u v w are coordinates in the canonical cube, quality repeats confidence"
_SCALARS = ("confidence", "n_views", "u", "v", "w", "quality")


def write_ply(stream: BinaryIO, cloud: PointCloud, faces: IntArray | None = None) -> None:
    """Write points or a mesh as binary little-endian PLY.

    Positions are float; double where a float could not tell apart places a thousandth of a
    millionth of the cloud's extent away, as in a capture far from its origin.

    Args:
        stream: open for binary writing.
        cloud: the vertices.
        faces: (F, 3) int32, None for a cloud.
    """
    elements = [PlyElement.describe(_vertex_table(cloud), "vertex")]
    if faces is not None:
        table = np.empty(len(faces), [("vertex_indices", "<i4", (3,))])
        table["vertex_indices"] = faces
        types = {"vertex_indices": "u1"}
        elements.append(PlyElement.describe(table, "face", len_types=types))
    PlyData(elements, text=False, byte_order="<", comments=[_COMMENT]).write(stream)


def read_ply(path: Path) -> tuple[PointCloud, IntArray | None]:
    """Read what ``write_ply`` wrote.

    Args:
        path: the file.

    Returns:
        The vertices, and the faces or None.

    Raises:
        ValueError: if the file is no PLY, or not one of ours.
    """
    try:
        data = PlyData.read(str(path))
        vertex = data["vertex"].data
        cloud = _cloud_of(vertex)
    except (PlyParseError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a PLY file of this project ({error})") from error
    if "face" not in data:
        return cloud, None
    faces = data["face"].data["vertex_indices"]
    rows = np.stack(list(faces)) if len(faces) else np.empty((0, 3))
    return cloud, rows.astype(np.int32)


def _vertex_table(cloud: PointCloud) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    place = "<f8" if _needs_double(cloud) else "<f4"
    fields = [(name, place) for name in "xyz"]
    fields += [(name, "<f4") for name in ("nx", "ny", "nz")]
    fields += [(name, "u1") for name in ("red", "green", "blue")]
    fields += [(name, "<i4" if name == "n_views" else "<f4") for name in _SCALARS]
    table = np.empty(len(cloud), fields)
    for column, name in enumerate("xyz"):
        table[name] = cloud.points[:, column]
        table["n" + name] = cloud.normals[:, column]
        table["uvw"[column]] = cloud.coords[:, column]
        table[("red", "green", "blue")[column]] = cloud.colors[:, column]
    table["confidence"] = table["quality"] = cloud.confidence
    table["n_views"] = cloud.n_views
    return table


def _needs_double(cloud: PointCloud) -> bool:
    """Float rounds to 2^-24 of the largest coordinate; a millionth of the extent is bearable."""
    if len(cloud) == 0:
        return False
    extent = float(np.ptp(cloud.points, axis=0).max())
    return float(np.abs(cloud.points).max()) * 2.0**-24 > 1e-6 * extent


def _cloud_of(vertex: np.ndarray[tuple[int], np.dtype[np.void]]) -> PointCloud:
    def columns(*names: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.column_stack([vertex[name].astype(np.float64) for name in names])

    return PointCloud(
        columns("x", "y", "z"),
        columns("nx", "ny", "nz").astype(np.float32),
        columns("red", "green", "blue").astype(np.uint8),
        columns("u", "v", "w").astype(np.float32),
        vertex["confidence"].astype(np.float32),
        vertex["n_views"].astype(np.int32),
    )
