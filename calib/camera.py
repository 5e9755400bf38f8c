"""A camera: lens, picture size and pose. This docstring states every convention of the project.

Frames and poses
    ``a_from_b`` takes coordinates in b to coordinates in a. ``cam_from_world`` is COLMAP's: a point
    X of the world is R X + t in the camera, with x to the right, y down and z forward.
Pixels
    COLMAP's: the centre of the first (upper left) pixel is (0.5, 0.5), x counts columns.
Units
    The world's unit is the capture's. Output is always in the frame and unit of the calibration.
    Lengths that mean millimetres end in ``_mm`` and are asked for only where the capture is metric.
Undistortion
    The pinhole picture of a view has the size and the linear part K of its distorted picture.
The cube
    [0, 1]^3, isotropic: the position on the neutral head, 5 % margin; x to the subject's left,
    y up, z forward. ``u v w`` in files, ``coords`` in code.
Numbers
    Arrays are stored as float32; poses and triangulation compute in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

# Parameters of each of COLMAP's perspective and fisheye models, in COLMAP's order.
MODEL_PARAMS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
    "FULL_OPENCV": (
        *("fx", "fy", "cx", "cy", "k1", "k2"),
        *("p1", "p2", "k3", "k4", "k5", "k6"),
    ),
    "FOV": ("fx", "fy", "cx", "cy", "omega"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "THIN_PRISM_FISHEYE": (
        *("fx", "fy", "cx", "cy", "k1", "k2"),
        *("p1", "p2", "k3", "k4", "sx1", "sy1"),
    ),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *("fx", "fy", "cx", "cy", "k0", "k1", "k2", "k3"),
        *("k4", "k5", "p0", "p1", "s0", "s1", "s2", "s3"),
    ),
    "SIMPLE_DIVISION": ("f", "cx", "cy", "k"),
    "DIVISION": ("fx", "fy", "cx", "cy", "k"),
    "SIMPLE_FISHEYE": ("f", "cx", "cy"),
    "FISHEYE": ("fx", "fy", "cx", "cy"),
    "EUCM": ("fx", "fy", "cx", "cy", "alpha", "beta"),
}
_PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE")
_ROTATION_TOLERANCE = 1e-6
# A ray belongs to a pixel if it projects back to within this.
_RETURNS_PX = 0.01


@dataclass(frozen=True, eq=False)
class Camera:
    """One calibrated view.

    Attributes:
        model: COLMAP's name of the lens model, a key of ``MODEL_PARAMS``.
        width: of the picture, pixels.
        height: of the picture, pixels.
        params: (n,) float64 in COLMAP's order.
        cam_from_world: (3, 4) float64 [R | t].
    """

    model: str
    width: int
    height: int
    params: DoubleArray
    cam_from_world: DoubleArray

    def __post_init__(self) -> None:
        if self.model not in MODEL_PARAMS:
            raise ValueError(f"model must be one of {', '.join(MODEL_PARAMS)}, got {self.model}")
        n = len(MODEL_PARAMS[self.model])
        object.__setattr__(self, "params", np.asarray(self.params, np.float64))
        object.__setattr__(self, "cam_from_world", np.asarray(self.cam_from_world, np.float64))
        if self.params.shape != (n,) or not np.isfinite(self.params).all():
            raise ValueError(f"params of {self.model} must be {n} numbers, got {self.params}")
        if not (self.K[0, 0] > 0 and self.K[1, 1] > 0):
            raise ValueError(f"focal length must be positive, got params {self.params}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"picture must not be empty, got {self.width} x {self.height}")
        if self.cam_from_world.shape != (3, 4) or not np.isfinite(self.cam_from_world).all():
            raise ValueError(f"cam_from_world must be (3, 4), finite, got {self.cam_from_world}")
        if np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > _ROTATION_TOLERANCE:
            raise ValueError(f"cam_from_world must start with a rotation, got {self.rotation}")

    @cached_property
    def K(self) -> DoubleArray:
        """(3, 3) float64 linear part: fx 0 cx; 0 fy cy; 0 0 1."""
        named = dict(zip(MODEL_PARAMS[self.model], self.params, strict=True))
        fx, fy = (named["f"],) * 2 if "f" in named else (named["fx"], named["fy"])
        return np.array([[fx, 0, named["cx"]], [0, fy, named["cy"]], [0, 0, 1]], np.float64)

    @property
    def rotation(self) -> DoubleArray:
        """(3, 3) camera from world."""
        return self.cam_from_world[:, :3]

    @property
    def translation(self) -> DoubleArray:
        """(3,) the world's origin in the camera."""
        return self.cam_from_world[:, 3]

    @property
    def center(self) -> DoubleArray:
        """(3,) the camera's centre in the world."""
        return -self.rotation.T @ self.translation

    @property
    def P(self) -> DoubleArray:
        """(3, 4) K [R | t]; projects points where the camera is a pinhole."""
        return self.K @ self.cam_from_world

    @property
    def is_pinhole(self) -> bool:
        """Whether the lens does not distort."""
        return self.model in _PINHOLES

    def as_pinhole(self) -> Camera:
        """The PINHOLE camera of the same K, size and pose."""
        K = self.K
        params = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
        return Camera("PINHOLE", self.width, self.height, params, self.cam_from_world)

    def with_pose(self, cam_from_world: DoubleArray) -> Camera:
        """The same camera elsewhere."""
        return replace(self, cam_from_world=cam_from_world)

    def project(self, points: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Where points appear.

        Args:
            points: (N, 3) world positions.

        Returns:
            (N, 2) pixels, NaN for points at or behind the camera and outside the lens model's
            field, and (N,) depth along the camera's z.
        """
        local = np.asarray(points, np.float64) @ self.rotation.T + self.translation
        depth = local[:, 2]
        ahead = depth > 0
        pixels = np.full((len(local), 2), np.nan)
        if self.is_pinhole:
            plane = local[ahead, :2] / depth[ahead, None]
            pixels[ahead] = plane * [self.K[0, 0], self.K[1, 1]] + self.K[:2, 2]
        elif ahead.all():
            pixels = _finite_or_nan(self._lens.img_from_cam(local))
        else:
            pixels[ahead] = _finite_or_nan(self._lens.img_from_cam(local[ahead]))
        return pixels, depth

    def unproject(self, pixels: DoubleArray) -> DoubleArray:
        """Rays that pixels see along.

        Args:
            pixels: (N, 2).

        Returns:
            (N, 3) unit directions in the world; NaN outside the lens model's field, and for what a
            fisheye sees at 90 degrees from its axis and beyond.
        """
        pixels = np.asarray(pixels, np.float64)
        if self.is_pinhole:
            plane = (pixels - self.K[:2, 2]) / [self.K[0, 0], self.K[1, 1]]
        else:
            plane = _finite_or_nan(self._lens.cam_from_img(pixels))
        rays = np.column_stack([plane, np.ones(len(plane))])
        if not self.is_pinhole:
            # COLMAP's inverse of some fisheyes goes on beyond 90 degrees, with rays mirrored.
            off = np.abs(self._lens.img_from_cam(rays) - pixels)
            rays[~((off[:, 0] < _RETURNS_PX) & (off[:, 1] < _RETURNS_PX))] = np.nan
        rays = rays @ self.rotation
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))

    @cached_property
    def _lens(self) -> Any:
        """The lens model's formulas are COLMAP's own."""
        import pycolmap

        return pycolmap.Camera(
            model=self.model, width=self.width, height=self.height, params=self.params.tolist()
        )


def _finite_or_nan(values: DoubleArray) -> DoubleArray:
    values = np.array(values, np.float64)
    values[~(np.isfinite(values[:, 0]) & np.isfinite(values[:, 1]))] = np.nan
    return values
