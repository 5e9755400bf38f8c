"""``mvs calib photos``: photographs without calibration to a capture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mvs.cli.source import EmbedderOptions

if TYPE_CHECKING:
    from calib.photo_verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find the cameras of photographs; OUTPUT is then a capture for mvs reconstruct.

    Attributes:
        photos: folder of the photos, or one with images/ and masks/.
        output: folder for the capture.
        images: folder of the photos, if not images/ in PHOTOS or PHOTOS itself.
        masks: folder of the masks (<image name>.png, 0 is ignored), if not masks/ in PHOTOS.
        intrinsics: what shares one camera: all photos, those of one folder, or each its own; auto
            is shared where size, camera and focal length in the EXIF are the same, else each.
        lens: one of COLMAP's models; auto is SIMPLE_RADIAL, or OPENCV where that fits better.
        focal: length in pixels, held fixed; estimated if not given.
        pictures: whether the photos are copied to OUTPUT, linked, or left where they are.
        max_size: longer sides are shrunk to this many pixels for finding features.
        max_features: of one photo, the largest are kept.
        threads: threads to use; the result does not depend on it.
        quiet: print nothing but errors.
    """

    photos: Annotated[Positional[Path], arg(metavar="PHOTOS")]
    output: Path
    images: Path | None = None
    masks: Path | None = None
    intrinsics: Literal["auto", "shared", "folder", "each"] = "auto"
    lens: str = "auto"
    focal: float | None = None
    pictures: Literal["copy", "link", "none"] = "copy"
    max_size: int = 2400
    max_features: int = 4096
    threads: int = EmbedderOptions.threads
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from calib.photo_features import FeatureOptions
    from calib.photo_mapping import LensOptions
    from calib.photos import PhotosOptions, calibrate_photos
    from mvs.cli.show import deliver, progress_bars

    how = PhotosOptions(
        options.images,
        options.masks,
        options.intrinsics,
        options.pictures,
        LensOptions(options.lens, options.focal),
        FeatureOptions(options.max_size, options.max_features, options.threads),
    )
    with progress_bars(options.quiet) as progress:
        verdict = calibrate_photos(options.photos, options.output, how, progress)
    deliver(asdict(verdict))
    if not options.quiet:
        _print(verdict)


def _print(verdict: Verdict) -> None:
    import sys

    from mvs.cli.show import table, warn

    rows = [
        ("photos with a pose", f"{verdict.n_registered} of {verdict.n_photos}"),
        ("reprojection error, mean", f"{verdict.mean_error_px:.3f} px"),
        ("reprojection error, median", f"{verdict.median_error_px:.3f} px"),
        ("points", f"{verdict.n_points}"),
        ("photos that see a point", f"{verdict.mean_track_length:.2f}"),
    ]
    for lens in verdict.lenses[:3]:
        focal = f"{lens.focal_px:.1f} px, {lens.focal_35mm:.0f} mm ({lens.source})"
        rows.append((f"{lens.model}, {lens.n_photos} photos", focal))
    if len(verdict.lenses) > 3:
        rows.append((f"and {len(verdict.lenses) - 3} more cameras", ""))
    table("photographs", ("", ""), rows)
    if verdict.left_out:
        table("left out", ("photo", "why"), list(verdict.left_out.items()))
    warn(verdict.warnings)
    sys.stdout.write(f"{verdict.sentence()}\n")
