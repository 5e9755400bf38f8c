"""``mvs tracks``: matched points of pairs of pictures, from a video or a COLMAP capture."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.tracks.options import TracksOptions


@dataclass(frozen=True, kw_only=True)
class Options(TracksOptions):
    """Write OUTPUT/pairs_00000.npy ...: crops of one head with points matched between them.

    Attributes:
        source: video file, folder of numbered frames, or folder with images/ and a COLMAP model.
        overlay: picture to write that shows some pairs with their points.
        weights: weights of the compact network that finds the head, if not the shipped ones.
        quiet: print nothing but errors.
    """

    source: Annotated[Positional[Path], arg(metavar="SOURCE")]
    overlay: Path | None = None
    weights: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, deliver, progress_bars
    from mvs.network.embedders import load_embedder
    from mvs.record import prepare_output
    from mvs.tracks.make import count_pictures, write_tracks
    from mvs.tracks.overlay import check_overlay, draw_overlay, write_overlay
    from mvs.tracks.pairs import read_pairs

    if options.overlay is not None:
        check_overlay(options.overlay)
    total = count_pictures(options.source, options.every)
    prepare_output(options.output)
    embedder = load_embedder("compact", options.weights)
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "track", total)
        report = write_tracks(options.source, embedder, options, step)
    if options.overlay is not None:
        write_overlay(options.overlay, draw_overlay(read_pairs(options.output), 6))
    deliver(report.summary())
    if not options.quiet:
        for name, value in report.summary().items():
            sys.stdout.write(f"{name} {value:g}\n")
