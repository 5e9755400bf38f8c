"""``cams/<name>_cam.txt`` of MVSNet and what came after it.

``extrinsic`` is cam_from_world, 4 x 4; ``intrinsic`` is K, 3 x 3, in COLMAP's pixels as
colmap2mvsnet copies them from COLMAP: the centre of the first pixel is (0.5, 0.5). The last line is
the smallest depth, the step, and in later files the number of steps and the largest depth. The
picture is the one in ``images`` (or ``blended_images``) whose name without ending is <name>.
Source: https://github.com/YoYo000/MVSNet#file-formats
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.calibration import (
    CalibratedImage,
    Calibration,
    DamagedError,
    numbers,
    pinhole_params,
    read_text,
    rigid,
)
from calib.capture import Capture, View

DoubleArray = npt.NDArray[np.float64]

FOLDER = "cams"
_SUFFIX = "_cam.txt"
_N_DEPTHS = 192
# A camera's text has 29 words and more; far more is none.
_LARGEST = 1 << 16


def find_mvsnet(path: Path) -> Path | None:
    """The folder of ``*_cam.txt`` files: ``cams`` in a folder, or ``path`` itself."""
    if path.is_file():
        return path.parent if path.name.endswith(_SUFFIX) else None
    for folder in (path / FOLDER, path):
        if folder.is_dir() and any(folder.glob(f"*{_SUFFIX}")):
            return folder
    return None


def read_mvsnet(path: Path) -> Calibration:
    """Read a folder of ``*_cam.txt``.

    Raises:
        DamagedError: if a file makes no sense; its text starts with the file's name.
    """
    images = []
    for file in sorted(path.glob(f"*{_SUFFIX}")):
        try:
            images.append(_image(file.name.removesuffix(_SUFFIX), read_text(file, _LARGEST)))
        except DamagedError as error:
            raise DamagedError(f"{file.name}: {error}") from None
    folders = (path.parent / "images", path.parent / "blended_images", path / "images")
    return Calibration(tuple(images), folders)


def write_mvsnet(folder: Path, capture: Capture) -> Path:
    """Write a capture's ``cams``; returns that folder.

    Raises:
        ValueError: if a view is distorted, the names do not fit, or ``cams`` holds other cameras.
    """
    texts = {}
    for view in capture.views:
        stem = view.name.rpartition(".")[0] or view.name
        if "/" in stem or f"{stem}{_SUFFIX}" in texts:
            raise ValueError(f"{view.name!r}: MVSNet wants pictures in one folder, names unique")
        texts[f"{stem}{_SUFFIX}"] = _camera_text(view, capture)
    cams = folder / FOLDER
    strange = {path.name for path in cams.glob(f"*{_SUFFIX}")} - set(texts)
    if strange:
        raise ValueError(f"{cams} holds cameras of other pictures ({min(strange)}); empty it first")
    cams.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cams) as temporary:
        for name, text in texts.items():
            (Path(temporary) / name).write_text(text)
        for file in sorted(Path(temporary).iterdir()):
            file.chmod(0o644)
            file.replace(cams / file.name)
    return cams


def _image(name: str, text: str) -> CalibratedImage:
    words = text.split()
    if words[:1] != ["extrinsic"] or words[17:18] != ["intrinsic"]:
        raise DamagedError("must hold extrinsic, 16 numbers, intrinsic, 9 numbers (cut off?)")
    extrinsic = numbers(words[1:17], 16, "extrinsic").reshape(4, 4)
    K = numbers(words[18:27], 9, "intrinsic").reshape(3, 3)
    depths = numbers(words[27:], None, "the line of depths")
    if not 2 <= len(depths) <= 4:
        raise DamagedError(f"the line of depths has {len(depths)} numbers, 2 to 4 are needed")
    if not np.array_equal(extrinsic[3], [0, 0, 0, 1]):
        raise DamagedError("extrinsic must end in 0 0 0 1")
    pose = rigid(extrinsic[:3, :3], extrinsic[:3, 3], name)
    return CalibratedImage(name, "PINHOLE", pinhole_params(K, name, 0.0), pose, None)


def _camera_text(view: View, capture: Capture) -> str:
    if not view.camera.is_pinhole:
        raise ValueError(f"{view.name}: MVSNet cannot hold {view.camera.model}; undistort first")
    extrinsic = np.vstack([view.camera.cam_from_world, [0, 0, 0, 1]])
    near, far = _depth_range(view, capture)
    depths = f"{near!r} {(far - near) / (_N_DEPTHS - 1)!r} {_N_DEPTHS} {far!r}"
    return f"extrinsic\n{_rows(extrinsic)}\n\nintrinsic\n{_rows(view.camera.K)}\n\n{depths}\n"


def _rows(matrix: DoubleArray) -> str:
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in matrix)


def _depth_range(view: View, capture: Capture) -> tuple[float, float]:
    """Depths between which a view's surface lies.

    A tenth of room around the sparse points it sees; without any, from an eighth of the distance
    to the farthest other camera to twice it, which holds what cameras around an object look at.
    """
    depth = view.camera.project(capture.points[view.point_ids])[1]
    depth = depth[depth > 0]
    if len(depth):
        return float(0.9 * depth.min()), float(1.1 * depth.max())
    centers = np.array([other.camera.center for other in capture.views])
    farthest = float(np.linalg.norm(centers - view.camera.center, axis=1).max()) or 1.0
    return farthest / 8, farthest * 2
