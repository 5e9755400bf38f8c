"""``mvs weights fetch``: the only command that uses the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Options:
    """Download a public checkpoint.

    Attributes:
        name: densemarks, the public DenseMarks model (non-commercial licence).
        output: file to write, if not the user's cache.
        url: another place to fetch it from (https).
        quiet: print nothing but errors.
    """

    name: Positional[Literal["densemarks"]]
    output: Path | None = None
    url: str | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import deliver, progress_bars, table
    from mvs.network.download import fetch_weights

    with progress_bars(options.quiet) as progress:
        fetched = fetch_weights(
            options.name,
            options.output,
            options.url,
            lambda done, total: progress("download", done, total or done),
        )
    found = {"file": fetched.path, "size": fetched.size, "sha256": fetched.sha256}
    deliver(found | {"licence": fetched.origin.licence, "source": fetched.origin.source})
    if not options.quiet:
        rows = [
            ("file", str(fetched.path)),
            ("size", f"{fetched.size / 1e6:.1f} MB"),
            ("sha256", fetched.sha256),
            ("licence", fetched.origin.licence),
            ("source", fetched.origin.source),
        ]
        table("", ("weights", options.name), rows)
