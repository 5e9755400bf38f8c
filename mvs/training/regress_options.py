"""How to train the shape regressor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mvs.network.regressor import RegressorConfig


@dataclass(frozen=True)
class RegressOptions:
    """How to train the shape regressor.

    Attributes:
        head: packed ICT-FaceKit file that the portraits were rendered from; it must be the same.
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
        frozen: leave the encoder's first levels, to stride 4, as they start: a fifth of the time.
        variances: learn the variances alone, best on portraits that nothing else has seen: of those
            that were learnt they claim too little.
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
    steps: int = 4200
    batch: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 100
    checkpoint_every: int = 250
    decay: float = 0.05
    frozen: bool = False
    variances: bool = False
    average: float = 0.998
    threads: int = 1
    device: str = "cpu"
    seed: int = 0
    network: RegressorConfig = field(default_factory=RegressorConfig)

    def __post_init__(self) -> None:
        least = {"steps": 0, "batch": 1, "warm_up": 1, "checkpoint_every": 1, "threads": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if self.variances and self.start is None:
            raise ValueError("variances needs start, weights whose means are learnt")
        if not (self.learning_rate > 0 and self.decay >= 0):
            raise ValueError(
                f"learning_rate must be positive and decay not negative, got {self.learning_rate} "
                f"and {self.decay}"
            )
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be in [0, 1), got {self.average}")
