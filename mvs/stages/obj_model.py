"""A model as Wavefront OBJ with its material and picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.files import replacing
from mvs.stages.model import Model, encode_picture
from mvs.stages.obj import ObjMesh, write_mtl, write_obj
from mvs.types import IntArray

_MATERIAL = "head"


def write_obj_model(path: Path, model: Model) -> list[Path]:
    """Write an OBJ file; beside it, with a texture, the material (.mtl) and the pictures.

    Without a texture, the vertices carry their colours behind their places.

    Args:
        path: the ``.obj`` file.
        model: a mesh, or points.

    Returns:
        The files written.

    Raises:
        ValueError: if the file's name has a space, which the material's line cannot hold.
    """
    cloud, texture = model.vertices, model.texture
    faces: IntArray = np.zeros((0, 3), np.int32) if model.faces is None else model.faces
    known = f"headmvs, unit {model.unit or 'unknown'}, up {model.up or 'unknown'}"
    if texture is None or model.faces is None:
        colors = (cloud.colors / 255.0).astype(np.float32)
        mesh = ObjMesh(cloud.points, faces, normals=cloud.normals, colors=colors)
        with replacing(path) as stream:
            write_obj(stream, mesh, comment=known)
        return [path]
    if any(c.isspace() for c in path.name):
        raise ValueError(f"{path}: a textured OBJ's name must not hold spaces")
    kind = model.picture or "png"
    picture, library = path.with_suffix(f".{kind}"), path.with_suffix(".mtl")
    with replacing(picture) as stream:
        stream.write(encode_picture(texture.color, kind))
    files = [picture, library, path]
    normal = None
    if texture.normal is not None:
        normal = path.with_name(f"{path.stem}_normal.png")
        files.insert(1, normal)
        with replacing(normal) as stream:
            stream.write(encode_picture(texture.normal, "png"))
    with replacing(library) as stream:
        write_mtl(stream, _MATERIAL, picture.name, None if normal is None else normal.name)
    mesh = ObjMesh(cloud.points, faces, texture.uv, texture.uv_faces, cloud.normals)
    with replacing(path) as stream:
        write_obj(stream, mesh, _MATERIAL, library.name, known)
    return files
