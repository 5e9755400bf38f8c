"""``*_par.txt`` of the Middlebury multi-view benchmark.

A line per picture: name, K by rows, R by rows, t; P = K [R | t]. The centre of the first pixel is
(0, 0) there and (0.5, 0.5) here. Source: Seitz, Curless, Diebel, Scharstein, Szeliski,
"A comparison and evaluation of multi-view stereo reconstruction algorithms", CVPR 2006.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.calibration import (
    CalibratedImage,
    Calibration,
    DamagedError,
    numbers,
    pinhole_params,
    read_text,
    rigid,
)
from calib.capture import Capture
from calib.files import replacing

_SUFFIX = "_par.txt"
_N_NUMBERS = 21


def find_middlebury(path: Path) -> Path | None:
    """The one ``*_par.txt`` in a folder or its ``images``, or ``path`` itself."""
    if path.is_file():
        return path if path.name.endswith(_SUFFIX) else None
    for folder in (path, path / "images"):
        found = sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
        if found:
            return found[0]
    return None


def read_middlebury(path: Path) -> Calibration:
    """Read a ``*_par.txt``.

    Raises:
        DamagedError: if it makes no sense.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if not lines or len(lines[0]) != 1:
        raise DamagedError("the first line must be the number of pictures")
    n = int(lines[0][0])
    if n != len(lines) - 1:
        raise DamagedError(f"announces {n} pictures and holds {len(lines) - 1} (cut off?)")
    images = tuple(_image(words) for words in lines[1:])
    return Calibration(images, (path.parent, path.parent / "images"))


def write_middlebury(folder: Path, capture: Capture) -> Path:
    """Write a capture's ``cameras_par.txt``; returns its path.

    Raises:
        ValueError: if a view is distorted or its name has a space.
    """
    lines = [str(len(capture.views))]
    for view in capture.views:
        if not view.camera.is_pinhole:
            raise ValueError(
                f"{view.name}: a Middlebury file cannot hold {view.camera.model}; undistort first"
            )
        if len(view.name.split()) != 1:
            raise ValueError(f"{view.name!r}: a Middlebury file cannot hold a name with spaces")
        K = view.camera.K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        values = [*K.ravel(), *view.camera.rotation.ravel(), *view.camera.translation]
        lines.append(" ".join([view.name, *(repr(float(value)) for value in values)]))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"cameras{_SUFFIX}"
    with replacing(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
    return path


def _image(words: list[str]) -> CalibratedImage:
    name = words[0]
    values = numbers(words[1:], _N_NUMBERS, f"the line of {name!r}")
    K, R, t = values[:9].reshape(3, 3), values[9:18].reshape(3, 3), values[18:]
    params = pinhole_params(K, name, 0.5)
    return CalibratedImage(name, "PINHOLE", params, rigid(R, t, name), None)
