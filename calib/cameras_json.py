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
from calib.files import replacing

FILE_NAME = "cameras.json"
_FORMAT = "headmvs-cameras"
_VERSION = 1
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
    if document.get("format") != _FORMAT or document.get("version") != _VERSION:
        raise DamagedError(f'must start with "format": "{_FORMAT}", "version": {_VERSION}')
    points = numbers(document.get("points", []), None, "points").reshape(-1, 3)
    images = tuple(_image(entry) for entry in document["views"])
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
    return write_json_file(folder / FILE_NAME, document)


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


def write_json_file(path: Path, document: Any) -> Path:
    """Write a JSON document whole or not at all; returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write((json.dumps(document, indent=1) + "\n").encode())
    return path


def _image(entry: Any) -> CalibratedImage:
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise DamagedError('a view must be an object with an "image"')
    name = entry["image"]
    unknown = set(entry) - _VIEW_KEYS
    if unknown:
        raise DamagedError(f"view {name!r} has the unknown key {min(unknown)!r}")
    pose: npt.NDArray[np.float64] = numbers(
        entry["cam_from_world"], 12, f"cam_from_world of {name!r}"
    ).reshape(3, 4)
    return CalibratedImage(
        name=name,
        model=entry["model"],
        params=numbers(entry["params"], None, f"params of {name!r}"),
        cam_from_world=rigid(pose[:, :3], pose[:, 3], name),
        size=checked_size((entry["width"], entry["height"]), name),
        mask=entry.get("mask"),
    )
