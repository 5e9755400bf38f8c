"""A reconstruction as registration sees it: points with cube coordinates, a surface to lie on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mvs.canonical.cube import CUBE_MM
from mvs.canonical.pose import HeadPose, head_pose
from mvs.canonical.surface import Surface, neighbor_means
from mvs.stages.ply import read_properties
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

_MIN_POINTS = 300
# A head of more than this share of itself off its own cube coordinates is none.
_MAX_OFF = 0.15
_MAX_POSED = 40_000
_CONFIDENT = 0.05
# The cube's side on heads of any size.
_SMALLEST_MM, _LARGEST_MM = 0.5 * CUBE_MM, 2 * CUBE_MM


@dataclass(frozen=True, eq=False)
class Scan:
    """A reconstruction.

    Attributes:
        points: (N, 3) float64.
        normals: (N, 3) float64 unit vectors, outwards; zeros where there is none.
        coords: (N, 3) float64 cube coordinates, NaN where there are none.
        confidence: (N,) float64 in [0, 1].
        faces: (F, 3) int32, None for a cloud.
    """

    points: DoubleArray
    normals: DoubleArray
    coords: DoubleArray
    confidence: DoubleArray
    faces: IntArray | None = None

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def known(self) -> BoolArray:
        """(N,) bool, where position and cube coordinates are known and not without confidence."""
        finite = np.isfinite(self.coords).all(axis=1) & np.isfinite(self.points).all(axis=1)
        return np.asarray(finite & (self.confidence > 0))

    @cached_property
    def surface(self) -> Surface:
        """The surface.

        Raises:
            ValueError: if the scan has no faces.
        """
        if self.faces is None:
            raise ValueError("the scan holds no faces; give a mesh")
        return Surface(self.points, self.faces)

    @cached_property
    def inside(self) -> DoubleArray:
        """(N,) distance to the mesh's border; infinite without one."""
        from scipy.spatial import cKDTree

        if self.faces is None or not self.surface.on_border.any():
            return np.full(len(self), np.inf)
        border = self.points[self.surface.on_border]
        return np.asarray(
            cKDTree(border[np.isfinite(border).all(axis=1)]).query(np.nan_to_num(self.points))[0]
        )

    def distance(self, points: DoubleArray) -> DoubleArray:
        """Distances (N,) from points (N, 3) to the surface, or to the points of a cloud."""
        if self.faces is not None:
            return np.asarray(np.linalg.norm(self.surface.closest(points)[2] - points, axis=1))
        from scipy.spatial import cKDTree

        finite = np.isfinite(self.points).all(axis=1)
        return np.asarray(cKDTree(self.points[finite]).query(points)[0])

    def pose(self) -> HeadPose:
        """Where the head stands.

        Raises:
            ValueError: if too few points are known, or they are no head.
        """
        return self._pose

    @cached_property
    def _pose(self) -> HeadPose:
        rows = np.flatnonzero(self.known)
        if len(rows) < _MIN_POINTS:
            raise ValueError(
                f"{len(rows)} points with a finite place and u v w, {_MIN_POINTS} are needed; "
                "reconstruct it with an embedder"
            )
        sure = rows[self.confidence[rows] >= _CONFIDENT]
        rows = sure if len(sure) >= _MIN_POINTS else rows
        rows = rows[:: max(len(rows) // _MAX_POSED, 1)]
        coords, points = self.coords[rows], self.points[rows]
        inside = ((coords > -0.5) & (coords < 1.5)).all(axis=1)
        if inside.mean() < 0.5:
            raise ValueError("u v w mostly lie outside the cube [0, 1]^3; write them in its unit")
        pose = head_pose(coords[inside], points[inside])
        off = np.linalg.norm(points - pose.to_world(coords), axis=1)
        if not np.median(off) < _MAX_OFF * pose.scale * np.ptp(coords[inside], axis=0).max():
            raise ValueError("x y z and u v w are not of one head; reconstruct it again")
        return pose

    def check_size(self, path: Path, mm: float | None) -> None:
        """Complain about what is no head, or has another unit.

        Args:
            path: of the scan, for the message.
            mm: millimetres per unit, None if not known.

        Raises:
            ValueError: if the scan is no head, or by its unit not of a head's size.
        """
        try:
            size = self.pose().scale * (mm or 0.0)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if mm is not None and not _SMALLEST_MM < size < _LARGEST_MM:
            raise ValueError(
                f"{path}: by --unit the head would be {size / CUBE_MM:.3g} times as large as a "
                "usual one; give the scan's own unit, or none"
            )

    def in_cube(self, pose: HeadPose) -> Scan:
        """The scan, turned, moved and scaled so that it lies on its cube coordinates."""
        return replace(self, points=pose.to_cube(self.points), normals=self.normals @ pose.rotation)


def read_scan(path: Path) -> Scan:
    """Read a reconstruction: PLY with ``x y z u v w``, better with ``confidence`` and faces.

    Args:
        path: of the file.

    Raises:
        ValueError: if it is no PLY, has no cube coordinates, or neither normals nor faces.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a PLY file of mvs reconstruct")
    try:
        vertex, faces = read_properties(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give a PLY file of mvs reconstruct") from None
    missing = [name for name in "xyzuvw" if name not in vertex]
    if missing:
        raise ValueError(
            f"{path}: holds no {' '.join(missing)}; give a mesh of mvs reconstruct with an embedder"
        )

    def columns(names: Any) -> DoubleArray:
        return np.column_stack([vertex[name] for name in names]).astype(np.float64)

    confidence = vertex.get("confidence", np.ones(len(vertex["x"]))).astype(np.float64)
    normals = columns(("nx", "ny", "nz")) if "nx" in vertex else None
    try:
        confidence = np.nan_to_num(confidence)
        return make_scan(columns("xyz"), columns("uvw"), confidence, faces, normals)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def make_scan(
    points: DoubleArray,
    coords: DoubleArray | FloatArray,
    confidence: DoubleArray,
    faces: IntArray | None = None,
    normals: DoubleArray | None = None,
) -> Scan:
    """A scan of arrays; normals are those of the faces where there are any.

    Raises:
        ValueError: if there are neither faces nor normals, or faces of other vertices.
    """
    has_faces = faces is not None and len(faces) > 0
    if faces is not None and has_faces:
        if faces.min() < 0 or faces.max() >= len(points):
            raise ValueError("holds a face whose corner is no vertex; export it again")
        normals = mesh_normals(points, faces)
    if normals is None:
        raise ValueError("holds neither faces nor normals nx ny nz; give a mesh")
    return Scan(
        np.asarray(points, np.float64),
        np.nan_to_num(np.asarray(normals, np.float64)),
        np.asarray(coords, np.float64),
        np.asarray(confidence, np.float64),
        faces if has_faces else None,
    )


def mesh_normals(points: DoubleArray, faces: IntArray) -> DoubleArray:
    """Area-weighted vertex normals (V, 3) float64; zeros where no face touches the vertex."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    across = np.nan_to_num(np.cross(b - a, c - a))
    sums = np.column_stack(
        [np.bincount(faces.ravel(), np.repeat(axis, 3), len(points)) for axis in across.T]
    )
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(length, 1e-300))


def smoothed_coords(scan: Scan, rounds: int) -> DoubleArray:
    """Cube coordinates (N, 3) with less noise.

    What is smoothed along the mesh is their difference from where the head's pose puts the
    vertices, so that the head does not shrink; confident vertices weigh more.

    Args:
        scan: a mesh.
        rounds: of taking means over a vertex and its neighbours.

    Returns:
        NaN where a vertex and all around it have none.

    Raises:
        ValueError: if the scan is no mesh, or no head.
    """
    moved = scan.in_cube(scan.pose()).points
    weight = np.where(scan.known, scan.confidence + 1e-3, 0.0)[:, None]
    sums = np.column_stack([weight * np.nan_to_num(scan.coords - moved), weight])
    means = neighbor_means(scan.surface.faces, len(scan))
    for _ in range(rounds):
        sums = means @ sums
    with np.errstate(invalid="ignore"):
        return np.asarray(moved + sums[:, :3] / np.where(sums[:, 3:] > 0, sums[:, 3:], np.nan))
