"""``mvs fit image``: a head model fitted to one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.cli.fit_source import ModelOptions
from mvs.headmodel.options import FitOptions


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Write OUTPUT/fit.json, meshes, and an overlay of a head fitted to a picture.

    The frame is the camera's (x right, y down, z forward) in metres; how large a head is no single
    picture shows, so its size is the model's guess.

    Attributes:
        image: picture of one head.
        focal_px: focal length in pixels; without, that of the EXIF, or else it is solved for.
        fit: weights.
    """

    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    focal_px: float | None = None
    fit: FitOptions = field(default_factory=FitOptions)


def run(options: Options) -> None:
    """Run the command."""
    from calib.image_files import read_picture
    from calib.photo_features import exif_focal
    from mvs.cli.show import warn
    from mvs.headmodel.fit_image import fit_image
    from mvs.headmodel.output import write_fit
    from mvs.headmodel.start import simple_camera
    from mvs.record import prepare_output

    if options.focal_px is not None and not options.focal_px > 0:
        raise ValueError(f"--focal-px must be positive, got {options.focal_px}")
    image = read_picture(options.image)[0]
    model = options.load_model()
    prepare_output(options.output)
    focal = options.focal_px or exif_focal(options.image)
    height, width = image.shape[:2]
    camera = None if focal is None else simple_camera(width, height, focal)
    embedder = options.load_embedder()
    name = options.image.name
    fit = fit_image(image, embedder, model, options.fit, camera=camera, name=name)
    write_fit(fit, options.output, options.output_options(), lambda _frame, _view: image)
    if not options.quiet:
        warn(list(fit.warnings))
