"""A capture: views with their pictures, masks and cameras, and sparse points.

What a folder must hold::

    images/<image name>            names as in the camera file, sub-folders allowed
    masks/<image name>.png         optional; in the distorted picture, see ``calib.masks``
    sparse/0/ or another           a camera file of a format of ``calib.formats``
    capture.json                   optional; {"unit": "m"}, for files without a place for it

Pictures are of any kind that ``calib.image_files`` reads; EXIF orientation is ignored, as COLMAP
ignores it. An alpha channel that varies is a mask, together with the mask's file if there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.errors import CameraFileError as CameraFileError
from calib.errors import CaptureError as CaptureError
from calib.image_files import read_picture
from calib.image_headers import picture_size as picture_size
from calib.image_headers import read_header
from calib.lens import undistortion_map, warp_image, warp_mask
from calib.masks import Mask, MaskLook, read_mask

ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PinholeView:
    """A view without distortion.

    Attributes:
        name: as in the model.
        camera: PINHOLE.
        image: (H, W, 3) uint8 RGB; 0 where the distorted picture has nothing.
        mask: (H, W) bool, False where masked out or without a source.
        look: of the mask before it was undistorted; None where the view has none.
    """

    name: str
    camera: Camera
    image: ByteArray
    mask: BoolArray
    look: MaskLook | None = None


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
        uses_alpha: whether the picture's alpha is a mask.
        undistort: gives the camera's undistortion map; one that keeps maps saves making them anew.
    """

    name: str
    image_path: Path
    mask_path: Path | None
    camera: Camera
    point_ids: npt.NDArray[np.int64]
    observed: npt.NDArray[np.float64] | None = None
    uses_alpha: bool = True
    undistort: Callable[[Camera], FloatArray] = undistortion_map

    def load_image(self) -> ByteArray:
        """The picture as it is on disk, (H, W, 3) uint8 RGB.

        Raises:
            CaptureError: if it is absent, unreadable, or not of the camera's size.
        """
        return read_picture(self.image_path, self._size)[0]

    def load_mask(self) -> BoolArray | None:
        """The mask as it is on disk, (H, W) bool, True where the picture counts; None without.

        Raises:
            CaptureError: if it is unreadable or not of the camera's size.
        """
        mask = self._load_mask()
        return None if mask is None else mask.kept

    def examine_mask(self) -> MaskLook | None:
        """What the mask looks like, None without.

        Raises:
            CaptureError: as ``load_mask``.
        """
        mask = self._load_mask()
        return None if mask is None else mask.look

    def load_pinhole(self) -> PinholeView:
        """Picture and mask without distortion; not resampled where there is none.

        Raises:
            CaptureError: as ``load_image`` and ``load_mask``.
        """
        picture, alpha = read_picture(self.image_path, self._size)
        alpha = alpha if self.uses_alpha else None
        masked = read_mask(self.mask_path, self._size, alpha, lambda: picture)
        look = None if masked is None else masked.look
        image = picture
        mask = np.ones(image.shape[:2], np.bool_) if masked is None else masked.kept
        if not self.camera.is_pinhole:
            mapping = self.undistort(self.camera)
            image, mask = warp_image(image, mapping), warp_mask(mask, mapping)
        return PinholeView(self.name, self.camera.as_pinhole(), image, mask, look)

    def without_mask(self) -> View:
        """The same view, all of whose picture counts."""
        return replace(self, mask_path=None, uses_alpha=False)

    @property
    def has_alpha(self) -> bool:
        """Whether the picture has an alpha channel that may mask it.

        Raises:
            CaptureError: if the picture cannot be read.
        """
        return self.uses_alpha and read_header(self.image_path).has_alpha

    @property
    def _size(self) -> tuple[int, int]:
        return self.camera.width, self.camera.height

    def _load_mask(self) -> Mask | None:
        alpha = read_picture(self.image_path, self._size)[1] if self.has_alpha else None
        return read_mask(self.mask_path, self._size, alpha, self.load_image)


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
        images: folder of the pictures that was named; None if it was found.
        masks: folder of the masks that was named; None if it was found.
    """

    path: Path
    views: tuple[View, ...]
    points: npt.NDArray[np.float64]
    warnings: tuple[str, ...]
    unit: str | None = None
    source: Path | None = None
    format: str = "colmap"
    images: Path | None = None
    masks: Path | None = None
