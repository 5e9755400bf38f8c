"""``transforms.json`` of nerfstudio and instant-ngp.

Poses are ``world_from_cam`` with OpenGL's camera: x right, y up, z backward. The world is that of
the file, in which its ``ply_file_path`` lies too; ``applied_transform``, which says how nerfstudio
had turned the world of its source, is not undone. Pixels are COLMAP's. Source:
https://docs.nerf.studio/quickstart/data_conventions.html
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.calibration import (
    CalibratedImage,
    Calibration,
    DamagedError,
    checked_size,
    inverted,
    number,
    numbers,
    rigid,
)
from calib.camera import Camera
from calib.cameras_json import json_object
from calib.capture import Capture
from calib.files import write_json

DoubleArray = npt.NDArray[np.float64]

FILE_NAME = "transforms.json"
_OPENGL = np.diag([1.0, -1.0, -1.0])
_FISHEYES = ("OPENCV_FISHEYE", "FISHEYE")
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "SIMPLE_RADIAL", "RADIAL")
# What a file may say per frame or once for all.
_INTRINSICS = (
    *("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "camera_model"),
    *("k1", "k2", "k3", "k4", "p1", "p2", "is_fisheye"),
)
# The model's name there, and what the last parameters are called.
_WRITTEN = {
    "SIMPLE_RADIAL": ("OPENCV", ("k1",)),
    "RADIAL": ("OPENCV", ("k1", "k2")),
    "OPENCV": ("OPENCV", ("k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": ("OPENCV_FISHEYE", ("k1", "k2", "k3", "k4")),
}


def find_nerfstudio(path: Path) -> Path | None:
    """A folder's ``transforms.json``, or ``path`` itself where it is a JSON with frames."""
    if path.is_dir():
        return path / FILE_NAME if (path / FILE_NAME).is_file() else None
    if path.suffix != ".json":
        return None
    return path if path.name == FILE_NAME or b'"frames"' in path.read_bytes() else None


def read_nerfstudio(path: Path) -> Calibration:
    """Read a ``transforms.json``.

    Raises:
        DamagedError: if it makes no sense.
    """
    document = json_object(path)
    frames = document.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise DamagedError("must hold a list of frames")
    shared = {key: document[key] for key in _INTRINSICS if key in document}
    names = [_name(frame) for frame in frames]
    in_images = all(name.startswith("images/") for name in names)
    images = tuple(
        _image(name.removeprefix("images/") if in_images else name, shared | frame)
        for name, frame in zip(names, frames, strict=True)
    )
    return Calibration(images, (path.parent / "images" if in_images else path.parent,))


def write_nerfstudio(folder: Path, capture: Capture) -> Path:
    """Write a capture's ``transforms.json``; returns its path.

    Raises:
        ValueError: if a lens is none that nerfstudio knows.
    """
    frames: list[dict[str, Any]] = []
    for view in capture.views:
        world_from_cam = np.eye(4)
        world_from_cam[:3] = inverted(view.camera.cam_from_world)
        world_from_cam[:3, :3] = world_from_cam[:3, :3] @ _OPENGL
        frame = {"file_path": f"images/{view.name}", "transform_matrix": world_from_cam.tolist()}
        frames.append(frame | _intrinsics(view.name, view.camera))
    shared = {key: frames[0][key] for key in _INTRINSICS if key in frames[0]}
    if all({key: frame.get(key) for key in shared} == shared for frame in frames):
        frames = [{k: v for k, v in frame.items() if k not in shared} for frame in frames]
    else:
        shared = {}
    write_json(folder / FILE_NAME, shared | {"frames": frames}, indent=1)
    return folder / FILE_NAME


def _name(frame: dict[str, Any]) -> str:
    name = frame.get("file_path")
    if not isinstance(name, str):
        raise DamagedError("a frame has no file_path")
    return name.replace("\\", "/").removeprefix("./")


def _image(name: str, said: dict[str, Any]) -> CalibratedImage:
    values = numbers(said.get("transform_matrix"), None, f"transform_matrix of {name!r}")
    if len(values) not in (12, 16):
        raise DamagedError(f"transform_matrix of {name!r} must be 4 x 4")
    pose = values[:12].reshape(3, 4)
    if "w" not in said or "h" not in said:
        raise DamagedError(f"neither the file nor frame {name!r} gives w and h, the picture's size")
    size = checked_size((said["w"], said["h"]), name)
    model, params = _lens(name, said, size)
    mask = said.get("mask_path")
    return CalibratedImage(
        name=name,
        model=model,
        params=params,
        cam_from_world=inverted(rigid(pose[:, :3] @ _OPENGL, pose[:, 3], name)),
        size=size,
        mask=None if mask is None else str(mask).replace("\\", "/").removeprefix("./"),
    )


def _lens(name: str, said: dict[str, Any], size: tuple[int, int]) -> tuple[str, DoubleArray]:
    fx, fy = (_focal(name, said, axis, size[i]) for i, axis in enumerate("xy"))
    fx = fx or fy
    if fx is None:
        raise DamagedError(f"{name!r} has neither fl_x nor camera_angle_x")
    linear = [
        *(fx, fy or fx),
        number(said.get("cx", size[0] / 2), f"cx of {name!r}"),
        number(said.get("cy", size[1] / 2), f"cy of {name!r}"),
    ]
    k1, k2, k3, k4, p1, p2 = (
        number(said.get(key, 0.0), f"{key} of {name!r}")
        for key in ("k1", "k2", "k3", "k4", "p1", "p2")
    )
    model = str(said.get("camera_model", "OPENCV"))
    if model in _FISHEYES or said.get("is_fisheye"):
        return "OPENCV_FISHEYE", np.array([*linear, k1, k2, k3, k4])
    if model not in _PERSPECTIVE:
        raise DamagedError(f"{name!r} has the camera model {model}, which is not supported")
    if k4:
        raise DamagedError(f"{name!r} has k4, which no perspective lens model here has")
    if k3:
        return "FULL_OPENCV", np.array([*linear, k1, k2, p1, p2, k3, 0, 0, 0])
    if any((k1, k2, p1, p2)):
        return "OPENCV", np.array([*linear, k1, k2, p1, p2])
    return "PINHOLE", np.array(linear)


def _focal(name: str, said: dict[str, Any], axis: str, side: int) -> float | None:
    if said.get(f"fl_{axis}") is not None:
        return number(said[f"fl_{axis}"], f"fl_{axis} of {name!r}")
    angle = said.get(f"camera_angle_{axis}")
    if angle is None:
        return None
    radians = number(angle, f"camera_angle_{axis} of {name!r}")
    if not 0 < radians < math.pi:
        raise DamagedError(f"camera_angle_{axis} of {name!r} must lie between 0 and pi")
    return 0.5 * side / math.tan(radians / 2)


def _intrinsics(name: str, camera: Camera) -> dict[str, Any]:
    K = camera.K
    said: dict[str, Any] = {"w": camera.width, "h": camera.height}
    said |= {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    if camera.is_pinhole:
        return said | {"camera_model": "PINHOLE"}
    if camera.model not in _WRITTEN:
        raise ValueError(f"{name}: transforms.json cannot hold {camera.model}; undistort first")
    model, keys = _WRITTEN[camera.model]
    return (
        said | {"camera_model": model} | dict(zip(keys, camera.params[-len(keys) :], strict=True))
    )
