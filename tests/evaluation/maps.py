"""Exact maps of the ball of ``tests.evaluation.captures``, as if a network had made them."""

import numpy as np

from mvs.stages.embed import EmbeddedViews, Sphere
from mvs.types import CubeMap
from tests.evaluation.captures import CUBE_PER_METRE, RADIUS, SIZE


def turn_about_y(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def ball_map(camera, scene, turn=0.0, size=2 * SIZE, with_normals=False):
    """The map of a picture: pinhole, the ball turned about its own y axis by an angle."""
    step = SIZE / size
    y, x = np.mgrid[:size, :size] + 0.5
    motion = np.eye(4) if scene.motion is None else scene.motion
    rays = camera.unproject(np.column_stack([x.ravel(), y.ravel()]) * step) @ motion[:3, :3]
    center = (camera.center / scene.scale - motion[:3, 3]) @ motion[:3, :3]
    along = -rays @ center
    inside = RADIUS**2 - (center @ center - along**2)
    mask = (inside > 0).reshape(size, size)
    points = center + (along - np.sqrt(np.maximum(inside, 0)))[:, None] * rays
    points = (points @ turn_about_y(turn).T).reshape(size, size, 3)
    coords = np.clip(0.5 + points * CUBE_PER_METRE, 0, 1).astype(np.float32)
    normals = (points / RADIUS).astype(np.float32) if with_normals else None
    affine = np.array([[step, 0, 0], [0, step, 0]])
    return CubeMap(coords, mask.astype(np.float32), mask, affine, normals)


def ball_views(capture, scene, turns=0.0, **changes):
    """All views of a capture of the ball, embedded."""
    cameras = tuple(view.camera.as_pinhole() for view in capture.views)
    turns = np.broadcast_to(turns, len(cameras))
    maps = [ball_map(camera, scene, t, **changes) for camera, t in zip(cameras, turns, strict=True)]
    images = (np.zeros((SIZE, SIZE, 3), np.uint8),) * len(cameras)
    middle = scene.place(np.zeros((1, 3)))[0]
    head = Sphere(middle, RADIUS * scene.scale, np.ones(len(cameras), bool))
    masks = tuple(np.ones(image.shape[:2], np.bool_) for image in images)
    return EmbeddedViews(cameras, images, tuple(maps), head, masks, (None,) * len(cameras))
