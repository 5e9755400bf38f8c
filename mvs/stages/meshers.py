"""Surfaces from points or depth maps, by Open3D; each mesher under its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mvs.stages.refine import DepthMap
from mvs.types import DoubleArray, IntArray, PointCloud

# Levels of the octree that is chosen by the points' distance.
_DEPTHS = (4, 10)
# Open3D's octree is this much larger than what it holds.
_ROOM = 1.1
# A depth map's surface is this many voxels thick on either side.
_THICK = 4.0
# Voxels that fewer depth maps saw are left out.
_MIN_SEEN = 0.5
# Depths whose pictures are less alike (1 - ZNCC) do not count.
_MAX_COST = 0.5


@dataclass(frozen=True)
class Evidence:
    """What a mesher goes by.

    Attributes:
        cloud: points near the origin, with normals.
        spacing: typical distance between neighbouring points.
        depth: of the octree; None for cells of about ``spacing``.
        maps: depths of the views, in the cloud's frame.
    """

    cloud: PointCloud
    spacing: float
    depth: int | None
    maps: Sequence[DepthMap]

    @property
    def extent(self) -> float:
        """Longest side of the cloud's bounding box."""
        return float(np.ptp(self.cloud.points, axis=0).max())

    @property
    def levels(self) -> int:
        """The octree's depth."""
        if self.depth is not None:
            return self.depth
        cells = max(_ROOM * self.extent / self.spacing, 1.0)
        return int(np.clip(np.floor(np.log2(cells)), *_DEPTHS))


Mesher = Callable[[Evidence], tuple[DoubleArray, IntArray]]


def mesh_poisson(evidence: Evidence) -> tuple[DoubleArray, IntArray]:
    """Screened Poisson surface reconstruction (Kazhdan and Hoppe 2013).

    One thread: with more, the result differs from run to run, and it is no faster.

    Returns:
        Vertices (V, 3) float64 and faces (F, 3) int32, also where there are no points.
    """
    import open3d  # heavy: 0.9 s

    cloud, extent = evidence.cloud, evidence.extent
    points = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(cloud.points / extent))
    points.normals = open3d.utility.Vector3dVector(cloud.normals.astype(np.float64))
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        result, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
            points, depth=evidence.levels, n_threads=1
        )
    vertices = np.asarray(result.vertices, dtype=np.float64) * extent
    return vertices, np.asarray(result.triangles, dtype=np.int32)


def mesh_tsdf(evidence: Evidence) -> tuple[DoubleArray, IntArray]:
    """Truncated signed distances of all depth maps, averaged (Curless and Levoy 1996).

    Returns:
        Vertices (V, 3) float64 and faces (F, 3) int32 where depth maps have a surface.

    Raises:
        ValueError: if there are no depth maps.
    """
    import open3d

    if not evidence.maps:
        raise ValueError("tsdf fuses refined depth maps: take a --quality that refines")
    core, device = open3d.core, open3d.core.Device("CPU:0")
    # In units of the extent, so that numbers are of order 1 whatever the capture's unit.
    extent = evidence.extent
    voxel = max(_ROOM / 2**evidence.levels, evidence.spacing / extent)
    kinds, channels = (core.float32, core.float32), (core.SizeVector([1]), core.SizeVector([1]))
    names = ("tsdf", "weight")
    volume = open3d.t.geometry.VoxelBlockGrid(names, kinds, channels, voxel, 8, 10_000, device)
    for found in evidence.maps:
        told = found.mask & (found.cost < _MAX_COST)
        if not told.any():
            continue
        depth = np.zeros((*told.shape, 1), np.float32)
        depth[told, 0] = 1.0 / (found.planes[told][:, 0] * np.float32(extent))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = found.camera.rotation, found.camera.translation / extent
        lens, place = (core.Tensor.from_numpy(a) for a in (found.camera.K, pose))
        picture = open3d.t.geometry.Image(core.Tensor.from_numpy(depth))
        reach = (1.0, float(2 * depth.max()), _THICK)
        blocks = volume.compute_unique_block_coordinates(picture, lens, place, *reach)
        volume.integrate(blocks, picture, lens, place, *reach)
    result = volume.extract_triangle_mesh(_MIN_SEEN)
    if not len(result.triangle.indices):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    vertices = result.vertex.positions.numpy().astype(np.float64) * extent
    return _in_order(vertices, result.triangle.indices.numpy().astype(np.int32))


def _in_order(vertices: DoubleArray, faces: IntArray) -> tuple[DoubleArray, IntArray]:
    """The same surface in an order that does not depend on how threads took turns."""
    vertices, row = np.unique(vertices, axis=0, return_inverse=True)
    faces = row.reshape(-1)[faces].astype(np.int32)
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    first = faces.argmin(axis=1)[:, None]
    faces = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)[whole]
    return vertices, np.ascontiguousarray(faces[np.lexsort(faces.T[::-1])])


MESHERS: dict[str, Mesher] = {"poisson": mesh_poisson, "tsdf": mesh_tsdf}
