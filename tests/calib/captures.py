"""A small capture on disk for the readers' tests: cameras, points and pictures."""

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.capture import Capture, View

WIDTH, HEIGHT = 120, 90
PINHOLE = ("PINHOLE", [110.3, 112.7, 61.5, 43.25])
OPENCV = ("OPENCV", [110.3, 112.7, 61.5, 43.25, -0.08, 0.02, 0.001, -0.002])
RADIAL = ("RADIAL", [110.3, WIDTH / 2, HEIGHT / 2, -0.08, 0.02])
FISHEYE = ("OPENCV_FISHEYE", [70.3, 71.7, 61.5, 43.25, -0.02, 0.01, -0.003, 0.001])


def pose_of(index: int) -> np.ndarray:
    R = Rotation.from_rotvec([0.1 * index, 0.3 - 0.2 * index, 0.05]).as_matrix()
    return np.column_stack([R, [0.1 * index, -0.05, 2.0 + 0.1 * index]])


def make_capture(folder: Path, lens=PINHOLE, n=4, unit=None) -> Capture:
    """Views ``00.png`` ... with pictures in ``folder``/images, no camera file."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    points = rng.uniform(-0.3, 0.3, (30, 3))
    views = []
    for index in range(n):
        camera = Camera(lens[0], WIDTH, HEIGHT, np.array(lens[1], float), pose_of(index))
        path = folder / "images" / f"{index:02d}.png"
        picture = np.full((HEIGHT, WIDTH, 3), 40 * index, np.uint8)
        picture[: HEIGHT // 2] += 20
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        rows = np.arange(index, 30)
        observed = camera.project(points[rows])[0] + rng.normal(0, 0.2, (len(rows), 2))
        views.append(View(path.name, path, None, camera, rows, observed))
    return Capture(folder, tuple(views), points, (), unit)


def seen_by(camera: Camera, rng: np.random.Generator, n: int = 200) -> np.ndarray:
    """World points in a camera's picture, at all depths from near to far."""
    pixels = rng.uniform([1, 1], [camera.width - 1, camera.height - 1], (n, 2))
    rays = camera.unproject(pixels)
    points = camera.center + rays * rng.uniform(0.5, 5.0, (n, 1))
    return points[np.isfinite(points).all(axis=1)]


def assert_same_cameras(found: Capture, truth: Capture, tolerance: float = 1e-9) -> None:
    """Each view of ``found`` projects as the view of the same name in ``truth``, in pixels."""
    expected = {view.name: view.camera for view in truth.views}
    assert [view.name for view in found.views] == sorted(expected)
    for view in found.views:
        camera = expected[view.name]
        assert (view.camera.width, view.camera.height) == (camera.width, camera.height)
        points = seen_by(camera, np.random.default_rng(7))
        np.testing.assert_allclose(
            view.camera.project(points)[0], camera.project(points)[0], rtol=0, atol=tolerance
        )
