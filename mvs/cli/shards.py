"""What the commands that render shards have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvs.synthetic.shards import ShardKind, ShardOptions

if TYPE_CHECKING:
    import numpy as np

    from mvs.types import ByteArray

# Pictures on a contact sheet.
_SHOWN = 36


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """What is shown of a set of shards.

    Attributes:
        contact_sheet: picture to write that shows the beginning of the first shard.
        quiet: print nothing but errors.
    """

    contact_sheet: Path | None = None
    quiet: bool = False


def render_shards(
    options: ShardOptions,
    shown: RenderOptions,
    kind: ShardKind,
    sheet: Callable[[np.ndarray, int], ByteArray],
) -> None:
    """Render a set.

    Args:
        options: what to render.
        shown: what is shown of it.
        kind: of the shards.
        sheet: draws records in so many columns.

    Raises:
        ValueError: if the contact sheet cannot be written, or the head model cannot be read.
    """
    import cv2
    import numpy as np

    from calib.files import note_file
    from mvs.cli.show import list_files, progress_bars
    from mvs.synthetic.shards import write_shards

    path = shown.contact_sheet
    if path is not None and not (path.parent.is_dir() and cv2.haveImageWriter(str(path))):
        raise ValueError(f"{path}: give a name that ends in .png or .jpg in a folder that exists")
    with progress_bars(shown.quiet) as progress:
        progress("render", 0, options.n_shards)
        for shard in write_shards(options, kind):
            # Written by another process.
            note_file(shard)
            done = sum(kind.path(options.output, k).exists() for k in range(options.n_shards))
            progress("render", done, options.n_shards)
    if path is not None:
        records = np.load(kind.path(options.output, 0), mmap_mode="r")[:_SHOWN]
        cv2.imwrite(str(path), sheet(records, 12)[..., ::-1])
        note_file(path)
    list_files(shown.quiet)
