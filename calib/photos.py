"""Photographs without calibration to a capture, by COLMAP's structure from motion on the CPU.

The world is that of COLMAP: its unit and orientation are arbitrary.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calib.camera import Camera
from calib.capture import Capture, CaptureError, View
from calib.colmap import write_colmap
from calib.files import note_file, replacing, write_json
from calib.photo_features import (
    MAX_EXHAUSTIVE,
    FeatureOptions,
    Photo,
    Progress,
    check_photo_masks,
    extract,
    find_photos,
    match,
    read_photos,
)
from calib.photo_mapping import LensOptions, adjust, map_photos, write_images
from calib.photo_verdict import Verdict, explain, judge
from calib.write import check_vacant

VERDICT_FILE = "photos.json"
_LEAST_PHOTOS = 3
_N_NAMED = 8


@dataclass(frozen=True)
class PhotosOptions:
    """How photographs are calibrated.

    Attributes:
        images: folder of the photos; images/ in the folder given, or that folder, if None.
        masks: folder of the masks (<image name>.png, 0 is ignored); masks/ there if None.
        intrinsics: what shares one camera: all photos, those of one folder, or each its own; auto
            is shared where size, camera and focal length in the EXIF are the same, else each.
        pictures: whether the photos are copied to the output, linked, or left where they are.
        lenses: what is known of them.
        features: how they are found.
    """

    images: Path | None = None
    masks: Path | None = None
    intrinsics: Literal["auto", "shared", "folder", "each"] = "auto"
    pictures: Literal["copy", "link", "none"] = "copy"
    lenses: LensOptions = field(default_factory=LensOptions)
    features: FeatureOptions = field(default_factory=FeatureOptions)


def calibrate_photos(
    folder: Path,
    output: Path,
    options: PhotosOptions | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Find the cameras of photographs and write them as a capture.

    Args:
        folder: of the photos, or one with images/ and masks/.
        output: gets sparse/0, images, masks and photos.json; untouched where it fails.
        options: how.
        progress: is told of each step: stage, done, in all.

    Returns:
        The verdict, which photos.json holds too.

    Raises:
        CaptureError: if there are no photos, fewer than three get a pose, nearly all masks look
            wrong, or the output holds what this did not write, or cannot be written.
        ValueError: if photos that shall share a camera differ in size.
    """
    options = options or PhotosOptions()
    report = progress or (lambda *_: None)
    images, masks = _folders(folder, options)
    _check_output(output, images, masks, options.pictures)
    results = [output / name for name in ("images", "masks")]
    skipped = [path for path in (*results, masks) if path and path.resolve() != images.resolve()]
    names = find_photos(images, skipped)
    with tempfile.TemporaryDirectory() as temporary, _quiet_colmap():
        work = Path(temporary)
        photos, unusable = read_photos(images, names, masks, work, report)
        if len(photos) < _LEAST_PHOTOS:
            raise _hopeless(images, len(names), unusable)
        doubts = check_photo_masks(images, photos)
        groups = group_photos(photos, options.intrinsics)
        write_images(work, photos, options.lenses)
        n_features = extract(work, len(photos), options.features, report)
        matches = match(work, len(photos), options.features, report)
        n_hoped = len({number for pair in matches for number in pair})
        models = map_photos(work, photos, options.lenses, n_hoped, report)
        reasons = explain(photos, n_features, matches, [_numbers(model) for model in models])
        left_out = unusable | reasons
        if not models:
            raise _hopeless(images, len(names), left_out)
        report("adjust", 0, 1)
        model = adjust(models[0], groups, options.lenses)
        report("adjust", 1, 1)
        capture = _capture(model, photos, output)
    warnings = [*doubts, *_warnings(photos, len(capture.views), len(names))]
    source = None if options.lenses.focal is None else "given"
    verdict = judge(capture, photos, left_out, source, warnings)
    _write(output, capture, masks, options.pictures)
    write_json(output / VERDICT_FILE, verdict.as_json(), indent=1)
    return verdict


def group_photos(photos: Sequence[Photo], intrinsics: str) -> list[Hashable]:
    """What each photo shares its camera with.

    Args:
        photos: that could be opened.
        intrinsics: of ``PhotosOptions``.

    Returns:
        One key per photo, equal for those of one camera.

    Raises:
        ValueError: if photos that shall share a camera differ in size.
    """
    if intrinsics == "auto":
        kinds = {(photo.size, photo.device, photo.exif_focal_px) for photo in photos}
        intrinsics = "shared" if len(kinds) == 1 else "each"
    if intrinsics == "each":
        return [photo.name for photo in photos]
    shared = [photo.name.rpartition("/")[0] if intrinsics == "folder" else "" for photo in photos]
    sizes: dict[str, Photo] = {}
    for key, photo in zip(shared, photos, strict=True):
        first = sizes.setdefault(key, photo)
        if first.size != photo.size:
            a, b = (f"{p.name} ({p.size[0]} x {p.size[1]})" for p in (first, photo))
            raise ValueError(
                f"intrinsics {intrinsics} needs pictures of one size, {a} and {b} differ; "
                "use --intrinsics each"
            )
    return list(shared)


def _folders(folder: Path, options: PhotosOptions) -> tuple[Path, Path | None]:
    inner = folder / "images"
    images = options.images or (inner if inner.is_dir() else folder)
    if options.masks is not None and not options.masks.is_dir():
        raise CaptureError(
            options.masks, "no such folder", "name the masks' folder, or leave --masks out"
        )
    found = folder / "masks"
    return images, options.masks or (found if found.is_dir() else None)


def _check_output(output: Path, images: Path, masks: Path | None, pictures: str) -> None:
    """Raise CaptureError where results would overwrite others than those of an earlier run."""
    if (output / VERDICT_FILE).is_file():
        return
    check_vacant(output, "none")
    for name, source in (("images", images), ("masks", masks)) if pictures != "none" else ():
        there = output / name
        if there.exists() and not (source and source.exists() and there.samefile(source)):
            raise CaptureError(there, "exists already", "choose another --output or remove it")


@contextmanager
def _quiet_colmap() -> Iterator[None]:
    """COLMAP reports to stderr; what matters of it is in the verdict."""
    import pycolmap

    log = pycolmap.logging
    before = log.minloglevel, log.stderrthreshold
    log.minloglevel = log.stderrthreshold = int(log.FATAL)
    try:
        yield
    finally:
        log.minloglevel, log.stderrthreshold = before


def _numbers(model: Any) -> list[int]:
    return [number for number, image in sorted(model.images.items()) if image.has_pose]


def _capture(model: Any, photos: Sequence[Photo], output: Path) -> Capture:
    """A model's registered photos as a capture; points in the order of their numbers."""
    rows = {key: row for row, key in enumerate(sorted(model.points3D))}
    points = np.array([model.points3D[key].xyz for key in rows], np.float64).reshape(-1, 3)
    views = []
    for number in _numbers(model):
        image, photo = model.images[number], photos[number - 1]
        lens = model.cameras[image.camera_id]
        pose = image.cam_from_world().matrix()
        camera = Camera(lens.model.name, lens.width, lens.height, lens.params, pose)
        seen = {rows[point.point3D_id]: point.xy for point in image.points2D if point.has_point3D()}
        ids = sorted(seen)
        observed = np.array([seen[row] for row in ids], np.float64).reshape(-1, 2)
        views.append(
            View(photo.name, photo.path, photo.mask, camera, np.array(ids, np.int64), observed)
        )
    views.sort(key=lambda view: view.name)
    return Capture(output, tuple(views), points, ())


def _warnings(photos: Sequence[Photo], n_registered: int, n: int) -> list[str]:
    warnings = []
    if n_registered < 0.8 * n:
        warnings.append(
            f"only {n_registered} of {n} photos have a pose; take more photos between those left "
            "out, 10 to 20 degrees apart"
        )
    if len(photos) > MAX_EXHAUSTIVE:
        warnings.append(
            f"more than {MAX_EXHAUSTIVE} photos: matched with neighbours by name only, "
            "so names should follow the order of taking"
        )
    return warnings


def _hopeless(folder: Path, n: int, left_out: Mapping[str, str]) -> CaptureError:
    named = [f"{name}: {reason}" for name, reason in sorted(left_out.items())[:_N_NAMED]]
    more = f", and {len(left_out) - _N_NAMED} more" if len(left_out) > _N_NAMED else ""
    said = f" ({', '.join(named)}{more})" if named else ""
    return CaptureError(
        folder,
        f"fewer than {_LEAST_PHOTOS} of {n} photos get a pose{said}",
        "take sharp photos of a still head, 10 to 20 degrees apart",
    )


def _write(output: Path, capture: Capture, masks: Path | None, pictures: str) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for view in capture.views if pictures != "none" else ():
        _place(view.image_path, output / "images" / view.name, pictures)
        if view.mask_path is not None and masks is not None:
            _place(view.mask_path, output / "masks" / view.mask_path.relative_to(masks), pictures)
    write_colmap(output, capture)


def _place(source: Path, target: Path, how: str) -> None:
    """Copy or link a file, unless it is there already."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        target.unlink(missing_ok=True)
        target.symlink_to(source.absolute())
        note_file(target)
        return
    with source.open("rb") as read, replacing(target) as write:
        shutil.copyfileobj(read, write)
