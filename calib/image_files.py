"""The pixels of pictures on disk: PNG, JPEG, TIFF, WebP, BMP, PNM, JPEG 2000.

Of 8 or 16 bit, gray, palette or colour, with or without alpha. Pixels come as they are stored:
EXIF orientation, and the same tag of a TIFF, is ignored, as COLMAP ignores it, but for pictures
that belong to no calibration (``read_upright``). Colour profiles are
ignored as well; of 16 bit the upper 8 are kept (v // 257).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.errors import CaptureError
from calib.image_headers import Header, check_size, damaged, read_header

ByteArray = npt.NDArray[np.uint8]
# What damaged bytes make Pillow raise.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    Warning,
)

_ORIENTATION = 274
# From the first of the orientations rows and columns are exchanged; then those that are named are
# turned upside down, left to right, or both.
_TRANSPOSED = 5
_MIRRORED = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}


@dataclass(frozen=True, eq=False)
class Pixels:
    """A decoded picture.

    Attributes:
        color: (H, W, 3) uint8 or uint16 RGB; (H, W) where gray was asked for and is.
        alpha: (H, W) of the same type, None without.
        kind: of the file, see ``calib.image_headers.Header``.
    """

    color: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None
    kind: str


def read_picture(path: Path, size: tuple[int, int] | None = None) -> tuple[ByteArray, Any]:
    """A picture as (H, W, 3) uint8 RGB, and its alpha, (H, W) uint8 or uint16 or None.

    Args:
        path: of the picture.
        size: width and height that it must have, checked before its pixels are decoded.

    Raises:
        CaptureError: as ``read_pixels``.
    """
    pixels = read_pixels(path, size)
    return to_bytes(pixels.color, path), pixels.alpha


def read_upright(path: Path) -> ByteArray:
    """A picture (H, W, 3) uint8 RGB, turned as its EXIF says that it was held.

    For photographs by themselves; the pictures of a calibration are taken as they are stored.

    Raises:
        CaptureError: as ``read_pixels``.

    Source:
        CIPA DC-008 (EXIF 2.32), tag 274, Orientation.
    """
    image, orientation = read_picture(path)[0], _orientation(path)
    if orientation >= _TRANSPOSED:
        image = image.swapaxes(0, 1)
    down, right = _MIRRORED.get(orientation, (1, 1))
    return np.ascontiguousarray(image[::down, ::right])


def _orientation(path: Path) -> int:
    """EXIF's orientation of a picture, 1 to 8; 1 where it says nothing that can be understood."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                found = int(picture.getexif().get(_ORIENTATION, 1))
    except (*_DAMAGE, Image.DecompressionBombError):
        return 1
    return found if 1 <= found <= 8 else 1


def read_pixels(path: Path, size: tuple[int, int] | None = None, keep_gray: bool = False) -> Pixels:
    """The pixels of a picture, as stored.

    Args:
        path: of the picture.
        size: width and height that it must have, checked before its pixels are decoded.
        keep_gray: give (H, W) of a gray picture.

    Raises:
        CaptureError: if it is absent, damaged, of a kind that is not read, absurdly large, or not
            of ``size``.
    """
    header = read_header(path)
    if size is not None:
        check_size(path, header, size)
    # Not imread: it prints its own complaints and knows no Unicode paths on some systems.
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise CaptureError(
            path, f"cannot be read ({error.strerror or error})", "check its permissions"
        ) from None
    if header.kind == "PNG" and not _is_whole_png(data):
        raise damaged(path)
    if header.orientation_at is not None:
        order = "<" if data[0] == ord("I") else ">"
        data[header.orientation_at :][:2] = np.frombuffer(struct.pack(order + "H", 1), np.uint8)
    if header.has_alpha and header.bits == 8:
        decoded = _decode_by_pillow(data, header)
    else:
        decoded = _decode_by_opencv(data, header, keep_gray)
    if decoded is None or decoded.shape[:2] != (header.height, header.width):
        raise damaged(path)
    if not header.has_alpha:
        return Pixels(decoded, None, header.kind)
    if decoded.shape[2:] != (4,):
        raise CaptureError(path, "has alpha of a kind that is not read", "save it as RGBA PNG")
    return Pixels(np.ascontiguousarray(decoded[..., :3]), decoded[..., 3], header.kind)


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


def _decode_by_opencv(data: ByteArray, header: Header, keep_gray: bool) -> npt.NDArray[Any] | None:
    """(H, W), (H, W, 3) RGB or, of 16 bit with alpha, (H, W, 4) RGBA; None where damaged."""
    import cv2

    # It would print lines of its own beside ours.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if header.has_alpha:
        flags = cv2.IMREAD_UNCHANGED
    else:
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        flags |= cv2.IMREAD_ANYCOLOR if keep_gray else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:
        return None
    if image is None or image.ndim == 2:
        return image
    # Not IMREAD_COLOR_RGB: of a TIFF of 16 bit it gives what was in memory before.
    has_four = image.shape[2] == 4
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if has_four else cv2.COLOR_BGR2RGB, image)


def _decode_by_pillow(data: ByteArray, header: Header) -> npt.NDArray[Any] | None:
    """(H, W, 4) uint8 RGBA; OpenCV multiplies a TIFF's colours by its alpha."""
    import io

    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    plugins: dict[str, Any] = {"PNG": PngImageFile, "TIFF": TiffImageFile, "WebP": WebPImageFile}
    try:
        return np.array(plugins[header.kind](io.BytesIO(data.tobytes())).convert("RGBA"))
    except _DAMAGE:
        return None


def _is_whole_png(data: ByteArray) -> bool:
    """Whether all chunks are there and their check sums fit; libpng would print what it finds."""
    view, at = data.data, 8
    while at + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view):
            return False
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
            return False
        if kind == b"IEND":
            return True
        at = end
    return False
