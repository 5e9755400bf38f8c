"""From matches to cameras: COLMAP's incremental mapping, then a bundle adjustment of its own.

Mapping starts with one distortion parameter and few cameras, which wide baselines on a smooth head
survive (with eight parameters it falls apart); the lens asked for is adjusted afterwards. A freedom
that nobody asked for, the principal point or tangential distortion, is taken only where it makes
the reprojection error clearly smaller.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import MODEL_PARAMS
from calib.photo_features import DATABASE, Photo, Progress, copy_name, database

# Starting focal lengths in longer sides of the picture where none is known: wide, and portrait.
_FOCAL_FACTORS = (1.2, 2.5)
_MIN_PHOTOS = 3
# What a further freedom must take off the mean error, and how far the principal point may go.
_WORTH = 0.98
# The same once one freedom was worth it, which photos too few or too far away never show.
_WORTH_MORE = 0.995
_LARGEST_SHIFT = 0.05
# Photos per camera from which its principal point is asked for.
_MIN_SHARED = 8


@dataclass(frozen=True)
class LensOptions:
    """What is known of the lenses.

    Attributes:
        lens: one of COLMAP's models; auto is SIMPLE_RADIAL, or OPENCV where that fits better.
        focal: length in pixels, held fixed; estimated if None.
    """

    lens: str = "auto"
    focal: float | None = None

    def __post_init__(self) -> None:
        if self.lens != "auto" and self.lens not in MODEL_PARAMS:
            known = ", ".join(MODEL_PARAMS)
            raise ValueError(f"lens must be auto or one of {known}, got {self.lens}")
        if self.focal is not None and not 0 < self.focal < float("inf"):
            raise ValueError(f"focal must be positive, in pixels, got {self.focal}")

    @property
    def mapping_lens(self) -> str:
        """The model that mapping starts with."""
        if "FISHEYE" in self.lens or self.lens in ("FOV", "EUCM", "SIMPLE_DIVISION", "DIVISION"):
            return self.lens
        return "SIMPLE_PINHOLE" if "PINHOLE" in self.lens else "SIMPLE_RADIAL"


def write_images(work: Path, photos: Sequence[Photo], options: LensOptions) -> None:
    """Start the database: images 1 ... n in the photos' order, one camera per kind of photo.

    Args:
        work: folder of the database.
        photos: those of one size, device and EXIF focal length start with one camera.
        options: of the lenses.
    """
    import pycolmap

    cameras: dict[Hashable, int] = {}
    with database(work) as data:
        for key, photo in enumerate(photos, 1):
            kind = (photo.size, photo.device, photo.exif_focal_px)
            if kind not in cameras:
                cameras[kind] = len(cameras) + 1
                camera = _start(cameras[kind], photo, options, _FOCAL_FACTORS[0])
                data.write_camera(camera, True)
                rig = pycolmap.Rig(rig_id=cameras[kind])
                rig.add_ref_sensor(camera.sensor_id)
                data.write_rig(rig, True)
            image = pycolmap.Image(name=copy_name(key - 1), camera_id=cameras[kind], image_id=key)
            frame = pycolmap.Frame(frame_id=key, rig_id=cameras[kind])
            frame.add_data_id(image.data_id)
            data.write_frame(frame, True)
            image.frame_id = key
            data.write_image(image, True)


def map_photos(
    work: Path, photos: Sequence[Photo], options: LensOptions, n_hoped: int, progress: Progress
) -> list[Any]:
    """Find poses, and again from another focal length with looser bounds if photos are left over.

    Args:
        work: as ``match`` left it.
        photos: as in the database.
        options: of the lenses.
        n_hoped: photos that have matches.
        progress: is told as photos are placed.

    Returns:
        ``pycolmap.Reconstruction``s that share no coordinates, the largest first.
    """
    best: list[Any] = []
    for attempt, factor in enumerate(_FOCAL_FACTORS):
        _restart(work, photos, options, factor)
        models = _map(work, options, attempt > 0, len(photos), progress)
        if _size(models) > _size(best):
            best = models
        if best and best[0].num_reg_images() >= n_hoped:
            break
    progress("map", len(photos), len(photos))
    return best


def adjust(model: Any, groups: Sequence[Hashable], options: LensOptions) -> Any:
    """Give a model the lenses asked for and adjust everything together.

    Args:
        model: a ``pycolmap.Reconstruction`` of ``map_photos``.
        groups: per photo, by image number from 1; those of one group share intrinsics.
        options: of the lenses.

    Returns:
        The adjusted model.
    """
    base = "SIMPLE_RADIAL" if options.lens == "auto" else options.lens
    best = _adjusted(model, groups, options, base, False)
    keys = [groups[image.image_id - 1] for image in model.images.values() if image.has_pose]
    if min(keys.count(key) for key in keys) < _MIN_SHARED:
        return best
    worth = _WORTH
    for lens in (base, "OPENCV") if options.lens == "auto" else (base,):
        found = _adjusted(best, groups, options, lens, True)
        if _fits_better(found, best, worth):
            best, worth = found, _WORTH_MORE
    return best


def _start(key: int, photo: Photo, options: LensOptions, factor: float) -> Any:
    import pycolmap

    known = options.focal or photo.exif_focal_px
    camera = pycolmap.Camera.create_from_model_name(
        key, options.mapping_lens, known or factor * max(photo.size), *photo.size
    )
    camera.has_prior_focal_length = known is not None
    return camera


def _restart(work: Path, photos: Sequence[Photo], options: LensOptions, factor: float) -> None:
    with database(work) as data:
        owners = {image.camera_id: image.image_id for image in data.read_all_images()}
        for key, image in owners.items():
            data.update_camera(_start(key, photos[image - 1], options, factor))


def _map(work: Path, options: LensOptions, is_loose: bool, n: int, progress: Progress) -> list[Any]:
    import pycolmap

    # On one thread: sums over threads would not be the same twice.
    how = pycolmap.IncrementalPipelineOptions(
        num_threads=1, random_seed=0, min_model_size=_MIN_PHOTOS, extract_colors=False
    )
    how.mapper.random_seed = how.triangulation.random_seed = 0
    how.mapper.num_threads = 1
    how.ba_refine_focal_length = options.focal is None
    how.mapper.abs_pose_refine_focal_length = options.focal is None
    if is_loose:
        how.mapper.init_min_num_inliers = 40
        how.mapper.init_min_tri_angle = 8.0
        how.mapper.abs_pose_min_num_inliers = 15
    placed = 0

    def step(by: int) -> None:
        nonlocal placed
        placed = min(placed + by, n)
        progress("map", placed, n)

    progress("map", 0, n)
    out = work / "models"
    out.mkdir(exist_ok=True)
    found = pycolmap.incremental_mapping(
        work / DATABASE,
        work,
        out,
        how,
        initial_image_pair_callback=lambda: step(2),
        next_image_callback=lambda: step(1),
    )
    models = [m for _, m in sorted(found.items()) if m.num_reg_images() >= _MIN_PHOTOS]
    return sorted(models, key=lambda m: (-m.num_reg_images(), -m.compute_num_observations()))


def _size(models: Sequence[Any]) -> tuple[int, int]:
    if not models:
        return 0, 0
    return models[0].num_reg_images(), models[0].compute_num_observations()


def _adjusted(
    model: Any, groups: Sequence[Hashable], options: LensOptions, lens: str, frees_center: bool
) -> Any:
    import pycolmap

    copy = _with_lens(model, groups, lens)
    how = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=options.focal is None,
        refine_principal_point=frees_center,
        print_summary=False,
    )
    how.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    how.ceres.solver_options.num_threads = 1
    how.ceres.solver_options.max_num_iterations = 100
    how.ceres.solver_options.function_tolerance = 1e-7
    # Not pycolmap.bundle_adjustment, which turns COLMAP's log on again.
    what = pycolmap.BundleAdjustmentConfig()
    for number in copy.reg_image_ids():
        what.add_image(number)
    what.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(how, what, copy).solve()
    copy.update_point_3d_errors()
    return copy


def _with_lens(model: Any, groups: Sequence[Hashable], lens: str) -> Any:
    """The same poses and points with a camera per group, numbered by the group's first image."""
    import pycolmap

    copy = pycolmap.Reconstruction()
    keys: dict[Hashable, int] = {}
    for number in sorted(model.images):
        image = model.images[number]
        if not image.has_pose:
            continue
        key = keys.setdefault(groups[number - 1], number)
        if key == number:
            copy.add_camera_with_trivial_rig(_convert(model.cameras[image.camera_id], lens, key))
        new = pycolmap.Image(name=image.name, camera_id=key, image_id=number)
        new.points2D = pycolmap.Point2DList([pycolmap.Point2D(p.xy) for p in image.points2D])
        copy.add_image_with_trivial_frame(new, image.cam_from_world())
    for number in sorted(model.points3D):
        point = model.points3D[number]
        elements = [(e.image_id, e.point2D_idx) for e in point.track.elements]
        track = pycolmap.Track([pycolmap.TrackElement(*element) for element in elements])
        copy.add_point3D(point.xyz, track, np.zeros(3, np.uint8))
    return copy


def _convert(camera: Any, lens: str, key: int) -> Any:
    """A camera with another lens model: what both models have goes over."""
    import pycolmap

    new = pycolmap.Camera.create_from_model_name(
        key, lens, camera.mean_focal_length(), camera.width, camera.height
    )
    old = dict(zip(MODEL_PARAMS[camera.model.name], camera.params, strict=True))
    # SIMPLE_RADIAL's k is the k1 of the other polynomial models, which mapping never starts with.
    old.setdefault("k1", old.get("k", 0.0))
    pairs = zip(MODEL_PARAMS[lens], new.params, strict=True)
    new.params = [float(old.get(name, value)) for name, value in pairs]
    return new


def _fits_better(model: Any, than: Any, worth: float) -> bool:
    if max(map(_off_center, model.cameras.values())) > _LARGEST_SHIFT:
        return False
    error, before = (m.compute_mean_reprojection_error() for m in (model, than))
    return bool(error < worth * before)


def _off_center(camera: Any) -> float:
    """How far the principal point is from the middle, in longer sides."""
    right = abs(camera.principal_point_x - camera.width / 2)
    down = abs(camera.principal_point_y - camera.height / 2)
    return float(max(right, down) / max(camera.width, camera.height))
