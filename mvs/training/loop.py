"""The training loop: restartable at every checkpoint, the same steps every time."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from calib.files import replacing
from mvs.network.checkpoint import load_checkpoint, load_strict, save_checkpoint
from mvs.network.compact import COORDS, KIND, MASK, CompactConfig, CompactNetwork
from mvs.synthetic.dataset import PICTURE_SIZE
from mvs.training.data import Batch, ShardStream, StreamOptions, to_batch
from mvs.training.losses import Losses, losses

# The running mean takes in the weights of every so many steps.
_AVERAGE_EVERY = 5
# Matrices with fewer rows or columns are left to Adam: the first and the last layer.
_SMALLEST = 28
_STATE, _NEWEST = "state.safetensors", "compact.safetensors"


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes:
        data: folder of the training shards.
        validation: a shard whose people are not in the training shards, for the report.
        output: folder of checkpoints and log.
        start: checkpoint to start from; its optimiser state is not kept.
        n_shards: how many shards the folder has or will have.
        small_steps: steps on pictures of half the size, before the others.
        steps: steps on pictures of full size.
        small_batch: pictures per step, half size.
        batch: pictures per step, full size.
        learning_rate: at its highest.
        warm_up: steps over which it rises.
        decay: of AdamW.
        average: decay of the running mean of the weights, which is what is kept.
        checkpoint_every: steps.
        reuse: times a picture is seen before newer shards are waited for.
        threads: of PyTorch.
        seed: of initial weights and batches.
        network: its size.
    """

    data: Path
    output: Path
    validation: Path | None = None
    start: Path | None = None
    n_shards: int = 40
    small_steps: int = 2600
    steps: int = 2400
    small_batch: int = 48
    batch: int = 16
    learning_rate: float = 2.5e-3
    warm_up: int = 100
    decay: float = 0.03
    average: float = 0.998
    checkpoint_every: int = 250
    reuse: float = 4.0
    threads: int = 1
    seed: int = 0
    network: CompactConfig = field(default_factory=CompactConfig)

    def __post_init__(self) -> None:
        least = {"n_shards": 1, "small_batch": 1, "batch": 1, "warm_up": 1, "threads": 1}
        least |= {"small_steps": 0, "steps": 0, "checkpoint_every": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if not (self.learning_rate > 0 and self.reuse > 0 and 0 <= self.average < 1):
            raise ValueError("learning_rate and reuse must be positive, average in [0, 1)")

    def size_at(self, step: int) -> tuple[int, int]:
        """Side of the pictures and their number at a step."""
        if step < self.small_steps:
            return PICTURE_SIZE // 2, self.small_batch
        return PICTURE_SIZE, self.batch

    def seen_before(self, step: int) -> int:
        """Pictures used before a step."""
        small = min(step, self.small_steps)
        return small * self.small_batch + (step - small) * self.batch

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, then a cosine to nearly nothing."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        share = (step - self.warm_up) / max(self.small_steps + self.steps - self.warm_up, 1)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


class Trainer:
    """Network, running mean, optimiser and the step they are at.

    Raises:
        ValueError: if there are no shards.
        CheckpointError: if the checkpoint to start from cannot be used.
    """

    def __init__(self, options: TrainOptions) -> None:
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        self.options = options
        self._streams = {
            batch: ShardStream(
                StreamOptions(
                    options.data, options.n_shards, reuse=options.reuse, seed=options.seed
                ),
                batch,
            )
            for batch in {options.small_batch, options.batch}
        }
        self.network = CompactNetwork(options.network)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if options.start is not None:
            _, tensors = load_checkpoint(options.start, KIND, CompactConfig)
            load_strict(self.network, tensors, options.start)
        self.mean = copy.deepcopy(self.network)
        self.optimiser = _Optimiser(self.network, options.learning_rate, options.decay)
        self.step = 0
        self._resume()

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end.

        Yields:
            After every checkpoint, figures of the steps since the one before.
        """
        options, streams = self.options, self._streams

        def fetch(step: int) -> Batch:
            size, batch = options.size_at(step)
            return streams[batch].get(step, options.seen_before(step), size)

        total = options.small_steps + options.steps
        sums, started = torch.zeros(5), time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            waiting: Future[Batch] = pool.submit(fetch, self.step)
            while self.step < total:
                batch = waiting.result()
                waiting = pool.submit(fetch, min(self.step + 1, total - 1))
                sums += torch.stack(list(self._update(batch))).detach()
                self.step += 1
                if self.step % options.checkpoint_every == 0 or self.step == total:
                    n = (self.step - 1) % options.checkpoint_every + 1
                    yield self._report(sums / n, time.monotonic() - started)
                    sums, started = torch.zeros(5), time.monotonic()

    def _update(self, batch: Batch) -> Losses:
        self.optimiser.set_rate(self.options.rate_at(self.step))
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            out = self.network(batch.pictures.float())
        terms = losses(out, batch)
        self.network.zero_grad(set_to_none=True)
        terms.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        if self.step % _AVERAGE_EVERY == 0:
            self._average()
        return terms

    def _average(self) -> None:
        decay = min(self.options.average, (self.step + 1) / (self.step + 10)) ** _AVERAGE_EVERY
        own = self.network.state_dict()
        for name, value in self.mean.state_dict().items():
            if value.is_floating_point():
                value.lerp_(own[name], 1 - decay)
            else:
                value.copy_(own[name])

    def _report(self, terms: Tensor, seconds: float) -> dict[str, float]:
        size, n = self.options.size_at(self.step - 1)
        report = {"step": self.step, "size": size, "seconds": seconds}
        report |= dict(zip(Losses._fields, terms.tolist(), strict=True))
        if self.options.validation is not None:
            report |= validate(self.mean, self.options.validation, size, n)
        self.options.output.mkdir(parents=True, exist_ok=True)
        self._save()
        with (self.options.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(report) + "\n")
        return report

    def _save(self) -> None:
        save_weights(self.options.output / _NEWEST, self.mean)
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimiser.state().items()}
        tensors["step"] = torch.tensor(self.step)
        _save_tensors(self.options.output / _STATE, tensors)

    def _resume(self) -> None:
        path = self.options.output / _STATE
        if not path.exists():
            return
        tensors = safetensors.torch.load_file(path)
        self.step = int(tensors["step"])
        for prefix, module in (("network.", self.network), ("mean.", self.mean)):
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(own)
        prefix = "optimiser."
        self.optimiser.load(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )


@torch.no_grad()
def validate(network: CompactNetwork, shard: Path, size: int, n_batch: int) -> dict[str, float]:
    """Errors on a shard the network was not trained on.

    Args:
        network: the network; left in evaluation mode.
        shard: file of records.
        size: side of the pictures.
        n_batch: pictures at a time.

    Returns:
        ``median`` and ``p90`` of the distance on the head (cube units), ``iou`` of the mask.
    """
    network.eval()
    records = np.load(shard, mmap_mode="r")[:192]
    distances, both, either = [], 0.0, 0.0
    for start in range(0, len(records), n_batch):
        part = np.array(records[start : start + n_batch])
        batch = to_batch(part, np.zeros(len(part), bool), size)
        with torch.autocast("cpu", torch.bfloat16):
            out = network(batch.pictures.float())
        distance = (out[:, COORDS] - batch.coords).norm(dim=1)
        distances.append(distance[batch.mask[:, 0] > 0])
        found = out[:, MASK] > 0
        both += float((found & (batch.mask[:, 0] > 0)).sum())
        either += float((found | (batch.mask[:, 0] > 0)).sum())
    all_distances = torch.cat(distances)
    middle, high = all_distances.float().numpy(), 0.9
    return {
        "median": float(np.median(middle)),
        "p90": float(np.quantile(middle, high)),
        "iou": both / max(either, 1.0),
    }


def save_weights(path: Path, network: CompactNetwork) -> None:
    """Write a network as it is shipped: matrices in half precision."""
    small = copy.deepcopy(network)
    for parameter in small.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    save_checkpoint(path, small, KIND, network.config)


class _Optimiser:
    """Muon for the matrices inside the network, Adam for all else.

    A convolution is a matrix of its outputs by its taps; both see the same memory.
    """

    def __init__(self, network: nn.Module, rate: float, decay: float) -> None:
        self._names: dict[str, nn.Parameter] = {}
        self._views: list[tuple[nn.Parameter, nn.Parameter]] = []
        matrices, others = [], []
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2 or min(parameter.shape[0], parameter[0].numel()) < _SMALLEST:
                others.append(parameter)
                self._names[name] = parameter
                continue
            view = nn.Parameter(_as_matrix(parameter.data))
            matrices.append(view)
            self._names[name] = view
            self._views.append((parameter, view))
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            # Steps of the size that Adam would take, so that one rate serves both.
            torch.optim.Muon(matrices, rate, decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, rate, (0.9, 0.99), weight_decay=0.0, fused=True),
        )

    def set_rate(self, rate: float) -> None:
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        for parameter, view in self._views:
            view.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
        for part in self._parts:
            part.step()

    def state(self) -> dict[str, Tensor]:
        return {
            f"{key}.{name}": value
            for part in self._parts
            for name, parameter in self._names.items()
            for key, value in part.state.get(parameter, {}).items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        for key, value in state.items():
            kind, name = key.split(".", 1)
            parameter = self._names[name]
            matrix = any(parameter is view for _, view in self._views)
            # The fused step needs the parameter's strides.
            same = value.shape == parameter.shape
            kept = torch.empty_like(parameter).detach().copy_(value) if same else value
            self._parts[0 if matrix else 1].state[parameter][kind] = kept


def _as_matrix(tensor: Tensor) -> Tensor:
    """(O, ...) -> (O, n): the same memory if it is channels last."""
    last = tensor.movedim(1, -1) if tensor.ndim > 2 else tensor
    return last.reshape(len(tensor), -1)


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    data = safetensors.torch.save({k: v.detach().contiguous() for k, v in tensors.items()})
    with replacing(path) as file:
        file.write(data)
