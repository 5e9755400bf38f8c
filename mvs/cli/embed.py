"""``mvs embed``: cube maps of a capture's pictures, as ``--embedder precomputed`` reads them."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.cli.source import SourceOptions


@dataclass(frozen=True, kw_only=True)
class Options(SourceOptions):
    """Write OUTPUT/<image name>.npz: coords, confidence and mask in the picture's own pixels."""


def run(options: Options) -> None:
    """Run the command."""
    from mvs.canonical.pictures import map_capture
    from mvs.cli.show import counter, list_files, progress_bars, warn
    from mvs.network.precomputed import write_cube_map
    from mvs.record import prepare_output

    capture = options.load_capture()
    prepare_output(options.output)
    embedder = options.load_embedder()
    warnings = list(capture.warnings)
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "embed", 3 * len(capture.views))
        for picture in map_capture(capture, embedder, options.threads, step, warnings):
            write_cube_map(options.output / f"{picture.name}.npz", picture.as_taken()[1])
            step()
    if not options.quiet:
        warn(warnings)
        list_files()
