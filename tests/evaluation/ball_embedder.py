"""An embedder that sees a ball exactly, but for errors that are known."""

import cv2
import numpy as np

from mvs.network.crop import paste_cube_map
from mvs.network.precomputed import write_cube_map
from mvs.types import CubeMap, Square
from tests.evaluation.captures import CUBE_PER_METRE, RADIUS, SIZE, setting

SCENE = setting(4)


class BallEmbedder:
    """Sees the ball exactly, but for errors of each view's own.

    Attributes:
        turns: angle about the ball's y axis, by view.
        shrink: pixels that the mask is too small.
        scene: the cameras.
        lift: pixels of the picture that the map is too low, by view.
    """

    name = "ball"
    wants_distorted = False
    size = 240

    def __init__(self, turns=(0.0,) * 9, shrink=0, scene=SCENE, lift=None):
        self.turns, self.shrink, self.scene = turns, shrink, scene
        self.lift = lift or (0.0,) * 9

    def find_head(self, image, name=None):
        x, y = self.scene.cameras[int(name[0])].project(np.zeros((1, 3)))[0][0]
        return Square((float(x), float(y)), 1.2 * SIZE * 1.9 * 2 * RADIUS / 0.49)

    def embed(self, image, region=None, name=None):
        index = int(name[0])
        camera = self.scene.cameras[index]
        step = region.side / self.size
        corner = np.array(region.center) - region.side / 2
        y, x = np.mgrid[: self.size, : self.size] + 0.5
        pixels = np.column_stack([x.ravel(), y.ravel()]) * step + corner
        rays = camera.unproject(pixels)
        along = -rays @ camera.center
        inside = RADIUS**2 - (camera.center @ camera.center - along**2)
        mask = (inside > 0).reshape(self.size, self.size)
        points = camera.center + (along - np.sqrt(np.maximum(inside, 0)))[:, None] * rays
        turn = self.turns[index]
        R = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        coords = (0.5 + points @ R.T * CUBE_PER_METRE).astype(np.float32)
        if self.shrink:
            kernel = np.ones((2 * self.shrink + 1,) * 2, np.uint8)
            mask = cv2.erode(mask.astype(np.uint8), kernel) > 0
        affine = np.array([[step, 0, corner[0]], [0, step, corner[1] + self.lift[index]]])
        coords = coords.reshape(self.size, self.size, 3)
        return CubeMap(np.clip(coords, 0, 1), mask.astype(np.float32), mask, affine)


def write_maps(folder, capture, embedder):
    """Write the embedder's maps as the precomputed embedder reads them."""
    for view in capture.views:
        image = view.load_image()
        part = embedder.embed(image, embedder.find_head(image, view.name), view.name)
        write_cube_map(folder / f"{view.name}.npz", paste_cube_map(part, SIZE, SIZE))
