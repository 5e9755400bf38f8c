"""Cube maps from files: one ``<image name>.npz`` per picture, in the picture's own pixels.

``coords`` (H, W, 3) holds cube coordinates in [0, 1], not finite where there are none;
``confidence`` (H, W) in [0, 1], ``mask`` (H, W) and ``normals`` (H, W, 3), unit vectors in the
head's frame, may be absent. The pixels are those of the picture as it was taken, with its lens
distortion.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.capture import CaptureError
from calib.files import replacing
from mvs.cache import file_digest
from mvs.network.crop import check_image
from mvs.network.head_finder import FinderOptions, largest_piece
from mvs.types import ByteArray, CubeMap, FloatArray, Square

# What rounding in half precision may put outside the cube.
_TOLERANCE = 1e-3
_REMEDY = "write it anew, for example with `mvs embed`"
_ARRAYS = ("coords", "confidence", "mask", "normals")

AnyArray = npt.NDArray[np.generic]


class PrecomputedEmbedder:
    """An ``Embedder`` that reads what another run or another program computed.

    Attributes:
        name: ``precomputed``.
        folder: holds ``<image name>.npz`` for every picture.
        wants_distorted: True; maps belong to the pictures as they were taken.
    """

    wants_distorted = True

    def __init__(self, folder: Path) -> None:
        """Looks in ``folder``.

        Raises:
            CaptureError: if there is no such folder.
        """
        if not folder.is_dir():
            raise CaptureError(folder, "no such folder", "give the folder of the cube maps")
        self.name = "precomputed"
        self.folder = folder

    def identity(self, name: str) -> str:
        """The SHA-256 of the picture's map.

        Args:
            name: the image's name in its capture.

        Raises:
            CaptureError: if there is no such map, or it cannot be read.
        """
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            raise _no_map(path)
        try:
            return f"sha256:{file_digest(path)}"
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
            raise CaptureError(path, reason, "check the file") from None

    def find_head(self, image: ByteArray, name: str | None = None) -> Square | None:
        """Square around the largest connected piece of the map, with a margin.

        Args:
            image: (H, W, 3) uint8 RGB, for its size.
            name: the image's name in its capture.

        Raises:
            CaptureError: if the map is absent, damaged, or for a picture of another size.
        """
        piece = largest_piece(self.embed(image, name=name).mask)
        if piece is None:
            return None
        return Square(piece[1].center, FinderOptions.margin * piece[1].side)

    def embed(
        self, image: ByteArray, region: Square | None = None, name: str | None = None
    ) -> CubeMap:
        """The picture's map at its own resolution, cut to the region where one is given.

        Args:
            image: (H, W, 3) uint8 RGB, for its size.
            region: what to keep, widened to whole pixels and cut at the picture's border.
            name: the image's name in its capture.

        Raises:
            ValueError: if no name is given or the region lies outside the picture.
            CaptureError: if the map is absent, damaged, or for a picture of another size.
        """
        check_image(image)
        if name is None:
            raise ValueError("precomputed cube maps are found by image name, and none was given")
        whole = read_cube_map(self.folder / f"{name}.npz", *image.shape[:2])
        return whole if region is None else _cut(whole, region)


def read_cube_map(path: Path, height: int, width: int) -> CubeMap:
    """Reads and checks one file.

    Args:
        path: the ``.npz`` file.
        height: rows of the picture it is for.
        width: columns of the picture.

    Returns:
        Map of (height, width); ``mask`` is False where coordinates are missing.

    Raises:
        CaptureError: if the file is absent, damaged, of the wrong shapes or out of range.
    """
    arrays = _read_arrays(path)
    if "coords" not in arrays:
        raise CaptureError(path, "holds no array `coords`", _REMEDY)
    coords = _checked(path, arrays, "coords", (height, width, 3))
    known = np.asarray(np.isfinite(coords).all(axis=2))
    coords[~known] = 0
    _check_range(path, "coords", coords)
    confidence = np.ones((height, width), np.float32)
    if "confidence" in arrays:
        confidence = _checked(path, arrays, "confidence", (height, width))
        known &= np.isfinite(confidence)
        confidence[~known] = 0
        _check_range(path, "confidence", confidence)
    if "mask" in arrays:
        known &= _checked(path, arrays, "mask", (height, width)) > 0
    normals = None
    if "normals" in arrays:
        normals = np.nan_to_num(_checked(path, arrays, "normals", (height, width, 3)))
    maps = (np.clip(coords, 0, 1), np.clip(confidence, 0, 1), known, np.eye(2, 3), normals)
    return CubeMap(*maps)


def write_cube_map(path: Path, cube_map: CubeMap) -> None:
    """Writes a map at its picture's resolution as ``read_cube_map`` expects it.

    Args:
        path: the ``.npz`` file; its folder is made.
        cube_map: map whose ``image_from_map`` is the identity.

    Raises:
        ValueError: if the map is not at its picture's resolution.
    """
    if not np.array_equal(cube_map.image_from_map, np.eye(2, 3)):
        raise ValueError("cube_map must be at the picture's resolution")
    path.parent.mkdir(parents=True, exist_ok=True)
    on_head = cube_map.mask
    arrays = {"coords": cube_map.coords, "confidence": cube_map.confidence}
    if cube_map.normals is not None:
        # Three decimals are a twentieth of a degree, at half the bytes.
        arrays["normals"] = cube_map.normals.astype(np.float16)
    for key, values in arrays.items():
        shown = on_head[..., None] if values.ndim == 3 else on_head
        arrays[key] = np.where(shown, values, values.dtype.type(0))
    with replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, mask=on_head, **arrays)


def _no_map(path: Path) -> CaptureError:
    return CaptureError(path, "no cube map for this picture", "compute one per picture")


def _read_arrays(path: Path) -> dict[str, AnyArray]:
    if not path.is_file():
        raise _no_map(path)
    # zipfile raises RuntimeError for what is encrypted or compressed in an unknown way.
    damage = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            with file:
                return {key: file[key] for key in _ARRAYS if key in file}
    except damage as error:
        reason = str(error).partition("\n")[0]
        raise CaptureError(path, f"not a readable .npz file ({reason})", _REMEDY) from None


def _checked(
    path: Path, arrays: dict[str, AnyArray], key: str, shape: tuple[int, ...]
) -> FloatArray:
    """An array as float32, of the expected shape."""
    array = arrays[key]
    if array.shape != shape:
        reason = f"`{key}` is {array.shape}, the picture needs {shape}"
        raise CaptureError(path, reason, "compute the map from the picture of this capture")
    if array.dtype.kind not in "fbiu":
        raise CaptureError(path, f"`{key}` has type {array.dtype}, not numbers", _REMEDY)
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _check_range(path: Path, key: str, values: FloatArray) -> None:
    low, high = float(values.min()), float(values.max())
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        reason = f"`{key}` spans {low:g} to {high:g}, expected 0 to 1"
        raise CaptureError(path, reason, "scale it to the cube; NaN says that there is none")


def _cut(whole: CubeMap, region: Square) -> CubeMap:
    height, width = whole.mask.shape
    low = np.floor(np.subtract(region.center, region.side / 2))
    high = np.ceil(np.add(region.center, region.side / 2))
    left, top = np.clip(low, 0, (width, height)).astype(int)
    right, bottom = np.clip(high, 0, (width, height)).astype(int)
    if left >= right or top >= bottom:
        raise ValueError(f"region {region} lies outside the picture of {width}x{height}")
    part = np.s_[top:bottom, left:right]
    affine = np.array([[1, 0, left], [0, 1, top]], np.float64)
    normals = None if whole.normals is None else whole.normals[part]
    return CubeMap(whole.coords[part], whole.confidence[part], whole.mask[part], affine, normals)
