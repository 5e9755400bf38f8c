"""A normal map: what a simplified mesh has lost of a dense one, as normals in a texture."""

from __future__ import annotations

import numpy as np

from mvs.kernels.closest import closest_on_faces, faces_around
from mvs.kernels.raster import vertex_normals
from mvs.stages.model import Texture, split_corners
from mvs.stages.tangents import corner_tangents
from mvs.stages.texels import strips, with_gutter
from mvs.types import ByteArray, DoubleArray, IntArray, Mesh

# The normal that points straight up, and what lies beyond the gutter.
FLAT = (128, 128, 255)
# Vertices around a place whose faces are searched.
_NEAR = 3
# Steps along the normal towards the dense mesh.
_STEPS = 3
# Faces at a smaller cosine to the normal are not met by a step along it.
_MIN_COSINE = 0.25
# A step that ends this far from the dense mesh, in its edges' lengths, has met nothing.
_MISSED = 0.1


def bake_normals(
    dense: Mesh, coarse: Mesh, texture: Texture, size: int, gutter: int = 16
) -> ByteArray:
    """The dense mesh's normals in the tangent space of the coarse one.

    A texel takes the normal of the dense mesh where the coarse mesh's normal meets it, or of the
    nearest place where that meets nothing.

    Args:
        dense: the mesh as it was.
        coarse: a simplified one, with normals.
        texture: whose ``uv`` and ``uv_faces`` lay the coarse mesh flat.
        size: width and height of the map.
        gutter: texels around charts that repeat the nearest normal.

    Returns:
        (size, size, 3) uint8, the first row at the top; see ``Texture.normal``.

    Source:
        Khronos Group, glTF 2.0 specification, 3.9.3, for the encoding; Cignoni et al., A general
        method for preserving attribute values on simplified meshes (1998), for the idea.
    """
    split = split_corners(coarse.faces, texture)
    origin = dense.vertices.points.mean(axis=0)
    points = coarse.vertices.points[split.rows] - origin
    normals = coarse.vertices.normals[split.rows].astype(np.float64)
    tangents = corner_tangents(points, normals, split.uv, split.faces)
    bitangents = np.cross(normals, tangents[:, :3]) * tangents[:, 3:]
    frames = np.stack([tangents[:, :3], bitangents, normals], axis=2)
    target = _Dense(dense.vertices.points - origin, dense.faces)
    result = np.zeros((size, size, 3), np.uint8)
    charted = np.zeros((size, size), np.bool_)
    for rows, face, weights, inside in strips(split.uv, split.faces, size):
        corners, shares = split.faces[face], weights.astype(np.float64)
        places = np.einsum("nk,nkc->nc", shares, points[corners])
        # The axes as they are interpolated and normalised by a fragment shader.
        axes = np.einsum("nk,nkij->nij", shares, frames[corners])
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12)
        found = target.normals(places, axes[:, :, 2])
        local = np.linalg.solve(axes, found[:, :, None])[:, :, 0]
        local /= np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-12)
        result[rows][inside] = np.rint(127.5 * (local + 1))
        charted[rows] = inside
    return with_gutter(result, charted, gutter, FLAT)


class _Dense:
    """A mesh that rays along another's normals are followed to."""

    def __init__(self, points: DoubleArray, faces: IntArray) -> None:
        from scipy.spatial import cKDTree

        # Vertices without faces are near to nothing.
        used, corners = np.unique(faces, return_inverse=True)
        self._points = points[used]
        self._faces = corners.reshape(-1, 3).astype(np.int32)
        self._tree = cKDTree(self._points)
        self._around = faces_around(self._faces, len(used))
        self._smooth = vertex_normals(self._points, self._faces).astype(np.float64)
        edges = self._points[self._faces[:, 1]] - self._points[self._faces[:, 0]]
        self._edge = float(np.median(np.linalg.norm(edges, axis=1)))

    def normals(self, places: DoubleArray, ahead: DoubleArray) -> DoubleArray:
        """Normals (N, 3) where the lines through places (N, 3) along ``ahead`` (N, 3) meet it."""
        near = self._tree.query(places, k=np.arange(1, min(_NEAR, len(self._points)) + 1))[1]
        face, weights = closest_on_faces(
            places, self._points, self._faces, self._around, near.astype(np.int64)
        )
        at, at_weights = face, weights
        for _ in range(_STEPS):
            moved, is_facing = self._step(places, ahead, at, at_weights)
            at, at_weights = closest_on_faces(
                moved, self._points, self._faces, self._around, self._faces[at].astype(np.int64)
            )
        off = np.linalg.norm(self._on(at, at_weights) - moved, axis=1)
        met = is_facing & (off < _MISSED * self._edge)
        face = np.where(met, at, face)
        weights = np.where(met[:, None], at_weights, weights)
        found = np.einsum("nk,nkc->nc", weights, self._smooth[self._faces[face]])
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        # Another layer, as of an ear's back, says nothing of this one.
        return np.where(((found * ahead).sum(axis=1) > 0)[:, None], found, ahead)

    def _on(self, face: IntArray, weights: DoubleArray) -> DoubleArray:
        places = np.einsum("nk,nkc->nc", weights, self._points[self._faces[face]])
        return np.asarray(places, np.float64)

    def _step(
        self, places: DoubleArray, ahead: DoubleArray, face: IntArray, weights: DoubleArray
    ) -> tuple[DoubleArray, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
        """Where the lines meet the planes of faces, and which do at a good angle."""
        corners = self._points[self._faces[face]]
        plane = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        plane /= np.maximum(np.linalg.norm(plane, axis=1, keepdims=True), 1e-300)
        cosine = (plane * ahead).sum(axis=1)
        gap = ((self._on(face, weights) - places) * plane).sum(axis=1)
        is_facing = np.asarray(cosine > _MIN_COSINE)
        along = np.where(is_facing, gap / np.where(is_facing, cosine, 1.0), 0.0)
        return places + along[:, None] * ahead, is_facing
