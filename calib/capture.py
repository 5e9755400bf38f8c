"""A capture: views with their pictures, masks and cameras, and sparse points.

What a folder must hold::

    images/<image name>            names as in the camera file, sub-folders allowed
    masks/<image name>.png         optional; in the distorted picture; 0 is ignored, the rest kept
    sparse/0/ or another           a camera file of a format of ``calib.formats``
    capture.json                   optional; {"unit": "m"}, for files without a place for it

EXIF orientation is ignored, as COLMAP ignores it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.lens import undistortion_map, valid_mask, warp_image, warp_mask

ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]


class CaptureError(Exception):
    """A file or folder that cannot be used.

    Attributes:
        path: where.
        reason: what is wrong.
        remedy: what to do.
    """

    def __init__(self, path: Path | str, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy


class CameraFileError(CaptureError):
    """A camera file that cannot be used."""


@dataclass(frozen=True)
class PinholeView:
    """A view without distortion.

    Attributes:
        name: as in the model.
        camera: PINHOLE.
        image: (H, W, 3) uint8 RGB; 0 where the distorted picture has nothing.
        mask: (H, W) bool, False where masked out or without a source.
    """

    name: str
    camera: Camera
    image: ByteArray
    mask: BoolArray


@dataclass(frozen=True)
class View:
    """A picture on disk with its camera.

    Attributes:
        name: as in the model, with forward slashes.
        image_path: the picture.
        mask_path: its mask, None without.
        camera: as calibrated.
        point_ids: (n,) int64 rows of ``Capture.points`` that the view sees, ascending.
        observed: (n, 2) float64 pixels where it sees them; None where the file does not say.
    """

    name: str
    image_path: Path
    mask_path: Path | None
    camera: Camera
    point_ids: npt.NDArray[np.int64]
    observed: npt.NDArray[np.float64] | None = None

    def load_image(self) -> ByteArray:
        """The picture as it is on disk, (H, W, 3) uint8 RGB.

        Raises:
            CaptureError: if it is absent, unreadable, or not of the camera's size.
        """
        image = read_image(self.image_path)
        self._check_size(self.image_path, image.shape[1], image.shape[0])
        return image

    def load_mask(self) -> BoolArray | None:
        """The mask as it is on disk, (H, W) bool, True where the picture counts; None without.

        Raises:
            CaptureError: if it is unreadable or not of the camera's size.
        """
        import cv2

        if self.mask_path is None:
            return None
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        mask = _read(self.mask_path, flags)
        self._check_size(self.mask_path, mask.shape[1], mask.shape[0])
        return np.asarray(mask > 0)

    def load_pinhole(self) -> PinholeView:
        """Picture and mask without distortion; not resampled where there is none.

        Raises:
            CaptureError: as ``load_image`` and ``load_mask``.
        """
        image, mask = self.load_image(), self.load_mask()
        if mask is None:
            mask = np.ones(image.shape[:2], np.bool_)
        if not self.camera.is_pinhole:
            mapping = undistortion_map(self.camera)
            image = warp_image(image, mapping)
            mask = warp_mask(mask, mapping) & valid_mask(mapping)
        return PinholeView(self.name, self.camera.as_pinhole(), image, mask)

    def _check_size(self, path: Path, width: int, height: int) -> None:
        if (width, height) != (self.camera.width, self.camera.height):
            raise CaptureError(
                path,
                f"is {width} x {height}, the model's camera {self.camera.width} x "
                f"{self.camera.height}",
                "use the pictures that were calibrated, unscaled and unrotated",
            )


@dataclass(frozen=True)
class Capture:
    """Views of one moment.

    Attributes:
        path: its folder.
        views: sorted by name.
        points: (N, 3) float64 sparse points, may be empty.
        warnings: what a user should know, one line each.
        unit: of the world, "m", "cm" or "mm"; None where nobody said.
        source: the camera file, or the folder of a model of several files.
        format: of the camera file, a key of ``calib.formats.FORMATS``.
    """

    path: Path
    views: tuple[View, ...]
    points: npt.NDArray[np.float64]
    warnings: tuple[str, ...]
    unit: str | None = None
    source: Path | None = None
    format: str = "colmap"


def read_image(path: Path) -> ByteArray:
    """A picture as it is on disk, (H, W, 3) uint8 RGB.

    Raises:
        CaptureError: if it is absent or unreadable.
    """
    import cv2

    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    return np.ascontiguousarray(to_bytes(_read(path, flags), path)[..., ::-1])


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture on disk, as its file holds it.

    Raises:
        CaptureError: if it is absent or unreadable.
    """
    import cv2

    height, width = _read(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2]
    return width, height


def to_bytes(image: npt.NDArray[Any], path: Path) -> ByteArray:
    """A picture of 8 or 16 bit as 8 bit.

    Raises:
        CaptureError: if it is of another type.
    """
    if image.dtype == np.uint16:
        return (image // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise CaptureError(
            path, f"holds {image.dtype} values", "convert it to 8 or 16 bit PNG, JPEG or TIFF"
        )
    return image


def _read(path: Path, flags: int) -> npt.NDArray[Any]:
    import cv2

    if not path.is_file():
        raise CaptureError(path, "no such picture", "restore it or name its folder with --images")
    try:
        # Not imread: it prints its own complaints and knows no Unicode paths on some systems.
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, flags) if len(data) else None
    except (cv2.error, OSError):
        image = None
    if image is None or not image.size:
        raise CaptureError(path, "not a readable picture (damaged or cut off)", "copy it again")
    return np.asarray(image)
