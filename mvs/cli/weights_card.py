"""``mvs weights card``: what the shipped network was trained on and what it can do."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Print the shipped network's model card."""


def run(options: Options) -> None:  # noqa: ARG001
    """Run the command."""
    import mvs.network
    from mvs.cli.show import deliver

    card = Path(mvs.network.__path__[0]) / "weights" / "compact.md"
    text = card.read_text(encoding="utf-8")
    deliver({"card": text})
    sys.stdout.write(text)
