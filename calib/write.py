"""A capture into a new folder: pictures, masks, camera file and unit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calib.capture import Capture, CaptureError
from calib.files import replacing
from calib.formats import FORMATS, UNIT_FILE, has_cameras

PICTURES = ("copy", "link", "none")


def write_capture(
    folder: Path,
    capture: Capture,
    format: str = "colmap",  # noqa: A002
    pictures: str = "copy",
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a capture as ``read_capture`` reads it; the camera file comes last.

    Args:
        folder: made where absent; holds no capture yet.
        capture: whose views name the pictures and masks.
        format: of the camera file, a key of ``FORMATS``.
        pictures: ``copy`` or ``link`` (symbolic links) pictures and masks, or ``none`` of them.
        notes: what else ``capture.json`` shall say; asks for a unit.

    Returns:
        The camera file.

    Raises:
        ValueError: if ``format`` or ``pictures`` is unknown, or the format cannot hold the lenses.
        CaptureError: if the folder holds a capture, or cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format}")
    if pictures not in PICTURES:
        raise ValueError(f"pictures must be one of {', '.join(PICTURES)}, got {pictures}")
    check_vacant(folder, pictures)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if pictures != "none":
            _place_pictures(folder, capture, pictures == "link")
        if capture.unit is not None:
            text = json.dumps({"unit": capture.unit, **(notes or {})}, indent=2) + "\n"
            with replacing(folder / UNIT_FILE) as file:
                file.write(text.encode())
        return FORMATS[format].write(folder, capture)
    except OSError as error:
        reason = f"cannot be written to ({error.strerror or error})"
        raise CaptureError(folder, reason, "choose another --output") from None


def check_vacant(folder: Path, pictures: str = "copy") -> None:
    """Raise CaptureError where writing a capture into a folder would overwrite or mix with one."""
    remedy = "choose another --output or remove it"
    if folder.exists() and not folder.is_dir():
        raise CaptureError(folder, "is no folder", remedy)
    if has_cameras(folder) or (folder / UNIT_FILE).exists():
        raise CaptureError(folder, "holds a capture already", remedy)
    for name in ("images", "masks") if pictures != "none" else ():
        if (folder / name).exists():
            raise CaptureError(folder / name, "exists already", remedy)


def _place_pictures(folder: Path, capture: Capture, link: bool) -> None:
    for view in capture.views:
        _place(view.image_path, folder / "images" / view.name, link)
        if view.mask_path is not None:
            _place(view.mask_path, folder / "masks" / f"{view.name}.png", link)


def _place(source: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, target)
