"""``mvs headmodel show``: what a head model is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class Options:
    """Print what a head model has; nothing that its files ask for is run.

    Attributes:
        model: ICT-FaceKit (its folder FaceXModel, or packed) or FLAME (pkl or npz).
        picture: PNG to write: the mean head with its landmarks, and some modes.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    picture: Path | None = None


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.draw import write_picture
    from mvs.headmodel.describe import describe, draw_model
    from mvs.headmodel.load import load_head_model

    model = load_head_model(options.model)
    for name, value in describe(model).items():
        sys.stdout.write(f"{name:<13}{value}\n")
    if options.picture is not None:
        write_picture(options.picture, draw_model(model))
