"""A triangle mesh from a fused cloud, trimmed to where something was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mvs.errors import ReconstructionError
from mvs.stages.meshers import MESHERS, Evidence
from mvs.stages.refine import DepthMap
from mvs.stages.shots import Shots
from mvs.stages.trim import sight
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray, Mesh, PointCloud

_MIN_POINTS = 100
MIN_FACES = 100


@dataclass(frozen=True)
class MeshOptions:
    """How a cloud becomes a mesh.

    Attributes:
        mesher: ``poisson`` closes gaps smoothly; ``tsdf`` averages refined depth maps and leaves
            open what no view saw.
        depth: of Poisson's octree; None takes the deepest whose cells are as large as the distance
            between neighbouring points. TSDF's voxels are as large as that octree's cells,
            but no smaller than that distance.
        max_distance: vertices farther from the cloud than this many times that distance are cut,
            but those that the views see.
        min_seen: views that must see those, inside their masks.
        max_hole: how far from the cloud they may be, in radii of the head; 0 for none.
        min_piece: pieces with a smaller share of the faces than this are dropped.
        n_neighbors: points whose attributes a vertex takes.
        max_faces: the mesh is simplified to so many; 0 leaves it as it is.
    """

    mesher: str = "poisson"
    depth: int | None = None
    max_distance: float = 4.0
    min_seen: int = 2
    max_hole: float = 0.1
    min_piece: float = 0.05
    n_neighbors: int = 6
    max_faces: int = 0

    def __post_init__(self) -> None:
        if self.mesher not in MESHERS:
            raise ValueError(f"mesher must be one of {', '.join(MESHERS)}, got {self.mesher}")
        if self.depth is not None and not 3 <= self.depth <= 12:
            raise ValueError(f"depth must be in 3..12, got {self.depth}")
        if not self.max_distance > 0:
            raise ValueError(f"max_distance must be positive, got {self.max_distance}")
        if self.min_seen < 1 or not self.max_hole >= 0:
            raise ValueError(
                "min_seen must be positive and max_hole not negative, got "
                f"{self.min_seen} and {self.max_hole}"
            )
        if not 0 <= self.min_piece <= 1:
            raise ValueError(f"min_piece must be in [0, 1], got {self.min_piece}")
        if self.max_faces < 0 or 0 < self.max_faces < MIN_FACES:
            raise ValueError(f"max_faces must be 0 or at least {MIN_FACES}, got {self.max_faces}")
        if self.n_neighbors < 1:
            raise ValueError(f"n_neighbors must be at least 1, got {self.n_neighbors}")


def mesh(
    cloud: PointCloud,
    options: MeshOptions | None = None,
    shots: Shots | None = None,
    maps: Sequence[DepthMap | None] = (),
) -> Mesh:
    """Mesh a cloud; every vertex carries what the points near it carry.

    Args:
        cloud: with normals, from ``fuse``.
        options: see ``MeshOptions``.
        shots: the views; without them, only what lies near the cloud is kept.
        maps: refined depths of the views, which ``tsdf`` wants.

    Returns:
        The mesh, with at least one face.

    Raises:
        ValueError: if ``tsdf`` is wanted, but there are no depth maps.
        ReconstructionError: if the cloud has too few points or nothing is left of the mesh.
    """
    options = options or MeshOptions()
    if len(cloud) < _MIN_POINTS:
        raise ReconstructionError(
            f"the cloud has {len(cloud)} points, too few for a mesh",
            "check that the views overlap, that masks keep the head and that poses are right",
        )
    origin = cloud.points.mean(axis=0)
    local = replace(cloud, points=cloud.points - origin)
    spacing = _spacing(local.points)
    seen = [found.moved(-origin) for found in maps if found is not None]
    vertices, faces = MESHERS[options.mesher](Evidence(local, spacing, options.depth, seen))
    if len(faces) == 0:
        raise ReconstructionError("the depth maps hold no surface", "take --mesh.mesher poisson")
    distance, rows = _nearest(local.points, vertices, min(options.n_neighbors, len(cloud)))
    near = distance[:, 0] <= options.max_distance * spacing
    if shots is not None and options.max_hole > 0:
        open_ = (distance[:, 0] <= options.max_hole * shots.radius) & ~near
        near[open_] = _seen(vertices + origin, faces, open_, shots, options)
    faces = largest_pieces(faces[near[faces].all(axis=1)], len(vertices), options.min_piece)
    if len(faces) == 0:
        raise ReconstructionError(
            "no face of the mesh lies near the cloud",
            "raise max_distance, or reconstruct from more views",
        )
    used, corners = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], corners.reshape(-1, 3).astype(np.int32)
    distance, rows = distance[used], rows[used]
    if 0 < options.max_faces < len(faces):
        vertices, faces = collapse_edges(vertices, faces, options.max_faces)
        distance, rows = _nearest(local.points, vertices, min(options.n_neighbors, len(cloud)))
    return Mesh(_interpolate(local, vertices + origin, distance, rows, spacing), faces)


def collapse_edges(
    vertices: DoubleArray, faces: IntArray, max_faces: int
) -> tuple[DoubleArray, IntArray]:
    """Quadric edge collapse (Garland and Heckbert 1997), by Open3D; outlines are kept."""
    import open3d

    surface = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(vertices), open3d.utility.Vector3iVector(faces)
    )
    less = surface.simplify_quadric_decimation(max_faces, boundary_weight=3.0)
    less.remove_degenerate_triangles()
    less.remove_unreferenced_vertices()
    return np.asarray(less.vertices, np.float64), np.asarray(less.triangles, np.int32)


def _seen(
    vertices: DoubleArray, faces: IntArray, asked: BoolArray, shots: Shots, options: MeshOptions
) -> BoolArray:
    """Which of the vertices asked for enough views see, more than say that nothing is there."""
    rows = np.flatnonzero(asked).astype(np.int32)
    sightings = sight(vertices, faces, rows, _vertex_normals(vertices, faces)[rows], shots)
    enough = sightings.seen >= options.min_seen
    return np.asarray(enough & (sightings.seen > sightings.outside))


def _vertex_normals(vertices: DoubleArray, faces: IntArray) -> FloatArray:
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for k in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, k], normal[:, axis], len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(length, 1e-300), np.float32)


def _nearest(
    points: DoubleArray, queries: DoubleArray, k: int
) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
    """Distances and rows (M, k) of the nearest points."""
    from scipy.spatial import cKDTree

    distance, rows = cKDTree(points).query(queries, k=np.arange(1, k + 1))
    return distance, rows


def _spacing(points: DoubleArray) -> float:
    """Median distance from a point to its nearest neighbour, over a sample."""
    sample = points[:: max(len(points) // 5000, 1)]
    distance = _nearest(points, sample, 2)[0][:, 1]
    spacing = float(np.median(distance))
    if not spacing > 0:
        raise ReconstructionError(
            "most points of the cloud coincide", "check the poses and the fusion's voxel size"
        )
    return spacing


def largest_pieces(faces: IntArray, n_vertices: int, min_piece: float) -> IntArray:
    """Faces of the connected pieces that hold at least a share of all faces."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(faces) == 0:
        return faces
    links = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_array((np.ones(len(links), np.bool_), links.T), shape=(n_vertices, n_vertices))
    piece = connected_components(graph, directed=False)[1][faces[:, 0]]
    size = np.bincount(piece)
    kept: IntArray = faces[size[piece] >= min(min_piece * len(faces), size.max())]
    return kept


def _interpolate(
    cloud: PointCloud,
    vertices: DoubleArray,
    distance: DoubleArray,
    rows: npt.NDArray[np.int64],
    spacing: float,
) -> PointCloud:
    """Attributes of the vertices: those of the nearest points, weighted by inverse distance."""
    weights = 1.0 / (distance**2 + (0.25 * spacing) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)

    def blend(values: npt.NDArray[np.generic]) -> DoubleArray:
        blended: DoubleArray = np.einsum("vk,vk...->v...", weights, values[rows].astype(np.float64))
        return blended

    normals = blend(cloud.normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    confidence: FloatArray = np.clip(blend(cloud.confidence), 0.0, 1.0).astype(np.float32)
    return PointCloud(
        vertices,
        normals.astype(np.float32),
        np.rint(blend(cloud.colors)).astype(np.uint8),
        blend(cloud.coords).astype(np.float32),
        confidence,
        np.rint(blend(cloud.n_views)).astype(np.int32),
    )
