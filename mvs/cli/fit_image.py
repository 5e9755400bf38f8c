"""``mvs fit image``: a head model fitted to one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.cli.fit_source import PictureOptions
from mvs.headmodel.options import FitOptions


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Write OUTPUT/fit.json, meshes, and an overlay of a head fitted to a picture.

    The frame is the camera's (x right, y down, z forward) in metres; how large a head is no single
    picture shows, so its size is the model's guess.

    Attributes:
        image: picture of one head, turned as its EXIF says.
        fit: weights.
    """

    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    fit: FitOptions = field(default_factory=FitOptions)


def run(options: Options) -> None:
    """Run the command."""
    from calib.image_files import read_upright
    from calib.photo_features import exif_focal
    from mvs.cli.show import warn
    from mvs.headmodel.fit_image import fit_image
    from mvs.headmodel.output import write_fit
    from mvs.headmodel.start import simple_camera
    from mvs.record import prepare_output

    options.check_focal()
    image = read_upright(options.image)
    model = options.load_model()
    prepare_output(options.output)
    focal = options.focal_px or exif_focal(options.image)
    height, width = image.shape[:2]
    camera = None if focal is None else simple_camera(width, height, focal)
    fit = fit_image(
        image,
        options.load_embedder(),
        model,
        options.fit,
        camera=camera,
        regressor=options.load_regressor(options.fit.reading),
        name=options.image.name,
    )
    write_fit(fit, options.output, options.output_options(), lambda _frame, _view: image)
    if not options.quiet:
        warn(list(fit.warnings))
