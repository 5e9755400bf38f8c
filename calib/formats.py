"""Camera files of all kinds: which there are, which one a folder holds, and reading a capture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from calib.bundler import find_bundler, read_bundler, write_bundler
from calib.calibration import (
    UNITS,
    CalibratedImage,
    Calibration,
    DamagedError,
    read_text,
    some_names,
)
from calib.cameras_json import find_cameras_json, read_cameras_json, write_cameras_json
from calib.capture import CameraFileError, Capture, CaptureError, View, picture_size
from calib.colmap import find_colmap, read_colmap, write_colmap
from calib.metashape import find_metashape, read_metashape, write_metashape
from calib.middlebury import find_middlebury, read_middlebury, write_middlebury
from calib.mvsnet import find_mvsnet, read_mvsnet, write_mvsnet
from calib.nerfstudio import find_nerfstudio, read_nerfstudio, write_nerfstudio
from calib.opencv import find_opencv, read_opencv, write_opencv
from calib.pictures import PictureFolder


class Format(NamedTuple):
    """A kind of camera file.

    Attributes:
        summary: what it is, in a few words.
        find: its camera file (or folder) for the path a user gave, None where there is none.
        read: a found camera file; raises ``DamagedError``.
        write: a capture's cameras into a folder, returning the file; raises ``ValueError`` where
            the format cannot say what the capture holds.
    """

    summary: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path], Calibration]
    write: Callable[[Path, Capture], Path]


# In the order in which a folder is searched.
FORMATS = {
    "colmap": Format("COLMAP model, .bin or .txt", find_colmap, read_colmap, write_colmap),
    "cameras": Format(
        "cameras.json of this project", find_cameras_json, read_cameras_json, write_cameras_json
    ),
    "nerfstudio": Format(
        "transforms.json of nerfstudio or instant-ngp",
        find_nerfstudio,
        read_nerfstudio,
        write_nerfstudio,
    ),
    "middlebury": Format(
        "*_par.txt of the Middlebury benchmark", find_middlebury, read_middlebury, write_middlebury
    ),
    "opencv": Format(
        "intri.yml and extri.yml, or a YAML file of OpenCV's per camera",
        find_opencv,
        read_opencv,
        write_opencv,
    ),
    "metashape": Format(
        "cameras.xml of Agisoft Metashape", find_metashape, read_metashape, write_metashape
    ),
    "bundler": Format("bundle.out of Bundler", find_bundler, read_bundler, write_bundler),
    "mvsnet": Format("cams/*_cam.txt of MVSNet", find_mvsnet, read_mvsnet, write_mvsnet),
}
UNIT_FILE = "capture.json"
_LONGEST_REASON = 400
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def find_cameras(path: Path, format: str | None = None) -> tuple[str, Path]:  # noqa: A002
    """The format of a capture and its camera file.

    Args:
        path: the capture's folder, or the camera file.
        format: a key of ``FORMATS``; the first that is found if None.

    Raises:
        ValueError: if ``format`` is unknown.
        CaptureError: if there is no camera file.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format}")
    if not path.exists():
        remedy = "give a folder with images/ and a camera file, e.g. a COLMAP model in sparse/0"
        raise CaptureError(path, "no such folder or file", remedy)
    for name in FORMATS if format is None else (format,):
        found = FORMATS[name].find(path)
        if found is not None:
            return name, found
    if format is not None:
        raise CaptureError(path, f"holds no {FORMATS[format].summary}", "leave --format out")
    kinds = "; ".join(entry.summary for entry in FORMATS.values())
    remedy = "make one by mvs calib photos, put a COLMAP model in sparse/0"
    raise CaptureError(path, "holds no camera file", f"{remedy}, or: {kinds}")


def has_cameras(path: Path) -> bool:
    """Whether a path is a capture, or a camera file, of any format."""
    return path.exists() and any(entry.find(path) is not None for entry in FORMATS.values())


def read_cameras(format: str, source: Path) -> Calibration:  # noqa: A002
    """Read a camera file.

    Args:
        format: a key of ``FORMATS``.
        source: of ``find_cameras``.

    Raises:
        CameraFileError: if it is damaged.
    """
    try:
        calibration = FORMATS[format].read(source)
    except DamagedError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
    except _UNREADABLE as error:
        reason = f"unreadable entry ({error})"
    else:
        return calibration
    # One line, whatever the file holds.
    reason = " ".join(reason[:_LONGEST_REASON].split())
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
    raise CameraFileError(source, f"damaged model: {reason}", "export the model again")


def read_capture(
    path: Path,
    images: Path | None = None,
    masks: Path | None = None,
    format: str | None = None,  # noqa: A002
) -> Capture:
    """Read a folder with pictures and a camera file.

    Args:
        path: the capture's folder, or its camera file.
        images: folder of the pictures; ``images`` in the capture's folder, or where the camera
            file says, if None.
        masks: folder of the masks; ``masks`` in the capture's folder if None and there.
        format: a key of ``FORMATS``; found out if None.

    Returns:
        The capture; views whose picture is absent are left out with a warning.

    Raises:
        ValueError: if ``format`` is unknown.
        CaptureError: if there is no camera file, it is damaged, or fewer than two pictures are
            there.
    """
    format, source = find_cameras(path, format)  # noqa: A001
    calibration = read_cameras(format, source)
    folder = path if path.is_dir() else path.parent
    n = len(calibration.images)
    if n < 2:
        raise CameraFileError(source, f"the model has {n} registered view(s)", "two are needed")
    pictures = _picture_folder(folder, images, calibration)
    mask_folder = _mask_folder(folder, masks)
    views, missing, masked = [], [], []
    for image in sorted(calibration.images, key=lambda image: image.name):
        name = pictures.find(image.name)
        if name is None:
            missing.append(image.name)
            continue
        mask = _mask(mask_folder, name, image, source)
        if mask is not None:
            masked.append(mask)
        path_ = pictures.path / name
        size = image.size or picture_size(path_)
        observed = image.observed_in(*size)
        views.append(View(name, path_, mask, image.camera(*size), image.point_ids, observed))
    if len(views) < 2:
        raise CaptureError(
            pictures.path,
            f"{len(missing)} of {n} pictures are missing: {some_names(missing)}",
            "restore them or name their folder with --images",
        )
    warnings = list(calibration.warnings)
    if missing:
        warnings.append(f"{len(missing)} views left out, picture missing: {some_names(missing)}")
    if mask_folder is not None:
        warnings += _missing_masks(mask_folder, views, masked, required=masks is not None)
    return Capture(
        folder,
        tuple(views),
        calibration.points,
        tuple(warnings),
        unit=calibration.unit or read_unit(folder),
        source=source,
        format=format,
        images=images,
        masks=masks,
    )


def read_unit(folder: Path) -> str | None:
    """The unit that a capture's ``capture.json`` gives, None without.

    Raises:
        CameraFileError: if it is damaged.
    """
    path = folder / UNIT_FILE
    if not path.is_file():
        return None
    try:
        unit = json.loads(read_text(path))["unit"]
    except (DamagedError, *_UNREADABLE) as error:
        unit = error
    if unit not in UNITS:
        reason = f'must hold {{"unit": U}} with U one of {", ".join(UNITS)}'
        raise CameraFileError(path, reason, "correct or remove it")
    return str(unit)


def _picture_folder(path: Path, images: Path | None, calibration: Calibration) -> PictureFolder:
    """The first folder that exists and holds one of the pictures."""
    asked = (images,) if images is not None else (path / "images", *calibration.folders)
    folders = [PictureFolder(folder) for folder in asked if folder.is_dir()]
    if not folders:
        raise CaptureError(asked[0], "no such folder", "name it with --images")
    for folder in folders:
        if any(folder.find(image.name) for image in calibration.images):
            return folder
    return folders[0]


def _mask_folder(path: Path, masks: Path | None) -> PictureFolder | None:
    if masks is not None and not masks.is_dir():
        raise CaptureError(masks, "no such folder", "name the masks' folder, or leave --masks out")
    folder = masks or path / "masks"
    return PictureFolder(folder) if folder.is_dir() else None


def _mask(
    folder: PictureFolder | None, name: str, image: CalibratedImage, source: Path
) -> Path | None:
    """A picture's mask: in the folder of masks, else where the camera file says."""
    if folder is not None:
        return folder.find_mask(name)
    named = None if image.mask is None else source.parent / image.mask
    return named if named is not None and named.is_file() else None


def _missing_masks(
    folder: PictureFolder, views: Sequence[View], masked: Sequence[Path], required: bool
) -> list[str]:
    """Warnings of views without a mask, and of masks without a view.

    Raises:
        CaptureError: if there is no mask at all where they are ``required``.
    """
    bare = [view.name for view in views if view.mask_path is None and not view.has_alpha]
    if not bare:
        return []
    strangers = folder.others([*masked, *(view.image_path for view in views)])
    named = "a mask is named like its picture, IMAGE.png for IMAGE.jpg, or IMAGE.jpg.png"
    if required and not masked:
        others = f", but {some_names(strangers)}" if strangers else ""
        raise CaptureError(folder.path, f"holds no mask of any of the pictures{others}", named)
    warnings = [f"{len(bare)} views have no mask: {some_names(bare)}"]
    if strangers:
        warnings.append(
            f"{len(strangers)} masks match no picture: {some_names(strangers)}; {named}"
        )
    return warnings
