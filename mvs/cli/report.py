"""``mvs report``: the report of a finished run, once more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.cli.source import FormatName, load_noted


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write OUTPUT/report.html of a finished run: one file for a browser, without network.

    Attributes:
        output: folder of the results of mvs reconstruct.
        capture: that was reconstructed, if it is no longer where it was.
        format: of its camera file, if it shall not be found out.
        images: folder of its pictures, if not images/ in the capture.
        masks: folder of its masks, if not masks/ in the capture.
    """

    output: Annotated[Positional[Path], arg(metavar="OUTPUT")]
    capture: Path | None = None
    format: FormatName | None = None
    images: Path | None = None
    masks: Path | None = None


def run(options: Options) -> None:
    """Run the command."""
    from mvs.folder import claimed
    from mvs.viewer.report import remake_report
    from mvs.viewer.report_run import read_record

    # Says what is wrong with a folder before one is made in it.
    read_record(options.output)
    with claimed(options.output):
        capture = load_noted(
            options.output, options.capture, options.images, options.masks, options.format
        )
        path = remake_report(capture, options.output)
    print(path)
