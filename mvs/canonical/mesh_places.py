"""Places of the cube on a mesh whose vertices carry ``u v w``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.capture import CaptureError
from mvs.canonical.carry import Correspondences, apply_affine, fit_affine, map_locally
from mvs.canonical.layouts import Layout
from mvs.canonical.meshes import REMEDY, read_cube_mesh
from mvs.canonical.surface import Surface
from mvs.kernels.raster import vertex_normals
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

# Vertices that are averaged over.
_N_NEAR = 80
_INSIDE_RADIUS = 0.1


@dataclass(frozen=True)
class SurfaceMesh:
    """A mesh in the cube and in the world.

    Attributes:
        points: (V, 3) float64, world.
        coords: (V, 3) float64, cube.
        confidence: (V,) float64.
        faces: (F, 3) int32, F > 0.
    """

    points: DoubleArray
    coords: DoubleArray
    confidence: DoubleArray
    faces: IntArray


def read_surface(path: Path) -> SurfaceMesh:
    """A PLY mesh with ``u v w`` per vertex; faces of vertices without are left out.

    Raises:
        CaptureError: if it is none.
    """
    mesh = read_cube_mesh(path)
    finite = np.isfinite(mesh.coords).all(axis=1) & np.isfinite(mesh.vertices).all(axis=1)
    known: BoolArray = np.asarray(finite)
    faces = mesh.faces[known[mesh.faces].all(axis=1)]
    if not len(faces):
        raise CaptureError(path, "no face has cube coordinates at all its corners", REMEDY)
    used, rows = np.unique(faces, return_inverse=True)
    sure = mesh.properties.get("confidence", np.ones(len(known)))
    sure = np.nan_to_num(sure[used].astype(np.float64))
    coords = mesh.coords[used].astype(np.float64)
    return SurfaceMesh(mesh.vertices[used], coords, sure, rows.reshape(-1, 3).astype(np.int32))


@dataclass(frozen=True)
class MeshPlaces:
    """Places of the cube on a mesh; K rows.

    Attributes:
        points: (K, 3) float64, world; NaN where the mesh has no such place.
        normals: (K, 3) float32 unit vectors; NaN there and inside the head.
        confidence: (K,) float32 in [0, 1], 0 there.
        distance: (K,) float32 in the cube, from the place to the mesh.
    """

    points: DoubleArray
    normals: FloatArray
    confidence: FloatArray
    distance: FloatArray


def find_on_mesh(
    mesh: SurfaceMesh, layout: Layout, radius: float = 0.012, max_distance: float = 0.02
) -> MeshPlaces:
    """Look up a layout's places on a mesh.

    The coordinates' noise is averaged: the position is that of an affine map, cube to world, fitted
    to the vertices around the place, brought back to the nearest triangle in the world.

    Args:
        mesh: with coordinates.
        layout: what is asked for; places inside the head come from a wider neighbourhood.
        radius: width of the neighbourhood, in the cube.
        max_distance: places farther from the mesh than this, in the cube, are missing.
    """
    places = layout.positions.astype(np.float64)
    rows = np.flatnonzero(~layout.inside)
    points, normals = np.full((2, len(places), 3), np.nan)
    confidence, distance = np.zeros(len(places)), np.full(len(places), np.inf)
    nearest = Surface(mesh.coords, mesh.faces).closest(places)[2]
    distance[:] = np.linalg.norm(nearest - places, axis=1)
    rows = rows[distance[rows] <= max_distance]
    if len(rows):
        smooth = _smooth(mesh, places[rows], max(radius, _spacing(mesh)))
        face, share, on_mesh = Surface(mesh.points, mesh.faces).closest(smooth)
        corners = mesh.faces[face]
        of_vertices = vertex_normals(mesh.points.astype(np.float32), mesh.faces)[corners]
        normal = (of_vertices * share[..., None]).sum(axis=1)
        points[rows] = on_mesh
        normals[rows] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        sure = (mesh.confidence[corners] * share).sum(axis=1)
        confidence[rows] = sure * np.exp(-0.5 * (distance[rows] / max_distance) ** 2)
    if layout.inside.any():
        seen = Correspondences(mesh.coords, mesh.points, np.maximum(mesh.confidence, 1e-3))
        found = map_locally(seen, places[layout.inside], _INSIDE_RADIUS)
        points[layout.inside], confidence[layout.inside] = found
    sure = np.clip(confidence, 0, 1).astype(np.float32)
    return MeshPlaces(points, normals.astype(np.float32), sure, distance.astype(np.float32))


def _spacing(mesh: SurfaceMesh) -> float:
    """Half again the usual edge in the cube: a neighbourhood holds some vertices."""
    edges = mesh.coords[mesh.faces[:, 0]] - mesh.coords[mesh.faces[:, 1]]
    return 1.5 * float(np.median(np.linalg.norm(edges, axis=1)))


def _smooth(mesh: SurfaceMesh, places: DoubleArray, radius: float) -> DoubleArray:
    """World positions (K, 3) of places by what the vertices around them agree on."""
    from scipy.spatial import cKDTree

    whole, _ = fit_affine(
        Correspondences(mesh.coords, mesh.points, np.maximum(mesh.confidence, 1e-3)).thinned()
    )
    k = min(_N_NEAR, len(mesh.coords))
    distance, near = cKDTree(mesh.coords).query(places, k=np.arange(1, k + 1))
    width = np.maximum(radius, distance[:, :1])
    weight = np.exp(-0.5 * (distance / width) ** 2) * np.maximum(mesh.confidence[near], 1e-3)
    offsets = (mesh.coords[near] - places[:, None]) / width[..., None]
    basis = np.concatenate([np.ones((*near.shape, 1)), offsets], axis=2)
    error = mesh.points[near] - apply_affine(whole, mesh.coords[near].reshape(-1, 3)).reshape(
        *near.shape, 3
    )
    weighted = basis * weight[..., None]
    normal = weighted.transpose(0, 2, 1) @ basis
    # Across the surface there is nothing to fit a slope to.
    ridge = 0.02 * weight.sum(axis=1)
    normal[:, [1, 2, 3], [1, 2, 3]] += ridge[:, None]
    fit = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ error)
    return np.asarray(apply_affine(whole, places) + fit[:, 0])
