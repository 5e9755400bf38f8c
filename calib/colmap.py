"""COLMAP models in and out: binary and text, of any age, with rigs and frames."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.calibration import CalibratedImage, Calibration, DamagedError
from calib.camera import Camera
from calib.capture import Capture
from calib.colmap_records import ImageRecord, ModelRecords, read_records

DoubleArray = npt.NDArray[np.float64]
IdArray = npt.NDArray[np.int64]

MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", ".")


def find_colmap(path: Path) -> Path | None:
    """The folder of a capture's model, None without one.

    Args:
        path: the capture's folder or the model's.
    """
    return next((path / name for name in MODEL_FOLDERS if _suffix(path / name)), None)


def read_colmap(path: Path) -> Calibration:
    """Read a model.

    Args:
        path: a folder of ``find_colmap``.

    Raises:
        DamagedError: if a file makes no sense.
    """
    records = read_records(path, _suffix(path) or ".bin")
    rows = {key: row for row, key in enumerate(records.points)}
    images = []
    for key, image in records.images.items():
        lens = records.cameras[image.camera_id]
        seen = np.array([rows.get(p, -1) for p in image.point_ids.tolist()], np.int64)
        ids, first = np.unique(seen[seen >= 0], return_index=True)
        found = CalibratedImage(
            name=image.name.replace("\\", "/"),
            model=lens.model,
            params=lens.params,
            cam_from_world=_pose(records, key, image),
            size=(lens.width, lens.height),
            point_ids=ids,
            observed=image.observed[seen >= 0][first],
        )
        images.append(found)
    points = np.array(list(records.points.values()), np.float64).reshape(-1, 3)
    return Calibration(tuple(images), _picture_folders(path), points)


def write_colmap(folder: Path, capture: Capture) -> Path:
    """Write a capture's cameras and points as ``sparse/0``; returns that folder."""
    model = folder / "sparse" / "0"
    views = capture.views
    write_model(
        model,
        [view.name for view in views],
        [view.camera for view in views],
        capture.points,
        [view.point_ids for view in views],
        [view.observed for view in views],
    )
    return model


def write_model(
    folder: Path,
    names: Sequence[str],
    cameras: Sequence[Camera],
    points: DoubleArray | None = None,
    observations: Sequence[IdArray] | None = None,
    observed: Sequence[DoubleArray | None] | None = None,
) -> None:
    """Write a binary model that COLMAP reads; files are replaced whole.

    Args:
        folder: made where absent.
        names: image names.
        cameras: one per name; those with one lens share its entry.
        points: (N, 3) sparse points.
        observations: rows of ``points`` that each view sees; needed with points.
        observed: (n, 2) pixels where each view sees them; where they project if None.

    Raises:
        ValueError: if lengths do not fit.
    """
    model = build_model(names, cameras, points, observations, observed)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        model.write_binary(temporary)
        for file in sorted(Path(temporary).iterdir()):
            file.chmod(0o644)
            file.replace(folder / file.name)


def build_model(
    names: Sequence[str],
    cameras: Sequence[Camera],
    points: DoubleArray | None = None,
    observations: Sequence[IdArray] | None = None,
    observed: Sequence[DoubleArray | None] | None = None,
) -> Any:
    """A ``pycolmap.Reconstruction``; images and points are numbered from 1 in their order.

    Args:
        names: as of ``write_model``, like all others.
        cameras: likewise.
        points: likewise.
        observations: likewise.
        observed: likewise.

    Raises:
        ValueError: if lengths do not fit.
    """
    import pycolmap

    points = np.zeros((0, 3)) if points is None else points
    seen = observations if observations is not None else [np.zeros(0, np.int64)] * len(names)
    pixels = observed if observed is not None else [None] * len(names)
    if not len(names) == len(cameras) == len(seen) == len(pixels):
        raise ValueError(f"{len(names)} names, {len(cameras)} cameras, {len(seen)} observations")
    model = pycolmap.Reconstruction()
    tracks: list[list[tuple[int, int]]] = [[] for _ in range(len(points))]
    lenses: dict[tuple[object, ...], int] = {}
    for key, (name, camera, rows) in enumerate(zip(names, cameras, seen, strict=True), 1):
        lens = (camera.model, camera.width, camera.height, *camera.params.tolist())
        if lens not in lenses:
            lenses[lens] = len(lenses) + 1
            model.add_camera_with_trivial_rig(_lens(camera, lenses[lens]))
        image = pycolmap.Image(name=name, camera_id=lenses[lens], image_id=key)
        at = pixels[key - 1]
        at = camera.project(points[rows])[0] if at is None else at
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(xy) for xy in at])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(camera.cam_from_world))
        for index, row in enumerate(rows.tolist()):
            tracks[row].append((key, index))
    for xyz, elements in zip(points, tracks, strict=True):
        track = pycolmap.Track([pycolmap.TrackElement(*element) for element in elements])
        model.add_point3D(xyz, track, np.zeros(3, np.uint8))
    return model


def _lens(camera: Camera, key: int) -> Any:
    import pycolmap

    return pycolmap.Camera(
        model=camera.model,
        width=camera.width,
        height=camera.height,
        params=camera.params.tolist(),
        camera_id=key,
    )


def _suffix(folder: Path) -> str | None:
    """The ending of the model that the folder holds, ".bin" or ".txt"."""
    for suffix in (".bin", ".txt"):
        if all((folder / f"{stem}{suffix}").is_file() for stem in ("cameras", "images")):
            return suffix
    return None


def _picture_folders(model: Path) -> tuple[Path, ...]:
    """``images`` beside the model or above it, as ``MODEL_FOLDERS`` are nested."""
    return tuple(folder / "images" for folder in (model, *list(model.parents)[:3]))


def _pose(records: ModelRecords, key: int, image: ImageRecord) -> DoubleArray:
    """An image's pose: that of its frame and rig where the model has them."""
    if key not in records.frames:
        return image.cam_from_world
    rig, rig_from_world = records.frames[key]
    if (rig, image.camera_id) not in records.rigs:
        raise DamagedError(f"camera {image.camera_id} of image {image.name!r} is not in rig {rig}")
    sensor_from_rig = records.rigs[rig, image.camera_id]
    R = sensor_from_rig[:, :3] @ rig_from_world[:, :3]
    t = sensor_from_rig[:, :3] @ rig_from_world[:, 3] + sensor_from_rig[:, 3]
    return np.column_stack([R, t])
