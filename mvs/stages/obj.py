"""Wavefront OBJ with its material and picture, and binary STL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.stages.model import Model, encode_picture


def write_obj(path: Path, model: Model) -> list[Path]:
    """Write an OBJ file; beside it, with a texture, the material (.mtl) and the picture.

    Without a texture, the vertices carry their colours behind their places, as MeshLab and
    Blender read them.

    Args:
        path: the ``.obj`` file.
        model: a mesh, or points.

    Returns:
        The files written.

    Raises:
        ValueError: if the file's name has a space, which the material's line cannot hold.
    """
    cloud, texture = model.vertices, model.texture
    known = f"# unit {model.unit or 'unknown'}, up {model.up or 'unknown'}\n"
    parts, files = [f"# headmvs\n{known}"], [path]
    if texture is not None and model.faces is not None:
        if any(c.isspace() for c in path.name):
            raise ValueError(f"{path}: a textured OBJ's name must not hold spaces")
        files = [*_write_material(path, model), path]
        parts += [f"mtllib {path.stem}.mtl\nusemtl head\n", _lines("v", cloud.points)]
        parts.append(_lines("vt", texture.uv))
    else:
        parts.append(_lines("v", np.column_stack([cloud.points, cloud.colors / 255.0])))
    parts.append(_lines("vn", cloud.normals))
    if model.faces is not None:
        parts.append(_face_lines(model))
    with replacing(path) as stream:
        stream.write("".join(parts).encode())
    return files


def write_stl(path: Path, model: Model) -> list[Path]:
    """Write a binary STL file: triangles and nothing else.

    Args:
        path: the file.
        model: a mesh.

    Returns:
        The files written.

    Raises:
        ValueError: if there are no faces.
    """
    if model.faces is None:
        raise ValueError(f"{path}: STL holds triangles, and a cloud has none; take .ply or .glb")
    corners = model.vertices.points[model.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    table = np.zeros(
        len(corners), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")]
    )
    table["normal"], table["corners"] = normals, corners
    # Readers take a header that starts with "solid" for text.
    header = f"headmvs, unit {model.unit or 'unknown'}, up {model.up or 'unknown'}".encode()
    with replacing(path) as stream:
        stream.write(header.ljust(80) + np.array(len(table), "<u4").tobytes() + table.tobytes())
    return [path]


def _write_material(path: Path, model: Model) -> list[Path]:
    if model.texture is None:
        return []
    kind = model.picture or "png"
    picture, material = path.with_suffix(f".{kind}"), path.with_suffix(".mtl")
    with replacing(picture) as stream:
        stream.write(encode_picture(model.texture.color, kind))
    text = f"newmtl head\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n"
    with replacing(material) as stream:
        stream.write(text.encode())
    return [picture, material]


def _lines(word: str, values: npt.NDArray[np.floating]) -> str:
    """A line per row; nine digits tell floats apart."""
    pattern = f"{word} " + " ".join(["%.9g"] * values.shape[1]) + "\n"
    return "".join([pattern % tuple(row) for row in values.tolist()])


def _face_lines(model: Model) -> str:
    if model.faces is None:
        return ""
    corner = model.faces + 1
    if model.texture is None:
        rows, one = corner[:, [0, 0, 1, 1, 2, 2]], "%d//%d"
    else:
        uv = model.texture.uv_faces + 1
        rows = np.stack([corner, uv, corner], axis=2).reshape(-1, 9)
        one = "%d/%d/%d"
    pattern = "f " + " ".join([one] * 3) + "\n"
    return "".join([pattern % tuple(row) for row in rows.tolist()])
