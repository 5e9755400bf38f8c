"""``mvs weights card``: what a shipped network was trained on and what it can do."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Print a shipped network's model card.

    Attributes:
        network: compact gives every pixel its place in the cube; regressor reads who a picture
            shows and what the face does, for ``mvs fit``.
    """

    network: Literal["compact", "regressor"] = "compact"


def run(options: Options) -> None:
    """Run the command."""
    import mvs.network
    from mvs.cli.show import deliver

    card = Path(mvs.network.__path__[0]) / "weights" / f"{options.network}.md"
    text = card.read_text(encoding="utf-8")
    deliver({"card": text})
    sys.stdout.write(text)
