"""Ground truth of a capture: its surface, and where at least two views see it.

A capture with truth holds ``gt/mesh.ply`` with cube coordinates ``u v w`` and ``part`` at its
vertices; optionally ``gt/torso.ply``, which hides the mesh but is no part of it, and
``gt/hair/<image name without ending>.png``, the coverage of each picture by hair, which hides the
mesh too and is no part of it either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError, View
from mvs.canonical.surface import sample_faces
from mvs.stages.ply import read_properties
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

PART_NAMES = ("face", "head_neck", "eye", "mouth_interior", "hair_hat", "torso")
# Hair of this coverage hides what is below.
_HAIR = 128
# A point is hidden if something is nearer by this part of its distance.
_HIDDEN_BY = 5e-4


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the true surface.

    Attributes:
        positions: (N, 3) float64, world.
        coords: (N, 3) float32 cube coordinates.
        parts: (N,) int32 index into ``PART_NAMES``.
    """

    positions: DoubleArray
    coords: FloatArray
    parts: IntArray


class Truth:
    """The true surface of a capture, ready for queries."""

    def __init__(self, capture: Capture) -> None:
        """Read the truth.

        Raises:
            CaptureError: if the capture holds none, or not such a one.
        """
        self.capture = capture
        path = capture.path / "gt" / "mesh.ply"
        if not path.is_file():
            raise CaptureError(path, "no ground truth", "evaluate a capture that holds gt/mesh.ply")
        self.vertices, self.faces, self._coords, self._parts = _read(path)
        self._scene = mesh_scene([(self.vertices, self.faces)])
        blockers = [(self.vertices, self.faces)]
        torso = capture.path / "gt" / "torso.ply"
        if torso.is_file():
            blockers.append(_read(torso)[:2])
        self._blockers = mesh_scene(blockers)

    def sample(self, n: int, seed: int = 0) -> SurfacePoints:
        """``n`` points spread evenly over the surface."""
        faces, weights = sample_faces(self.vertices, self.faces, n, seed)
        return self._on_faces(faces, weights)

    def closest(self, points: DoubleArray) -> tuple[DoubleArray, SurfacePoints]:
        """The surface points nearest to points.

        Args:
            points: (N, 3) float64, world.

        Returns:
            (N,) distances and the nearest points.
        """
        found = self._scene.compute_closest_points(tensor(points, np.float32))
        faces = found["primitive_ids"].numpy().astype(np.int64)
        uv = found["primitive_uvs"].numpy().astype(np.float64)
        weights = np.column_stack([1 - uv.sum(axis=1), uv])
        nearest = self._on_faces(faces, weights)
        return np.linalg.norm(points - nearest.positions, axis=1), nearest

    def count_views(self, points: DoubleArray) -> IntArray:
        """How many views see surface points, inside their masks.

        Args:
            points: (N, 3) float64 on the surface.

        Returns:
            (N,) int32.
        """
        counts = np.zeros(len(points), np.int32)
        for view in self.capture.views:
            counts += self.visible(view, points)
        return counts

    def visible(self, view: View, points: DoubleArray) -> BoolArray:
        """Which surface points (N, 3) a view sees, inside its mask and not below hair."""
        inside, row, column = _inside(view, points)
        mask, hair = view.load_mask(), self._hair(view)
        if mask is not None:
            inside &= mask[row, column]
        if hair is not None:
            inside &= ~hair[row, column]
        return self._sees(view, points, inside)

    def on_hair(self, points: DoubleArray) -> BoolArray:
        """Which points (N, 3) most of the views that see them see among hair."""
        among, seeing = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
        for view in self.capture.views:
            inside, row, column = _inside(view, points)
            seen = self._sees(view, points, inside)
            seeing += seen
            hair = self._hair(view)
            if hair is not None:
                among += seen & hair[row, column]
        return np.asarray((2 * among > seeing) & (seeing > 0))

    def _hair(self, view: View) -> BoolArray | None:
        """(H, W) bool, where hair covers a picture; None where the truth has no hair."""
        import cv2

        path = (self.capture.path / "gt" / "hair" / view.name).with_suffix(".png")
        if not path.is_file():
            return None
        coverage = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if coverage is None or coverage.shape != (view.camera.height, view.camera.width):
            raise CaptureError(path, "not a picture of the view's size", "restore the ground truth")
        return np.asarray(coverage >= _HAIR)

    def _sees(self, view: View, points: DoubleArray, inside: BoolArray) -> BoolArray:
        """Which of the points ``inside`` the picture nothing hides."""
        camera = view.camera
        rays = points[inside] - camera.center
        origin = np.broadcast_to(camera.center, rays.shape)
        six = tensor(np.concatenate([origin, rays], axis=1), np.float32)
        hits = self._blockers.cast_rays(six)["t_hit"].numpy()
        seen = np.zeros(len(points), np.bool_)
        seen[inside] = hits > 1 - _HIDDEN_BY
        return seen

    def _on_faces(self, faces: npt.NDArray[np.int64], weights: DoubleArray) -> SurfacePoints:
        corners = self.faces[faces]
        parts = self._parts[corners[np.arange(len(faces)), weights.argmax(axis=1)]]
        return SurfacePoints(
            np.einsum("nk,nkc->nc", weights, self.vertices[corners]),
            np.einsum("nk,nkc->nc", weights, self._coords[corners]).astype(np.float32),
            parts,
        )


def _inside(
    view: View, points: DoubleArray
) -> tuple[BoolArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which points fall into a picture, and rows and columns of their pixels (0 for the others)."""
    camera = view.camera
    pixels, depth = camera.project(points)
    inside = (depth > 0) & ((pixels >= 0) & (pixels < [camera.width, camera.height])).all(axis=1)
    column, row = np.where(inside[:, None], pixels, 0).astype(np.int64).T
    return np.asarray(inside), row, column


def _read(path: Path) -> tuple[DoubleArray, IntArray, FloatArray, IntArray]:
    try:
        vertex, faces = read_properties(path)
    except ValueError as error:
        raise CaptureError(path, str(error), "restore the ground truth") from None
    if faces is None or not len(faces):
        raise CaptureError(path, "holds no faces", "restore the ground truth")
    n = len(vertex["x"])
    positions = np.column_stack([vertex[name] for name in "xyz"]).astype(np.float64)
    coords, parts = np.full((n, 3), np.nan, np.float32), np.zeros(n, np.int32)
    if "u" in vertex:
        coords = np.column_stack([vertex[name] for name in "uvw"]).astype(np.float32)
    if "part" in vertex:
        parts = vertex["part"].astype(np.int32)
    return positions, faces, coords, parts


def tensor(values: npt.NDArray[Any], dtype: type[np.generic]) -> Any:
    """An Open3D tensor of an array."""
    import open3d

    make: Any = open3d.core.Tensor
    return make(np.ascontiguousarray(values, dtype))


def mesh_scene(meshes: list[tuple[DoubleArray, IntArray]]) -> Any:
    """Meshes ready for rays and distances."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    for vertices, faces in meshes:
        scene.add_triangles(tensor(vertices, np.float32), tensor(faces, np.uint32))
    return scene
