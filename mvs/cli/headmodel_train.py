"""``mvs headmodel train``: the shape regressor from rendered portraits."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.training.regress_options import RegressOptions


@dataclass(frozen=True, kw_only=True)
class Options(RegressOptions):
    """Train the shape regressor; goes on from the last checkpoint in --output.

    Attributes:
        quiet: print nothing but errors.
    """

    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import show_reports
    from mvs.training.regress import RegressorTrainer

    show_reports(RegressorTrainer(options).run(), options.quiet)
