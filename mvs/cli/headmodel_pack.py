"""``mvs headmodel pack``: a head model in one file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write OUTPUT: the model in one npz file, which is read much faster.

    Attributes:
        model: ICT-FaceKit's folder FaceXModel, or FLAME (pkl or npz).
        output: npz file.
        quiet: print nothing but errors.
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    output: Path
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import counter, progress_bars
    from mvs.headmodel.pack import pack_model

    with progress_bars(options.quiet) as progress:
        n_files = len(list(options.model.glob("*.obj"))) if options.model.is_dir() else 1
        packed = pack_model(options.model, options.output, counter(progress, "read", n_files))
    if not options.quiet:
        sys.stdout.write(
            f"{options.output}: {packed.kind}, {packed.n_vertices} vertices, "
            f"{packed.n_modes} modes, rounded by at most {packed.error_m * 1e6:.2g} micrometres\n"
        )
