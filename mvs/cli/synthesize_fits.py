"""``mvs synthesize fits``: people to measure fits of head models by."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.synthetic.fits import FitSetOptions


@dataclass(frozen=True, kw_only=True)
class Options(FitSetOptions):
    """Render people that no training picture shows, with their posed and neutral heads."""

    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, progress_bars
    from mvs.record import prepare_output
    from mvs.synthetic.fits import write_fit_set

    prepare_output(options.output)
    with progress_bars(options.quiet) as progress:
        write_fit_set(options, counter(progress, "render", options.people))
