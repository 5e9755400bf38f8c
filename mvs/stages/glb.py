"""GLB, the binary form of glTF 2.0: metres, y up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.stages.model import Model, encode_picture, linear_colors, split_corners
from mvs.stages.ply import needs_double
from mvs.stages.tangents import corner_tangents
from mvs.types import ByteArray

_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
_POINTS, _TRIANGLES = 0, 4


class _Document:
    """The JSON and the bytes of a GLB as they grow."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.data = bytearray()

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes; returns their buffer view."""
        self.data += b"\0" * (-len(self.data) % 4)
        view: dict[str, Any] = {
            "buffer": 0,
            "byteOffset": len(self.data),
            "byteLength": len(data),
        }
        if target is not None:
            view["target"] = target
        self.data += data
        self.views.append(view)
        return len(self.views) - 1

    def accessor(self, values: npt.NDArray[Any], kind: int, target: int = _VERTICES) -> int:
        """Append an array; returns its accessor."""
        dtype = {_FLOAT: "<f4", _USHORT: "<u2", _UINT: "<u4"}[kind]
        rows = np.ascontiguousarray(values.reshape(len(values), -1), dtype)
        entry = {
            "bufferView": self.view(rows.tobytes(), target),
            "componentType": kind,
            "count": len(rows),
            "type": _TYPES[rows.shape[1]],
        }
        if kind == _USHORT:
            entry["normalized"] = True
        if kind == _FLOAT and len(rows):
            entry["min"] = rows.min(axis=0).astype(np.float64).tolist()
            entry["max"] = rows.max(axis=0).astype(np.float64).tolist()
        self.accessors.append(entry)
        return len(self.accessors) - 1


def write_glb(path: Path, model: Model) -> list[Path]:
    """Write a GLB file of one mesh or of points, see ``glb_bytes``.

    Args:
        path: the file.
        model: in metres and y up, if other programs are to take it for that.

    Returns:
        The files written.
    """
    with replacing(path) as stream:
        stream.write(glb_bytes(model))
    return [path]


def glb_bytes(model: Model, is_lit: bool = True) -> bytes:
    """A GLB file of one mesh or of points.

    Vertices carry ``_UVW`` (cube coordinates), ``_CONFIDENCE`` and, without a texture,
    ``COLOR_0``, linear as the specification wants it; with a normal map, ``TANGENT``. The frame is
    written as it is.

    Args:
        model: what is written.
        is_lit: whether light falls on it; if not, colours are shown as they are.

    Source:
        Khronos Group, glTF 2.0 specification, 3.7 and 4.4; KHR_materials_unlit.
    """
    document = _Document()
    cloud, faces = model.vertices, model.faces
    texture = model.texture if faces is not None else None
    uv = None
    if faces is not None and texture is not None:
        split = split_corners(faces, texture)
        cloud = cloud.rows(split.rows)
        faces, uv = split.faces, split.uv
    shift = cloud.points.mean(axis=0) if len(cloud) and needs_double(cloud) else np.zeros(3)
    attributes = {
        "POSITION": document.accessor(cloud.points - shift, _FLOAT),
        "NORMAL": document.accessor(_unit(cloud.normals), _FLOAT),
        "_UVW": document.accessor(cloud.coords, _FLOAT),
        "_CONFIDENCE": document.accessor(cloud.confidence, _FLOAT),
    }
    primitive: dict[str, Any] = {"attributes": attributes, "mode": _POINTS}
    if uv is None:
        attributes["COLOR_0"] = document.accessor(_opaque(cloud.colors), _USHORT)
    else:
        attributes["TEXCOORD_0"] = document.accessor(uv * [1, -1] + [0, 1], _FLOAT)
    if faces is not None and uv is not None and texture is not None and texture.normal is not None:
        tangents = corner_tangents(cloud.points - shift, _unit(cloud.normals), uv, faces)
        attributes["TANGENT"] = document.accessor(tangents, _FLOAT)
    if faces is not None:
        primitive |= {"mode": _TRIANGLES, "indices": document.accessor(faces, _UINT, _INDICES)}
        document.accessors[-1]["type"] = "SCALAR"
        document.accessors[-1]["count"] = faces.size
    root = _json(primitive, shift, model)
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    root["materials"] = [{"pbrMetallicRoughness": surface, "doubleSided": True}]
    if texture is not None:
        pictures = [(texture.color, model.picture or "jpg")]
        surface["baseColorTexture"] = {"index": 0}
        if texture.normal is not None:
            # JPEG's blocks would show in the light.
            pictures.append((texture.normal, "png"))
            root["materials"][0]["normalTexture"] = {"index": 1}
        root |= _pictures(document, pictures)
    if not is_lit:
        root["materials"][0]["extensions"] = {"KHR_materials_unlit": {}}
        root["extensionsUsed"] = ["KHR_materials_unlit"]
    root |= {"accessors": document.accessors, "bufferViews": document.views}
    document.data += b"\0" * (-len(document.data) % 4)
    root["buffers"] = [{"byteLength": len(document.data)}]
    return _container(root, bytes(document.data))


def _pictures(
    document: _Document, pictures: Sequence[tuple[ByteArray, str]]
) -> dict[str, list[dict[str, Any]]]:
    """Pictures, of formats png or jpg, and a texture of each in their order."""
    images = [
        {
            "bufferView": document.view(encode_picture(picture, kind)),
            "mimeType": "image/jpeg" if kind == "jpg" else "image/png",
        }
        for picture, kind in pictures
    ]
    return {
        "images": images,
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "textures": [{"source": index, "sampler": 0} for index in range(len(images))],
    }


def _json(
    primitive: dict[str, Any], shift: npt.NDArray[np.float64], model: Model
) -> dict[str, Any]:
    node: dict[str, Any] = {"mesh": 0, "name": "head"}
    if shift.any():
        node["translation"] = shift.tolist()
    known = {"unit": model.unit, "up": model.up}
    return {
        "asset": {"version": "2.0", "generator": "headmvs", "extras": known},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [primitive | {"material": 0}]}],
    }


def _container(root: dict[str, Any], data: bytes) -> bytes:
    """The header and the two chunks."""
    text = json.dumps(root, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = [(text, b"JSON"), (data, b"BIN\0")]
    body = b"".join(np.array(len(c), "<u4").tobytes() + name + c for c, name in chunks)
    return b"glTF" + np.array([2, 12 + len(body)], "<u4").tobytes() + body


def _unit(normals: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Unit vectors; up where there is none, for zero is no normal."""
    length = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    return np.where(length > 1e-6, normals / np.maximum(length, 1e-6), [0.0, 1.0, 0.0])


def _opaque(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(N, 4) of 65535: linear colours and full cover."""
    return np.rint(65535.0 * np.column_stack([linear_colors(colors), np.ones(len(colors))]))
