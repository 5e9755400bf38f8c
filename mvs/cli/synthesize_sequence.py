"""``mvs synthesize sequence``: a rendered video of a turning head, with true points."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.synthetic.sequence import SequenceOptions


@dataclass(frozen=True, kw_only=True)
class Options(SequenceOptions):
    """Render a head that turns while something passes before it: frames and true points."""

    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, list_files, progress_bars
    from mvs.record import prepare_output
    from mvs.synthetic.sequence import write_sequence

    prepare_output(options.output)
    with progress_bars(options.quiet) as progress:
        write_sequence(options, counter(progress, "render", options.n_frames))
    list_files(options.quiet)
