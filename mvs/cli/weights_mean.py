"""``mvs weights mean``: the mean of several trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Options:
    """Average compact networks that were trained from common weights.

    Attributes:
        checkpoints: two or more, of one size; one given twice counts twice.
        output: checkpoint to write.
        quiet: print nothing but errors.
    """

    checkpoints: Annotated[Positional[tuple[Path, ...]], arg(metavar="CHECKPOINT")]
    output: Path
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import list_files
    from mvs.training.mean import write_mean

    if not options.output.parent.is_dir():
        raise ValueError(f"{options.output}: give a file in a folder that exists")
    write_mean(options.checkpoints, options.output)
    list_files(options.quiet)
