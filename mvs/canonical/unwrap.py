"""A flat picture of a head's surface: one chart, cut along the back of the head.

The boundary goes to a square, neck below and the two sides of the cut left, right and above; every
other vertex is a mean of its neighbours, so that no two places of the surface meet. Source: Tutte,
"How to draw a graph" (1963); weights of Floater, "Mean value coordinates" (2003).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.types import DoubleArray, FloatArray, IntArray

# A step sideways from the plane of symmetry, or forwards, costs this many times its length.
_OFF_PLANE = 20.0
# Rounds of evening out, and where in the cube, how far around, and how much larger the face is.
_ROUNDS = 5
_FACE = (0.5, 0.55, 0.75)
_FACE_SIZE = (0.15, 0.17, 0.2)
_FACE_SHARE = 3.0


def unwrap(coords: FloatArray, faces: IntArray) -> tuple[FloatArray, IntArray]:
    """Unwrap a head that is open at the neck alone.

    Args:
        coords: (V, 3) cube coordinates.
        faces: (F, 3) int32, one piece with one boundary.

    Returns:
        (W, 2) float32 places in the unit square, x to the subject's left as seen from the front,
        y up, and (F, 3) int32 their row for each face's corner; W - V vertices lie on the cut.

    Raises:
        ValueError: if the surface is no disc, or its neck is not its only boundary.
    """
    neck = boundary(faces)
    path = _cut(np.asarray(coords, np.float64), faces, neck)
    corners, twins = _open(faces, path)
    positions = np.concatenate([coords, coords[path[:-1]]]).astype(np.float64)
    rim = boundary(corners)
    if len(rim) != len(neck) + 2 * (len(path) - 1):
        raise ValueError("the cut along the back does not open the surface to a disc")
    # The neck runs from one side of the cut's foot to the other.
    feet = {path[0], twins[path[0]]}
    on_neck = np.isin(rim, [*neck, twins[path[0]]])
    first = next(i for i in range(len(rim)) if rim[i] in feet and on_neck[(i + 1) % len(rim)])
    rim = np.roll(rim, -first)
    square = _square(positions, rim, len(path) - 1)
    return _flatten(positions, corners, rim, square).astype(np.float32), corners


def boundary(faces: IntArray) -> npt.NDArray[np.int64]:
    """The vertices of a surface's one boundary, in the order of its faces' directed edges.

    Raises:
        ValueError: if there is none, or more than one.
    """
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    n = int(faces.max()) + 1
    single = ~np.isin(ends[:, 0] * n + ends[:, 1], ends[:, 1] * n + ends[:, 0])
    following = dict(ends[single].tolist())
    if not following or len(following) != int(single.sum()):
        raise ValueError("the surface must have one boundary without crossings")
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    if len(loop) != len(following):
        raise ValueError(f"the surface has {len(following)} boundary edges in more than one loop")
    return np.array(loop)


def _cut(coords: DoubleArray, faces: IntArray, neck: npt.NDArray[np.int64]) -> list[int]:
    """Vertices from the back of the neck to the crown, along the plane of symmetry."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    middle = 0.5 * (coords[ends[:, 0]] + coords[ends[:, 1]])
    length = np.linalg.norm(coords[ends[:, 0]] - coords[ends[:, 1]], axis=1)
    length *= 1 + _OFF_PLANE * np.abs(middle[:, 0] - 0.5)
    length[np.isin(ends, neck).all(axis=1)] *= 1e3
    graph = coo_matrix((length, (ends[:, 0], ends[:, 1])), (len(coords),) * 2).tocsr()
    back = neck[coords[neck, 2] < np.median(coords[neck, 2])]
    start = int(back[np.abs(coords[back, 0] - 0.5).argmin()])
    central = np.abs(coords[:, 0] - 0.5) < 0.05
    crown = int(np.flatnonzero(central)[coords[central, 1].argmax()])
    _, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [crown]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
        if path[-1] in neck and path[-1] != start:
            raise ValueError("the cut along the back runs along the neck")
    return path[::-1]


def _open(faces: IntArray, path: list[int]) -> tuple[IntArray, dict[int, int]]:
    """Faces with the cut's vertices doubled on its one side, and the double of each."""
    n = int(faces.max()) + 1
    twins = {vertex: n + index for index, vertex in enumerate(path[:-1])}
    by_edge = {}
    for row, (a, b, c) in enumerate(faces.tolist()):
        by_edge[a, b], by_edge[b, c], by_edge[c, a] = row, row, row
    corners = faces.copy()
    for index, vertex in enumerate(path[:-1]):
        # Faces around the vertex, from the cut's edge on, one way round until the cut or a rim.
        edge = (vertex, path[index + 1])
        stop = path[index - 1] if index else -1
        while edge in by_edge:
            row = by_edge[edge]
            corners[row, faces[row] == vertex] = twins[vertex]
            other = next(v for v in faces[row].tolist() if v not in edge)
            if other == stop:
                break
            edge = (vertex, other)
    return corners, twins


def _square(positions: DoubleArray, rim: npt.NDArray[np.int64], n_cut: int) -> DoubleArray:
    """Places of the rim, which begins with the neck: that below, the cut along the other sides."""
    steps = np.linalg.norm(np.diff(positions[[*rim, rim[0]]], axis=0), axis=1)
    n_neck = len(rim) - 2 * n_cut
    place = np.zeros((len(rim), 2))
    for rows, corners in (
        (slice(0, n_neck), np.array([[0, 0], [1, 0]])),
        (slice(n_neck, None), np.array([[1, 0], [1, 1], [0, 1], [0, 0]])),
    ):
        far = np.concatenate([[0], np.cumsum(steps[rows])])[:-1] / steps[rows].sum()
        sides = np.linspace(0, 1, len(corners))
        place[rows] = np.column_stack([np.interp(far, sides, corners[:, k]) for k in (0, 1)])
    return place


def _flatten(
    positions: DoubleArray, faces: IntArray, rim: npt.NDArray[np.int64], square: DoubleArray
) -> DoubleArray:
    """Every inner vertex at a weighted mean of its neighbours, evened out.

    What came out too small pulls less at its neighbours in the next round. Source: Yoshizawa,
    Belyaev and Seidel, "A fast and simple stretch-minimizing mesh parameterization" (2004).
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import spsolve

    weights = _mean_value_weights(positions, faces)
    inner = np.setdiff1d(np.arange(len(positions)), rim)
    wanted = _areas(positions, faces) * _importance(positions[faces].mean(axis=1))
    found = np.zeros((len(positions), 2))
    found[rim] = square
    for _ in range(_ROUNDS):
        laplacian = (diags(np.asarray(weights.sum(axis=1)).ravel()) - weights).tocsr()
        known = -laplacian[inner][:, rim] @ square
        found[inner] = spsolve(laplacian[inner][:, inner].tocsc(), known)
        flat = np.column_stack([found, np.zeros(len(found))])
        small = _around(wanted, faces, len(found)) / _around(_areas(flat, faces), faces, len(found))
        weights = weights @ diags(1 / np.sqrt(small))
    return found


def _mean_value_weights(positions: DoubleArray, faces: IntArray) -> Any:
    """(V, V) sparse weights of each vertex's neighbours, all positive."""
    from scipy.sparse import coo_matrix

    rows, columns, values = [], [], []
    for k in range(3):
        a, b, c = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        first, second = positions[b] - positions[a], positions[c] - positions[a]
        lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
        cosine = (first * second).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-18)
        half = np.tan(0.5 * np.arccos(np.clip(cosine, -1 + 1e-9, 1 - 1e-9)))
        for end, length in ((b, lengths[0]), (c, lengths[1])):
            rows.append(a)
            columns.append(end)
            values.append(half / np.maximum(length, 1e-9))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return coo_matrix(entries, (len(positions),) * 2).tocsr()


def _importance(coords: DoubleArray) -> DoubleArray:
    """(N,) share of the picture per area: most for the face, least for the neck."""
    away = ((coords - _FACE) / _FACE_SIZE) ** 2
    return np.asarray(1 + _FACE_SHARE * np.exp(-0.5 * away.sum(axis=1)))


def _areas(positions: DoubleArray, faces: IntArray) -> DoubleArray:
    a, b, c = (positions[faces[:, k]] for k in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1)) + 1e-12


def _around(values: DoubleArray, faces: IntArray, n: int) -> DoubleArray:
    """(n,) sums of faces' values at their vertices."""
    return np.bincount(faces.ravel(), np.repeat(values, 3), minlength=n).astype(np.float64)
