"""The pictures of a video, or of a folder of numbered frames, one after the other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from calib.capture import CaptureError
from calib.image_files import read_upright
from mvs.types import ByteArray

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

# Frames a second beyond which a header tells the ticks of its clock.
_FASTEST = 1000.0


class Picture(NamedTuple):
    """A picture of a video: its name and (H, W, 3) uint8 RGB."""

    name: str
    image: ByteArray


def read_pictures(source: Path, every: int = 1) -> Iterator[Picture]:
    """The pictures of a video file or of a folder of numbered frames, in order.

    Args:
        source: anything OpenCV opens as a video, or a folder of pictures whose names' last number
            is the frame's.
        every: 1 for all, 2 for every second, ...

    Returns:
        An iterator; the source itself is checked at once.

    Raises:
        CaptureError: if the source is not there or holds no pictures, and, on the way, if one
            cannot be read or is of another size than the first.
    """
    _check_there(source)
    if source.is_dir():
        return _check_sizes(source, _read_folder(_numbered(source)[::every]))
    return _check_sizes(source, _read_video(source, _open(source), every))


def estimate_length(source: Path, every: int = 1) -> int:
    """About how many pictures ``read_pictures`` gives; a video's header may be wrong.

    Raises:
        CaptureError: as ``read_pictures`` at once.
    """
    _check_there(source)
    if source.is_dir():
        return len(_numbered(source)[::every])
    video = _open(source)
    n_frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    return max(-(-n_frames // every), 1)


def find_rate(source: Path) -> float | None:
    """Frames a second as a video's header says; None of a folder, or where it says nothing usable.

    Raises:
        CaptureError: as ``read_pictures`` at once.
    """
    _check_there(source)
    if source.is_dir():
        return None
    video = _open(source)
    rate = float(video.get(cv2.CAP_PROP_FPS))
    video.release()
    return rate if 0 < rate <= _FASTEST else None


def _check_there(source: Path) -> None:
    if not source.exists():
        remedy = "give a video, a folder of numbered frames or a capture with a COLMAP model"
        raise CaptureError(source, "no such file or folder", remedy)


def _numbered(folder: Path) -> list[Path]:
    """Pictures of a folder by their last number."""
    numbers: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
            continue
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise CaptureError(path, "has no number in its name", "frames are named by their order")
        if int(digits[-1]) in numbers:
            other = numbers[int(digits[-1])].name
            raise CaptureError(path, f"has the same number as {other}", "give one video's frames")
        numbers[int(digits[-1])] = path
    if not numbers:
        remedy = "give a folder of numbered frames, or one with images/ and sparse/0"
        raise CaptureError(folder, "holds neither pictures nor a COLMAP model", remedy)
    return [numbers[number] for number in sorted(numbers)]


def _read_folder(paths: list[Path]) -> Iterator[Picture]:
    for path in paths:
        yield Picture(path.name, read_upright(path))


def _open(path: Path) -> cv2.VideoCapture:
    # OpenCV would take a picture for the first of a numbered row.
    if path.suffix.lower() in _SUFFIXES:
        raise CaptureError(path, "is a picture, not a video", "give the folder of the frames")
    # FFmpeg prints its own complaints; it reads this once, before the first video.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise CaptureError(path, "not a video that OpenCV can open", "convert it to MP4 (H.264)")
    return video


def _read_video(path: Path, video: cv2.VideoCapture, every: int) -> Iterator[Picture]:
    try:
        for number in count():
            if not video.grab():
                return
            if number % every:
                continue
            found, image = video.retrieve()
            if not found:
                raise CaptureError(path, f"frame {number} is unreadable", "convert the video anew")
            yield Picture(f"{number:06d}", np.ascontiguousarray(image[..., ::-1]))
    finally:
        video.release()


def _check_sizes(source: Path, pictures: Iterator[Picture]) -> Iterator[Picture]:
    size: tuple[int, ...] | None = None
    for picture in pictures:
        here = picture.image.shape[:2]
        if size is not None and here != size:
            raise CaptureError(
                source,
                f"{picture.name} is {here[1]} x {here[0]}, those before {size[1]} x {size[0]}",
                "give the frames of one video",
            )
        size = here
        yield picture
