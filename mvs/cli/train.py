"""``mvs train``: the compact network from rendered pictures."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from mvs.training.loop import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """Train the compact network; goes on from the last checkpoint in --output."""

    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.training.loop import Trainer

    for report in Trainer(options).run():
        if not options.quiet:
            sys.stdout.write(json.dumps({k: round(v, 5) for k, v in report.items()}) + "\n")
            sys.stdout.flush()
