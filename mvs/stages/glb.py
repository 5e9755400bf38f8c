"""GLB, the binary form of glTF 2.0: metres, y up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from calib.scale import Similarity
from mvs.stages.gltf import FLOAT, INDICES, UINT, USHORT, Document
from mvs.stages.model import Model, encode_picture, linear_colors, split_corners
from mvs.stages.ply import needs_double
from mvs.stages.tangents import corner_tangents
from mvs.types import ByteArray, DoubleArray, FloatArray, IntArray

_POINTS, _TRIANGLES = 0, 4


@dataclass(frozen=True)
class Motion:
    """How a model moves: its vertices by morph targets, itself by a similarity, frame by frame.

    Attributes:
        names: of the M targets.
        targets: (M, V, 3) float32 displacements of the vertices at weight one.
        weights: (T, M) float64; those of the first frame are the mesh's own.
        places: of the model in the world, T.
        rate: frames a second.
    """

    names: tuple[str, ...]
    targets: FloatArray
    weights: DoubleArray
    places: tuple[Similarity, ...]
    rate: float


def write_glb(path: Path, model: Model, motion: Motion | None = None) -> list[Path]:
    """Write a GLB file of one mesh or of points, see ``glb_bytes``.

    Args:
        path: the file.
        model: in metres and y up, if other programs are to take it for that; one that moves lies
            near the origin.
        motion: None where nothing moves.

    Returns:
        The files written.
    """
    with replacing(path) as stream:
        stream.write(glb_bytes(model, motion))
    return [path]


def glb_bytes(model: Model, motion: Motion | None = None, is_lit: bool = True) -> bytes:
    """A GLB file of one mesh or of points.

    Vertices carry ``_UVW`` (cube coordinates), ``_CONFIDENCE`` and, without a texture,
    ``COLOR_0``, linear as the specification wants it; with a normal map, ``TANGENT``. The frame is
    written as it is. What moves has morph targets, named in ``mesh.extras.targetNames``, and from
    two frames on an animation.

    Args:
        model: what is written.
        motion: None where nothing moves.
        is_lit: whether light falls on it; if not, colours are shown as they are.

    Source:
        Khronos Group, glTF 2.0 specification, 3.7, 3.11 and 4.4; KHR_materials_unlit.
    """
    document = Document()
    cloud, faces = model.vertices, model.faces
    texture = model.texture if faces is not None else None
    rows, uv = np.arange(len(cloud), dtype=np.int32), None
    if faces is not None and texture is not None:
        split = split_corners(faces, texture)
        rows, faces, uv = split.rows, split.faces, split.uv
        cloud = cloud.rows(rows)
    shift = cloud.points.mean(axis=0) if len(cloud) and needs_double(cloud) else np.zeros(3)
    attributes = {
        "POSITION": document.accessor(cloud.points - shift, FLOAT),
        "NORMAL": document.accessor(_unit(cloud.normals), FLOAT),
        "_UVW": document.accessor(cloud.coords, FLOAT),
        "_CONFIDENCE": document.accessor(cloud.confidence, FLOAT),
    }
    primitive: dict[str, Any] = {"attributes": attributes, "mode": _POINTS, "material": 0}
    if uv is None:
        attributes["COLOR_0"] = document.accessor(_opaque(cloud.colors), USHORT)
    else:
        attributes["TEXCOORD_0"] = document.accessor(uv * [1, -1] + [0, 1], FLOAT)
    if faces is not None and uv is not None and texture is not None and texture.normal is not None:
        tangents = corner_tangents(cloud.points - shift, _unit(cloud.normals), uv, faces)
        attributes["TANGENT"] = document.accessor(tangents, FLOAT)
    if faces is not None:
        primitive |= {"mode": _TRIANGLES, "indices": document.accessor(faces, UINT, INDICES)}
        document.accessors[-1]["type"] = "SCALAR"
        document.accessors[-1]["count"] = faces.size
    root = _json(primitive, shift, model) | _surface(document, model, is_lit)
    if motion is not None:
        _move(document, root, motion, rows)
    return document.container(root)


def _json(primitive: dict[str, Any], shift: DoubleArray, model: Model) -> dict[str, Any]:
    node: dict[str, Any] = {"mesh": 0, "name": "head"}
    if shift.any():
        node["translation"] = shift.tolist()
    known = {"unit": model.unit, "up": model.up}
    return {
        "asset": {"version": "2.0", "generator": "headmvs", "extras": known},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [primitive]}],
    }


def _surface(document: Document, model: Model, is_lit: bool) -> dict[str, Any]:
    """The material, with the texture where a mesh has one."""
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    material: dict[str, Any] = {"pbrMetallicRoughness": surface, "doubleSided": True}
    entry: dict[str, Any] = {"materials": [material]}
    if not is_lit:
        material["extensions"] = {"KHR_materials_unlit": {}}
        entry["extensionsUsed"] = ["KHR_materials_unlit"]
    texture = model.texture if model.faces is not None else None
    if texture is None:
        return entry
    pictures = [(texture.color, model.picture or "jpg")]
    surface["baseColorTexture"] = {"index": 0}
    if texture.normal is not None:
        # JPEG's blocks would show in the light.
        pictures.append((texture.normal, "png"))
        material["normalTexture"] = {"index": 1}
    return entry | _pictures(document, pictures)


def _pictures(
    document: Document, pictures: Sequence[tuple[ByteArray, str]]
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


def _move(document: Document, root: dict[str, Any], motion: Motion, rows: IntArray) -> None:
    """Add targets and the first frame's weights and place; of more frames an animation."""
    mesh, node = root["meshes"][0], root["nodes"][0]
    if motion.names:
        targets = [{"POSITION": document.sparse(target[rows])} for target in motion.targets]
        mesh["primitives"][0]["targets"] = targets
        mesh["weights"] = motion.weights[0].tolist()
        mesh["extras"] = {"targetNames": list(motion.names)}
    tracks = {
        "translation": np.stack([place.translation for place in motion.places]),
        "rotation": _quaternions(motion.places),
        "scale": np.repeat([[place.scale] for place in motion.places], 3, axis=1),
    }
    node |= {name: values[0].tolist() for name, values in tracks.items()}
    if len(motion.places) < 2:
        return
    if motion.names:
        tracks["weights"] = motion.weights.reshape(-1, 1)
    times = document.accessor(np.arange(len(motion.places))[:, None] / motion.rate, FLOAT, None)
    samplers = [
        {"input": times, "output": document.accessor(values, FLOAT, None)}
        for values in tracks.values()
    ]
    channels = [
        {"sampler": index, "target": {"node": 0, "path": name}} for index, name in enumerate(tracks)
    ]
    root["animations"] = [{"name": "fit", "samplers": samplers, "channels": channels}]


def _quaternions(places: tuple[Similarity, ...]) -> DoubleArray:
    """(T, 4) x y z w; of the two of each rotation the one nearer to that before."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(np.stack([place.rotation for place in places])).as_quat()
    flips = np.sign(np.einsum("nk,nk->n", turns[1:], turns[:-1]))
    signs = np.cumprod(np.concatenate([[1.0], np.where(flips == 0, 1.0, flips)]))
    return np.asarray(turns * signs[:, None])


def _unit(normals: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Unit vectors; up where there is none, for zero is no normal."""
    length = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    return np.where(length > 1e-6, normals / np.maximum(length, 1e-6), [0.0, 1.0, 0.0])


def _opaque(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(N, 4) of 65535: linear colours and full cover."""
    return np.rint(65535.0 * np.column_stack([linear_colors(colors), np.ones(len(colors))]))
