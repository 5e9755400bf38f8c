"""Clouds and meshes to files: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.stages.glb import write_glb
from mvs.stages.model import Axis, Model, Unit, find_up, known_unit, placed
from mvs.stages.obj_model import write_obj_model
from mvs.stages.ply import read_ply, write_ply
from mvs.stages.stl import write_stl
from mvs.stages.usd import write_usd
from mvs.types import Mesh, PointCloud

Exporter = Callable[[Path, Model], list[Path]]


def _write_ply(path: Path, model: Model) -> list[Path]:
    """PLY has no place for a texture: colours are the vertices'."""
    with replacing(path) as stream:
        write_ply(stream, model.vertices, model.faces, model.unit)
    return [path]


EXPORTERS: dict[str, Exporter] = {
    ".ply": _write_ply,
    ".glb": write_glb,
    ".obj": write_obj_model,
    ".stl": write_stl,
    ".usd": write_usd,
    ".usda": write_usd,
    ".usdc": write_usd,
    ".usdz": write_usd,
}
# glTF has one axis and one unit; the rest write the frame they are given.
_GLTF_UP: Axis = "y"
_GLTF_UNIT: Unit = "m"


def write_model(model: Model, path: Path) -> list[Path]:
    """Write a model; the format follows from the file's ending.

    Args:
        model: written in the frame and unit that it is in; see ``suited``.
        path: where to; its folder exists, a file there is replaced.

    Returns:
        The files written: with some formats, textures come beside.

    Raises:
        ValueError: if no exporter is known for the ending, or the format cannot hold the model.
        OSError: if a file cannot be written; an older one is then left as it was.
    """
    return exporter(path)(path, model)


def suited(
    model: Model, path: Path, up: Axis | None = None, unit: Unit | None = None
) -> tuple[Model, list[str]]:
    """A model in the frame and unit that its file shall have.

    Args:
        model: the model; where it knows no ``up``, cube coordinates may.
        path: the file. GLB is y up in metres; USD says its own unit and axis, of y and z; the
            other formats take what they are given.
        up: axis that shall point up, if not the format's.
        unit: if not the format's.

    Returns:
        The model and, a line each, what could not be done for not being known.

    Raises:
        ValueError: if ``up`` or ``unit`` is given, but the model's own is not known.
    """
    exporter(path)
    suffix = path.suffix.lower()
    warnings = []
    is_glb = suffix == ".glb"
    turns = up is not None or is_glb or suffix.startswith(".usd")
    if turns and model.up is None:
        model = replace(model, up=find_up(model.vertices))
    if up is None and (is_glb or (suffix.startswith(".usd") and model.up not in ("y", "z", None))):
        up = _GLTF_UP if model.up is not None else None
    if is_glb and model.up is None and up is None:
        warnings.append(
            f"{path}: which way is up is not known; say it to mvs export with --source-up"
        )
    if is_glb and unit is None:
        unit = _GLTF_UNIT if model.unit is not None else None
        if unit is None:
            warnings.append(
                f"{path}: the unit is not known, taken for metres; "
                "say it in capture.json, or to mvs export with --source-unit"
            )
    if suffix == ".ply" and model.texture is not None:
        warnings.append(f"{path}: PLY has no place for the texture; colours are the vertices'")
    return placed(model, up, unit), warnings


def write_cloud(cloud: PointCloud, path: Path, unit: str | None = None) -> None:
    """Write a cloud; the format follows from the file's ending.

    Args:
        cloud: the points.
        path: where to; its folder exists, a file there is replaced.
        unit: of the positions, None where it is not known.

    Raises:
        ValueError: if no exporter is known for the ending.
        OSError: if the file cannot be written; an older one is then left as it was.
    """
    write_model(Model(cloud, unit=known_unit(unit)), path)


def write_mesh(mesh: Mesh, path: Path, unit: str | None = None) -> None:
    """Write a mesh; the format follows from the file's ending.

    Args:
        mesh: the mesh.
        path: where to; its folder exists, a file there is replaced.
        unit: of the positions, None where it is not known.

    Raises:
        ValueError: if no exporter is known for the ending.
        OSError: if the file cannot be written; an older one is then left as it was.
    """
    write_model(Model(mesh.vertices, mesh.faces, unit=known_unit(unit)), path)


def write_visibility(views: npt.NDArray[np.uint64], path: Path) -> None:
    """Write which views see each point, as COLMAP does beside its fused clouds.

    Little-endian: the number of points (8 bytes); for each the number of its views and their
    indices (4 bytes each), counted in the order of the capture's names.

    Args:
        views: (N, W) bit sets.
        path: where to, by custom ``<cloud>.ply.vis``.

    Raises:
        OSError: if the file cannot be written; an older one is then left as it was.
    """
    bits = np.unpackbits(views.view(np.uint8), axis=1, bitorder="little").astype(np.bool_)
    counts = bits.sum(axis=1)
    flat = np.empty(len(views) + int(counts.sum()), "<u4")
    heads = np.concatenate([[0], np.cumsum(counts + 1)[:-1]])[: len(views)].astype(np.int64)
    is_head = np.zeros(len(flat), np.bool_)
    is_head[heads] = True
    flat[is_head] = counts
    flat[~is_head] = np.nonzero(bits)[1]
    with replacing(path) as stream:
        stream.write(np.array(len(views), "<u8").tobytes() + flat.tobytes())


def read_cloud(path: Path) -> PointCloud:
    """Read the points that ``write_cloud`` or ``write_mesh`` wrote.

    Args:
        path: a ``.ply`` file.

    Returns:
        The points.

    Raises:
        ValueError: if the file is not one of ours.
    """
    return read_ply(path)[0]


def read_mesh(path: Path) -> Mesh:
    """Read the mesh that ``write_mesh`` wrote.

    Args:
        path: a ``.ply`` file.

    Returns:
        The mesh.

    Raises:
        ValueError: if the file is not one of ours, or holds no faces.
    """
    cloud, faces = read_ply(path)
    if faces is None:
        raise ValueError(f"{path}: a cloud, not a mesh: it holds no faces")
    return Mesh(cloud, faces)


def exporter(path: Path) -> Exporter:
    """What writes files of a path's ending.

    Raises:
        ValueError: if nothing does.
    """
    found = EXPORTERS.get(path.suffix.lower())
    if found is None:
        known = ", ".join(EXPORTERS)
        raise ValueError(f"{path}: the ending must be one of {known}, got '{path.suffix}'")
    return found
