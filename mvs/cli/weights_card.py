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

    card = Path(mvs.network.__path__[0]) / "weights" / "compact.md"
    sys.stdout.write(card.read_text())
