"""``mvs synthesize training``: shards of rendered pictures for ``mvs train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mvs.synthetic.dataset import DatasetOptions


@dataclass(frozen=True, kw_only=True)
class Options(DatasetOptions):
    """Render training pictures of random heads; shards that are there already are kept.

    Attributes:
        contact_sheet: picture to write that shows the beginning of the first shard.
        quiet: print nothing but errors.
    """

    contact_sheet: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    import cv2
    import numpy as np

    from calib.files import note_file
    from mvs.cli.show import list_files, progress_bars
    from mvs.synthetic.dataset import contact_sheet, shard_path, write_dataset

    sheet = options.contact_sheet
    if sheet is not None and not (sheet.parent.is_dir() and cv2.haveImageWriter(str(sheet))):
        raise ValueError(f"{sheet}: give a name that ends in .png or .jpg in a folder that exists")
    with progress_bars(options.quiet) as progress:
        progress("render", 0, options.n_shards)
        for shard in write_dataset(options):
            # Written by another process.
            note_file(shard)
            done = sum(shard_path(options.output, k).exists() for k in range(options.n_shards))
            progress("render", done, options.n_shards)
    if sheet is not None:
        records = np.load(shard_path(options.output, 0), mmap_mode="r")[:36]
        cv2.imwrite(str(sheet), contact_sheet(records, 12)[..., ::-1])
        note_file(sheet)
    list_files(options.quiet)
