"""Meshes of fewer faces, to a number of them or as far as they stay close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mvs.kernels.closest import closest_on_faces, faces_around
from mvs.kernels.raster import vertex_normals
from mvs.stages.mesh import MIN_FACES, collapse_edges
from mvs.stages.model import Model
from mvs.types import DoubleArray, IntArray, Mesh, PointCloud

# All but this share of the vertices stay within the error.
_STRAYS = 1e-3
# The number of faces is found to this part of it.
_PRECISION = 0.15
# Vertices around a place whose faces are searched for the nearest one.
_NEAR = 8


def decimated(surface: Mesh, max_faces: int, max_error: float) -> Mesh:
    """A mesh of fewer faces, by one of two measures.

    Args:
        surface: the mesh.
        max_faces: see ``decimate_to``; 0 leaves the mesh as it is.
        max_error: if not 0, it counts instead: see ``decimate_within``, but in parts of the
            diagonal of the box around the mesh.

    Raises:
        ValueError: if the measure is out of range.
    """
    if max_error:
        diagonal = float(np.linalg.norm(np.ptp(surface.vertices.points, axis=0)))
        return decimate_within(surface, max_error * diagonal)
    return decimate_to(surface, max_faces) if max_faces else surface


def decimated_model(model: Model, max_faces: int, max_error: float) -> Model:
    """A model without texture of fewer faces; see ``decimated``.

    Raises:
        ValueError: if it is a cloud, or has a texture.
    """
    if model.faces is None:
        raise ValueError("a cloud has no faces: leave out --max-faces and --max-error")
    if model.texture is not None:
        remedy = "give --max-faces and --max-error to mvs texture, or export mesh.ply"
        raise ValueError(f"a textured mesh keeps its faces: {remedy}")
    less = decimated(Mesh(model.vertices, model.faces), max_faces, max_error)
    return replace(model, vertices=less.vertices, faces=less.faces)


def decimate_to(surface: Mesh, max_faces: int) -> Mesh:
    """A mesh of fewer faces, whose vertices carry what the surface carried there.

    Args:
        surface: the mesh.
        max_faces: it has about so many; a mesh that has no more is returned as it is.

    Raises:
        ValueError: if ``max_faces`` is below 100.
    """
    if max_faces < MIN_FACES:
        raise ValueError(f"max_faces must be at least {MIN_FACES}, got {max_faces}")
    if len(surface.faces) <= max_faces:
        return surface
    origin = surface.vertices.points.mean(axis=0)
    points = surface.vertices.points - origin
    return _carried(surface, points, collapse_edges(points, surface.faces, max_faces))


def decimate_within(surface: Mesh, max_error: float) -> Mesh:
    """A mesh of as few faces as keep it close to what it was.

    Args:
        surface: the mesh.
        max_error: all but a thousandth of its vertices lie no farther than this from the result,
            in the mesh's unit.

    Returns:
        The mesh, with 100 faces or more; as it was where nothing can be left out.

    Raises:
        ValueError: if ``max_error`` is not positive.
    """
    if not max_error > 0:
        raise ValueError(f"max_error must be positive, got {max_error}")
    origin = surface.vertices.points.mean(axis=0)
    points = surface.vertices.points - origin
    used = points[np.unique(surface.faces)]
    good, n_bad = (points, surface.faces), MIN_FACES - 1
    n = len(surface.faces) // 2
    # Each from the last good one: halves first, then between the last good and the first bad.
    while n > n_bad and n >= MIN_FACES:
        found = collapse_edges(*good, n)
        if _error(used, *found) <= max_error:
            good = found
        else:
            n_bad = n
        n_good = len(good[1])
        if n_bad >= MIN_FACES and n_good - n_bad <= _PRECISION * n_good:
            break
        n = max(n_good // 2, (n_good + n_bad) // 2 if n_bad >= MIN_FACES else 0)
    return surface if good[1] is surface.faces else _carried(surface, points, good)


def _error(points: DoubleArray, vertices: DoubleArray, faces: IntArray) -> float:
    """How far all but a few of the points lie from a mesh, at most."""
    face, weights = _closest(points, vertices, faces)
    places = np.einsum("nk,nkc->nc", weights, vertices[faces[face]])
    return float(np.quantile(np.linalg.norm(places - points, axis=1), 1 - _STRAYS))


def _carried(surface: Mesh, points: DoubleArray, less: tuple[DoubleArray, IntArray]) -> Mesh:
    """A simplified mesh with the attributes of the nearest places of the dense one."""
    vertices, faces = less
    face, weights = _closest(vertices, points, surface.faces)
    corners = surface.vertices.rows(surface.faces[face].ravel().astype(np.int32))

    def blend(values: npt.NDArray[np.generic]) -> DoubleArray:
        whole = values.astype(np.float64).reshape(len(vertices), 3, -1)
        return np.asarray(np.einsum("nk,nkc->nc", weights, whole), np.float64)

    cloud = PointCloud(
        vertices + surface.vertices.points.mean(axis=0),
        vertex_normals(vertices, faces),
        np.rint(blend(corners.colors)).astype(np.uint8),
        blend(corners.coords).astype(np.float32),
        blend(corners.confidence)[:, 0].astype(np.float32),
        np.rint(blend(corners.n_views))[:, 0].astype(np.int32),
    )
    return Mesh(cloud, faces)


def _closest(
    points: DoubleArray, vertices: DoubleArray, faces: IntArray
) -> tuple[IntArray, DoubleArray]:
    """The nearest place on a mesh: face (N,) and weights of its corners (N, 3)."""
    from scipy.spatial import cKDTree

    used, inverse = np.unique(faces, return_inverse=True)
    corners: IntArray = inverse.reshape(-1, 3).astype(np.int32)
    places = vertices[used]
    near = cKDTree(places).query(points, k=np.arange(1, min(_NEAR, len(used)) + 1))[1]
    around = faces_around(corners, len(used))
    return closest_on_faces(points, places, corners, around, near.astype(np.int64))
