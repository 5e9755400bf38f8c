"""Cameras in OpenCV's YAML files, in the two layouts that are common.

``intri.yml`` and ``extri.yml``, as EasyMocap writes them
    ``names``, and per name ``K_<name>``, ``dist_<name>`` (or ``D_``), ``H_<name>``, ``W_<name>`` in
    the first; ``Rot_<name>`` (3 x 3) or ``R_<name>`` (Rodrigues) and ``T_<name>`` in the second.
    ``model_<name>: fisheye``, this project's addition, says that the lens is one of cv2.fisheye.
One file per camera
    In the capture's folder, ``cameras`` or ``calib``; its keys are ``_KEYS``; size and distortion
    may be absent.

A camera's picture is ``images/<name>.<ending>`` or the only one in ``images/<name>``. X_cam =
R X + t as here; the centre of the first pixel is (0, 0) there and (0.5, 0.5) here. Distortion is
k1 k2 p1 p2 (k3 (k4 k5 k6)). Sources: https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html,
https://chingswy.github.io/easymocap-public-doc/quickstart/calibration.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.calibration import (
    CalibratedImage,
    Calibration,
    DamagedError,
    checked_size,
    pinhole_params,
    rigid,
    some_names,
)
from calib.capture import Capture, View
from calib.files import replacing
from calib.lens import brown_coefficients
from calib.opencv_yaml import matrix, matrix_text, read_yaml

DoubleArray = npt.NDArray[np.float64]

INTRINSICS, EXTRINSICS = "intri.yml", "extri.yml"
_FOLDERS = (".", "cameras", "calib")
_SUFFIXES = (".yml", ".yaml")
# What a file of one camera may call its entries.
_KEYS = {
    "K": ("camera_matrix", "cameraMatrix", "Camera_Matrix", "K", "M1"),
    "D": (
        *("distortion_coefficients", "Distortion_Coefficients", "dist_coeffs", "distCoeffs"),
        *("D", "D1"),
    ),
    "R": ("R", "rotation", "rotation_matrix", "rvec"),
    "T": ("T", "t", "translation", "translation_vector", "tvec"),
    "width": ("image_width",),
    "height": ("image_height",),
    "size": ("image_size",),
    "model": ("model", "camera_model", "distortion_model"),
    "is_fisheye": ("fisheye_model",),
}
# K as a matrix; a "K: 5" is of something else.
_CAMERA_FILE = re.compile(
    rf'^\s*"?({"|".join(_KEYS["K"])})"?[ \t]*:[ \t]*(!!opencv-matrix|\[|\{{|\r?$)'.encode(),
    re.MULTILINE,
)
_HEAD = 1 << 16
_FISHEYES = ("fisheye", "opencv_fisheye", "equidistant", "kannala_brandt")
_PERSPECTIVE = ("", "pinhole", "perspective", "opencv", "plumb_bob", "rational_polynomial")
# How many coefficients OpenCV's functions take; those from the ninth on are prism and tilt.
_N_DISTORTIONS = (0, 4, 5, 8, 12, 14)
_CAMERA_NAME = re.compile(r"[A-Za-z0-9_-]+")


def find_opencv(path: Path) -> Path | None:
    """A folder's ``intri.yml``, or the folder of files of one camera each."""
    if path.is_file():
        if path.suffix.lower() not in _SUFFIXES:
            return None
        folders = [path.parent]
    else:
        folders = [path / name for name in _FOLDERS]
    for folder in folders:
        if (folder / INTRINSICS).is_file():
            return folder / INTRINSICS
        if _camera_files(folder):
            return folder
    return None


def read_opencv(path: Path) -> Calibration:
    """Read ``intri.yml`` with the ``extri.yml`` beside it, or a folder of files of one camera each.

    Raises:
        DamagedError: if a file makes no sense.
    """
    if path.is_dir():
        images = [_image(file.stem, _by_alias(file)) for file in _camera_files(path)]
        return Calibration(tuple(images), _picture_folders(path))
    beside = path.with_name(EXTRINSICS)
    if not beside.is_file():
        raise DamagedError(f"has no {EXTRINSICS} beside it")
    intri, extri = read_yaml(path), read_yaml(beside)
    names = intri.get("names", [key[2:] for key in intri if key.startswith("K_")])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DamagedError(f"{INTRINSICS}: names must be a list of names")
    posed = [name for name in names if f"Rot_{name}" in extri or f"R_{name}" in extri]
    images = [_image(name, _by_name(name, intri, extri)) for name in posed]
    warnings = []
    if len(posed) < len(names):
        absent = [name for name in names if name not in posed]
        warnings.append(f"{len(absent)} cameras left out, without a pose: {some_names(absent)}")
    return Calibration(tuple(images), _picture_folders(path.parent), warnings=tuple(warnings))


def write_opencv(folder: Path, capture: Capture) -> Path:
    """Write a capture's ``intri.yml`` and ``extri.yml``; returns the path of the first.

    Raises:
        ValueError: if a lens or the name of a picture is none that the files can hold.
    """
    names = [_camera_name(view) for view in capture.views]
    if len(set(names)) < len(names):
        raise ValueError("two pictures have one name but for their ending; rename them")
    head = "%YAML:1.0\n---\nnames:\n" + "".join(f'   - "{name}"\n' for name in names)
    intri, extri = [head], [head]
    for name, view in zip(names, capture.views, strict=True):
        camera = view.camera
        intri += _lens_text(name, view)
        extri.append(matrix_text(f"Rot_{name}", camera.rotation))
        extri.append(matrix_text(f"T_{name}", camera.translation[:, None]))
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, lines in ((EXTRINSICS, extri), (INTRINSICS, intri)):
        with replacing(folder / file_name) as file:
            file.write("".join(lines).encode())
    return folder / INTRINSICS


def _camera_files(folder: Path) -> list[Path]:
    """The YAML files of a folder that hold one camera each."""
    if not folder.is_dir():
        return []
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES)
    return [path for path in files if path.is_file() and _CAMERA_FILE.search(_head(path))]


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _picture_folders(folder: Path) -> tuple[Path, ...]:
    return (folder / "images", folder.parent / "images", folder)


def _by_alias(path: Path) -> dict[str, Any]:
    """A file of one camera, by the keys of ``_KEYS``."""
    document = read_yaml(path)
    if "M2" in document:
        raise DamagedError(f"{path.name}: holds a stereo pair; write a file per camera")
    found = {}
    for key, aliases in _KEYS.items():
        found[key] = next((document[alias] for alias in aliases if alias in document), None)
    return found


def _by_name(name: str, intri: dict[str, Any], extri: dict[str, Any]) -> dict[str, Any]:
    """One camera of ``intri.yml`` and ``extri.yml``, by the keys of ``_KEYS``."""
    return {
        "K": intri.get(f"K_{name}"),
        "D": intri.get(f"dist_{name}", intri.get(f"D_{name}")),
        "R": extri.get(f"Rot_{name}", extri.get(f"R_{name}")),
        "T": extri.get(f"T_{name}"),
        "width": intri.get(f"W_{name}"),
        "height": intri.get(f"H_{name}"),
        "model": intri.get(f"model_{name}"),
    }


def _image(name: str, said: dict[str, Any]) -> CalibratedImage:
    for key in "KRT":
        if said[key] is None:
            raise DamagedError(f"camera {name!r} has none of {', '.join(_KEYS[key])}")
    model, params = _lens(name, said)
    translation = matrix(said["T"], 3, f"the translation of {name!r}")
    pose = rigid(_rotation(said["R"], name), translation, name)
    return CalibratedImage(name, model, params, pose, _size(name, said))


def _rotation(value: Any, name: str) -> DoubleArray:
    """(3, 3) of a matrix or a Rodrigues vector."""
    from scipy.spatial.transform import Rotation

    entries = matrix(value, None, f"the rotation of {name!r}")
    if len(entries) == 3:
        return np.asarray(Rotation.from_rotvec(entries).as_matrix())
    if len(entries) != 9:
        raise DamagedError(f"the rotation of {name!r} has {len(entries)} numbers, not 9 or 3")
    return entries.reshape(3, 3)


def _size(name: str, said: dict[str, Any]) -> tuple[int, int] | None:
    values = said.get("size")
    if values is None and said["width"] is not None and said["height"] is not None:
        values = [said["width"], said["height"]]
    if values is None:
        return None
    size = matrix(values, 2, f"the picture size of {name!r}")
    # EasyMocap writes -1, and 0, for "unknown".
    return None if (size <= 0).all() else checked_size(size.tolist(), name)


def _lens(name: str, said: dict[str, Any]) -> tuple[str, DoubleArray]:
    K = matrix(said["K"], 9, f"K of {name!r}").reshape(3, 3)
    linear = pinhole_params(K, name, 0.5)
    given = matrix(said["D"], None, f"the distortion of {name!r}")
    model = str(said["model"] or "").lower()
    if model in _FISHEYES or said.get("is_fisheye") in ("1", "true", "True"):
        if len(given) not in (0, 4):
            raise DamagedError(f"the fisheye {name!r} has {len(given)} coefficients, not 4")
        return "OPENCV_FISHEYE", np.concatenate([linear, given if len(given) else np.zeros(4)])
    if model not in _PERSPECTIVE:
        raise DamagedError(f"{name!r} has the lens model {model}, which is not supported")
    if len(given) not in _N_DISTORTIONS:
        raise DamagedError(f"{name!r} has {len(given)} distortion coefficients")
    if given[8:].any():
        raise DamagedError(f"{name!r} has a thin prism or tilt, which no lens model here has")
    coefficients = np.zeros(8)
    coefficients[: len(given[:8])] = given[:8]
    if coefficients[4:].any():
        return "FULL_OPENCV", np.concatenate([linear, coefficients])
    if coefficients.any():
        return "OPENCV", np.concatenate([linear, coefficients[:4]])
    return "PINHOLE", linear


def _camera_name(view: View) -> str:
    """The picture's stem, or the name of the folder it has for itself."""
    folder, _, last = view.name.rpartition("/")
    name = folder or last.rpartition(".")[0] or last
    if not _CAMERA_NAME.fullmatch(name):
        raise ValueError(
            f"{view.name!r}: a key of OpenCV's YAML holds letters, digits, - and _; rename it"
        )
    return name


def _lens_text(name: str, view: View) -> list[str]:
    """A view's entries in ``intri.yml``."""
    camera = view.camera
    K = camera.K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    size = f"H_{name}: {camera.height}\nW_{name}: {camera.width}\n"
    if camera.model == "OPENCV_FISHEYE":
        distortion, model = camera.params[4:], f"model_{name}: fisheye\n"
    else:
        coefficients = brown_coefficients(camera)
        if coefficients is None:
            raise ValueError(
                f"{view.name}: {INTRINSICS} cannot hold {camera.model}; undistort first"
            )
        n = 8 if coefficients[5:].any() else 5
        distortion, model = coefficients[:n], ""
    return [
        matrix_text(f"K_{name}", K),
        matrix_text(f"dist_{name}", distortion[None]),
        size,
        model,
    ]
