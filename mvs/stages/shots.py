"""What the later stages know of the views, and a surface as a view sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calib.camera import Camera
from mvs.kernels.raster import rasterise
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray, IntArray

# Radii of the spheres of the crops: hair may reach out of them; farther away there is nothing.
FAR = 1.4
# If more points than this share are farther away, the radius is wrong, not they.
_STRAYS = 0.02


@dataclass(frozen=True)
class Shots:
    """The views of a capture after embedding.

    Attributes:
        names: of the pictures.
        cameras: pinhole cameras.
        images: (H, W, 3) uint8 pictures.
        masks: (H, W) pixels that may show the head.
        cube_maps: of the pictures; empty without an embedder.
        center: (3,) of the head, world.
        radius: of the head, world units.
        has_masks: whether anything tells the object from what is around it.
    """

    names: Sequence[str]
    cameras: Sequence[Camera]
    images: Sequence[ByteArray]
    masks: Sequence[BoolArray]
    cube_maps: Sequence[CubeMap]
    center: DoubleArray
    radius: float
    has_masks: bool = True

    def __len__(self) -> int:
        return len(self.cameras)

    def footprint(self, view: int) -> float:
        """Width of a pixel of a view at the head, world units."""
        camera = self.cameras[view]
        distance = float(np.linalg.norm(camera.center - self.center))
        return distance / float(camera.K[0, 0])

    def holds(self, points: DoubleArray) -> BoolArray:
        """Which points (N, 3) are no strays: near the head, or many that are not."""
        near = np.linalg.norm(points - self.center, axis=1) <= FAR * self.radius
        return np.asarray(near | (near.mean() < 1 - _STRAYS))

    def mask(self, view: int, scale: float) -> BoolArray:
        """The mask at a part of the resolution; any pixel that may show the head counts."""
        size = scaled_size(self.cameras[view], scale)
        mask = self.masks[view].astype(np.float32)
        return np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA) > 0)

    def depth(self, view: int, scale: float, points: DoubleArray, faces: IntArray) -> FloatArray:
        """Camera z of a surface as a view sees it at a part of the resolution, inf without."""
        size = scaled_size(self.cameras[view], scale)
        camera = part_camera(self.cameras[view], (0, 0), scale, size)
        pixels, depth = camera.project(points)
        return rasterise(np.nan_to_num(pixels, nan=-1e6), depth, faces, size).depth


def head_mask(mask: BoolArray, cube_map: CubeMap, given: bool) -> BoolArray:
    """Pixels that may show the head: the user's mask, or without one what the cube map says.

    Args:
        mask: (H, W) the user's, or of the pixels that undistortion filled.
        cube_map: of the picture.
        given: whether the user gave one.
    """
    if given or not cube_map.mask.any():
        return mask
    to = cube_map.image_from_map
    # From pixel centres to cv2's corners.
    shift = to[:, :2] @ [0.5, 0.5] + to[:, 2] - 0.5
    matrix = np.column_stack([to[:, :2], shift])
    size = mask.shape[1], mask.shape[0]
    seen = cv2.warpAffine(cube_map.mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    return np.asarray((seen > 0) & mask)


def scaled_size(camera: Camera, scale: float) -> tuple[int, int]:
    """(height, width) of a camera's picture at a part of its resolution."""
    return max(int(camera.height * scale), 1), max(int(camera.width * scale), 1)


def part_camera(
    camera: Camera, corner: tuple[int, int], scale: float, size: tuple[int, ...]
) -> Camera:
    """The camera of a part of its picture at another resolution.

    Args:
        camera: a pinhole camera.
        corner: (row, column) of the part's first pixel.
        scale: of the resolution.
        size: (height, width) of the part at that resolution.
    """
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    params = np.array([fx, fy, cx - corner[1], cy - corner[0]]) * scale
    return Camera("PINHOLE", size[1], size[0], params, camera.cam_from_world)
