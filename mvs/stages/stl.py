"""Binary STL: triangles and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.files import replacing
from mvs.stages.model import Model


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
