"""A capture into a new folder: pictures, masks, camera file and unit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError, View
from calib.files import note_file, replacing, write_json
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
    with filling(folder, pictures):
        with tempfile.TemporaryDirectory() as trial:
            # Before any picture is copied, a format says what it cannot hold.
            FORMATS[format].write(Path(trial), capture)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if pictures != "none":
                _place_pictures(folder, capture, pictures == "link")
            if capture.unit is not None:
                write_json(folder / UNIT_FILE, {"unit": capture.unit, **(notes or {})})
            return FORMATS[format].write(folder, capture)
        except OSError as error:
            raise _unwritable(folder, error.strerror or str(error)) from None


def undistort_capture(
    folder: Path, capture: Capture, progress: Callable[[], None] | None = None
) -> Capture:
    """Write pictures and masks without distortion, and return the capture that they make.

    Args:
        folder: gets ``images/<name without ending>.png`` and, where anything is left out,
            ``masks/<name without ending>.png.png``; made where absent.
        capture: as calibrated.
        progress: called once per view.

    Raises:
        CaptureError: if a picture cannot be read, two pictures would get one name, or the folder
            holds a capture or cannot be written.
    """
    check_vacant(folder)
    names = [PurePosixPath(view.name).with_suffix(".png").as_posix() for view in capture.views]
    check_unique(names, folder)
    views = []
    for view, name in zip(capture.views, names, strict=True):
        pinhole = view.load_pinhole()
        image, mask = folder / "images" / name, folder / "masks" / f"{name}.png"
        is_whole = view.mask_path is None and bool(pinhole.mask.all())
        _write_png(image, pinhole.image[..., ::-1])
        if not is_whole:
            _write_png(mask, pinhole.mask.astype(np.uint8) * 255)
        ids = view.point_ids
        seen = pinhole.camera.project(capture.points[ids])[0] if view.observed is not None else None
        views.append(View(name, image, None if is_whole else mask, pinhole.camera, ids, seen))
        if progress is not None:
            progress()
    return replace(capture, path=folder, views=tuple(views), warnings=())


@contextmanager
def filling(folder: Path, pictures: str = "copy") -> Iterator[None]:
    """Check that a folder can get a capture, and leave nothing in it where writing fails.

    Args:
        folder: as of ``check_vacant``, which is asked first.
        pictures: whether images and masks are written, see ``write_capture``.

    Raises:
        CaptureError: as ``check_vacant``.
    """
    check_vacant(folder, pictures)
    was_there = folder.exists()
    try:
        yield
    except BaseException:
        # None of these was there before, so all of it is ours; an interruption counts, too.
        for name in ("images", "masks") if pictures != "none" else ():
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / UNIT_FILE).unlink(missing_ok=True)
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def check_unique(names: Sequence[str], folder: Path) -> None:
    """Raise CaptureError where two pictures would get one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        reason = f"two pictures would be {twice[0]}"
        raise CaptureError(folder, reason, "give pictures names that differ before their ending")


def check_vacant(folder: Path, pictures: str = "copy") -> None:
    """Raise CaptureError where a capture cannot be written, or would overwrite or mix with one."""
    remedy = "choose another --output or remove it"
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise CaptureError(there, "is no folder", remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(folder, "Permission denied")
    if has_cameras(folder) or (folder / UNIT_FILE).exists():
        raise CaptureError(folder, "holds a capture already", remedy)
    for name in ("images", "masks") if pictures != "none" else ():
        if (folder / name).exists():
            raise CaptureError(folder / name, "exists already", remedy)


def _unwritable(folder: Path, why: str) -> CaptureError:
    return CaptureError(folder, f"cannot be written to ({why})", "choose another --output")


def _write_png(path: Path, image: npt.NDArray[np.uint8]) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes())


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
    note_file(target)
