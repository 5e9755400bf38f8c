"""Photographs opened one by one, and their features and matches in a COLMAP database.

COLMAP sees none of the files themselves: it gets grey 8-bit copies of what this project's own
reader makes of them, so that no file can stop it and both agree on size and orientation.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.calibration import DamagedError, check_name
from calib.camera import Camera
from calib.capture import Capture, CaptureError, View, picture_size
from calib.files import replacing
from calib.masks import check_masks
from calib.pictures import PICTURE_SUFFIXES, PictureFolder

ByteArray = npt.NDArray[np.uint8]
# (stage, steps done, steps in all)
Progress = Callable[[str, int, int], None]

DATABASE = "database.db"
# Beyond this number each photo is matched with its neighbours by name only.
MAX_EXHAUSTIVE = 120
# Of the brightness, in grey levels; less is black, white or fog.
_LEAST_CONTRAST = 4.0
# A quarter of COLMAP's: skin is smooth, and what is found there is what joins the views.
_PEAK_THRESHOLD = 0.0015
# Neighbours this close in grey are what rounding makes of a smooth slope.
_GREY_STEP = 2.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Photo:
    """A photograph that opens.

    Attributes:
        name: below the folder of the photos, with forward slashes.
        path: of the file.
        mask: of its mask, None without.
        size: width and height, pixels.
        sharpness: 0 (smooth) to 1, see ``sharpness``.
        has_contrast: whether it shows anything at all.
        exif_focal_px: what its EXIF says, None without.
        device: camera, lens and size as its EXIF says, None without.
    """

    name: str
    path: Path
    mask: Path | None
    size: tuple[int, int]
    sharpness: float
    has_contrast: bool
    exif_focal_px: float | None
    device: str | None


@dataclass(frozen=True)
class FeatureOptions:
    """How features are found and matched.

    Attributes:
        max_size: longer sides are shrunk to this many pixels for finding features.
        max_features: of one photo, the largest are kept.
        threads: the result does not depend on it.
    """

    max_size: int = 2400
    max_features: int = 4096
    threads: int = 2

    def __post_init__(self) -> None:
        for name, least in (("max_size", 64), ("max_features", 100), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def find_photos(folder: Path, skipped: Sequence[Path]) -> list[str]:
    """Names of the pictures below a folder, sorted.

    Args:
        folder: of the photos.
        skipped: folders whose files are none.

    Raises:
        CaptureError: if there are none, or a name cannot be used.
    """
    if not folder.is_dir():
        raise CaptureError(folder, "no such folder", "give the folder of the photos")
    base, away = folder.resolve(), [path.resolve() for path in skipped]
    names = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.suffix.lower() not in PICTURE_SUFFIXES or not path.is_file():
            continue
        # The folder resolved, not the file, which may be a link to a photo elsewhere.
        if not any((base / inside).is_relative_to(other) for other in away):
            names.append(inside.as_posix())
    for name in names:
        try:
            check_name(name)
        except DamagedError as error:
            raise CaptureError(folder, str(error), "rename it") from None
    if not names:
        raise CaptureError(folder, "holds no photos", "give the folder of the photos")
    return names


def read_photos(
    folder: Path, names: Sequence[str], masks: Path | None, work: Path, progress: Progress
) -> tuple[list[Photo], dict[str, str]]:
    """Open all photos; the copies that features are found on go to ``work``.

    Args:
        folder: of the photos.
        names: below the folder.
        masks: folder of the masks, None without.
        work: folder for the copies, ``00000.png`` ..., and ``masks/00000.png.png`` ...
        progress: is told of each photo.

    Returns:
        The photos in the order of their names, and why others cannot be used.
    """
    mask_folder = None if masks is None else PictureFolder(masks)
    (work / "masks").mkdir()
    photos: list[Photo] = []
    unusable = {}
    for done, name in enumerate(names, 1):
        mask = None if mask_folder is None else mask_folder.find_mask(name)
        try:
            photos.append(_read_photo(folder, name, mask, work, len(photos)))
        except CaptureError as error:
            what = "unreadable mask" if error.path == mask else "unreadable"
            unusable[name] = f"{what}: {error.reason}"
        progress("read", done, len(names))
    return photos, unusable


def check_photo_masks(folder: Path, photos: Sequence[Photo]) -> list[str]:
    """Warnings about masks of photos that look wrong; raises CaptureError as ``check_masks``."""
    views = tuple(_view(photo.name, photo.path, photo.mask, photo.size) for photo in photos)
    return check_masks(Capture(folder, views, np.zeros((0, 3)), ()))


def sharpness(grey: ByteArray) -> float:
    """How much of a picture's detail a further blur takes away, 0 to 1; contrast matters little.

    Source: Crete et al. 2007, "The blur effect".
    """
    import cv2

    values = grey.astype(np.float32)
    kept = []
    for size in ((9, 1), (1, 9)):
        axis = 1 if size[1] == 1 else 0
        before = np.abs(np.diff(values, axis=axis))
        before[before <= _GREY_STEP] = 0
        after = np.abs(np.diff(cv2.blur(values, size), axis=axis))
        total = float(before.sum(dtype=np.float64))
        lost = float(np.maximum(before - after, 0).sum(dtype=np.float64))
        kept.append(lost / total if total else 0.0)
    return min(kept)


def extract(work: Path, n: int, options: FeatureOptions, progress: Progress) -> list[int]:
    """Find features on the copies of ``read_photos``; returns how many each photo has.

    Args:
        work: holds the copies and a database that names ``n`` images 1 ... n.
        n: photos.
        options: how.
        progress: is told as photos are done.
    """
    import pycolmap

    found = pycolmap.FeatureExtractionOptions(
        num_threads=options.threads, use_gpu=False, max_image_size=options.max_size
    )
    found.sift.peak_threshold = _PEAK_THRESHOLD
    found.sift.max_num_features = options.max_features
    reader = pycolmap.ImageReaderOptions(mask_path=str(work / "masks"))
    names = [copy_name(index) for index in range(n)]
    with watching(work, "keypoints", n, lambda done: progress("features", done, n)):
        pycolmap.extract_features(
            work / DATABASE,
            work,
            names,
            reader_options=reader,
            extraction_options=found,
            device=pycolmap.Device.cpu,
        )
    with database(work) as data:
        return [data.num_keypoints_for_image(key) for key in range(1, n + 1)]


def match(
    work: Path, n: int, options: FeatureOptions, progress: Progress
) -> dict[tuple[int, int], int]:
    """Match the features of pairs of photos.

    Args:
        work: as ``extract`` left it.
        n: photos; beyond ``MAX_EXHAUSTIVE`` each is matched with some neighbours by name.
        options: how.
        progress: is told as pairs are done.

    Returns:
        Matches that fit one geometry, by image numbers from 1.
    """
    import pycolmap

    how = pycolmap.FeatureMatchingOptions(num_threads=options.threads, use_gpu=False)
    verified = pycolmap.TwoViewGeometryOptions()
    verified.ransac.random_seed = 0
    given: dict[str, Any] = {
        "verification_options": verified,
        "device": pycolmap.Device.cpu,
    }
    n_pairs = n * (n - 1) // 2
    if n > MAX_EXHAUSTIVE:
        pairing = pycolmap.SequentialPairingOptions(overlap=20, quadratic_overlap=True)
        # 20 neighbours, then those 32, 64, ... further on.
        n_pairs = n * (20 + max((n // 32).bit_length(), 0))
    with watching(
        work, "two_view_geometries", n_pairs, lambda done: progress("match", done, n_pairs)
    ):
        if n > MAX_EXHAUSTIVE:
            pycolmap.match_sequential(work / DATABASE, how, pairing, **given)
        else:
            blocks = pycolmap.ExhaustivePairingOptions(block_size=10)
            pycolmap.match_exhaustive(work / DATABASE, how, blocks, **given)
    with database(work) as data:
        pairs, counts = data.read_two_view_geometry_num_inliers()
    found = {}
    for pair, count in zip(pairs, counts, strict=True):
        first, second = pycolmap.pair_id_to_image_pair(pair)
        if count > 0:
            found[first, second] = count
    return found


def copy_name(index: int) -> str:
    """Name of the copy of a photo, and of its image in the database."""
    return f"{index:05d}.png"


@contextmanager
def database(work: Path) -> Iterator[Any]:
    """The database in ``work``, opened."""
    import pycolmap

    data = pycolmap.Database.open(work / DATABASE)
    try:
        yield data
    finally:
        data.close()


@contextmanager
def watching(work: Path, table: str, total: int, report: Callable[[int], None]) -> Iterator[None]:
    """While COLMAP works, tell how many rows of a table are written."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_POLL_SECONDS):
            try:
                with closing(sqlite3.connect(work / DATABASE, timeout=0.0)) as data:
                    done = data.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            except sqlite3.Error:
                continue
            report(min(int(done), total))

    report(0)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    report(total)


def _read_photo(folder: Path, name: str, mask: Path | None, work: Path, index: int) -> Photo:
    import cv2

    path = folder / name
    size = picture_size(path)
    view = _view(name, path, mask, size)
    grey = np.asarray(cv2.cvtColor(view.load_image(), cv2.COLOR_RGB2GRAY), np.uint8)
    kept = view.load_mask()
    _write_png(work / copy_name(index), grey)
    # COLMAP leaves out pictures without a mask where others have one.
    kept = np.ones_like(grey, np.bool_) if kept is None else kept
    _write_png(work / "masks" / f"{copy_name(index)}.png", kept.astype(np.uint8) * 255)
    focal, device = _exif(path)
    has_contrast = bool(grey.std() >= _LEAST_CONTRAST)
    return Photo(name, path, mask, size, sharpness(grey), has_contrast, focal, device)


def _view(name: str, path: Path, mask: Path | None, size: tuple[int, int]) -> View:
    """A view of which only the pixels count."""
    lens = Camera("SIMPLE_PINHOLE", *size, np.array([1.0, 0.0, 0.0]), np.eye(3, 4))
    return View(name, path, mask, lens, np.zeros(0, np.int64))


def exif_focal(path: Path) -> float | None:
    """Focal length of a picture in pixels, as its EXIF says; None without."""
    return _exif(path)[0]


def _exif(path: Path) -> tuple[float | None, str | None]:
    """Focal length in pixels and camera as COLMAP understands the EXIF."""
    import pycolmap

    try:
        bitmap = pycolmap.Bitmap.read(path, as_rgb=False)
    except (RuntimeError, ValueError):
        return None, None
    if bitmap is None:
        return None, None
    return bitmap.exif_focal_length(), bitmap.exif_camera_model()


def _write_png(path: Path, picture: ByteArray) -> None:
    import cv2

    data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    with replacing(path) as file:
        file.write(data.tobytes())
