"""PLY files; the one module that imports plyfile (GPL-3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from plyfile import PlyData, PlyElement, PlyParseError

from mvs.types import IntArray, PointCloud

Column = npt.NDArray[Any]

_COMMENT = "u v w are coordinates in the canonical cube, quality repeats confidence"
_SCALARS = ("confidence", "n_views", "u", "v", "w", "quality")


def write_ply(
    stream: BinaryIO,
    cloud: PointCloud,
    faces: IntArray | None = None,
    unit: str | None = None,
    more: Mapping[str, Column] | None = None,
) -> None:
    """Write points or a mesh as binary little-endian PLY.

    Positions are float; double where a float could not tell apart places a thousandth of a
    millionth of the cloud's extent away, as in a capture far from its origin.

    Args:
        stream: open for binary writing.
        cloud: the vertices.
        faces: (F, 3) int32, None for a cloud.
        unit: of the positions, for a comment ``unit m``; none where it is not known.
        more: further scalar properties of the vertices, which come last.
    """
    _write(stream, _vertex_table(cloud, more or {}), faces, unit)


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
        vertex, faces = read_properties(path)
        return _cloud_of(vertex), faces
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a PLY file of this project ({error})") from error


def read_properties(path: Path) -> tuple[dict[str, Column], IntArray | None]:
    """Read any PLY file of points or triangles.

    Args:
        path: the file.

    Returns:
        The vertices' scalar properties by name, and the faces (F, 3) int32, None without.

    Raises:
        ValueError: if the file is no such PLY.
    """
    try:
        data = _parse(path)
        table = data["vertex"].data
        vertex = {str(name): np.array(table[name]) for name in table.dtype.names}
        if "face" not in data:
            return vertex, None
        names = [p.name for p in data["face"].properties]
        lists = data["face"].data[next(n for n in names if n.startswith("vertex_ind"))]
    except OSError as error:
        raise ValueError(f"not a readable PLY file ({error.strerror or error})") from error
    except (PlyParseError, KeyError, StopIteration) as error:
        raise ValueError(f"not a readable PLY file ({error})") from error
    if lists.ndim == 2:
        return vertex, np.array(lists, np.int32)
    if any(len(corners) != 3 for corners in lists):
        raise ValueError("holds faces that are no triangles")
    return vertex, np.array(list(lists), np.int32).reshape(-1, 3)


def _parse(path: Path) -> Any:
    """Plyfile reads lists of one length as a table, and of several one by one, much slower."""
    triangles = {"face": {"vertex_indices": 3, "vertex_index": 3}}
    try:
        return PlyData.read(str(path), known_list_len=triangles)
    except PlyParseError:
        return PlyData.read(str(path))


def read_unit(path: Path) -> str | None:
    """The unit that ``write_ply`` noted in a file's header; None where it noted none."""
    with path.open("rb") as file:
        for line in file:
            words = line.split()
            if words[:1] == [b"end_header"]:
                break
            if words[:2] == [b"comment", b"unit"] and len(words) == 3:
                return words[2].decode("ascii", "replace")
    return None


def write_properties(stream: BinaryIO, vertex: Mapping[str, Column], faces: IntArray) -> None:
    """Write a mesh whose vertices have any scalar properties, as binary little-endian PLY.

    Args:
        stream: open for binary writing.
        vertex: properties of equal length, in their order.
        faces: (F, 3) int32.
    """
    table = np.empty(len(next(iter(vertex.values()))), [(n, v.dtype) for n, v in vertex.items()])
    for name, values in vertex.items():
        table[name] = values
    _write(stream, table, faces)


def write_colored_points(stream: BinaryIO, cloud: PointCloud) -> None:
    """Write points, normals and colours alone, float and uchar, as COLMAP's fused clouds are.

    Args:
        stream: open for binary writing.
        cloud: the points.
    """
    names = ["x", "y", "z", "nx", "ny", "nz"]
    fields = [(name, "<f4") for name in names]
    fields += [(name, "u1") for name in ("red", "green", "blue")]
    table = np.empty(len(cloud), fields)
    values = np.column_stack([cloud.points, cloud.normals])
    for name, column in zip(names, values.T, strict=True):
        table[name] = column
    for name, color in zip(("red", "green", "blue"), cloud.colors.T, strict=True):
        table[name] = color
    header = PlyData([PlyElement.describe(table, "vertex")], text=False, byte_order="<").header
    stream.write(header.encode("ascii") + b"\n" + table.tobytes())


def _write(
    stream: BinaryIO,
    vertex: npt.NDArray[np.void],
    faces: IntArray | None,
    unit: str | None = None,
) -> None:
    """The header by plyfile; the rows as they are, since plyfile writes lists one by one."""
    elements = [PlyElement.describe(vertex, "vertex")]
    if faces is not None:
        table = np.empty(len(faces), [("vertex_indices", "<i4", (3,))])
        elements.append(PlyElement.describe(table, "face", len_types={"vertex_indices": "u1"}))
    comments = [_COMMENT] if unit is None else [_COMMENT, f"unit {unit}"]
    header = PlyData(elements, text=False, byte_order="<", comments=comments).header
    stream.write(header.encode("ascii") + b"\n")
    stream.write(vertex.astype(vertex.dtype.newbyteorder("<"), copy=False).tobytes())
    if faces is not None:
        rows = np.empty(len(faces), [("n", "u1"), ("corners", "<i4", (3,))])
        rows["n"], rows["corners"] = 3, faces
        stream.write(rows.tobytes())


def _vertex_table(cloud: PointCloud, more: Mapping[str, Column]) -> npt.NDArray[np.void]:
    place = "<f8" if needs_double(cloud) else "<f4"
    fields = [(name, place) for name in "xyz"]
    fields += [(name, "<f4") for name in ("nx", "ny", "nz")]
    fields += [(name, "u1") for name in ("red", "green", "blue")]
    fields += [(name, "<i4" if name == "n_views" else "<f4") for name in _SCALARS]
    fields += [(name, values.dtype.str) for name, values in more.items()]
    table = np.empty(len(cloud), fields)
    for name, values in more.items():
        table[name] = values
    for column, name in enumerate("xyz"):
        table[name] = cloud.points[:, column]
        table["n" + name] = cloud.normals[:, column]
        table["uvw"[column]] = cloud.coords[:, column]
        table[("red", "green", "blue")[column]] = cloud.colors[:, column]
    table["confidence"] = table["quality"] = cloud.confidence
    table["n_views"] = cloud.n_views
    return table


def needs_double(cloud: PointCloud) -> bool:
    """Float rounds to 2^-24 of the largest coordinate; a millionth of the extent is bearable."""
    if len(cloud) == 0:
        return False
    extent = float(np.ptp(cloud.points, axis=0).max())
    return float(np.abs(cloud.points).max()) * 2.0**-24 > 1e-6 * extent


def _cloud_of(vertex: Mapping[str, Column]) -> PointCloud:
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
