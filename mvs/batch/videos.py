"""A video a camera, decoded to pictures: from the first frame to the last, never by seeking.

Seeking in a compressed video lands on some frame near the one asked for; counting the frames as
FFmpeg (through OpenCV) hands them out does not. Pictures are PNG, so nothing is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from calib.capture import CaptureError
from calib.files import replacing
from mvs.batch.frames import Pattern, is_selected, select
from mvs.batch.jobs import stat_of

_DONE = "done.txt"
_QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def decode_videos(
    videos: Pattern,
    folder: Path,
    wanted: str | None = None,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Pattern:
    """Write the frames of videos as pictures; what is written already is left alone.

    A frame that cannot be decoded is left out; so are all after the place where a video breaks off.

    Args:
        videos: pattern of the files, with ``{camera}``.
        folder: where to; gets a folder a camera.
        wanted: which frames, see ``select``; counted from 0.
        threads: videos decoded at a time.
        progress: called with "decode", videos done and videos in all.

    Returns:
        The pattern of the pictures.

    Raises:
        ValueError: if there are no videos, or the wanted frames make no sense.
        CaptureError: if a video cannot be opened.
    """
    files = {camera: path for (camera, _), path in sorted(videos.find().items())}
    if not files:
        raise ValueError(f"{videos.text}: no such files; check the pattern")
    select([0], wanted)
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(_decode, path, folder / c, wanted) for c, path in files.items()]
        for done, job in enumerate(jobs, 1):
            job.result()
            if progress is not None:
                progress("decode", done, len(jobs))
    return Pattern(f"{folder}/{{camera}}/{{frame:06d}}.png")


def _decode(path: Path, folder: Path, wanted: str | None) -> None:
    state, done = f"{stat_of([path])} {wanted}", folder / _DONE
    if done.is_file() and done.read_text(encoding="utf-8") == state:
        return
    # FFmpeg prints its own complaints; it reads this once, before the first video.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise CaptureError(path, "not a video that OpenCV can open", "convert it to MP4 (H.264)")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    # As calibrated pictures are: turned by nobody.
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    number = 0
    while video.grab():
        if is_selected(number, wanted):
            _write(folder / f"{number:06d}.png", video)
        number += 1
    video.release()
    with replacing(done) as stream:
        stream.write(state.encode())


def _write(path: Path, video: cv2.VideoCapture) -> None:
    """The frame that was grabbed last, if it can be decoded."""
    found, image = video.retrieve()
    if found:
        with replacing(path) as stream:
            stream.write(cv2.imencode(".png", image, _QUICK)[1].tobytes())
