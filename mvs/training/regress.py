"""Training of the shape regressor: restartable at every checkpoint, the same steps every time."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calib.files import note_file
from mvs.network.checkpoint import load_checkpoint, load_strict
from mvs.network.compact import KIND as COMPACT
from mvs.network.compact import WEIGHTS as COMPACT_WEIGHTS
from mvs.network.compact import CompactConfig
from mvs.network.regressor import CELL, KIND, Prediction, RegressorConfig, RegressorNetwork
from mvs.synthetic.head import Head, load_head
from mvs.synthetic.portraits import SIZE
from mvs.synthetic.scene import bend_neck
from mvs.training.optimiser import Optimiser
from mvs.training.options import Schedule
from mvs.training.portraits import PortraitBatch, PortraitStream
from mvs.training.precision import autocast, find_device
from mvs.training.regress_options import RegressOptions
from mvs.training.shape_basis import at_anchors, make_basis
from mvs.training.state import average_into, load_state, save_half, save_state

_AVERAGE_EVERY = 5
_STATE, _NEWEST, _LOG = "state.safetensors", "regressor.safetensors", "log.jsonl"
# Weights of components by the lengths that they make, beside the squares: of identity, and of
# expressions, of which small ones are seen as well as large ones. And of the variances.
_LENGTHS, _VARIANCE = (0.7, 2.0), 0.05
# The parameters that only variances come from.
_VARIANCES = ("variance.", "points.doubt", "points.base")
# Weights of how likely points' cells are and of points' distances, in pixels; and the distance
# from which on errors count by their length.
_CELLS, _POINTS, _FAR = 0.1, 0.2, 2.0


class RegressorTrainer:
    """Network, running mean, optimiser and the step they are at."""

    def __init__(self, options: RegressOptions) -> None:
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        self.options = options
        if options.network.size > SIZE:
            raise ValueError(f"size must be at most {SIZE}, got {options.network.size}")
        head = load_head(options.head)
        self._stream = PortraitStream(options.data, head, options.network.size, options.seed)
        self._judge = None
        if options.validation is not None:
            self._judge = PortraitStream(options.validation, head, options.network.size, 0)
        self.network = RegressorNetwork(options.network)
        _start(self.network, options, head)
        self._labels = Labels(self.network, head)
        self.network.to(  # type: ignore[call-overload]
            device=find_device(options.device), memory_format=torch.channels_last
        )
        self._frozen: list[nn.Module] = []
        if options.frozen:
            self._frozen = [self.network.stem, self.network.level4]
        if options.variances:
            self._frozen = [self.network]
        for module in self._frozen:
            module.requires_grad_(False)
        if options.variances:
            for name, parameter in self.network.named_parameters():
                parameter.requires_grad_(name.startswith(_VARIANCES))
        self._share = _shares(self.network)
        self.mean = copy.deepcopy(self.network)
        self.optimiser = Optimiser(self.network, options.learning_rate, options.decay)
        self.step = 0
        self._modules = {"network.": self.network, "mean.": self.mean}
        path = options.output / _STATE
        if path.exists():
            self.step = load_state(path, self._modules, self.optimiser)

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end; yields figures after every checkpoint."""
        options = self.options
        schedule = Schedule(
            0, 0, options.steps, learning_rate=options.learning_rate, warm_up=options.warm_up
        )
        total, n, started = 0.0, 0, time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self._stream.get, self.step, options.batch)
            while self.step < options.steps:
                batch = waiting.result()
                waiting = pool.submit(self._stream.get, self.step + 1, options.batch)
                self.optimiser.set_rate(schedule.rate_at(self.step))
                total, n = total + self._update(batch), n + 1
                self.step += 1
                if self.step % options.checkpoint_every == 0 or self.step == options.steps:
                    seconds = time.monotonic() - started
                    yield self._report({"loss": total / n, "seconds": seconds})
                    total, n, started = 0.0, 0, time.monotonic()

    def _update(self, batch: PortraitBatch) -> float:
        self.network.train()
        for module in self._frozen:
            module.eval()
        with autocast(self.options.device):
            found = self.network(batch.pictures.to(self.options.device).float())
        loss = self._loss(found, self._labels.of(batch), self._labels.points(batch))
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        if self.step % _AVERAGE_EVERY == 0:
            decay = min(self.options.average, (self.step + 1) / (self.step + 10))
            average_into(self.mean, self.network, decay**_AVERAGE_EVERY)
        return float(loss.detach())

    def _loss(self, found: Prediction, truth: Tensor, points: Tensor) -> Tensor:
        device = found.mean.device
        squared = (found.mean - truth.to(device)).square()
        doubt = found.variance + squared.detach() * (-found.variance).exp()
        loss = (squared * self._share).sum(dim=1).mean() + _VARIANCE * doubt.mean()
        points, size = points.to(device), self.options.network.size
        inside = within(points, size)
        unlikely = -at_points(found.cells, points, size // CELL)
        away = (found.points - points).norm(dim=2)
        distance = F.huber_loss(away, torch.zeros_like(away), reduction="none", delta=_FAR)
        far = found.doubt + 0.5 * away.detach().square() * (-found.doubt).exp()
        each = _CELLS * unlikely + _POINTS / _FAR * distance + _VARIANCE * far
        return torch.as_tensor(loss + (each * inside).sum() / inside.sum().clamp(min=1))

    def _report(self, figures: dict[str, float]) -> dict[str, float]:
        report = {"step": float(self.step)} | figures
        if self._judge is not None:
            report |= judge(self.mean, self._judge, self._labels, self.options.batch)
        output = self.options.output
        output.mkdir(parents=True, exist_ok=True)
        save_half(output / _NEWEST, self.mean, KIND, self.options.network)
        save_state(output / _STATE, self._modules, self.optimiser, self.step)
        with (output / _LOG).open("a") as file:
            file.write(json.dumps(report) + "\n")
        note_file(output / _LOG)
        return report


class Labels:
    """True coefficients of portraits, linear in what makes them, and points."""

    def __init__(self, network: RegressorNetwork, head: Head) -> None:
        n, k = network.config.n_identity, network.analysis
        cube = network.anchors.double().numpy()
        flat = k.double().flatten(1)
        modes = [at_anchors(head, m, cube) for m in (head.identity_modes, head.expression_modes)]
        by_identity, by_expression = (torch.from_numpy(m).flatten(1) for m in modes)
        self._identity = (by_identity @ flat[:n].T).float()
        self._expression = (by_expression @ flat[n:].T).float()
        self._offset, self._mirror = network.offset.clone(), network.mirror.clone()
        self._moved = torch.cat([by_identity, by_expression]).float()
        self._mean = torch.from_numpy(at_anchors(head, head.template.reshape(1, -1), cube)).float()
        self._size = network.config.size

    def of(self, batch: PortraitBatch) -> Tensor:
        """(B, K) coefficients, of mirrored portraits those of the mirror image."""
        parts = [batch.identity @ self._identity, batch.expression @ self._expression]
        found = torch.cat(parts, dim=1) - self._offset
        return torch.where(batch.mirrored[:, None], found * self._mirror, found)

    def points(self, batch: PortraitBatch) -> Tensor:
        """(B, M, 2) float32 where the places are in the pictures."""
        moved = torch.cat([batch.identity, batch.expression], dim=1) @ self._moved
        posed = (self._mean + moved.reshape(len(moved), -1, 3)).numpy()
        rest, turns = self._mean[0].numpy(), batch.neck.numpy()
        bent = np.stack(
            [bend_neck(head, rest, turn) for head, turn in zip(posed, turns, strict=True)]
        )
        seen = bent @ batch.cameras[:, :, :3].swapaxes(1, 2) + batch.cameras[:, None, :, 3]
        points = torch.from_numpy(seen[..., :2] / seen[..., 2:]).float()
        across = points.roll(points.shape[1] // 2, 1) * torch.tensor([-1.0, 1.0])
        across = across + torch.tensor([float(self._size), 0.0])
        return torch.where(batch.mirrored[:, None, None], across, points)


def within(points: Tensor, size: int) -> Tensor:
    """Which of points (..., 2) lie in a picture so wide and high."""
    return ((points > 0) & (points < size)).all(dim=-1)


def at_points(cells: Tensor, points: Tensor, n: int) -> Tensor:
    """Means of cells' values, by how near the middles of the four around it a point is.

    Args:
        cells: (B, M, n * n).
        points: (B, M, 2) pixels.
        n: cells along each side.

    Returns:
        (B, M).
    """
    places = (points / CELL - 0.5).clamp(0, n - 1)
    low = places.floor().clamp(max=n - 2)
    part = places - low
    first = (low[..., 1] * n + low[..., 0]).long()
    total = torch.zeros_like(part[..., 0])
    for y in (0, 1):
        for x in (0, 1):
            share = (part[..., 0] if x else 1 - part[..., 0]) * (
                part[..., 1] if y else 1 - part[..., 1]
            )
            total = total + share * cells.gather(2, (first + y * n + x)[..., None])[..., 0]
    return total


def judge(
    network: RegressorNetwork, stream: PortraitStream, labels: Labels, batch: int
) -> dict[str, float]:
    """Shares of what is left unexplained of identity and expression, by displacement.

    And of points in the picture the mean distance from the truth, and the root of the mean claimed
    square, pixels.
    """
    network.eval()
    errors, truths, doubts, away, claimed = [], [], [], [], []
    device = network.energy.device
    with torch.inference_mode(), autocast(device.type):
        for first in range(0, len(stream), batch):
            part = stream.plain(first, batch)
            seen = network(part.pictures.to(device).float())
            truth = labels.of(part)
            errors.append((seen.mean.cpu() - truth).square())
            truths.append(truth.square())
            doubts.append(seen.variance.exp().cpu())
            points = labels.points(part)
            inside = within(points, network.config.size)
            away.append((seen.points.cpu() - points).norm(dim=2)[inside])
            claimed.append(2 * seen.doubt.exp().cpu()[inside])
    error, truth, doubt = (torch.cat(parts).mean(dim=0) for parts in (errors, truths, doubts))
    energy, n = network.energy.cpu(), network.config.n_identity
    found = {
        "points": float(torch.cat(away).mean()),
        "points_claimed": float(torch.cat(claimed).mean().sqrt()),
    }
    for name, rows in (("identity", slice(n)), ("expression", slice(n, None))):
        spread = energy[rows]
        found[name] = float((error[rows] * spread).sum() / (truth[rows] * spread).sum())
        found[f"{name}_claimed"] = float((doubt[rows] * spread).sum() / spread.sum())
    return found


def _shares(network: RegressorNetwork) -> Tensor:
    """Weights (K,) of the coefficients' squared errors."""
    energy, n = network.energy, network.config.n_identity
    length = energy.sqrt()
    counts = torch.full_like(length, _LENGTHS[1])
    counts[:n] = _LENGTHS[0]
    return energy / energy.sum() + counts * length / length.sum()


def _start(network: RegressorNetwork, options: RegressOptions, head: Head) -> None:
    if options.start is not None:
        _, tensors = load_checkpoint(options.start, KIND, RegressorConfig)
        load_strict(network, tensors, options.start)
        return
    config = options.network
    basis = make_basis(head, config.n_anchors, config.n_identity, config.n_expression)
    for name in ("anchors", "analysis", "offset", "energy", "mirror"):
        getattr(network, name).copy_(torch.from_numpy(getattr(basis, name)))
    _, tensors = load_checkpoint(COMPACT_WEIGHTS, COMPACT, CompactConfig)
    own = network.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in own and v.shape == own[k].shape}
    network.load_state_dict(own | fitting)
