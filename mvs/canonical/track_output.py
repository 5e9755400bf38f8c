"""Tracks as files: a table, a JSON document and a video or frames with the points drawn on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calib.files import note_file, write_json
from mvs.canonical.draw import write_picture
from mvs.canonical.layouts import Layout
from mvs.canonical.mark_files import (
    draw_landmarks,
    layout_document,
    round_list,
    write_table,
)
from mvs.canonical.pictures import map_image
from mvs.canonical.track import Tracks
from mvs.types import ByteArray, CubeMap, Embedder

_HEADER = ("frame", "name", "x", "y", "visible", "confidence")
_CODEC = "mp4v"


def embed_frames(frames: Iterable[tuple[str, ByteArray]], embedder: Embedder) -> Iterator[CubeMap]:
    """Cube maps of frames (name, picture), one after the other; empty where no head is seen."""
    for name, image in frames:
        yield map_image(name, image, embedder)


def write_tracks(output: Path, names: list[str], layout: Layout, tracks: Tracks) -> None:
    """Write ``track.csv`` (a line per frame and point) and ``track.json``.

    Args:
        output: folder, which exists.
        names: of the T frames.
        layout: the points.
        tracks: where they are.
    """
    rows: list[list[Any]] = []
    for t, frame in enumerate(names):
        for k, name in enumerate(layout.names):
            x, y = np.round(tracks.pixels[t, k], 3).tolist()
            sure = round(float(tracks.confidence[t, k]), 4)
            rows.append([frame, name, x, y, int(tracks.visible[t, k]), sure])
    write_table(output / "track.csv", _HEADER, rows)
    document = layout_document(layout)
    document["frames"] = {
        frame: {
            "pixels": round_list(tracks.pixels[t], 3),
            "visible": tracks.visible[t].tolist(),
            "confidence": round_list(tracks.confidence[t], 4),
        }
        for t, frame in enumerate(names)
    }
    write_json(output / "track.json", document, indent=None)


def write_overlay(
    output: Path, frames: Iterable[tuple[str, ByteArray]], tracks: Tracks, fps: float
) -> None:
    """Draw tracks: ``overlay.mp4``, or ``overlay/<frame>.png`` where OpenCV has no codec for it.

    Args:
        output: folder, which exists.
        frames: name and picture of the same T frames.
        tracks: where the points are.
        fps: frames per second of the video.
    """
    drawn = (
        (name, draw_landmarks(image, tracks.pixels[t], tracks.visible[t]))
        for t, (name, image) in enumerate(frames)
    )
    write_video(output, drawn, fps)


def write_video(output: Path, frames: Iterable[tuple[str, ByteArray]], fps: float) -> list[Path]:
    """Write ``overlay.mp4``, or ``overlay/<frame>.png`` where OpenCV has no codec for it.

    Args:
        output: folder, which exists.
        frames: name and picture (H, W, 3) uint8 RGB, all of one size.
        fps: frames per second.

    Returns:
        The files written.
    """
    import cv2

    writer: Any = None
    files = []
    with tempfile.TemporaryDirectory(dir=output, prefix=".overlay") as folder:
        path = Path(folder) / "overlay.mp4"
        for name, drawn in frames:
            if writer is None:
                # The codec stores whole pairs of pixels.
                size = (drawn.shape[1] // 2 * 2, drawn.shape[0] // 2 * 2)
                codec = cv2.VideoWriter.fourcc(*_CODEC)
                writer = cv2.VideoWriter(str(path), codec, fps, size)
            if writer.isOpened():
                writer.write(np.ascontiguousarray(drawn[: size[1], : size[0], ::-1]))
            else:
                (output / "overlay").mkdir(exist_ok=True)
                files.append(output / "overlay" / f"{name.rpartition('.')[0] or name}.png")
                write_picture(files[-1], drawn)
        if writer is not None and writer.isOpened():
            writer.release()
            path.chmod(0o644)
            files = [path.replace(output / "overlay.mp4")]
            note_file(files[0])
    return files
