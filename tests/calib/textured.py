"""A capture of a head with a texture that features can be found on, exact to the pixel."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from calib.camera import MODEL_PARAMS, Camera
from calib.capture import Capture, View
from tests.scenes import Scene, make_scene

LENS = ("OPENCV", (-0.35, 0.05, 0.0, 0.0))
SIZE = 192


def make_textured(folder: Path, n_views: int = 8) -> Capture:
    """Pictures ``0.png`` ... of a head on an arc of 105 degrees, without a camera file."""
    scene = make_scene(n_views, SIZE, 105.0, lens=LENS)
    (folder / "images").mkdir(parents=True)
    views = []
    for index, camera in enumerate(scene.cameras):
        path = folder / "images" / f"{index}.png"
        cv2.imwrite(str(path), _paint(scene, index))
        views.append(View(path.name, path, None, camera, np.zeros(0, np.int64)))
    return Capture(folder, tuple(views), np.zeros((0, 3)), ())


def changed(capture: Capture, **changes: float) -> Capture:
    """The capture with ``name_to``, ``name_by`` (a step) or ``name_times`` on all lenses."""
    views = []
    for view in capture.views:
        params = view.camera.params.copy()
        names = MODEL_PARAMS[view.camera.model]
        for key, value in changes.items():
            name, _, how = key.partition("_")
            at = names.index(name)
            params[at] = {"to": value, "by": params[at] + value, "times": params[at] * value}[how]
        views.append(replace(view, camera=replace(view.camera, params=params)))
    return replace(capture, views=tuple(views))


def with_cameras(capture: Capture, cameras: list[Camera]) -> Capture:
    views = tuple(
        replace(view, camera=camera) for view, camera in zip(capture.views, cameras, strict=True)
    )
    return replace(capture, views=views)


def turned(camera: Camera, *rotvec_deg: float) -> Camera:
    """The camera turned about its own axes where it stands."""
    turn = Rotation.from_rotvec(np.deg2rad(rotvec_deg)).as_matrix()
    return camera.with_pose(turn @ camera.cam_from_world)


def _paint(scene: Scene, index: int) -> np.ndarray:
    """Noise of three sizes in space, the same from all sides; beside the head nothing."""
    rng = np.random.default_rng(5)
    mask = scene.cube_maps[index].mask
    points = scene.surface_points(index)
    grey = np.zeros(len(points))
    for cell, height in ((0.004, 30.0), (0.008, 40.0), (0.016, 40.0)):
        grid = rng.uniform(-1, 1, (64, 64, 64))
        grey += height * map_coordinates(grid, (points / cell).T + 32, order=1, mode="grid-wrap")
    picture = np.full((*mask.shape, 3), 40, np.uint8)
    picture[mask] = np.clip(125 + grey[:, None] + [10, 0, -10], 0, 255)
    return picture
