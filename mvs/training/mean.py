"""The mean of several networks, which is often better than each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mvs.network.checkpoint import CheckpointError, load_checkpoint, load_strict
from mvs.network.compact import KIND, CompactConfig, CompactNetwork
from mvs.training.loop import save_weights


def write_mean(checkpoints: Sequence[Path], output: Path) -> None:
    """Write the mean of checkpoints that were trained from common weights.

    Args:
        checkpoints: of ``CompactNetwork``, of one size.
        output: checkpoint to write, in a folder that exists.

    Raises:
        CheckpointError: if one cannot be read or is of another size than the first.
        ValueError: if there are fewer than two.

    Source:
        Wortsman et al. (2022), model soups.
    """
    if len(checkpoints) < 2:
        raise ValueError(f"a mean needs two checkpoints or more, got {len(checkpoints)}")
    config, first = load_checkpoint(checkpoints[0], KIND, CompactConfig)
    network = CompactNetwork(config)
    load_strict(network, first, checkpoints[0])
    sums = {name: tensor.double() for name, tensor in first.items()}
    for path in checkpoints[1:]:
        other, tensors = load_checkpoint(path, KIND, CompactConfig)
        if other != config:
            raise CheckpointError(
                path, "holds a network of another size", f"give such as {checkpoints[0]}"
            )
        # Names and shapes are checked by what takes them.
        load_strict(network, tensors, path)
        sums = {name: total + tensors[name].double() for name, total in sums.items()}
    mean = {n: (total / len(checkpoints)).to(first[n].dtype) for n, total in sums.items()}
    load_strict(network, mean, output)
    save_weights(output, network)
