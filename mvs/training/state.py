"""What training runs keep: running means, states to go on from, weights as they are shipped."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from calib.files import replacing
from mvs.network.checkpoint import CheckpointError, save_checkpoint
from mvs.training.optimiser import Optimiser


def average_into(mean: nn.Module, network: nn.Module, decay: float) -> None:
    """Move a running mean towards a network's weights."""
    own = network.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(own[name], 1 - decay)
        else:
            value.copy_(own[name])


def save_half(path: Path, network: nn.Module, kind: str, config: Any) -> None:
    """Write a network as it is shipped: matrices in half precision."""
    small = copy.deepcopy(network)
    for parameter in small.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    save_checkpoint(path, small, kind, config)


def save_state(
    path: Path, modules: Mapping[str, nn.Module], optimiser: Optimiser, step: int
) -> None:
    """Write what a run goes on from: modules by the prefix of their names."""
    tensors = {f"optimiser.{k}": v for k, v in optimiser.state().items()}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}{k}": v for k, v in module.state_dict().items()}
    tensors["step"] = torch.tensor(step)
    data = safetensors.torch.save({k: v.detach().contiguous() for k, v in tensors.items()})
    with replacing(path) as file:
        file.write(data)


def load_state(path: Path, modules: Mapping[str, nn.Module], optimiser: Optimiser) -> int:
    """Take up what ``save_state`` wrote; returns the step.

    Raises:
        CheckpointError: if the file is of another run.
    """
    try:
        return _restore(safetensors.torch.load_file(path), modules, optimiser)
    except (OSError, safetensors.SafetensorError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            path,
            f"not a state that this run can go on from ({str(error).splitlines()[0]})",
            "give the options it was made with, or another --output",
        ) from None


def _restore(
    tensors: dict[str, Tensor], modules: Mapping[str, nn.Module], optimiser: Optimiser
) -> int:
    step = int(tensors["step"])

    def named(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    for prefix, module in modules.items():
        module.load_state_dict(named(prefix))
    optimiser.load(named("optimiser."))
    return step
