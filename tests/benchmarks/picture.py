"""A result beside the photograph: picture, shaded mesh, coloured mesh, cube coordinates.

    python -m tests.benchmarks.picture CAPTURE RESULT/mesh.ply OUTPUT.jpg [IMAGE NAME ...]

Every row is one view, seen from where it was taken; without names, three views are picked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import open3d
from plyfile import PlyData

from calib.camera import Camera
from calib.formats import read_capture

_SIDE = 420


def main() -> None:
    """Draw the picture."""
    capture, mesh, output = read_capture(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
    n = len(capture.views)
    names = sys.argv[4:] or [capture.views[i].name for i in (n // 6, n // 2, n - 1 - n // 6)]
    surface = _Surface(mesh)
    rows = []
    for view in (view for view in capture.views if view.name in names):
        pinhole = view.load_pinhole()
        shaded, colored, coords, depth = surface.seen_from(pinhole.camera)
        box = _box(depth)
        tiles = [_cut(tile, box) for tile in (pinhole.image, shaded, colored, coords)]
        rows.append(np.hstack(tiles))
    cv2.imwrite(str(output), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


class _Surface:
    """A mesh to cast rays at."""

    def __init__(self, path: Path) -> None:
        data = PlyData.read(str(path))
        vertex = data["vertex"]
        points = np.column_stack([vertex[k] for k in "xyz"]).astype(np.float32)
        self.faces = np.stack(list(data["face"]["vertex_indices"])).astype(np.uint32)
        self.normals = np.column_stack([vertex[k] for k in ("nx", "ny", "nz")])
        self.colors = np.column_stack([vertex[k] for k in ("red", "green", "blue")]) / 255
        self.coords = np.column_stack([vertex[k] for k in "uvw"])
        self.scene = open3d.t.geometry.RaycastingScene(nthreads=2)
        self.scene.add_triangles(open3d.core.Tensor(points), open3d.core.Tensor(self.faces))

    def seen_from(self, camera: Camera):
        """Shaded, coloured and by coordinate, (H, W, 3) uint8, and depth."""
        y, x = np.mgrid[: camera.height, : camera.width] + 0.5
        rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()]))
        six = np.column_stack([np.broadcast_to(camera.center, rays.shape), rays])
        hits = self.scene.cast_rays(open3d.core.Tensor(six.astype(np.float32)), nthreads=2)
        depth = hits["t_hit"].numpy()
        hit = np.isfinite(depth)
        corners = self.faces[hits["primitive_ids"].numpy()[hit]]
        second, third = hits["primitive_uvs"].numpy()[hit].T
        weights = np.stack([1 - second - third, second, third], axis=1)[..., None]
        pictures = []
        for values in (None, self.colors, self.coords):
            if values is None:
                normal = (self.normals[corners] * weights).sum(axis=1)
                normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
                towards = np.array([-0.5, -0.55, -0.67]) @ camera.rotation
                light = 0.12 + 0.8 * np.clip(normal @ towards, 0, 1)
                shown = np.repeat(light[:, None], 3, axis=1)
            else:
                shown = (values[corners] * weights).sum(axis=1)
            picture = np.full((len(depth), 3), 255, np.uint8)
            picture[hit] = np.clip(255 * shown, 0, 255)
            pictures.append(picture.reshape(camera.height, camera.width, 3))
        return (*pictures, depth.reshape(camera.height, camera.width))


def _box(depth: np.ndarray) -> tuple[int, int, int]:
    """Centre and half side of a square around what was hit."""
    rows, columns = np.nonzero(np.isfinite(depth))
    half = int(0.58 * max(np.ptp(rows), np.ptp(columns)) + 1)
    return (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2, half


def _cut(image: np.ndarray, box: tuple[int, int, int]) -> np.ndarray:
    row, column, half = box
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), constant_values=255)
    part = padded[row : row + 2 * half, column : column + 2 * half]
    return cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
