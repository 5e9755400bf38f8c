"""``mvs canonical correspond``: where the vertices of one head lie on another."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mvs.canonical.correspond import CorrespondOptions


@dataclass(frozen=True, kw_only=True)
class Options(CorrespondOptions):
    """Write OUTPUT.npz: face, weights, position, confidence, distance per vertex of FIRST.

    Attributes:
        first: mesh of mvs reconstruct, whose vertices are asked for.
        second: mesh of mvs reconstruct, that they are found on.
        output: .npz file.
        through_registration: wrap the template onto both, and go through it.
        quiet: print nothing but errors.
    """

    first: Annotated[Positional[Path], arg(metavar="FIRST")]
    second: Annotated[Positional[Path], arg(metavar="SECOND")]
    output: Path
    through_registration: bool = False
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    import numpy as np

    from mvs.canonical.correspond import correspond, correspond_through, write_correspondence
    from mvs.canonical.scan import read_scan
    from mvs.cli.show import deliver
    from mvs.record import prepare_output

    if options.output.suffix != ".npz":
        raise ValueError(f"{options.output}: the output must end in .npz")
    first, second = read_scan(options.first), read_scan(options.second)
    for path, scan in ((options.first, first), (options.second, second)):
        scan.check_size(path, None)
        if scan.faces is None:
            raise ValueError(f"{path}: a cloud, not a mesh; give mesh.ply")
    prepare_output(options.output.parent)
    if options.through_registration:
        found = correspond_through(first, second, options=options)
    else:
        found = correspond(first, second, options)
    write_correspondence(options.output, found)
    there = found.face >= 0
    gap = float(np.median(found.distance[there])) if there.any() else np.nan
    deliver({"vertices": len(there), "found": int(there.sum()), "median_distance": gap})
    if not options.quiet:
        sys.stdout.write(f"vertices {len(there)}\nfound {int(there.sum())}\n")
        sys.stdout.write(f"median distance in the cube {gap:.5f}\n")
