"""``mvs canonical segment``: regions of pictures and meshes, by their places in the cube."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.canonical.segmentation import SegmentOptions
from mvs.cli.canonical_source import PictureOptions


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """Label the regions of heads; the same regions on every picture and mesh.

    Writes, per picture, OUTPUT/<name>.labels.png and <name>.overlay.png in the picture's own
    pixels; of a mesh, labels.npz and a coloured labels.ply; and labels.json.

    Attributes:
        capture: a picture, a folder of pictures, a capture, or a PLY mesh with u v w.
        output: folder for the results.
        regions: JSON file of regions, if not the shipped ones.
        split: tell left from right brows, eyes and ears.
        segment: how it is done.
    """

    capture: Annotated[Positional[Path], arg(metavar="SOURCE")]
    output: Path
    regions: Path | None = None
    split: bool = False
    segment: SegmentOptions = field(default_factory=SegmentOptions)


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.meshes import is_mesh, read_cube_mesh
    from mvs.canonical.segment_files import write_labels, write_mesh_labels, write_picture_labels
    from mvs.canonical.segments import load_regions, shipped_regions
    from mvs.cli.show import list_files, progress_bars
    from mvs.record import prepare_output

    if options.regions is None:
        regions = shipped_regions(options.split)
    else:
        regions = load_regions(options.regions, options.split)
    mesh = read_cube_mesh(options.capture) if is_mesh(options.capture) else None
    prepare_output(options.output)
    if mesh is not None:
        write_mesh_labels(mesh, regions, options.output, options.segment)
    else:
        with progress_bars(options.quiet) as progress:
            for picture in options.mapped_pictures(progress):
                write_picture_labels(picture, regions, options.output, options.segment)
    write_labels(regions, options.output)
    list_files(options.quiet)
