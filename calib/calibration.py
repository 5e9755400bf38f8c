"""What a camera file says, before any picture is opened, and the checks all readers share.

A reader gives a ``Calibration``. It raises ``DamagedError`` where the content makes no sense;
``calib.formats`` turns that into a ``CameraFileError`` with the file's path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.camera import MODEL_PARAMS, Camera

DoubleArray = npt.NDArray[np.float64]
IdArray = npt.NDArray[np.int64]

UNITS = ("m", "cm", "mm")
# How far from a rotation a matrix of few decimals may be; it is then made one.
_ROTATION_TOLERANCE = 1e-3
_LARGEST_SIDE = 1 << 20
_LARGEST_TEXT = 1 << 28
_LONGEST_NAME = 1024
_LONGEST_PART = 255
# How many names a message spells out.
_N_NAMED = 5
# No length, pixel or coefficient of a camera is larger; their squares and cubes stay finite.
_LARGEST_NUMBER = 1e15
_SMALLEST_FOCAL = 1e-2
_SKEW_TOLERANCE = 1e-9


class DamagedError(Exception):
    """A camera file whose content makes no sense; the text says why."""


@dataclass(frozen=True, eq=False)
class CalibratedImage:
    """One picture of a camera file.

    Attributes:
        name: relative to one of the calibration's folders, with forward slashes.
        model: of the lens, a key of ``MODEL_PARAMS``.
        params: (n,) float64 in COLMAP's order and pixel convention.
        cam_from_world: (3, 4) float64.
        size: width and height, pixels; None where only the picture tells.
        is_centered: the principal point and ``observed`` count from the middle of the picture.
        point_ids: (n,) int64 rows of the calibration's points that it sees, ascending.
        observed: (n, 2) float64 pixels where it sees them; None where the file does not say.
        mask: name of its mask's file where the camera file gives one, else None.
    """

    name: str
    model: str
    params: DoubleArray
    cam_from_world: DoubleArray
    size: tuple[int, int] | None
    is_centered: bool = False
    point_ids: IdArray = field(default_factory=lambda: np.zeros(0, np.int64))
    observed: DoubleArray | None = None
    mask: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.mask is not None:
            check_name(self.mask)
        if self.size is not None:
            checked_size(self.size, self.name)
        _check_lens(self.model, self.params, self.name)
        _check_range(self.cam_from_world, f"the pose of {self.name!r}")
        if self.observed is not None:
            _check_range(self.observed, f"an observation of {self.name!r}")

    def camera(self, width: int, height: int) -> Camera:
        """The camera of a picture of this size."""
        params = np.array(self.params, np.float64)
        if self.is_centered:
            at = MODEL_PARAMS[self.model].index("cx")
            params[at : at + 2] += width / 2, height / 2
        return Camera(self.model, width, height, params, self.cam_from_world)

    def observed_in(self, width: int, height: int) -> DoubleArray | None:
        """(n, 2) pixels of a picture of this size where the points are seen, None if unknown."""
        if self.observed is None or not self.is_centered:
            return self.observed
        shifted: DoubleArray = self.observed + np.array([width / 2, height / 2])
        return shifted


@dataclass(frozen=True, eq=False)
class Calibration:
    """A camera file's content.

    Attributes:
        images: in the file's order, names unique.
        points: (N, 3) float64 sparse points, may be empty.
        folders: where the pictures are looked for, in this order.
        unit: of the world, one of ``UNITS``; None where the file does not say.
        warnings: what a user should know, one line each.
    """

    images: tuple[CalibratedImage, ...]
    folders: tuple[Path, ...]
    points: DoubleArray = field(default_factory=lambda: np.zeros((0, 3)))
    unit: str | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names(image.name for image in self.images)
        _check_range(self.points, "a point")
        if self.unit is not None and self.unit not in UNITS:
            raise DamagedError(f"the unit must be one of {', '.join(UNITS)}, it is {self.unit!r}")


def check_names(names: Iterable[str]) -> None:
    """Raise DamagedError where two pictures have one name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DamagedError(f"two images have the name {name!r}")
        seen.add(name)


def some_names(names: Sequence[str]) -> str:
    """The first few names, for a message of one line."""
    shown = [name[:_LONGEST_PART] for name in names[:_N_NAMED]]
    text = ", ".join(name if name.isprintable() else repr(name) for name in shown)
    return f"{text} and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else text


def check_name(name: str) -> None:
    """Raise DamagedError where a picture's name is none or leaves the images folder."""
    parts = name.replace("\\", "/").split("/")
    has_drive = len(name) > 1 and name[1] == ":"
    if not name or not name.isprintable():
        raise DamagedError(f"an image has the name {name!r}")
    if ".." in parts or not parts[0] or has_drive:
        raise DamagedError(f"the image name {name!r} leaves the images folder")
    if len(name) > _LONGEST_NAME or max(len(part.encode()) for part in parts) > _LONGEST_PART:
        raise DamagedError(f"an image name has {len(name)} characters: {name[:40]!r}...")


def rigid(rotation: Any, translation: Any, name: str) -> DoubleArray:
    """(3, 4) from a rotation, made exact, and a translation, both checked.

    Raises:
        DamagedError: if it is not finite, mirrored or far from a rotation.
    """
    R = np.array(rotation, np.float64).reshape(3, 3)
    t = np.array(translation, np.float64).reshape(3)
    _check_range(t, f"the position of {name!r}")
    if not np.isfinite(R).all() or np.abs(R).max() > 2:
        raise DamagedError(f"the pose of {name!r} is not finite or no rotation")
    if np.abs(R @ R.T - np.eye(3)).max() > _ROTATION_TOLERANCE:
        raise DamagedError(f"the pose of {name!r} does not hold a rotation")
    if np.linalg.det(R) < 0:
        raise DamagedError(f"the pose of {name!r} is mirrored")
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-12:
        u, _, v = np.linalg.svd(R)
        R = u @ v
    return np.column_stack([R, t])


def pinhole_params(K: DoubleArray, name: str, shift: float) -> DoubleArray:
    """fx, fy, cx, cy of a (3, 3) K, which may have been scaled.

    Args:
        K: of a camera file.
        name: of the picture.
        shift: 0.5 where the file's first pixel has its centre at (0, 0), else 0.

    Raises:
        DamagedError: if it is no K, or has skew.
    """
    scale = float(K[2, 2])
    if not 1e-6 < abs(scale) < 1e6 or np.abs(K[2, :2]).max() > 0:
        raise DamagedError(f"K of {name!r} must end in 0 0 1")
    K = K / scale
    if max(abs(K[0, 1]), abs(K[1, 0])) > _SKEW_TOLERANCE * abs(K[0, 0]):
        raise DamagedError(f"K of {name!r} has skew, which no lens model here has")
    return np.array([K[0, 0], K[1, 1], K[0, 2] + shift, K[1, 2] + shift])


def inverted(pose: DoubleArray) -> DoubleArray:
    """(3, 4) ``a_from_b`` of a (3, 4) ``b_from_a``."""
    R = pose[:, :3]
    return np.column_stack([R.T, -R.T @ pose[:, 3]])


def checked_size(size: Sequence[Any], name: str) -> tuple[int, int]:
    """Width and height as integers.

    Raises:
        DamagedError: if they are no size of a picture.
    """
    values = [float(value) for value in size]
    if len(values) != 2 or not all(0 < v < _LARGEST_SIDE and v == int(v) for v in values):
        raise DamagedError(f"{name!r} has pictures of {' x '.join(map(str, size))}")
    return int(values[0]), int(values[1])


def numbers(values: Any, n: int | None, what: str) -> DoubleArray:
    """A flat list of finite numbers.

    Raises:
        DamagedError: if it is not that, or not of length ``n``.
    """
    try:
        array = np.array(values, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise DamagedError(f"{what} is not a list of numbers") from None
    if n is not None and len(array) != n:
        raise DamagedError(f"{what} has {len(array)} numbers, {n} are needed")
    _check_range(array, what)
    return array


def number(value: Any, what: str) -> float:
    """A finite number.

    Raises:
        DamagedError: if it is not that.
    """
    if isinstance(value, (bool, list, dict)):
        raise DamagedError(f"{what} is no number")
    return float(numbers([value], 1, what)[0])


def read_text(path: Path, largest: int = _LARGEST_TEXT) -> str:
    """A camera file's text.

    Raises:
        DamagedError: if it is absurdly long, binary or not UTF-8.
    """
    if path.stat().st_size > largest:
        raise DamagedError(f"is larger than {largest >> 10} kB")
    data = path.read_bytes()
    if b"\0" in data:
        raise DamagedError("is no text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DamagedError("is not in UTF-8") from None


def _check_lens(model: str, params: DoubleArray, name: str) -> None:
    if model not in MODEL_PARAMS:
        raise DamagedError(f"the lens model {model} of {name!r} is not supported")
    names = MODEL_PARAMS[model]
    n_focal = 1 if names[0] == "f" else 2
    if len(params) != len(names):
        raise DamagedError(f"{name!r} has {len(params)} parameters, {model} has {len(names)}")
    _check_range(params, f"a lens parameter of {name!r}")
    if not (np.asarray(params[:n_focal]) >= _SMALLEST_FOCAL).all():
        raise DamagedError(f"{name!r} has the parameters {np.asarray(params).tolist()}")


def _check_range(values: DoubleArray, what: str) -> None:
    """Raise DamagedError where a value is not finite, or larger than anything that is meant."""
    if not np.isfinite(values).all():
        raise DamagedError(f"{what} is not finite")
    if values.size and np.abs(values).max() > _LARGEST_NUMBER:
        raise DamagedError(f"{what} is beyond {_LARGEST_NUMBER:g}")
