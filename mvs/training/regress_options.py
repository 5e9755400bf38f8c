"""How to train the shape regressor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mvs.network.regressor import RegressorConfig


@dataclass(frozen=True)
class RegressOptions:
    """How to train the shape regressor.

    Attributes:
        head: packed ICT-FaceKit file that the portraits were rendered from.
        data: folder of portraits.
        output: folder of checkpoints and log.
        validation: folder of portraits of other people, for the report.
        start: checkpoint of a regressor to start from; without, the encoder's weights are those of
            the shipped network.
        steps: in all.
        batch: portraits per step.
        learning_rate: at its highest.
        warm_up: steps over which it rises.
        checkpoint_every: steps.
        decay: of the matrices, relative to the learning rate.
        average: decay of the running mean of the weights, which is what is kept.
        threads: of PyTorch.
        device: where to compute, ``cpu`` or ``cuda``.
        seed: of initial weights and batches.
        network: its size.
    """

    head: Path
    data: Path
    output: Path
    validation: Path | None = None
    start: Path | None = None
    steps: int = 4000
    batch: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 100
    checkpoint_every: int = 250
    decay: float = 0.05
    average: float = 0.998
    threads: int = 1
    device: str = "cpu"
    seed: int = 0
    network: RegressorConfig = field(default_factory=RegressorConfig)
