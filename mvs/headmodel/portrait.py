"""Portraits: what a camera turned to a face would have seen, upright and of one size.

The mean head is laid over the head that is seen; its face is in the portrait's middle, its up is
up, and its size, not the seen head's, is the same in all portraits.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from calib.camera import Camera
from calib.scale import Similarity
from mvs.canonical.cube import CUBE_SCALE_PER_CM, cube_from_cm
from mvs.headmodel.start import cube_from_model
from mvs.headmodel.types import HeadModel
from mvs.network.crop import for_opencv
from mvs.types import ByteArray, DoubleArray

# The middle of a portrait, in cm of the neutral head around which the cube was laid.
FACE_CENTER_CM = (0.0, 0.5, 8.0)
# Pixels of a portrait per cm at that depth.
PIXELS_PER_CM = 8.75
# Where portraits are rendered from to train on, radians from the front.
YAW_SD, PITCH_MEAN, PITCH_SD = 0.45, 0.05, 0.25
# Where a portrait counts for nothing, in deviations of yaw and of pitch; for all it counts one
# before. From above and below few portraits were seen: what is read there still misleads.
_STRANGE, _YAW, _PITCH = 2.5, 0.55, 0.2


class Portrait(NamedTuple):
    """A portrait taken out of a picture.

    Attributes:
        image: (S, S, 3) uint8 RGB; beyond the picture its border is repeated.
        picture_from_portrait: (3, 3) homography of pixels.
    """

    image: ByteArray
    picture_from_portrait: DoubleArray


def portrait(
    image: ByteArray, camera: Camera, model: HeadModel, place: Similarity, size: int
) -> Portrait:
    """The portrait of a head in a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        camera: pinhole, of the picture.
        model: head model.
        place: ``world_from_model`` of its mean head, laid over the head that is seen.
        size: side of the portrait, pixels.
    """
    cube = cube_from_model(model)
    seen = camera.rotation @ _face_center(cube, place) + camera.translation
    up = camera.rotation @ place.rotation @ cube.rotation.T[:, 1]
    turned = _towards(seen, up)
    unit = place.scale / cube.scale * CUBE_SCALE_PER_CM
    focal = PIXELS_PER_CM / unit * float(np.linalg.norm(seen))
    own = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    old_from_new = camera.K @ turned.T @ np.linalg.inv(own)
    finer = max(1, round(float(camera.K[0, 0]) / focal))
    return Portrait(_seen_through(image, old_from_new, finer, size), old_from_new)


def familiar(camera: Camera, model: HeadModel, place: Similarity) -> float:
    """How far a portrait is like those that the regressor was trained on, by where it is from.

    1 from about the front, 0 from where it was trained too little: from more than 79 degrees
    beside, 31 above or 26 below.

    Args:
        camera: pinhole.
        model: head model.
        place: of its mean head, see ``portrait``.
    """
    cube = cube_from_model(model)
    back = camera.center - _face_center(cube, place)
    x, y, z = cube.rotation @ place.rotation.T @ back
    yaw, pitch = np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))
    off = np.hypot(yaw / _YAW, (pitch - PITCH_MEAN) / _PITCH)
    return float(np.clip(_STRANGE - off, 0, 1))


def _face_center(cube_from_head: Similarity, place: Similarity) -> DoubleArray:
    """(3,) the middle of the mean head's face, in the world."""
    center = cube_from_cm(np.array([FACE_CENTER_CM], np.float32)).astype(np.float64)
    return np.asarray(place.points(cube_from_head.inverse().points(center))[0])


def _towards(point: DoubleArray, up: DoubleArray) -> DoubleArray:
    """Rotation of a camera that looks at a point, from the camera it is given in."""
    ahead = point / np.linalg.norm(point)
    right = np.cross(up, -ahead)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead])


def _seen_through(image: ByteArray, old_from_new: DoubleArray, finer: int, size: int) -> ByteArray:
    """A picture as a camera in the same place sees it, turned and with another focal length.

    It is averaged over finer pixels, so many along a new one's side.
    """
    n = size * finer
    old_from_fine = old_from_new @ np.diag([1 / finer, 1 / finer, 1.0])
    fine = cv2.warpPerspective(
        image,
        for_opencv(old_from_fine),
        (n, n),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
