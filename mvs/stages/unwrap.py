"""A surface laid flat: a place in a texture for every corner of every face."""

from __future__ import annotations

import numpy as np

from mvs.errors import ReconstructionError
from mvs.types import FloatArray, IntArray, Mesh


def unwrap(mesh: Mesh, size: int, padding: int = 4) -> tuple[FloatArray, IntArray]:
    """Cut a mesh into charts and pack them into a square, by xatlas.

    Args:
        mesh: the mesh.
        size: width of the texture, texels.
        padding: texels between charts.

    Returns:
        (W, 2) float32 places in the texture, [0, 1]^2, y up, and (F, 3) int32 rows of them for
        each face's corners.

    Raises:
        ReconstructionError: if the mesh cannot be laid flat.
    """
    import xatlas

    points = mesh.vertices.points - mesh.vertices.points.mean(axis=0)
    atlas = xatlas.Atlas()
    atlas.add_mesh(points.astype(np.float32), mesh.faces.astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    packing.resolution, packing.padding = size, padding
    packing.bilinear = True
    atlas.generate(chart_options=charts, pack_options=packing)
    rows, uv_faces, uv = atlas[0]
    same = uv_faces.shape == mesh.faces.shape and (rows[uv_faces] == mesh.faces).all()
    if not same or atlas.atlas_count != 1:
        raise ReconstructionError(
            "the mesh cannot be laid flat in one texture",
            "simplify it with --max-faces, or take a larger --size",
        )
    return np.asarray(uv, np.float32), np.asarray(uv_faces, np.int32)
