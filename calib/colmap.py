"""COLMAP models in and out: binary and text, of any age, with rigs and frames."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import Capture, CaptureError, View
from calib.colmap_records import DamagedError, ImageRecord, ModelRecords, read_records

DoubleArray = npt.NDArray[np.float64]

_MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", ".")
# How many names a message spells out.
_N_NAMED = 5


def read_capture(path: Path, images: Path | None = None, masks: Path | None = None) -> Capture:
    """Read a folder with pictures and a COLMAP model.

    Args:
        path: the capture's folder; the model is looked for in sparse/0, sparse, colmap/sparse/0,
            colmap/sparse and the folder itself.
        images: folder of the pictures; ``images`` in the capture's folder if None.
        masks: folder of the masks; ``masks`` in the capture's folder if None and there.

    Returns:
        The capture; views whose picture is absent are left out with a warning.

    Raises:
        CaptureError: if there is no model, it is damaged, or fewer than two pictures are there.
    """
    folder, suffix = find_model(path)
    try:
        records = read_records(folder, suffix)
        poses = {key: _pose(records, key, image) for key, image in records.images.items()}
    except DamagedError as error:
        raise CaptureError(folder, f"damaged model: {error}", "export the model again") from None
    warnings: list[str] = []
    image_folder = images or path / "images"
    if not image_folder.is_dir():
        raise CaptureError(image_folder, "no such folder", "name it with --images")
    mask_folder = _mask_folder(path, masks)
    point_rows = {key: row for row, key in enumerate(records.points)}
    views, missing, unmasked = [], [], []
    for key, image in sorted(records.images.items(), key=lambda item: item[1].name):
        name = image.name.replace("\\", "/")
        picture = image_folder / name
        if not picture.is_file():
            missing.append(name)
            continue
        mask = None if mask_folder is None else mask_folder / f"{name}.png"
        if mask is not None and not mask.is_file():
            unmasked.append(name)
            mask = None
        rows = [point_rows[p] for p in image.point_ids.tolist() if p in point_rows]
        lens = records.cameras[image.camera_id]
        camera = Camera(lens.model, lens.width, lens.height, lens.params, poses[key])
        views.append(View(name, picture, mask, camera, np.unique(np.array(rows, np.int64))))
    if len(records.images) < 2:
        n = len(records.images)
        raise CaptureError(folder, f"the model has {n} registered view(s)", "two are needed")
    if len(views) < 2:
        raise CaptureError(
            image_folder,
            f"{len(missing)} of {len(records.images)} pictures are missing: {_some(missing)}",
            "restore them or name their folder with --images",
        )
    if missing:
        warnings.append(f"{len(missing)} views left out, picture missing: {_some(missing)}")
    if unmasked:
        warnings.append(f"{len(unmasked)} views have no mask: {_some(unmasked)}")
    points = np.array(list(records.points.values()), np.float64).reshape(-1, 3)
    return Capture(path, tuple(views), points, tuple(warnings))


def find_model(path: Path) -> tuple[Path, str]:
    """The folder of a capture's model, and ".bin" or ".txt".

    Raises:
        CaptureError: if there is none.
    """
    if not path.is_dir():
        raise CaptureError(path, "no such folder", "give a folder with images/ and sparse/0")
    for name in _MODEL_FOLDERS:
        for suffix in (".bin", ".txt"):
            if all((path / name / f"{stem}{suffix}").is_file() for stem in ("cameras", "images")):
                return path / name, suffix
    raise CaptureError(
        path, "holds no COLMAP model (cameras and images, .bin or .txt)", "put it in sparse/0"
    )


def write_model(
    folder: Path,
    names: Sequence[str],
    cameras: Sequence[Camera],
    points: DoubleArray | None = None,
    observations: Sequence[npt.NDArray[np.int64]] | None = None,
) -> None:
    """Write a binary model that COLMAP reads; files are replaced whole.

    Args:
        folder: made where absent.
        names: image names.
        cameras: one per name; each gets its own entry.
        points: (N, 3) sparse points.
        observations: rows of ``points`` that each view sees; needed with points.

    Raises:
        ValueError: if lengths do not fit.
    """
    import pycolmap

    points = np.zeros((0, 3)) if points is None else points
    seen = observations if observations is not None else [np.zeros(0, np.int64)] * len(names)
    if not len(names) == len(cameras) == len(seen):
        raise ValueError(f"{len(names)} names, {len(cameras)} cameras, {len(seen)} observations")
    model = pycolmap.Reconstruction()
    tracks: list[list[tuple[int, int]]] = [[] for _ in range(len(points))]
    for key, (name, camera, rows) in enumerate(zip(names, cameras, seen, strict=True), 1):
        lens = pycolmap.Camera(
            model=camera.model,
            width=camera.width,
            height=camera.height,
            params=camera.params.tolist(),
            camera_id=key,
        )
        model.add_camera_with_trivial_rig(lens)
        image = pycolmap.Image(name=name, camera_id=key, image_id=key)
        image.points2D = pycolmap.Point2DList(
            [pycolmap.Point2D(xy) for xy in camera.project(points[rows])[0]]
        )
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(camera.cam_from_world))
        for index, row in enumerate(rows.tolist()):
            tracks[row].append((key, index))
    for xyz, elements in zip(points, tracks, strict=True):
        track = pycolmap.Track([pycolmap.TrackElement(*element) for element in elements])
        model.add_point3D(xyz, track, np.zeros(3, np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        model.write_binary(temporary)
        for file in sorted(Path(temporary).iterdir()):
            file.chmod(0o644)
            file.replace(folder / file.name)


def _mask_folder(path: Path, masks: Path | None) -> Path | None:
    if masks is not None and not masks.is_dir():
        raise CaptureError(masks, "no such folder", "name the masks' folder, or leave --masks out")
    folder = masks or path / "masks"
    return folder if folder.is_dir() else None


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


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_N_NAMED])
    return f"{shown} and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else shown
