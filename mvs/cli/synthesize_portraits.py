"""``mvs synthesize portraits``: rendered faces for ``mvs headmodel train``."""

from __future__ import annotations

from dataclasses import dataclass

from mvs.cli.shards import RenderOptions, render_shards
from mvs.synthetic.portraits import PORTRAITS, PortraitOptions, contact_sheet


@dataclass(frozen=True, kw_only=True)
class Options(RenderOptions, PortraitOptions):
    """Render portraits of random people; shards that are there already are kept."""


def run(options: Options) -> None:
    """Run the command."""
    render_shards(options, options, PORTRAITS, contact_sheet)
