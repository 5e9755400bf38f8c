"""``bundle.out`` of Bundler (v0.3), as COLMAP and RealityCapture write it too.

A camera is f k1 k2, R and t by rows; it looks down its -z with y up. Pixels count from the middle
of the picture, y up; f = 0 means "not registered". A point is its position, its colour, and a list
of views: camera, number of its feature, x, y. Names are in a list beside it, a line per camera,
which may go on with "0 <focal length>". Source: Snavely, Bundler v0.4 user's manual,
https://www.cs.cornell.edu/~snavely/bundler/bundler-v0.4-manual.html
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.calibration import CalibratedImage, Calibration, DamagedError, numbers, read_text, rigid
from calib.camera import MODEL_PARAMS, Camera
from calib.capture import Capture
from calib.files import replacing

DoubleArray = npt.NDArray[np.float64]

FILE_NAME, LIST_NAME = "bundle.out", "bundle.list.txt"
_MAGIC = "# Bundle file v0.3"
_FLIP = np.diag([1.0, -1.0, -1.0])
_HELD = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_LINES_PER_CAMERA, _LINES_PER_POINT = 5, 3
_NUMBERS_PER_VIEW = 4
# What may follow a name in the list.
_FOCAL = re.compile(r"\s+0\s+[0-9.eE+-]+$")
# How far the one focal length and the middle may be off, pixels.
_TOLERANCE = 1e-9


def find_bundler(path: Path) -> Path | None:
    """A folder's ``bundle.out`` or first other ``*.out`` of that kind, or ``path`` itself."""
    if path.is_file():
        return path if path.suffix == ".out" and _is_bundle(path) else None
    named = [path / FILE_NAME, path / "bundle" / FILE_NAME]
    return next((file for file in (*named, *sorted(path.glob("*.out"))) if _is_bundle(file)), None)


def read_bundler(path: Path) -> Calibration:
    """Read a ``bundle.out`` and its list of pictures.

    Raises:
        DamagedError: if it makes no sense.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if not lines or not lines[0].startswith(_MAGIC):
        raise DamagedError(f"must start with {_MAGIC}")
    n_cameras = _count_cameras(lines)
    names = _names(path, n_cameras)
    first_point = 2 + _LINES_PER_CAMERA * n_cameras
    points, seen = _points(lines[first_point:], n_cameras)
    in_images = all(name.startswith("images/") for name in names)
    images, absent = [], 0
    for index, name in enumerate(names):
        at = 2 + _LINES_PER_CAMERA * index
        name = name.removeprefix("images/") if in_images else name  # noqa: PLW2901
        image = _image(name, lines[at : at + _LINES_PER_CAMERA], seen[index])
        if image is None:
            absent += 1
        else:
            images.append(image)
    warnings = (f"{absent} of {n_cameras} pictures are not registered",) if absent else ()
    above = path.parent.parent
    folders = (path.parent / "images", path.parent, above / "images", above)
    return Calibration(tuple(images), folders, points, warnings=warnings)


def write_bundler(folder: Path, capture: Capture) -> Path:
    """Write a capture's ``bundle.out`` and ``bundle.list.txt``; returns the path of the first.

    Raises:
        ValueError: if a lens has more than a focal length and two radial coefficients, the
            principal point is not in the middle, or a name has a space.
    """
    views = capture.views
    lines = [_MAGIC, f"{len(views)} {len(capture.points)}"]
    seen_by: list[list[str]] = [[] for _ in capture.points]
    for index, view in enumerate(views):
        if len(view.name.split()) != 1:
            raise ValueError(f"{view.name!r}: a list of Bundler's cannot hold a name with spaces")
        lines += _camera_lines(view.name, view.camera)
        rows = view.point_ids
        pixels = view.observed
        pixels = view.camera.project(capture.points[rows])[0] if pixels is None else pixels
        plane = (pixels - [view.camera.width / 2, view.camera.height / 2]) * [1, -1]
        for number, (row, xy) in enumerate(zip(rows.tolist(), plane, strict=True)):
            if np.isfinite(xy).all():
                seen_by[row].append(f"{index} {number} {_words(xy)}")
    for point, views_of in zip(capture.points, seen_by, strict=True):
        lines += [_words(point), "128 128 128", " ".join([str(len(views_of)), *views_of])]
    names = [f"images/{view.name}" for view in views]
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, text in ((LIST_NAME, names), (FILE_NAME, lines)):
        with replacing(folder / file_name) as file:
            file.write(("\n".join(text) + "\n").encode())
    return folder / FILE_NAME


def _is_bundle(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MAGIC.encode() in file.read(64)


def _count_cameras(lines: list[str]) -> int:
    """How many cameras there are; with the points they account for every line."""
    words = lines[1].split() if len(lines) > 1 else []
    if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
        raise DamagedError("the second line must be the numbers of cameras and points")
    n_cameras, n_points = map(int, words)
    expected = 2 + _LINES_PER_CAMERA * n_cameras + _LINES_PER_POINT * n_points
    if len(lines) != expected:
        raise DamagedError(
            f"announces {n_cameras} cameras and {n_points} points, which take {expected} lines; "
            f"it has {len(lines)} (cut off?)"
        )
    return n_cameras


def _names(path: Path, n: int) -> list[str]:
    """The pictures' names in the list that belongs to a bundle file."""
    candidates = list(_lists(path))
    listed = next((file for file in candidates if file.is_file()), None)
    if listed is None:
        raise DamagedError(f"has no list of pictures beside it ({candidates[0].name})")
    lines = [line.strip() for line in read_text(listed).splitlines() if line.strip()]
    if len(lines) != n:
        raise DamagedError(f"has {n} cameras, {listed.name} has {len(lines)} pictures")
    names = [_FOCAL.sub("", line).replace("\\", "/").removeprefix("./") for line in lines]
    # An absolute name is that of another machine.
    return [name.rpartition("/")[2] if re.match("/|[A-Za-z]:", name) else name for name in names]


def _lists(path: Path) -> Iterator[Path]:
    stem = path.name.removesuffix(".out")
    for folder in (path.parent, path.parent.parent):
        yield folder / f"{stem}.list.txt"
        yield folder / f"{stem.removesuffix('.bundle')}.list.txt"
        yield folder / f"{path.name}.list.txt"
        yield folder / "list.txt"


def _image(
    name: str, lines: list[str], seen: list[tuple[int, float, float]]
) -> CalibratedImage | None:
    """A camera, None where it is not registered."""
    values = numbers(" ".join(lines).split(), 15, f"the camera of {name!r}")
    if values[0] == 0:
        return None
    pose = rigid(_FLIP @ values[3:12].reshape(3, 3), _FLIP @ values[12:], name)
    # A feature may be listed twice for a point; the first counts.
    at = {row: (x, -y) for row, x, y in reversed(seen)}
    ids = np.array(sorted(at), np.int64)
    return CalibratedImage(
        name=name,
        model="RADIAL",
        params=np.array([values[0], 0, 0, values[1], values[2]]),
        cam_from_world=pose,
        size=None,
        is_centered=True,
        point_ids=ids,
        observed=np.array([at[row] for row in ids.tolist()], np.float64).reshape(-1, 2),
    )


def _points(
    lines: list[str], n_cameras: int
) -> tuple[DoubleArray, defaultdict[int, list[tuple[int, float, float]]]]:
    """Positions, and by camera the points it sees: row, x, y."""
    points = np.zeros((len(lines) // _LINES_PER_POINT, 3))
    seen: defaultdict[int, list[tuple[int, float, float]]] = defaultdict(list)
    for row in range(len(points)):
        position, _, views = lines[_LINES_PER_POINT * row : _LINES_PER_POINT * (row + 1)]
        points[row] = numbers(position.split(), 3, f"point {row}")
        n, *rest = views.split()
        if not n.isascii() or not n.isdigit() or len(rest) != _NUMBERS_PER_VIEW * int(n):
            raise DamagedError(f"the list of views of point {row} is not of its length")
        for camera, x, y in zip(rest[0::4], rest[2::4], rest[3::4], strict=True):
            if not camera.isascii() or not camera.isdigit() or int(camera) >= n_cameras:
                raise DamagedError(f"point {row} is seen by camera {camera}, which is not there")
            seen[int(camera)].append((row, float(x), float(y)))
    return points, seen


def _camera_lines(name: str, camera: Camera) -> list[str]:
    if camera.model not in _HELD:
        raise ValueError(f"{name}: {FILE_NAME} cannot hold {camera.model}; undistort first")
    named = dict(zip(MODEL_PARAMS[camera.model], camera.params.tolist(), strict=True))
    f = float(camera.K[0, 0])
    middle = np.array([camera.width, camera.height]) / 2
    is_off = np.abs(camera.K[:2, 2] - middle).max() > _TOLERANCE
    if is_off or abs(f - camera.K[1, 1]) > _TOLERANCE:
        raise ValueError(
            f"{name}: {FILE_NAME} wants one focal length and the principal point in the middle; "
            "choose another format"
        )
    k1, k2 = named.get("k", named.get("k1", 0.0)), named.get("k2", 0.0)
    R, t = _FLIP @ camera.rotation, _FLIP @ camera.translation
    return [_words([f, k1, k2]), *(_words(row) for row in R), _words(t)]


def _words(values: npt.ArrayLike) -> str:
    return " ".join(repr(float(value)) for value in np.asarray(values))
