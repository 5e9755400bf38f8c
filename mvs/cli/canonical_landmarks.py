"""``mvs canonical landmarks``: named places of any head, in pictures, in space or on a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mvs.cli.canonical_source import PictureOptions


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Write OUTPUT/landmarks.json and .csv: where a layout's places are, and how sure.

    Pixels count from 0.5, the centre of the first pixel; in .pts files from 1. A capture's places
    are found in every picture and in space, in the unit and frame of its calibration.

    Attributes:
        capture: picture, folder of pictures, capture, or PLY mesh with u v w.
        output: folder for the results.
        layout: 68, 5, named, 500, 5k, 50k, or a JSON file of named places.
        formats: files to write: json, csv, pts (one file per picture).
        overlay: draw the landmarks on the pictures too, OUTPUT/overlay/<picture>.png.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    output: Path
    layout: str = "68"
    formats: tuple[Literal["json", "csv", "pts"], ...] = ("json", "csv")
    overlay: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.layouts import load_layout
    from mvs.canonical.mark_output import (
        MarkFiles,
        mark_pictures,
        write_marks,
        write_mesh_marks,
    )
    from mvs.canonical.mesh_places import find_on_mesh, read_surface
    from mvs.canonical.meshes import is_mesh
    from mvs.cli.show import list_files, progress_bars
    from mvs.record import prepare_output

    layout = load_layout(options.layout)
    files = MarkFiles(options.output, options.formats, options.overlay)
    if is_mesh(options.capture):
        if "pts" in options.formats or options.overlay:
            raise ValueError(
                f"{options.capture}: a mesh has no pixels; leave out pts and --overlay"
            )
        mesh = read_surface(options.capture)
        prepare_output(options.output)
        write_mesh_marks(files, layout, find_on_mesh(mesh, layout))
        list_files(options.quiet)
        return
    prepare_output(options.output)
    with progress_bars(options.quiet) as progress:
        pictures = tuple(options.mapped_pictures(progress))
    write_marks(files, layout, pictures, mark_pictures(pictures, layout), options.unit())
    list_files(options.quiet)
