"""Photographs of a sphere of noise, ray cast exactly, as someone without a calibration has them."""

import struct
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from calib.camera import Camera
from calib.capture import Capture

WIDTH, HEIGHT, FOCAL, RADIAL = 400, 320, 480.0, -0.08
N_VIEWS = 8
_DISTANCE = 3.0


def sphere_camera(index: int) -> Camera:
    """On an arc, 15 degrees apart, up and down by turns; a sphere of radius 1 at the origin."""
    turn, rise = np.deg2rad(15.0 * (index - 3.5)), 0.2 * (-1) ** index
    away = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), -np.cos(turn) * np.cos(rise)])
    right = np.cross([0.0, 1.0, 0.0], -away)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(-away, right), -away])
    params = np.array([FOCAL, WIDTH / 2, HEIGHT / 2, RADIAL])
    pose = np.column_stack([R, [0.0, 0.0, _DISTANCE]])
    return Camera("SIMPLE_RADIAL", WIDTH, HEIGHT, params, pose)


def sphere_picture(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 and (H, W) bool where the sphere is; the wall moves with the camera."""
    y, x = np.indices((HEIGHT, WIDTH)) + 0.5
    rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()]))
    along = -rays @ camera.center
    room = along**2 - camera.center @ camera.center + 1.0
    hit = room > 0
    points = camera.center + (along - np.sqrt(np.maximum(room, 0)))[:, None] * rays
    wall = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]) / 150 + 5
    grey = _noise(np.where(hit[:, None], points, wall))
    picture = np.clip(125 + grey, 0, 255).reshape(HEIGHT, WIDTH, 1)
    return np.repeat(picture, 3, axis=2).astype(np.uint8), hit.reshape(HEIGHT, WIDTH)


def write_photos(folder: Path, n: int = N_VIEWS) -> list[np.ndarray]:
    """Pictures ``0.png`` ... in ``folder``/images and masks; returns the pictures."""
    pictures = []
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(n):
        picture, mask = sphere_picture(sphere_camera(index))
        cv2.imwrite(str(folder / f"images/{index}.png"), picture)
        cv2.imwrite(str(folder / f"masks/{index}.png.png"), mask.astype(np.uint8))
        pictures.append(picture)
    return pictures


def jpeg_with_exif(picture: np.ndarray, orientation: int, focal_35mm: int) -> bytes:
    """A JPEG whose EXIF turns it and gives its focal length on 35 mm film."""
    inner = struct.pack("<HHHIHHI", 1, 0xA405, 3, 1, focal_35mm, 0, 0)
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack("<HHII", 0x8769, 4, 1, 8 + 2 + 24 + 4)
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0) + inner
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    segment = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def pose_errors(found: Capture, truth: dict[str, Camera]) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and distances per view after the similarity that fits the camera centres best.

    Source: Umeyama 1991.
    """
    cameras = [truth[view.name] for view in found.views]
    here = np.array([view.camera.center for view in found.views])
    there = np.array([camera.center for camera in cameras])
    a, b = here - here.mean(0), there - there.mean(0)
    u, spread, v = np.linalg.svd(b.T @ a / len(a))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    R = u * flip @ v
    scale = (spread * flip).sum() / (a**2).sum(1).mean()
    distances = np.linalg.norm(scale * a @ R.T - b, axis=1)
    turns = [
        view.camera.rotation @ R.T @ camera.rotation.T
        for view, camera in zip(found.views, cameras, strict=True)
    ]
    cosines = (np.trace(np.array(turns), axis1=1, axis2=2) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosines, -1, 1))), distances


def _noise(points: np.ndarray) -> np.ndarray:
    """Noise of three sizes in space."""
    rng = np.random.default_rng(5)
    grey = np.zeros(len(points))
    for cell, height in ((0.03, 35.0), (0.06, 40.0), (0.15, 40.0)):
        grid = rng.uniform(-1, 1, (40, 40, 40))
        grey += height * map_coordinates(grid, (points / cell).T, order=1, mode="grid-wrap")
    return grey
