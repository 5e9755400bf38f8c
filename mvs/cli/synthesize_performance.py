"""``mvs synthesize performance``: a rendered performance of a moving face, with ground truth."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.synthetic.performance import PerformanceOptions


@dataclass(frozen=True, kw_only=True)
class Options(PerformanceOptions):
    """Render a face that moves before still cameras: pictures, one calibration, a mesh a frame."""

    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, progress_bars
    from mvs.record import prepare_output
    from mvs.synthetic.performance import write_performance

    prepare_output(options.output)
    with progress_bars(options.quiet) as progress:
        step = counter(progress, "render", options.n_frames * options.n_views)
        write_performance(options, step)
