"""``mvs synthesize capture``: a rendered capture with ground truth."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.synthetic.capture import CaptureOptions


@dataclass(frozen=True, kw_only=True)
class Options(CaptureOptions):
    """Render a capture of a random head: images, masks, COLMAP model and ground truth."""

    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, list_files, progress_bars
    from mvs.record import prepare_output
    from mvs.synthetic.capture import write_capture

    prepare_output(options.output)
    with progress_bars(options.quiet) as progress:
        write_capture(options, counter(progress, "render", options.n_views))
    list_files(options.quiet)
