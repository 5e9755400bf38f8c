"""What the header of a picture's file says, read without its pixels.

A header may lie: it is checked before anything of the size it announces is allocated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from calib.errors import CaptureError

# 150 megapixels is the largest camera; OpenCV resamples sides below 2^15 only.
MAX_PIXELS = 1 << 28
MAX_SIDE = (1 << 15) - 2
_UNREADABLE = "not a readable picture"
_KINDS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    b"RIFF": "WebP",
    b"BM": "BMP",
    **{b"P%d" % n: "PNM" for n in range(1, 7)},
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"v/1\x01": "EXR",
    b"version https://git-lfs": "LFS",
}
_CONVERT = {
    "EXR": "an EXR picture, which is not read",
    "HEIC": "a HEIC picture, which is not read",
}
# Numbers of the TIFF tags that matter here (TIFF 6.0, section 8).
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274
_SAMPLES, _EXTRA, _FORMAT = 277, 338, 339
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_FORMATS = {1: "unsigned", 2: "signed", 3: "float"}
# What parsing damaged bytes raises, here and in Pillow.
_DAMAGE = (SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, EOFError, struct.error)


@dataclass(frozen=True)
class Header:
    """What a picture's file says of itself.

    Attributes:
        kind: PNG, JPEG, TIFF, WebP, BMP, PNM or JPEG 2000.
        width: of the stored pixels, before any EXIF orientation.
        height: of the stored pixels.
        bits: per sample, 8 or 16; told exactly only where there is alpha.
        has_alpha: whether it has an alpha channel or a transparent colour.
        orientation_at: where a TIFF's orientation tag has its value, None without.
    """

    kind: str
    width: int
    height: int
    bits: int = 8
    has_alpha: bool = False
    orientation_at: int | None = None


def read_header(path: Path) -> Header:
    """Size and kind of a picture on disk.

    Raises:
        CaptureError: if it is absent, no picture, of a kind that is not read, or larger than
            ``MAX_PIXELS``.
    """
    if not path.is_file():
        reason = "is a folder, not a picture" if path.is_dir() else "no such picture"
        raise CaptureError(path, reason, "restore it or name its folder with --images")
    try:
        with path.open("rb") as file:
            header = _parse(path, file)
    except OSError as error:
        if error.errno is not None:
            raise CaptureError(
                path, f"cannot be read ({error.strerror})", "check its permissions and the disk"
            ) from None
        raise damaged(path) from None
    except _DAMAGE:
        raise damaged(path) from None
    _check_sane(path, header)
    return header


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture on disk, as its file holds it; its pixels are not decoded.

    Raises:
        CaptureError: as ``read_header``.
    """
    header = read_header(path)
    return header.width, header.height


def damaged(path: Path) -> CaptureError:
    """The error of a picture that cannot be decoded."""
    return CaptureError(path, f"{_UNREADABLE} (damaged or cut off)", "copy it again")


def check_size(path: Path, header: Header, size: tuple[int, int]) -> None:
    """Raise CaptureError, with the likely cause, where a picture is not of its camera's size.

    Args:
        path: of the picture or mask.
        header: its header.
        size: width and height of the model's camera.
    """
    if (header.width, header.height) != size:
        raise CaptureError(
            path,
            f"is {header.width} x {header.height}, the model's camera {size[0]} x {size[1]} "
            f"({_cause((header.width, header.height), size)})",
            "use the pictures that were calibrated, unscaled and unrotated",
        )


def _cause(found: tuple[int, int], expected: tuple[int, int]) -> str:
    """Why a picture may be of another size than its camera."""
    turned = found[::-1]
    if turned == expected:
        return "width and height exchanged: it was rotated"
    for size, how in ((found, "scaled"), (turned, "rotated and scaled")):
        off = abs(size[0] * expected[1] - size[1] * expected[0])
        # A scaled side is rounded to whole pixels.
        if off <= max(expected) and size[0] != expected[0] and size[1] != expected[1]:
            return f"{how} by {size[0] / expected[0]:.4g}"
    return "cropped, or of another camera"


def _check_sane(path: Path, header: Header) -> None:
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise damaged(path)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise CaptureError(
            path,
            f"announces {width} x {height} pixels",
            f"pictures may have {MAX_PIXELS // 10**6} megapixels and sides of {MAX_SIDE}",
        )


def _parse(path: Path, file: BinaryIO) -> Header:
    head = file.read(32)
    if not head:
        raise CaptureError(path, f"{_UNREADABLE} (empty)", "copy it again")
    kind = next((name for magic, name in _KINDS.items() if head.startswith(magic)), None)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        kind = "HEIC"
    if kind in _CONVERT:
        raise CaptureError(path, _CONVERT[kind], "convert it to PNG or TIFF of 8 or 16 bit")
    if kind == "LFS":
        raise CaptureError(path, f"{_UNREADABLE} (a pointer of Git LFS)", "run git lfs pull")
    if kind is None:
        kinds = "PNG, JPEG, TIFF, WebP, BMP nor PNM"
        raise CaptureError(path, f"{_UNREADABLE} (neither {kinds})", "convert it to PNG")
    if kind == "TIFF":
        return _parse_tiff(path, file)
    return _parse_by_pillow(kind, head, file)


def _parse_by_pillow(kind: str, head: bytes, file: BinaryIO) -> Header:
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.PpmImagePlugin import PpmImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    plugins: dict[str, Any] = {
        "PNG": PngImageFile,
        "JPEG": JpegImageFile,
        "WebP": WebPImageFile,
        "BMP": BmpImageFile,
        "PNM": PpmImageFile,
        "JPEG 2000": Jpeg2KImageFile,
    }
    file.seek(0)
    # Not Image.open: it warns of pictures above 89 megapixels, whatever they are.
    image = plugins[kind](file)
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    bits = 16 if kind == "PNG" and head[24] == 16 else 8
    # What OpenCV reads of the others has no alpha.
    width, height = image.size
    return Header(kind, width, height, bits, has_alpha and kind in ("PNG", "WebP"))


def _parse_tiff(path: Path, file: BinaryIO) -> Header:
    """Of the first picture of a TIFF or BigTIFF."""
    tags, orientation_at = _tiff_tags(file)
    bits, formats = tags.get(_BITS, (1,)), tags.get(_FORMAT, (1,))
    if max(bits) > 16 or set(formats) - {1, 4}:
        values = f"{max(bits)} bit {_TIFF_FORMATS.get(formats[0], 'complex')} values"
        raise CaptureError(path, f"holds {values}", "convert it to 8 or 16 bit PNG, JPEG or TIFF")
    samples = tags.get(_SAMPLES, (1,))[0]
    colours = {0: 1, 1: 1, 2: 3}.get(tags.get(_PHOTOMETRIC, (1,))[0])
    # 1 is associated alpha, 2 is not; many writers leave the tag out.
    has_alpha = samples - 1 == colours and tags.get(_EXTRA, (2,))[0] in (1, 2)
    width, height, depth = tags[_WIDTH][0], tags[_HEIGHT][0], 16 if max(bits) > 8 else 8
    return Header("TIFF", width, height, depth, has_alpha, orientation_at)


def _tiff_tags(file: BinaryIO) -> tuple[dict[int, tuple[int, ...]], int | None]:
    """The tags that matter, and where the orientation's value is."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = b"+" in head[2:4]
    offset, count = ("Q", "Q") if is_big else ("I", "H")
    (start,) = struct.unpack_from(order + offset, head, 8 if is_big else 4)
    entry = struct.Struct(f"{order}HH{offset}{8 if is_big else 4}s")
    file.seek(start)
    (n,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
    first, rows = file.tell(), file.read(entry.size * min(n, 4096))
    tags, orientation_at = {}, None
    for at in range(0, len(rows) - entry.size + 1, entry.size):
        tag, kind, length, value = entry.unpack_from(rows, at)
        if kind not in _TIFF_TYPES or not 1 <= length <= 16:
            continue
        layout = struct.Struct(f"{order}{length}{_TIFF_TYPES[kind]}")
        if layout.size > len(value):
            file.seek(struct.unpack(order + offset, value)[0])
            value = file.read(layout.size)
        elif tag == _ORIENTATION:
            orientation_at = first + at + entry.size - len(value)
        tags[tag] = layout.unpack_from(value)
    return tags, orientation_at
