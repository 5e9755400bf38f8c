"""Clouds and meshes to files: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.stages.ply import read_ply, write_ply
from mvs.types import IntArray, Mesh, PointCloud

Exporter = Callable[[BinaryIO, PointCloud, IntArray | None, str | None], None]

EXPORTERS: dict[str, Exporter] = {".ply": write_ply}


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
    exporter = _exporter(path)
    with replacing(path) as stream:
        exporter(stream, cloud, None, unit)


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
    exporter = _exporter(path)
    with replacing(path) as stream:
        exporter(stream, mesh.vertices, mesh.faces, unit)


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


def _exporter(path: Path) -> Exporter:
    exporter = EXPORTERS.get(path.suffix.lower())
    if exporter is None:
        known = ", ".join(EXPORTERS)
        raise ValueError(f"{path}: the ending must be one of {known}, got '{path.suffix}'")
    return exporter
