"""``mvs headmodel train``: the shape regressor from rendered portraits."""

from __future__ import annotations

import json
import sys
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
    from mvs.cli.show import deliver
    from mvs.training.regress import RegressorTrainer

    reports = []
    for report in RegressorTrainer(options).run():
        reports.append(report)
        deliver({"reports": reports})
        if not options.quiet:
            sys.stdout.write(json.dumps({k: round(v, 5) for k, v in report.items()}) + "\n")
            sys.stdout.flush()
