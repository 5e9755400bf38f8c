"""``mvs canonical show``: pictures of the canonical head, and of what is known of pictures."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.cli.source import NetworkOptions


@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
    """Draw the template and its atlas; with a source, its pixels in the cube.

    Writes OUTPUT/template.png and atlas.png; with a source cube.png (its pixels as points in the
    cube), uvw.png (coordinates as colour) and, of two pictures or more, matches.png.

    Attributes:
        source: a picture, a folder of pictures, or a capture.
        output: folder for the results.
        layout: points to mark: 68, 5, named, 500, 5k, 50k, or a JSON file of named places.
        regions: JSON file of regions, if not the shipped ones.
        max_pictures: of the source, spread over all.
    """

    source: Annotated[Positional[Path | None], arg(metavar="[SOURCE]")] = None
    output: Path
    layout: str = "named"
    regions: Path | None = None
    max_pictures: int = 6


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.draw import draw_atlas, draw_template, write_picture
    from mvs.canonical.layouts import load_layout
    from mvs.canonical.segments import load_regions, shipped_regions
    from mvs.cli.show import list_files
    from mvs.record import prepare_output

    if options.max_pictures < 1:
        raise ValueError(f"--max-pictures must be at least 1, got {options.max_pictures}")
    layout = load_layout(options.layout)
    regions = shipped_regions() if options.regions is None else load_regions(options.regions)
    prepare_output(options.output)
    options.use_threads()
    write_picture(options.output / "template.png", draw_template(regions, layout))
    write_picture(options.output / "atlas.png", draw_atlas(regions, layout))
    if options.source is not None:
        _draw_source(options, options.source)
    list_files(options.quiet)


def _draw_source(options: Options, source: Path) -> None:
    from mvs.canonical.draw import draw_cube, draw_matches, draw_uvw, stack_rows, write_picture
    from mvs.cli.canonical_source import PictureOptions
    from mvs.cli.show import progress_bars

    asked = PictureOptions(
        capture=source,
        embedder=options.embedder,
        weights=options.weights,
        cube_maps=options.cube_maps,
        threads=options.threads,
        quiet=options.quiet,
    )
    with progress_bars(options.quiet) as progress:
        found = [p for p in asked.mapped_pictures(progress) if p.cube_map.mask.any()]
    n = min(options.max_pictures, len(found))
    chosen = [found[round(k * (len(found) - 1) / max(n - 1, 1))] for k in range(n)]
    write_picture(options.output / "cube.png", draw_cube(chosen))
    write_picture(options.output / "uvw.png", stack_rows([draw_uvw(p) for p in chosen]))
    if len(chosen) > 1:
        rows = [draw_matches(a, b) for a, b in itertools.pairwise(chosen)]
        write_picture(options.output / "matches.png", stack_rows(rows))
