"""A triangle mesh to look up nearest places on, and smoothing along it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.kernels.closest import closest_on_faces, faces_around
from mvs.types import BoolArray, DoubleArray, IntArray

# Vertices whose faces are looked at for the nearest place.
_N_NEAR = 4
# Weights no larger count as none.
_ON_EDGE = 1e-9


class Surface:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64; faces with a corner that is not finite are as if they were not.
        faces: (F, 3) int32.
    """

    def __init__(self, vertices: DoubleArray, faces: IntArray) -> None:
        self.vertices, self.faces = vertices, faces
        self._kept = np.flatnonzero(np.isfinite(vertices[faces]).all(axis=(1, 2)))
        if not len(self._kept):
            raise ValueError("no face of the mesh is known at all its corners")
        self._used = np.unique(faces[self._kept])

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.vertices[self._used])

    @cached_property
    def _around(self) -> tuple[IntArray, IntArray]:
        return faces_around(self.faces[self._kept], len(self.vertices))

    def closest(
        self, points: DoubleArray, n_near: int = _N_NEAR
    ) -> tuple[IntArray, DoubleArray, DoubleArray]:
        """The nearest places on the mesh.

        Args:
            points: (N, 3) finite.
            n_near: vertices around each whose faces are looked at.

        Returns:
            (N,) faces, (N, 3) weights of their corners, and (N, 3) places. Where edges differ much
            in length a nearer place may be missed, by less than an edge.
        """
        k = min(n_near, len(self._used))
        near = self._used[self._tree.query(points, k=np.arange(1, k + 1))[1]]
        faces = self.faces[self._kept]
        found, weights = closest_on_faces(points, self.vertices, faces, self._around, near)
        face = self._kept[found].astype(np.int32)
        return face, weights, blend(self.vertices, self.faces, face, weights)

    @cached_property
    def on_border(self) -> BoolArray:
        """(V,) bool, vertices at an edge with one face."""
        ends = self.faces[self._kept][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        edges, count = unique_pairs(np.sort(ends, axis=1))
        border = np.zeros(len(self.vertices), np.bool_)
        border[edges[count == 1]] = True
        return border

    def at_border(self, face: IntArray, weights: DoubleArray) -> BoolArray:
        """Whether places (N,) on faces, with weights (N, 3), lie on the border."""
        inner = ~self.on_border[self.faces[face]]
        return ~np.asarray((inner & (weights > _ON_EDGE)).any(axis=1) | (weights > _ON_EDGE).all(1))


def blend(values: DoubleArray, faces: IntArray, found: IntArray, weights: DoubleArray) -> Any:
    """Values (N, ...) at places on faces of what vertices have, (V, ...)."""
    return np.einsum("nk,nk...->n...", weights, values[faces[found]])


def sample_faces(
    vertices: DoubleArray, faces: IntArray, n: int, seed: int
) -> tuple[npt.NDArray[np.int64], DoubleArray]:
    """Faces and barycentric weights of ``n`` points spread evenly over a mesh."""
    rng = np.random.default_rng(seed)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    picked = rng.choice(len(faces), n, p=area / area.sum())
    root, other = np.sqrt(rng.random(n)), rng.random(n)
    return picked, np.column_stack([1 - root, root * (1 - other), root * other])


def neighbor_means(faces: IntArray, n_vertices: int, with_own: bool = True) -> Any:
    """(V, V) sparse matrix that takes the mean over a vertex' neighbours, and its own value."""
    from scipy.sparse import coo_matrix, diags, identity

    ends = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    links = coo_matrix((np.ones(len(ends)), ends.T), (n_vertices,) * 2).tocsr()
    links = ((links + links.T) > 0).astype(np.float64)
    if with_own:
        links = links + identity(n_vertices)
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1)
    return (diags(1 / degree) @ links).tocsr()


def unique_pairs(pairs: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Different pairs (M, 2) of numbers from 0 on, in order, and how often each is there."""
    n = int(pairs.max(initial=0)) + 1
    keys, count = np.unique(pairs[:, 0].astype(np.int64) * n + pairs[:, 1], return_counts=True)
    return np.column_stack([keys // n, keys % n]), count.astype(np.int32)


def find_pieces(faces: IntArray, n_vertices: int) -> IntArray:
    """(V,) int32 number of the connected piece of each vertex, 0 the largest; -1 without faces."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    links = coo_matrix((np.ones(len(ends)), ends.T), (n_vertices,) * 2)
    _, label = connected_components(links, directed=False)
    used = np.zeros(n_vertices, np.bool_)
    used[faces] = True
    size = np.bincount(label[used], minlength=label.max() + 1)
    rank = np.empty(len(size), np.int32)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(size))
    return np.where(used, rank[label], -1).astype(np.int32)
