"""``mvs canonical warp``: one picture of a head in the geometry of another."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mvs.canonical.warp import WarpOptions
from mvs.cli.source import NetworkOptions

if TYPE_CHECKING:
    from mvs.canonical.pictures import MappedPicture


@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
    """Every pixel of picture B takes the colour of its place in picture A.

    Writes OUTPUT/warp.png, blend.png, confidence.png, and the flows as .npz and .flo.

    Attributes:
        a: picture whose colours are taken, or a view's name with --capture.
        b: picture whose geometry it gets, or a view's name.
        output: folder for the results.
        capture: capture that both are views of.
        warp: how it is warped.
    """

    a: Annotated[Positional[Path], arg(metavar="A")]
    b: Annotated[Positional[Path], arg(metavar="B")]
    output: Path
    capture: Path | None = None
    warp: WarpOptions = field(default_factory=WarpOptions)


def run(options: Options) -> None:
    """Run the command."""
    import numpy as np

    from mvs.canonical.warp_files import write_warp
    from mvs.cli.show import deliver
    from mvs.record import prepare_output

    first, second = _pictures(options)
    prepare_output(options.output)
    flow = write_warp(first, second, options.output, options.warp)
    away = float(np.median(flow.roundtrip[flow.valid]))
    deliver({"pixels": int(flow.valid.sum()), "there_and_back_px": away})
    if not options.quiet:
        sys.stdout.write(f"warped {flow.valid.sum()} pixels, there and back {away:.2f} px\n")


def _pictures(options: Options) -> tuple[MappedPicture, MappedPicture]:
    from calib.capture import CaptureError
    from calib.formats import read_capture
    from mvs.canonical.pictures import map_capture, map_images

    if options.capture is None:
        first, second = map_images([options.a, options.b], options.load_embedder())
        return first, second
    capture = read_capture(options.capture)
    views = {view.name: view for view in capture.views}
    names = [options.a.as_posix(), options.b.as_posix()]
    for name in names:
        if name not in views:
            some = ", ".join(list(views)[:3])
            raise CaptureError(options.capture, f"has no view {name}", f"name two of {some} ...")
    pair = replace(capture, views=tuple(views[name] for name in names))
    first, second = map_capture(pair, options.load_embedder(), options.threads)
    return first, second
