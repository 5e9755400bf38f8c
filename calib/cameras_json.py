"""``cameras.json``, this project's own camera file; ``cameras.schema.json`` is its JSON schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.calibration import (
    CalibratedImage,
    Calibration,
    DamagedError,
    checked_size,
    numbers,
    read_text,
    rigid,
)
from calib.capture import Capture
from calib.files import write_json

FILE_NAME = "cameras.json"
_FORMAT = "headmvs-cameras"
_VERSION = 1
_KEYS = {"format", "version", "unit", "views", "points"}
_VIEW_KEYS = {"image", "model", "width", "height", "params", "cam_from_world", "mask"}


def find_cameras_json(path: Path) -> Path | None:
    """A folder's ``cameras.json``, or ``path`` itself where it is one by content."""
    if path.is_dir():
        return path / FILE_NAME if (path / FILE_NAME).is_file() else None
    if path.suffix != ".json":
        return None
    with path.open("rb") as file:
        return path if _FORMAT.encode() in file.read(4096) else None


def read_cameras_json(path: Path) -> Calibration:
    """Read a ``cameras.json``.

    Raises:
        DamagedError: if it does not keep to the schema.
    """
    document = json_object(path)
    version = document.get("version")
    if document.get("format") != _FORMAT or version is True or version != _VERSION:
        raise DamagedError(f'must start with "format": "{_FORMAT}", "version": {_VERSION}')
    _check_keys(document, _KEYS, "the document")
    points = _matrix(document.get("points", []), 3, "points")
    views = document.get("views")
    if not isinstance(views, list):
        raise DamagedError("must hold a list of views")
    images = tuple(_image(entry) for entry in views)
    return Calibration(images, (path.parent / "images",), points, document.get("unit"))


def write_cameras_json(folder: Path, capture: Capture) -> Path:
    """Write a capture's ``cameras.json``; returns its path."""
    views = [
        {
            "image": view.name,
            "model": view.camera.model,
            "width": view.camera.width,
            "height": view.camera.height,
            "params": view.camera.params.tolist(),
            "cam_from_world": view.camera.cam_from_world.tolist(),
        }
        for view in capture.views
    ]
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "unit": capture.unit,
        "views": views,
        "points": capture.points.tolist(),
    }
    write_json(folder / FILE_NAME, document, indent=1)
    return folder / FILE_NAME


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file that is an object.

    Raises:
        DamagedError: if it is not.
    """
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DamagedError(f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise DamagedError("must be a JSON object")
    return document


def _image(entry: Any) -> CalibratedImage:
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise DamagedError('a view must be an object with an "image"')
    name = entry["image"]
    _check_keys(entry, _VIEW_KEYS, f"view {name!r}")
    pose = _matrix(entry.get("cam_from_world"), 4, f"cam_from_world of {name!r}")
    if len(pose) != 3:
        raise DamagedError(f"cam_from_world of {name!r} must have 3 rows")
    size = (entry.get("width"), entry.get("height"))
    if not all(map(_is_number, size)):
        raise DamagedError(f"width and height of {name!r} must be numbers")
    return CalibratedImage(
        name=name,
        model=entry["model"],
        params=_row(entry.get("params"), f"params of {name!r}"),
        cam_from_world=rigid(pose[:, :3], pose[:, 3], name),
        size=checked_size(size, name),
        mask=entry.get("mask"),
    )


def _check_keys(entry: dict[str, Any], known: set[str], what: str) -> None:
    unknown = set(entry) - known
    if unknown:
        raise DamagedError(f"{what} has the unknown key {min(unknown)!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _row(value: Any, what: str) -> npt.NDArray[np.float64]:
    """A list of numbers, not of what could be made numbers."""
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise DamagedError(f"{what} must be a list of numbers")
    return numbers(value, None, what)


def _matrix(value: Any, n_columns: int, what: str) -> npt.NDArray[np.float64]:
    """A list of rows of ``n_columns`` numbers."""
    if not isinstance(value, list):
        raise DamagedError(f"{what} must be a list of rows")
    rows = [_row(row, what) for row in value]
    if any(len(row) != n_columns for row in rows):
        raise DamagedError(f"{what} must have {n_columns} numbers per row")
    return np.array(rows, np.float64).reshape(-1, n_columns)
