"""The cameras of a sequence: one calibration, whatever pictures it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.calibration import CalibratedImage, some_names
from calib.camera import Camera
from calib.capture import Capture, CaptureError, View
from calib.formats import find_cameras, read_cameras, read_unit
from calib.image_headers import picture_size
from calib.lens import FloatArray, undistortion_map


@dataclass(frozen=True)
class Rig:
    """Cameras that stay where they are.

    Attributes:
        path: of the calibration.
        format: of its camera file, a key of ``calib.formats.FORMATS``.
        images: of the calibration, sorted by name, without the points they saw.
        unit: of the world, None where nobody said.
    """

    path: Path
    format: str
    images: tuple[CalibratedImage, ...]
    unit: str | None = None

    @property
    def digest(self) -> str:
        """Hash of the cameras."""
        digest = hashlib.sha256(str(self.unit).encode())
        for image in self.images:
            digest.update(f"{image.name} {image.model} {image.size} {image.is_centered}".encode())
            digest.update(image.params.tobytes() + image.cam_from_world.tobytes())
        return digest.hexdigest()

    def match(self, cameras: Sequence[str], where: str) -> tuple[dict[str, str], tuple[str, ...]]:
        """Which image of the calibration each camera's pictures belong to.

        A camera is named like its image, the image without ending, or the only image's folder.

        Args:
            cameras: names found in a pattern's files.
            where: the pattern, for messages.

        Returns:
            Image names by camera, and warnings of cameras and images that match nothing.

        Raises:
            ValueError: if fewer than two match, or two match one image.
        """
        aliases = _aliases([image.name for image in self.images])
        found = {camera: aliases[camera] for camera in cameras if camera in aliases}
        if len(found) < 2:
            raise ValueError(
                f"{where}: {len(found)} of its cameras ({some_names(cameras)}) are in the "
                f"calibration {self.path}, which knows "
                f"{some_names([image.name for image in self.images])}; name them alike, the ending "
                "may be left out"
            )
        if len(set(found.values())) < len(found):
            raise ValueError(f"{where}: two of its cameras are one of the calibration: {found}")
        warnings = []
        strangers = [camera for camera in cameras if camera not in found]
        if strangers:
            warnings.append(
                f"{len(strangers)} cameras are not in the calibration and left out: "
                f"{some_names(strangers)}"
            )
        unseen = sorted({image.name for image in self.images} - set(found.values()))
        if unseen:
            warnings.append(f"{len(unseen)} cameras have no pictures: {some_names(unseen)}")
        return found, tuple(warnings)

    def capture(
        self,
        pictures: Mapping[str, Path],
        masks: Mapping[str, Path],
        undistort: Callable[[Camera], FloatArray] = undistortion_map,
    ) -> Capture:
        """What the cameras see at one moment.

        Args:
            pictures: by the names of the rig's images; cameras without one are left out.
            masks: likewise.
            undistort: gives undistortion maps.

        Raises:
            CaptureError: if the header of a picture cannot be read where the calibration does not
                say its size.
        """
        views = []
        for image in self.images:
            path = pictures.get(image.name)
            if path is None:
                continue
            camera = image.camera(*(image.size or picture_size(path)))
            none = np.zeros(0, np.int64)
            mask = masks.get(image.name)
            views.append(View(image.name, path, mask, camera, none, undistort=undistort))
        return Capture(
            self.path, tuple(views), np.zeros((0, 3)), (), self.unit, self.path, self.format
        )


def read_rig(path: Path, format: str | None = None) -> Rig:  # noqa: A002
    """Read a calibration; its pictures need not be there.

    Args:
        path: a folder with a camera file, or the file.
        format: a key of ``calib.formats.FORMATS``; found out if None.

    Raises:
        ValueError: if ``format`` is unknown.
        CaptureError: if there is no camera file, it is damaged, or has fewer than two cameras.
    """
    format, source = find_cameras(path, format)  # noqa: A001
    calibration = read_cameras(format, source)
    if len(calibration.images) < 2:
        n = len(calibration.images)
        raise CaptureError(source, f"has {n} registered view(s)", "two are needed")
    images = sorted(calibration.images, key=lambda image: image.name)
    unit = calibration.unit or read_unit(path if path.is_dir() else path.parent)
    # What the cameras saw when they were calibrated is gone.
    bare = tuple(
        CalibratedImage(i.name, i.model, i.params, i.cam_from_world, i.size, i.is_centered)
        for i in images
    )
    return Rig(path, format, bare, unit)


def _aliases(names: Sequence[str]) -> dict[str, str]:
    """Image names by what a camera may be called; what two images could be is left out."""
    found: dict[str, set[str]] = {}
    for name in names:
        folder, _, last = name.rpartition("/")
        stem = last.rpartition(".")[0] or last
        whole = name.rpartition(".")[0] or name
        for alias in {name, whole, last, stem, folder, folder.rpartition("/")[2]} - {""}:
            found.setdefault(alias, set()).add(name)
    unique = {alias: next(iter(images)) for alias, images in found.items() if len(images) == 1}
    # An image's own name is no other's alias.
    return unique | {name: name for name in names}
