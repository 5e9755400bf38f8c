"""A triangle mesh to look up nearest places on, and smoothing along it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from mvs.kernels.closest import closest_on_faces, faces_around
from mvs.types import BoolArray, DoubleArray, IntArray

# Vertices whose faces are looked at for the nearest place.
_N_NEAR = 4


class Surface:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64; such that no face has, are never near.
        faces: (F, 3) int32.
    """

    def __init__(self, vertices: DoubleArray, faces: IntArray) -> None:
        self.vertices, self.faces = vertices, faces

    @cached_property
    def _used(self) -> Any:
        return np.unique(self.faces)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.vertices[self._used])

    @cached_property
    def _around(self) -> tuple[IntArray, IntArray]:
        return faces_around(self.faces, len(self.vertices))

    def closest(self, points: DoubleArray) -> tuple[IntArray, DoubleArray, DoubleArray]:
        """The nearest places on the mesh.

        Args:
            points: (N, 3) finite.

        Returns:
            (N,) faces, (N, 3) weights of their corners, and (N, 3) places. Where edges differ much
            in length a nearer place may be missed, by less than an edge.
        """
        k = min(_N_NEAR, len(self._used))
        rows = self._tree.query(points, k=np.arange(1, k + 1))[1]
        near = self._used[rows]
        found, weights = closest_on_faces(points, self.vertices, self.faces, self._around, near)
        return found, weights, blend(self.vertices, self.faces, found, weights)

    @cached_property
    def on_border(self) -> BoolArray:
        """(V,) bool, vertices at an edge with one face."""
        ends = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        edges, count = np.unique(np.sort(ends, axis=1), axis=0, return_counts=True)
        border = np.zeros(len(self.vertices), np.bool_)
        border[edges[count == 1]] = True
        return border


def blend(values: DoubleArray, faces: IntArray, found: IntArray, weights: DoubleArray) -> Any:
    """Values (N, ...) at places on faces of what vertices have, (V, ...)."""
    return np.einsum("nk,nk...->n...", weights, values[faces[found]])


def neighbor_means(faces: IntArray, n_vertices: int) -> Any:
    """(V, V) sparse matrix that takes the mean of a vertex and its neighbours."""
    from scipy.sparse import coo_matrix, diags, identity

    ends = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    links = coo_matrix((np.ones(len(ends)), ends.T), (n_vertices,) * 2).tocsr()
    links = ((links + links.T) > 0).astype(np.float64) + identity(n_vertices)
    return (diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links).tocsr()
