"""``mvs view``: look at a result in a browser."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show points, meshes and cameras in a browser, until Ctrl-C.

    Attributes:
        path: folder of a run, a .ply or .glb file, or a capture.
        compare: another of these in the same frame, to compare it with.
        capture: whose cameras see the results, if not the one that the run notes.
        port: to listen on; the next free one where it is in use, any if 0.
        host: address to listen on; 0.0.0.0 lets other machines in.
        open: open a browser, where there is a screen.
        quiet: print nothing but the address and errors.
    """

    path: Annotated[Positional[Path], arg(metavar="PATH")]
    compare: Path | None = None
    capture: Path | None = None
    port: int = 8080
    host: str = "127.0.0.1"
    open: bool = True
    quiet: bool = False


def run(options: Options) -> int:
    """Run the command.

    Raises:
        CaptureError: if there is nothing to look at, or it is damaged.
        ValueError: if viser is not installed, or the address cannot be listened on.
    """
    from mvs.cli.show import warn
    from mvs.viewer.serve import open_browser, serve
    from mvs.viewer.subject import load_subject

    paths = [options.path] if options.compare is None else [options.path, options.compare]
    subjects = [load_subject(path, options.capture) for path in paths]
    if not options.quiet:
        warn([line for subject in subjects for line in subject.warnings])

    def started(address: str, port: int) -> None:
        if options.port not in (0, port):
            warn([f"port {options.port} is in use, took {port}"])
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        if options.open:
            open_browser(address)

    with contextlib.suppress(KeyboardInterrupt):
        serve(subjects, options.host, options.port, started)
    return 0
