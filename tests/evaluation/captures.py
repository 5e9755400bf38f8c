"""Captures with exact truth: a ball, what hides parts of it, masks and hair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from plyfile import PlyData, PlyElement

from calib.camera import Camera
from calib.capture import Capture
from calib.colmap import write_model
from calib.formats import read_capture
from mvs.stages.ply import write_properties
from tests.scenes import unit_ball

RADIUS = 0.1
SIZE = 120
CUBE_PER_METRE = 1000 / 375.7


@dataclass(frozen=True)
class Setting:
    """What stands around the ball.

    Attributes:
        cameras: looking at it.
        masks: (H, W) bool per camera, None without.
        hair: (H, W) uint8 coverage per camera, None without.
        plate: (4, 3) corners of something in front, None without.
        scale: units of the world per metre.
        motion: (4, 4) rigid motion of the whole scene.
    """

    cameras: tuple[Camera, ...]
    masks: tuple[np.ndarray | None, ...]
    hair: tuple[np.ndarray | None, ...]
    plate: np.ndarray | None = None
    scale: float = 1.0
    motion: np.ndarray | None = None

    def place(self, points: np.ndarray) -> np.ndarray:
        """World positions of points given in metres beside the ball's centre."""
        motion = np.eye(4) if self.motion is None else self.motion
        return (points @ motion[:3, :3].T + motion[:3, 3]) * self.scale


def setting(n_views: int = 4, model: str = "PINHOLE", **changes: object) -> Setting:
    """Cameras on an arc around the ball, without masks."""
    cameras = []
    for yaw in np.deg2rad(np.linspace(-60, 60, n_views)):
        towards = np.array([np.sin(yaw), 0.15 * np.sin(5 * yaw), np.cos(yaw)])
        towards /= np.linalg.norm(towards)
        right = np.cross([0.0, 1.0, 0.0], towards)
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(-towards, right), -towards])
        params = [1.9 * SIZE, 1.9 * SIZE, SIZE / 2 + 4, SIZE / 2 - 3]
        params += [0.15, -0.05, 0.004, -0.003] if model == "OPENCV" else []
        cameras.append(
            Camera(model, SIZE, SIZE, np.array(params), np.column_stack([R, [0, 0, 0.5]]))
        )
    none = (None,) * n_views
    return Setting(**({"cameras": tuple(cameras), "masks": none, "hair": none} | changes))


def blobs(seed: int, share: float = 0.7) -> np.ndarray:
    """A mask with ragged holes."""
    noise = np.random.default_rng(seed).normal(size=(SIZE, SIZE))
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    return smooth < np.quantile(smooth, share)


def ball_mesh(rows: int = 120, columns: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Positions (V, 3) in metres and counter-clockwise faces."""
    unit, faces = unit_ball(rows, columns)
    return RADIUS * unit, faces


def write_mesh(path: Path, points: np.ndarray, faces: np.ndarray, **columns: np.ndarray) -> Path:
    """A PLY mesh; columns are further properties of its vertices."""
    vertex = {name: points[:, k] for k, name in enumerate("xyz")} | columns
    with path.open("wb") as stream:
        write_properties(stream, vertex, faces)
    return path


def write_points(path: Path, points: np.ndarray, **columns: np.ndarray) -> Path:
    """A PLY file of points without faces."""
    values = [*points.T, *columns.values()]
    table = np.empty(len(points), [(name, "<f8") for name in ("x", "y", "z", *columns)])
    for name, column in zip(table.dtype.names, values, strict=True):
        table[name] = column
    PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(path))
    return path


def write_ball(folder: Path, scene: Setting) -> Capture:
    """Write the capture: the ball's front (z > 0) is "face", the rest "head_neck"."""
    names = [f"{k}.png" for k in range(len(scene.cameras))]
    for name in ("images", "masks", "gt/hair"):
        (folder / name).mkdir(parents=True)
    motion = np.eye(4) if scene.motion is None else scene.motion
    cameras = []
    for name, camera, mask, hair in zip(names, scene.cameras, scene.masks, scene.hair, strict=True):
        blank = np.zeros((SIZE, SIZE), np.uint8)
        cv2.imwrite(str(folder / "images" / name), blank)
        if mask is not None:
            cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask.astype(np.uint8) * 255)
        if hair is not None:
            cv2.imwrite(str(folder / "gt" / "hair" / name), hair)
        R = camera.rotation @ motion[:3, :3].T
        t = (camera.translation - R @ motion[:3, 3]) * scene.scale
        cameras.append(camera.with_pose(np.column_stack([R, t])))
    write_model(folder / "sparse" / "0", names, cameras)
    points, faces = ball_mesh()
    coords = (0.5 + points * CUBE_PER_METRE).astype(np.float32)
    write_mesh(
        folder / "gt" / "mesh.ply",
        scene.place(points),
        faces,
        **dict(zip("uvw", coords.T, strict=True)),
        part=(points[:, 2] <= 0).astype(np.uint8),
    )
    if scene.plate is not None:
        corners = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
        write_mesh(folder / "gt" / "torso.ply", scene.place(scene.plate), corners)
    return read_capture(folder)


def seen(scene: Setting, view: int, point: np.ndarray) -> bool | None:
    """Whether a view sees a point of the ball, masks aside; None where that is a close call."""
    camera = scene.cameras[view]
    pixel, depth = camera.project(point[None])
    x, y = pixel[0]
    if depth[0] <= 0 or not (0 <= x < SIZE and 0 <= y < SIZE):
        return False
    towards = camera.center - point
    facing = point @ towards / RADIUS / np.linalg.norm(towards)
    if abs(facing) < 0.06:
        return None
    if facing < 0:
        return False
    return scene.plate is None or _passes(scene.plate, point, camera.center)


def _passes(plate: np.ndarray, start: np.ndarray, stop: np.ndarray) -> bool | None:
    """Whether the way between two points misses a rectangle; None where it is near its rim."""
    first, second = plate[1] - plate[0], plate[3] - plate[0]
    normal = np.cross(first, second)
    along = (plate[0] - start) @ normal / ((stop - start) @ normal)
    if not 0 < along < 1:
        return True
    offset = start + along * (stop - start) - plate[0]
    s, t = offset @ first / (first @ first), offset @ second / (second @ second)
    rim = min(s, 1 - s, t, 1 - t)
    return None if abs(rim) < 0.01 else bool(rim < 0)


def pixel_of(scene: Setting, view: int, point: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel that a point falls into."""
    (x, y), _ = (values[0] for values in scene.cameras[view].project(point[None]))
    return int(np.floor(y)), int(np.floor(x))
