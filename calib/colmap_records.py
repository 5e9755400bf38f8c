"""COLMAP's model files as plain records, checked before anything is trusted.

Binary files are read through bounds checks: no count in them makes this module allocate more than
the file could hold.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.calibration import DamagedError, check_name, check_names
from calib.camera import MODEL_PARAMS

DoubleArray = npt.NDArray[np.float64]

# By COLMAP's number of the model.
_MODEL_BY_ID = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"),
    *("FULL_OPENCV", "FOV", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE"),
    *("RAD_TAN_THIN_PRISM_FISHEYE", "SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE"),
    *("FISHEYE", "EUCM"),
)
_CAMERA_SENSOR = 0
_OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
_TRACK_ELEMENT = np.dtype([("image", "<u4"), ("index", "<u4")])
_LONGEST_NAME = 4096


@dataclass(frozen=True)
class LensRecord:
    """One entry of the cameras file."""

    model: str
    width: int
    height: int
    params: DoubleArray


@dataclass(frozen=True)
class ImageRecord:
    """One entry of the images file.

    Attributes:
        name: as in the file.
        camera_id: its camera's number.
        cam_from_world: (3, 4).
        point_ids: (n,) int64 numbers of the points it sees.
        observed: (n, 2) float64 pixels where it sees them.
    """

    name: str
    camera_id: int
    cam_from_world: DoubleArray
    point_ids: npt.NDArray[np.int64]
    observed: DoubleArray


@dataclass(frozen=True)
class ModelRecords:
    """A model's files, by id."""

    cameras: dict[int, LensRecord] = field(default_factory=dict)
    images: dict[int, ImageRecord] = field(default_factory=dict)
    points: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    # Pose of each camera in its rig, and by image: (rig, rig_from_world).
    rigs: dict[tuple[int, int], DoubleArray] = field(default_factory=dict)
    frames: dict[int, tuple[int, DoubleArray]] = field(default_factory=dict)


def read_records(folder: Path, suffix: str) -> ModelRecords:
    """Read a model's files.

    Args:
        folder: that holds cameras, images and, where there are any, points3D, rigs and frames.
        suffix: ".bin" or ".txt".

    Raises:
        DamagedError: if a file makes no sense; its text starts with the file's name.
    """
    readers = _BINARY if suffix == ".bin" else _TEXT
    records = ModelRecords()
    for stem, read in readers.items():
        path = folder / f"{stem}{suffix}"
        if not path.is_file() and stem not in ("cameras", "images"):
            continue
        try:
            data = path.read_bytes()
            read(_Bytes(data) if suffix == ".bin" else _lines(data), records)
        except DamagedError as error:
            raise DamagedError(f"{path.name}: {error}") from None
        except OSError as error:
            raise DamagedError(f"{path.name}: {error.strerror or error}") from None
        except (ValueError, IndexError, UnicodeDecodeError, OverflowError) as error:
            reason = str(error).partition("\n")[0]
            raise DamagedError(f"{path.name}: unreadable entry ({reason})") from None
    check_names(image.name for image in records.images.values())
    return records


def pose(quaternion: Any, translation: Any) -> DoubleArray:
    """(3, 4) from a quaternion w x y z and a translation, both checked."""
    q, t = np.array(quaternion, np.float64), np.array(translation, np.float64)
    length = float(np.linalg.norm(q)) if (np.abs(q) < 2).all() else 0.0
    if not 0.5 < length < 2 or not np.isfinite(t).all():
        raise DamagedError("a pose is not finite or its quaternion not of unit length")
    w, x, y, z = q / length
    R = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return np.column_stack([R, t])


class _Bytes:
    """A cursor over a file's bytes that never reads past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + layout)
        self.need(size)
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += size
        return values

    def count(self, at_least: int) -> int:
        """A number of entries, each of at least so many bytes."""
        (n,) = self.take("Q")
        if n * at_least > len(self.data) - self.at:
            raise DamagedError(f"announces {n} entries, more than the file holds (cut off?)")
        return int(n)

    def array(self, dtype: np.dtype[Any], n: int) -> npt.NDArray[Any]:
        self.need(n * dtype.itemsize)
        values = np.frombuffer(self.data, dtype, n, self.at)
        self.at += n * dtype.itemsize
        return values

    def text(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + _LONGEST_NAME)
        if end < 0:
            raise DamagedError("an image name does not end (cut off?)")
        text = self.data[self.at : end].decode()
        self.at = end + 1
        return text

    def need(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise DamagedError("ends too early (cut off?)")

    def finish(self) -> None:
        if self.at != len(self.data):
            raise DamagedError(f"{len(self.data) - self.at} bytes too long")


def _add_camera(
    records: ModelRecords, key: int, model: str, size: tuple[int, int], params: DoubleArray
) -> None:
    width, height = size
    if not (0 < width < 1 << 20 and 0 < height < 1 << 20):
        raise DamagedError(f"camera {key} has pictures of {width} x {height}")
    n_focal = 1 if MODEL_PARAMS[model][0] == "f" else 2
    if not np.isfinite(params).all() or not (params[:n_focal] > 0).all():
        raise DamagedError(f"camera {key} has parameters {params.tolist()}")
    records.cameras[key] = LensRecord(model, width, height, params)


def _add_image(
    records: ModelRecords,
    key: int,
    name: str,
    camera_id: int,
    cam_from_world: DoubleArray,
    observed: npt.NDArray[Any],
) -> None:
    if camera_id not in records.cameras:
        raise DamagedError(f"image {name!r} refers to camera {camera_id}, which is not there")
    if key in records.images:
        raise DamagedError(f"two images have the number {key}")
    check_name(name)
    seen = observed[observed["point"] >= 0]
    ids = np.ascontiguousarray(seen["point"], np.int64)
    pixels = np.column_stack([seen["x"], seen["y"]]).astype(np.float64)
    if not np.isfinite(pixels).all():
        raise DamagedError(f"image {name!r} has an observation that is not finite")
    records.images[key] = ImageRecord(name, camera_id, cam_from_world, ids, pixels)


def _add_point(
    records: ModelRecords, key: int, xyz: tuple[float, float, float], seen_by: list[int]
) -> None:
    if not all(map(math.isfinite, xyz)):
        raise DamagedError(f"point {key} is at {xyz}")
    if any(image not in records.images for image in seen_by):
        raise DamagedError(f"point {key} is seen by an image that is not there")
    records.points[key] = xyz


def _cameras_bin(data: _Bytes, records: ModelRecords) -> None:
    for _ in range(data.count(24)):
        key, model_id, width, height = data.take("IiQQ")
        if not 0 <= model_id < len(_MODEL_BY_ID):
            raise DamagedError(f"camera {key} has model number {model_id}, which is not supported")
        model = _MODEL_BY_ID[model_id]
        params = data.array(np.dtype("<f8"), len(MODEL_PARAMS[model])).astype(np.float64)
        _add_camera(records, key, model, (width, height), params)
    data.finish()


def _images_bin(data: _Bytes, records: ModelRecords) -> None:
    for _ in range(data.count(73)):
        key, *values, camera_id = data.take("I7dI")
        name = data.text()
        observed = data.array(_OBSERVATION, data.count(_OBSERVATION.itemsize))
        _add_image(records, key, name, camera_id, pose(values[:4], values[4:]), observed)
    data.finish()


def _points_bin(data: _Bytes, records: ModelRecords) -> None:
    for _ in range(data.count(51)):
        key, x, y, z = data.take("Qddd")
        data.take("3Bd")
        track = data.array(_TRACK_ELEMENT, data.count(_TRACK_ELEMENT.itemsize))
        _add_point(records, key, (x, y, z), track["image"].tolist())
    data.finish()


def _rigs_bin(data: _Bytes, records: ModelRecords) -> None:
    for _ in range(data.count(8)):
        rig, n_sensors = data.take("II")
        for index in range(n_sensors):
            kind, sensor = data.take("iI")
            transform = np.eye(3, 4)
            if index > 0 and data.take("B")[0]:
                values = data.take("7d")
                transform = pose(values[:4], values[4:])
            elif index > 0:
                continue
            if kind == _CAMERA_SENSOR:
                records.rigs[rig, sensor] = transform
    data.finish()


def _frames_bin(data: _Bytes, records: ModelRecords) -> None:
    for _ in range(data.count(68)):
        _, rig, *values, n_data = data.take("II7dI")
        transform = pose(values[:4], values[4:])
        for _ in range(n_data):
            kind, _, image = data.take("iIQ")
            if kind == _CAMERA_SENSOR:
                records.frames[image] = (rig, transform)
    data.finish()


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-8-sig")
    return [line for line in text.split("\n") if not line.startswith("#")]


def _words(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines if line.strip()]


def _cameras_txt(lines: list[str], records: ModelRecords) -> None:
    for key, model, width, height, *params in _words(lines):
        if model not in MODEL_PARAMS:
            raise DamagedError(f"camera {key} has model {model}, which is not supported")
        if len(params) != len(MODEL_PARAMS[model]):
            raise DamagedError(f"camera {key} has {len(params)} parameters, {model} another number")
        values = np.array(params, np.float64)
        _add_camera(records, int(key), model, (int(width), int(height)), values)


def _images_txt(lines: list[str], records: ModelRecords) -> None:
    # The line of observations may be empty, so empty lines count once the first image came.
    filled = [number for number, line in enumerate(lines) if line.strip()]
    lines = lines[filled[0] : filled[-1] + 1] if filled else []
    for head, observed in zip(lines[::2], [*lines[1::2], ""], strict=False):
        fields = head.strip().split(" ", 9)
        if len(fields) != 10:
            raise DamagedError(f"not an image: {head[:60]!r}")
        numbers = [float(value) for value in fields[1:8]]
        points = observed.split()
        if len(points) % 3:
            raise DamagedError(f"image {fields[9]!r} has an observation that is no triple")
        seen = np.zeros(len(points) // 3, _OBSERVATION)
        seen["x"], seen["y"] = np.array(points[0::3], float), np.array(points[1::3], float)
        seen["point"] = np.array(points[2::3], np.int64)
        transform = pose(numbers[:4], numbers[4:])
        _add_image(records, int(fields[0]), fields[9], int(fields[8]), transform, seen)


def _points_txt(lines: list[str], records: ModelRecords) -> None:
    for words in _words(lines):
        x, y, z = (float(word) for word in words[1:4])
        _add_point(records, int(words[0]), (x, y, z), [int(word) for word in words[8::2]])


def _rigs_txt(lines: list[str], records: ModelRecords) -> None:
    for words in _words(lines):
        rig, n_sensors = int(words[0]), int(words[1])
        rest = words[2:]
        for index in range(n_sensors):
            kind, sensor = rest[0], int(rest[1])
            rest, transform = rest[2:], np.eye(3, 4)
            if index > 0:
                has_pose, rest = rest[0] == "1", rest[1:]
                if not has_pose:
                    continue
                transform, rest = _pose_of(rest), rest[7:]
            if kind == "CAMERA":
                records.rigs[rig, sensor] = transform


def _frames_txt(lines: list[str], records: ModelRecords) -> None:
    for words in _words(lines):
        transform, rest = _pose_of(words[2:]), words[10:]
        for index in range(int(words[9])):
            if rest[3 * index] == "CAMERA":
                records.frames[int(rest[3 * index + 2])] = (int(words[1]), transform)


def _pose_of(words: list[str]) -> DoubleArray:
    values = [float(word) for word in words[:7]]
    return pose(values[:4], values[4:7])


_BINARY: dict[str, Any] = {
    "cameras": _cameras_bin,
    "images": _images_bin,
    "points3D": _points_bin,
    "rigs": _rigs_bin,
    "frames": _frames_bin,
}
_TEXT: dict[str, Any] = {
    "cameras": _cameras_txt,
    "images": _images_txt,
    "points3D": _points_txt,
    "rigs": _rigs_txt,
    "frames": _frames_txt,
}
