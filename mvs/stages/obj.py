"""Wavefront OBJ: meshes whose texture places have their own rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mvs.types import DoubleArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class ObjMesh:
    """What an OBJ file holds.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int32 rows of ``vertices``; none for points.
        texture: (W, 2) float32 places in the texture, y up, or None.
        texture_faces: (F, 3) int32 rows of ``texture``, or None.
        normals: (N, 3) float32 unit vectors, or None.
        normal_faces: (F, 3) int32 rows of ``normals``, or None where those are the vertices'.
        colors: (V, 3) float in [0, 1], written behind the places as MeshLab and Blender read them.
    """

    vertices: DoubleArray
    faces: IntArray
    texture: FloatArray | None = None
    texture_faces: IntArray | None = None
    normals: FloatArray | None = None
    normal_faces: IntArray | None = None
    colors: FloatArray | None = None

    def __post_init__(self) -> None:
        if (self.texture is None) != (self.texture_faces is None):
            raise ValueError("texture and texture_faces must be given together")
        for name, rows, n in (
            ("faces", self.faces, len(self.vertices)),
            ("texture_faces", self.texture_faces, _length(self.texture)),
            ("normal_faces", self._normal_rows(), _length(self.normals)),
        ):
            if rows is None:
                continue
            if rows.shape != (len(self.faces), 3):
                raise ValueError(f"{name} must be ({len(self.faces)}, 3), got {rows.shape}")
            if len(rows) and (rows.min() < 0 or rows.max() >= n):
                raise ValueError(f"{name} must be in 0..{n - 1}")

    def _normal_rows(self) -> IntArray | None:
        if self.normals is None:
            return None
        return self.faces if self.normal_faces is None else self.normal_faces

    def corners(self) -> list[IntArray | None]:
        """Rows (F, 3) of vertices, texture places and normals, in the order of OBJ."""
        return [self.faces, self.texture_faces, self._normal_rows()]


def write_obj(
    stream: BinaryIO,
    mesh: ObjMesh,
    material: str | None = None,
    library: str | None = None,
    comment: str | None = None,
) -> None:
    """Write a mesh as OBJ.

    Args:
        stream: open for binary writing.
        mesh: what is written, in its order.
        material: name of the faces' material.
        library: file name of the MTL that has it, beside the OBJ; see ``write_mtl``.
        comment: first line of the file.
    """
    lines = [f"# {comment}"] if comment else []
    lines += [f"mtllib {library}"] if library else []
    places = _rows("v", mesh.vertices, _digits(mesh.vertices))
    if mesh.colors is not None:
        behind = _rows("", mesh.colors, 6)
        places = [place + color for place, color in zip(places, behind, strict=True)]
    lines += places
    lines += [] if mesh.texture is None else _rows("vt", mesh.texture, 7)
    lines += [] if mesh.normals is None else _rows("vn", mesh.normals, 5)
    lines += [f"usemtl {material}"] if material else []
    vertex, texture, normal = mesh.corners()
    kinds = [rows + 1 for rows in (vertex, texture, normal) if rows is not None]
    # v, v/vt, v//vn or v/vt/vn.
    one = "%d" + ("/" if texture is None and normal is not None else "") + "/%d" * (len(kinds) - 1)
    table = np.stack(kinds, axis=2).reshape(len(mesh.faces), 3 * len(kinds))
    lines += ["f " + " ".join([one] * 3) % tuple(row) for row in table.tolist()]
    stream.write(("\n".join(lines) + "\n").encode("ascii"))


def write_mtl(
    stream: BinaryIO, material: str, texture: str | None = None, normal: str | None = None
) -> None:
    """Write a material: white, not shiny, with a picture's colours.

    A normal map is named twice: ``norm`` is the statement for it, ``map_Bump`` is what Blender
    reads as one.

    Args:
        stream: open for binary writing.
        material: its name.
        texture: file name of the picture, beside the MTL.
        normal: file name of the normal map, beside the MTL.
    """
    lines = [f"newmtl {material}", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "illum 1"]
    lines += [f"map_Kd {texture}"] if texture else []
    lines += [f"norm {normal}", f"map_Bump -bm 1 {normal}"] if normal else []
    stream.write(("\n".join(lines) + "\n").encode())


def read_obj(path: Path) -> ObjMesh:
    """Read vertices, texture places and faces; faces of more corners become fans.

    Raises:
        ValueError: if the file is no such OBJ.
    """
    rows: dict[str, list[list[float]]] = {"v": [], "vt": []}
    corners: list[tuple[int, int]] = []
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, *words = line.split() or [""]
            if key in rows:
                rows[key].append([float(word) for word in words[: 3 if key == "v" else 2]])
            elif key == "f":
                ring = [_corner(word, len(rows["v"]), len(rows["vt"])) for word in words]
                for a, b in pairwise(ring[1:]):
                    corners += [ring[0], a, b]
        vertices = np.array(rows["v"], np.float64).reshape(-1, 3)
        texture = np.array(rows["vt"], np.float32).reshape(-1, 2)
        both = np.array(corners, np.int32).reshape(-1, 3, 2)
        textured = len(both) > 0 and both[:, :, 1].min() >= 0
        if not len(both):
            raise ValueError("holds no faces")
        if not textured:
            return ObjMesh(vertices, both[:, :, 0])
        return ObjMesh(vertices, both[:, :, 0], texture, both[:, :, 1])
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: not a readable OBJ file ({error})") from None


def _corner(word: str, n_vertices: int, n_texture: int) -> tuple[int, int]:
    """Rows from 0 on of ``v/vt/vn``; negative numbers count from the last."""
    v, vt = [*word.split("/"), ""][:2]
    vertex, texture = int(v), int(vt) if vt else 0
    return (
        vertex - 1 if vertex > 0 else n_vertices + vertex,
        texture - 1 if texture >= 0 else n_texture + texture,
    )


def _length(values: npt.NDArray[np.float32] | None) -> int:
    return 0 if values is None else len(values)


def _digits(vertices: DoubleArray) -> int:
    """Decimal places for a millionth of the extent."""
    extent = float(np.ptp(vertices, axis=0).max()) if len(vertices) else 1.0
    return int(np.clip(np.ceil(6 - np.log10(max(extent, 1e-9))), 0, 15))


def _rows(key: str, values: npt.NDArray[np.floating], digits: int) -> list[str]:
    shape = f"{key}" + f" %.{digits}f" * values.shape[1]
    return [shape % tuple(row) for row in values.tolist()]
