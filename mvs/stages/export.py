"""Clouds and meshes to files: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from calib.files import replacing
from mvs.stages.ply import read_ply, write_ply
from mvs.types import IntArray, Mesh, PointCloud

Exporter = Callable[[BinaryIO, PointCloud, IntArray | None], None]

EXPORTERS: dict[str, Exporter] = {".ply": write_ply}


def write_cloud(cloud: PointCloud, path: Path) -> None:
    """Write a cloud; the format follows from the file's ending.

    Args:
        cloud: the points.
        path: where to; its folder exists, a file there is replaced.

    Raises:
        ValueError: if no exporter is known for the ending.
        OSError: if the file cannot be written; an older one is then left as it was.
    """
    exporter = _exporter(path)
    with replacing(path) as stream:
        exporter(stream, cloud, None)


def write_mesh(mesh: Mesh, path: Path) -> None:
    """Write a mesh; the format follows from the file's ending.

    Args:
        mesh: the mesh.
        path: where to; its folder exists, a file there is replaced.

    Raises:
        ValueError: if no exporter is known for the ending.
        OSError: if the file cannot be written; an older one is then left as it was.
    """
    exporter = _exporter(path)
    with replacing(path) as stream:
        exporter(stream, mesh.vertices, mesh.faces)


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
