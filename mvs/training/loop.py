"""The training loop: restartable at every checkpoint, the same steps every time."""

from __future__ import annotations

import copy
import json
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calib.files import note_file
from mvs.network.checkpoint import load_checkpoint, load_strict
from mvs.network.compact import KIND, CompactConfig, CompactNetwork
from mvs.synthetic.dataset import shard_path
from mvs.training.data import Batch, ShardStream, StreamOptions
from mvs.training.losses import losses
from mvs.training.objective import Objective, warp
from mvs.training.optimiser import Optimiser
from mvs.training.options import TrainOptions
from mvs.training.pairs import PairBatch, PairStream
from mvs.training.precision import autocast, find_device
from mvs.training.state import average_into, load_state, save_half, save_state
from mvs.training.validate import sample_pictures, validate

# The running mean takes in the weights of every so many steps.
_AVERAGE_EVERY = 5
_STATE, _NEWEST, _LOG = "state.safetensors", "compact.safetensors", "log.jsonl"


class Trainer:
    """Network, running mean, optimiser and the step they are at.

    Raises:
        ValueError: if there are no shards or no pairs, or the device or TensorBoard is missing.
        CheckpointError: if the checkpoint to start or to go on from cannot be used.
    """

    def __init__(self, options: TrainOptions) -> None:
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        self.options = options
        schedule = options.schedule
        stream = StreamOptions(
            options.data,
            options.n_shards,
            reuse=options.reuse,
            augment=options.augment,
            seed=options.seed,
        )
        self._stream = ShardStream(stream)
        self._pairs = None
        if options.tracks:
            self._pairs = PairStream(options.tracks, max(1, schedule.batch // 4), options.seed)
        self.network = CompactNetwork(options.network)
        if options.start is not None:
            _, tensors = load_checkpoint(options.start, KIND, CompactConfig)
            load_strict(self.network, tensors, options.start)
        self.network.to(  # type: ignore[call-overload]
            device=find_device(options.device), memory_format=torch.channels_last
        )
        self.mean = copy.deepcopy(self.network)
        self.objective = None
        if options.tracks or options.use_cube:
            self.objective = Objective(options.cube).to(options.device)
        self.optimiser = Optimiser(
            self.network, schedule.learning_rate, options.decay, self.objective
        )
        self.step = 0
        path = options.output / _STATE
        if path.exists():
            self.step = load_state(path, self._modules(), self.optimiser)

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end.

        Yields:
            After every checkpoint, figures of the steps since the one before.
        """
        schedule = self.options.schedule
        total = schedule.total
        board = _board(self.options, self.step) if self.step < total else None
        sums, started = _Means(), time.monotonic()
        with ThreadPoolExecutor(self.options.loaders) as pool, self._stream.waiting():
            ahead = range(self.step, min(self.step + self.options.loaders, total))
            waiting = deque(pool.submit(self._fetch, step) for step in ahead)
            while self.step < total:
                batch = waiting.popleft().result()
                if self.step + self.options.loaders < total:
                    waiting.append(pool.submit(self._fetch, self.step + self.options.loaders))
                sums.add(self._update(batch))
                self.step += 1
                if self.step % schedule.checkpoint_every == 0 or self.step == total:
                    report = self._report(sums.take(), time.monotonic() - started)
                    if board is not None:
                        self._show(board, report)
                    yield report
                    started = time.monotonic()

    def _fetch(self, step: int) -> Batch | PairBatch:
        """What a step sees, which depends on its number alone."""
        schedule = self.options.schedule
        size, batch = schedule.size_at(step)
        draw = np.random.default_rng((self.options.seed, step, 2)).random()
        if self._pairs is not None and draw < self.options.tracks_share:
            return self._pairs.get(step)
        return self._stream.get(step, schedule.seen_before(step), size, batch)

    def _update(self, batch: Batch | PairBatch) -> dict[str, Tensor]:
        self.optimiser.set_rate(self.options.schedule.rate_at(self.step))
        self.network.train()
        batch = batch.to(self.options.device)
        terms = self._renders(batch) if isinstance(batch, Batch) else self._tracked(batch)
        self.network.zero_grad(set_to_none=True)
        if self.objective is not None:
            self.objective.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        if self.step % _AVERAGE_EVERY == 0:
            decay = min(self.options.average, (self.step + 1) / (self.step + 10))
            average_into(self.mean, self.network, decay**_AVERAGE_EVERY)
        return {name: value.detach().cpu() for name, value in terms.items()}

    def _renders(self, batch: Batch) -> dict[str, Tensor]:
        out = self._forward(batch.pictures)
        terms = losses(out, batch)._asdict()
        if self.objective is not None and self.options.use_cube:
            extra = self.objective.on_renders(out, batch, self.step)
            terms["total"] = terms["total"] + self.objective.total(extra)
            terms |= {f"cube_{name}": value for name, value in extra.items()}
        return terms

    def _tracked(self, batch: PairBatch) -> dict[str, Tensor]:
        if self.objective is None:
            raise RuntimeError("pairs without a latent cube")
        warped = warp(batch.pictures.float(), batch.warps)
        both = self._forward(torch.cat([batch.pictures.float(), warped]))
        out, out_warped = both.chunk(2)
        terms = self.objective.on_pairs(out, out_warped, batch)
        return {f"tracks_{name}": value for name, value in terms.items()} | {
            "total": self.objective.total(terms)
        }

    def _forward(self, pictures: Tensor) -> Tensor:
        with autocast(self.options.device):
            return torch.as_tensor(self.network(pictures.float()))

    def _report(self, terms: dict[str, float], seconds: float) -> dict[str, float]:
        schedule = self.options.schedule
        size, _ = schedule.size_at(self.step - 1)
        report = {"step": self.step, "size": size, "seconds": seconds} | terms
        if self.options.validation is not None:
            # Of mixed sizes, each report would have another.
            report |= validate(self.mean, self.options.validation, *schedule.judged_at(self.step))
        self.options.output.mkdir(parents=True, exist_ok=True)
        self._save()
        with (self.options.output / _LOG).open("a") as file:
            file.write(json.dumps(report) + "\n")
        note_file(self.options.output / _LOG)
        return report

    def _show(self, board: Any, report: dict[str, float]) -> None:
        """Scalars and sample pictures for TensorBoard."""
        for name, value in report.items():
            if name not in ("step", "size"):
                board.add_scalar(name, value, self.step)
        board.add_scalar("rate", self.options.schedule.rate_at(self.step - 1), self.step)
        shard = self.options.validation or shard_path(self.options.data, 0)
        size, _ = self.options.schedule.size_at(self.step - 1)
        sheet = sample_pictures(self.mean, shard, size)
        board.add_image("samples", sheet, self.step, dataformats="HWC")
        board.flush()

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {"network.": self.network, "mean.": self.mean}
        return modules | ({} if self.objective is None else {"objective.": self.objective})

    def _save(self) -> None:
        output = self.options.output
        save_weights(output / _NEWEST, self.mean)
        save_state(output / _STATE, self._modules(), self.optimiser, self.step)


class _Means:
    """Means of terms that not every step has."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def _board(options: TrainOptions, step: int) -> Any:
    """TensorBoard's writer, None where it is not wanted."""
    if not options.tensorboard:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("TensorBoard is not installed; pip install tensorboard") from None
    folder = options.output / "tensorboard"
    return SummaryWriter(str(folder), purge_step=step + 1)


def save_weights(path: Path, network: CompactNetwork) -> None:
    """Write a network as it is shipped: matrices in half precision."""
    save_half(path, network, KIND, network.config)
