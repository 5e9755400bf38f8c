"""Make the shipped volume of regions from rendered training shards.

    python -m tests.canonical.make_regions SHARD.npy ... --output mvs/canonical/regions.npz

The shards are written by ``mvs synthesize training``.
"""

import argparse
from pathlib import Path

import numpy as np

from mvs.canonical.parts import VOLUME_SIZE, build_region_volume, write_region_volume
from mvs.synthetic.dataset import decode_coords


def head_pixels(shards):
    """Coordinates and regions of each picture's head."""
    for shard in shards:
        for record in np.load(shard, mmap_mode="r"):
            mask = record["mask"] > 0
            yield decode_coords(record["coords"][mask]), record["region"][mask]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=VOLUME_SIZE)
    options = parser.parse_args()
    volume = build_region_volume(head_pixels(options.shards), options.size)
    write_region_volume(options.output, volume)


if __name__ == "__main__":
    main()
