"""``mvs batch export``: the registered frames as one moving mesh."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the registered frames of a batch as one mesh whose points move.

    Attributes:
        result: output of mvs batch --register.
        output: .usd, .usdc or .usda file, or a folder for a PLY file a frame.
        smooth: window in frames, odd, over which every vertex is smoothed in time; 1 leaves all.
        fps: frames per second.
        quiet: print nothing but errors.
    """

    result: Annotated[Positional[Path], arg(metavar="RESULT")]
    output: Path
    smooth: int = 1
    fps: float = 24.0
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.batch.points import moving_mesh, read_sequence, smooth, write_plys
    from mvs.cli.show import warn
    from mvs.stages.usd_sequence import write_usd_sequence

    if not options.fps > 0:
        raise ValueError(f"--fps must be positive, got {options.fps}")
    sequence, warnings = read_sequence(options.result)
    sequence = smooth(sequence, options.smooth)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.output.suffix:
        write_usd_sequence(options.output, moving_mesh(sequence, options.result, options.fps))
    else:
        write_plys(options.output, sequence)
    if not options.quiet:
        warn(warnings)
        n, v = sequence.points.shape[:2]
        sys.stdout.write(f"{options.output}: {n} frames of {v} vertices\n")
