"""What the lenses are, in the words of a photographer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calib.camera import Camera

_FILM_DIAGONAL_MM = float(np.hypot(36, 24))


@dataclass(frozen=True)
class LensGroup:
    """Views with one and the same lens and picture size.

    Attributes:
        views: their indices.
        model: of the lens.
        size: width and height, pixels.
        focal_px: fx and fy.
        field_deg: horizontal and vertical field of view, without distortion.
        film_mm: focal length of the same diagonal field on 35 mm film.
        center_offset_px: principal point from the middle of the picture, x and y.
        distortion_px: the farthest that distortion moves a corner or the middle of an edge; NaN
            where the model does not reach any.
    """

    views: tuple[int, ...]
    model: str
    size: tuple[int, int]
    focal_px: tuple[float, float]
    field_deg: tuple[float, float]
    film_mm: float
    center_offset_px: tuple[float, float]
    distortion_px: float


def group_lenses(cameras: Sequence[Camera]) -> tuple[LensGroup, ...]:
    """The different lenses of some cameras, in the order of their first views."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, camera in enumerate(cameras):
        key = (camera.model, camera.width, camera.height, *camera.params.tolist())
        groups.setdefault(key, []).append(index)
    return tuple(_describe(cameras[views[0]], tuple(views)) for views in groups.values())


def largest_distortion(camera: Camera) -> float:
    """How far distortion moves the picture's corners and edges, at most, in pixels."""
    if camera.is_pinhole:
        return 0.0
    x, y = np.meshgrid(np.linspace(0, camera.width, 3), np.linspace(0, camera.height, 3))
    border = np.column_stack([x.ravel(), y.ravel()])
    at_origin = camera.with_pose(np.eye(3, 4))
    straight = at_origin.as_pinhole().project(at_origin.unproject(border))[0]
    moved = np.linalg.norm(straight - border, axis=1)
    return float(np.nanmax(moved)) if np.isfinite(moved).any() else float("nan")


def _describe(camera: Camera, views: tuple[int, ...]) -> LensGroup:
    size = np.array([camera.width, camera.height])
    focal = camera.K[[0, 1], [0, 1]]
    field = np.rad2deg(2 * np.arctan(size / 2 / focal))
    offset = camera.K[:2, 2] - size / 2
    return LensGroup(
        views=views,
        model=camera.model,
        size=(camera.width, camera.height),
        focal_px=(float(focal[0]), float(focal[1])),
        field_deg=(float(field[0]), float(field[1])),
        film_mm=float(focal.mean() / np.hypot(*size) * _FILM_DIAGONAL_MM),
        center_offset_px=(float(offset[0]), float(offset[1])),
        distortion_px=largest_distortion(camera),
    )
