"""``mvs synthesize training``: shards of rendered pictures for ``mvs train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Render training pictures of random heads; shards that are there already are kept.

    Attributes:
        head: packed ICT-FaceKit file (npz), not shipped.
        output: folder of the shards.
        n_shards: shards of the whole set.
        people_per_shard: people in a shard, three pictures each.
        seed: of the set.
        workers: processes.
        contact_sheet: picture to write that shows the beginning of the first shard.
        quiet: print nothing but errors.
    """

    head: Path
    output: Path
    n_shards: int = 40
    people_per_shard: int = 256
    seed: int = 1
    workers: int = 1
    contact_sheet: Path | None = None
    quiet: bool = False


def run(options: Options) -> None:
    """Run the command."""
    import cv2
    import numpy as np

    from mvs.cli.show import progress_bars
    from mvs.synthetic.dataset import DatasetOptions, contact_sheet, shard_path, write_dataset

    dataset = DatasetOptions(
        options.head,
        options.output,
        options.n_shards,
        options.people_per_shard,
        options.seed,
        options.workers,
    )
    with progress_bars(options.quiet) as progress:
        progress("render", 0, options.n_shards)
        for _ in write_dataset(dataset):
            done = sum(shard_path(options.output, k).exists() for k in range(options.n_shards))
            progress("render", done, options.n_shards)
    if options.contact_sheet is not None:
        records = np.load(shard_path(options.output, 0), mmap_mode="r")[:36]
        cv2.imwrite(str(options.contact_sheet), contact_sheet(records, 12)[..., ::-1])
