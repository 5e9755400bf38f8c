"""How well landmarks that are looked up in an embedder's maps agree with true or labelled ones.

Errors are in parts of the distance between the outer corners of the eyes in the same picture (the
normalised mean error, NME, of 300-W).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.capture import Capture, CaptureError
from mvs.canonical.landmarks import find_landmarks, landmark_positions
from mvs.canonical.pose import head_pose
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, Embedder, Square

_N = 68
_OUTER_EYES = (36, 45)
_JAW = 17
# Views farther than this from the front are not averaged: the eyes' distance shrinks to nothing.
_FRONTAL_DEG = 45.0
# The square a network sees around labelled points, in parts of their longer side, and how far its
# middle lies above theirs: labels reach from the chin to the brows.
_SQUARE, _SQUARE_UP = 2.0, 0.2
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class ViewLandmarks:
    """Landmarks of one view of a capture.

    Attributes:
        name: of the view.
        yaw_deg: of the camera around the head, 0 in front, positive to the subject's left.
        n_visible: landmarks that the truth says are visible; the others count nowhere.
        found: share of them that got a place.
        nme: mean error of those, in parts of the eyes' distance; NaN without any.
        seen_as_visible: share of all landmarks whose visibility is told right.
    """

    name: str
    yaw_deg: float
    n_visible: int
    found: float
    nme: float
    seen_as_visible: float


@dataclass(frozen=True)
class LandmarkFigures:
    """Landmarks of a capture.

    Attributes:
        nme: mean over the views within 45 degrees of the front; NaN without any.
        views: all views with a truth.
    """

    nme: float
    views: tuple[ViewLandmarks, ...]


@dataclass(frozen=True)
class PhotoFigures:
    """Landmarks of one labelled photograph.

    Attributes:
        name: file name of the picture.
        nme: mean error over all 68 landmarks, NaN where the face was not found. The jaw's labels
            follow the outline of the face and not points of its surface.
        nme_inner: the same over the 51 landmarks that are not on the jaw.
        found: whether the map shows a head at the labelled face.
    """

    name: str
    nme: float
    nme_inner: float
    found: bool


def capture_landmarks(
    capture: Capture,
    cameras: Sequence[Camera],
    cube_maps: Sequence[CubeMap],
    truth_path: Path | None = None,
) -> LandmarkFigures | None:
    """Compare the landmarks in a capture's maps with the true ones.

    Args:
        capture: whose views were embedded.
        cameras: of the pictures that the maps are of (pinhole, where the maps are), one per view.
        cube_maps: one per view.
        truth_path: file with the true landmarks, by default ``gt/landmarks.json`` of the capture:
            ``xyz``, 68 positions in the world, and ``views``, by image name, with ``visible``, 68
            numbers that are 0 for hidden.

    Returns:
        The figures, None where there is no such file.

    Raises:
        CaptureError: if the file cannot be used.
        ValueError: if the numbers of views differ.
    """
    if not len(capture.views) == len(cameras) == len(cube_maps):
        raise ValueError(
            f"cameras and cube_maps must have one entry per view ({len(capture.views)}), got "
            f"{len(cameras)} and {len(cube_maps)}"
        )
    path = truth_path or capture.path / "gt" / "landmarks.json"
    if not path.is_file():
        return None
    positions, visible = read_landmark_truth(path)
    places = landmark_positions()
    pose = head_pose(places.astype(np.float64), positions)
    views = []
    for view, camera, cube_map in zip(capture.views, cameras, cube_maps, strict=True):
        if view.name not in visible:
            continue
        x, _, z = pose.direction(camera.center)
        yaw = float(np.rad2deg(np.arctan2(x, z)))
        true = camera.project(positions)[0]
        found = find_landmarks(cube_map, places)
        errors = _normalised(found.pixels, true)[visible[view.name]]
        agree = float((found.visible == visible[view.name]).mean())
        known = np.isfinite(errors)
        share = float(known.mean()) if len(errors) else float("nan")
        views.append(ViewLandmarks(view.name, yaw, len(errors), share, _mean(errors[known]), agree))
    frontal = [v.nme for v in views if abs(v.yaw_deg) <= _FRONTAL_DEG and np.isfinite(v.nme)]
    return LandmarkFigures(_mean(np.array(frontal)), tuple(views))


def photo_landmarks(
    folder: Path,
    embedder: Embedder,
    progress: Callable[[], None] | None = None,
    first_pixel: float = 0.0,
) -> tuple[PhotoFigures, ...]:
    """Compare the landmarks in photographs with labels beside them.

    The face is shown to the embedder in a square around its labels, as a picture may show several.

    Args:
        folder: with pictures and, of the same name, ``.pts`` files of 68 points.
        embedder: what is evaluated.
        progress: called once per photograph.
        first_pixel: what the labels call the centre of the first pixel: 0 in files of predictors
            that count pixels from zero, such as dlib's, 1 in the files of 300-W itself.

    Returns:
        One entry per labelled picture, by name.

    Raises:
        ValueError: if a file of labels is damaged or the folder holds no labelled picture.
        CaptureError: if a picture cannot be read.
    """
    places = landmark_positions()
    figures = []
    for picture in labelled_pictures(folder):
        true = read_pts(picture.with_suffix(".pts")) + (0.5 - first_pixel)
        _, cube_map = embed_face(picture, true, embedder)
        errors = _normalised(find_landmarks(cube_map, places).pixels, true)
        found = bool(np.isfinite(errors).all())
        figures.append(PhotoFigures(picture.name, _mean(errors), _mean(errors[_JAW:]), found))
        if progress is not None:
            progress()
    return tuple(figures)


def read_pts(path: Path) -> DoubleArray:
    """The points of a file of landmarks, as they stand there.

    The file is text: ``version: 1``, ``n_points: 68``, and between braces one point per line.

    Returns:
        (68, 2) float64.

    Raises:
        ValueError: if the file is not such a one.
    """
    remedy = "; give a file with 'n_points: 68' and 68 lines 'x y' in braces"
    try:
        lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as text ({error}){remedy}") from None
    head = dict(line.replace(" ", "").split(":", 1) for line in lines if ":" in line)
    if head.get("version", "1") != "1" or head.get("n_points") != str(_N):
        raise ValueError(f"{path}: not version 1 with {_N} points, but {head}{remedy}")
    if "{" not in lines or "}" not in lines:
        raise ValueError(f"{path}: the points are not in braces{remedy}")
    rows = [line.split() for line in lines[lines.index("{") + 1 : lines.index("}")] if line]
    try:
        points = np.array(rows, np.float64)
    except ValueError:
        raise ValueError(f"{path}: a line is not two numbers{remedy}") from None
    if points.shape != (_N, 2) or not np.isfinite(points).all():
        raise ValueError(f"{path}: holds {len(rows)} points or numbers that are not{remedy}")
    return points


def read_landmark_truth(path: Path) -> tuple[DoubleArray, dict[str, BoolArray]]:
    """Positions (68, 3) and which of them each view sees, by image name.

    Raises:
        CaptureError: if the file is not such a one.
    """
    remedy = "restore the ground truth"
    try:
        truth: Any = json.loads(path.read_text(encoding="utf-8"))
        positions = np.array(truth["xyz"], np.float64)
        visible = {
            str(name): np.asarray(np.array(view["visible"], np.int64) > 0)
            for name, view in truth["views"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptureError(path, f"not a file of landmarks ({error!r})", remedy) from None
    if positions.shape != (_N, 3) or any(v.shape != (_N,) for v in visible.values()):
        raise CaptureError(path, f"does not hold {_N} landmarks", remedy)
    return positions, visible


def _normalised(found: DoubleArray, true: DoubleArray) -> DoubleArray:
    """Errors (68,) in parts of the distance between the outer corners of the eyes."""
    right, left = true[list(_OUTER_EYES)]
    errors = np.linalg.norm(found - true, axis=1) / np.linalg.norm(left - right)
    return np.asarray(errors)


def labelled_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder that have a ``.pts`` file of the same name, by name.

    Raises:
        ValueError: if there is none.
    """
    labelled = [
        picture
        for picture in sorted(folder.glob("*"))
        if picture.suffix.lower() in _PICTURES and picture.with_suffix(".pts").is_file()
    ]
    if not labelled:
        raise ValueError(f"{folder}: no picture with a .pts file of the same name; name another")
    return labelled


def embed_face(picture: Path, points: DoubleArray, embedder: Embedder) -> tuple[ByteArray, CubeMap]:
    """A picture (H, W, 3) and the map of the square around a face's landmarks (68, 2) in it.

    Raises:
        CaptureError: if the picture cannot be read.
    """
    image = _load(picture)
    region = None if embedder.wants_distorted else _face_square(points)
    return image, embedder.embed(image, region, picture.name)


def _face_square(points: DoubleArray) -> Square:
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max())
    x, y = (low + high) / 2
    return Square((float(x), float(y) - _SQUARE_UP * side), _SQUARE * side)


def _load(path: Path) -> ByteArray:
    """A picture as (H, W, 3) uint8 RGB; EXIF orientation is ignored, as it is in captures."""
    import cv2

    data = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise CaptureError(path, "not a readable picture (damaged or cut off)", "copy it again")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def _mean(values: DoubleArray) -> float:
    return float(values.mean()) if len(values) else float("nan")
