"""One view of 512 x 512 through the shipped network and through DenseMarks' ViT-B, in turns.

The weights of DenseMarks are random: its speed does not depend on them.
"""

import numpy as np
import torch

from mvs.network.compact import load_compact
from mvs.network.densemarks import DenseMarks, DenseMarksConfig
from mvs.types import Square
from tests.benchmarks.timing import best_of, print_table

SIZE = 512


def main():
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    embedder = load_compact()
    region = Square((SIZE / 2, SIZE / 2), float(SIZE))
    large = DenseMarks(DenseMarksConfig()).eval()
    picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    n_threads = torch.get_num_threads()

    def vit():
        torch.set_num_threads(n_threads)
        with torch.inference_mode():
            return large(picture)

    ours, _ = best_of(lambda: embedder.embed(image, region), 5)
    finding, _ = best_of(lambda: embedder.find_head(image), 3)
    theirs, _ = best_of(vit, 2)
    rows = [
        ("compact, one core: crop and its mirror image", ours),
        ("compact, one core: head finder", finding),
        (f"DenseMarks ViT-B/16 and DPT, {n_threads} cores", theirs),
    ]
    print_table(f"one view of {SIZE} x {SIZE}", rows)
    print(f"  ViT-B takes {theirs / ours:.1f} times as long, on all cores against one")


if __name__ == "__main__":
    main()
