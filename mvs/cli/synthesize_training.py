"""``mvs synthesize training``: shards of rendered pictures for ``mvs train``."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.cli.shards import RenderOptions, render_shards
from mvs.synthetic.dataset import SHARDS, DatasetOptions, contact_sheet


@dataclass(frozen=True, kw_only=True)
class Options(RenderOptions, DatasetOptions):
    """Render training pictures of random heads; shards that are there already are kept."""


def run(options: Options) -> None:
    """Run the command."""
    render_shards(options, options, SHARDS, contact_sheet)
