"""How to train: options and schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from mvs.network.compact import CompactConfig
from mvs.synthetic.dataset import PICTURE_SIZE
from mvs.training.cube import CubeOptions

# Sides of the pictures in mixed steps.
_MIXED = (160, 192, 224)


@dataclass(frozen=True)
class Schedule:
    """How long to train and how fast; ``PRESETS`` holds some.

    Attributes:
        small_steps: steps on pictures of half the size, before the others.
        mixed_steps: steps on pictures of 160, 192 and 224 pixels in turn, after those.
        steps: steps on pictures of full size, last.
        small_batch: pictures per step, half size.
        batch: pictures per step, full size; in mixed steps as many as have the same pixels.
        learning_rate: at its highest.
        warm_up: steps over which it rises.
        checkpoint_every: steps.
    """

    small_steps: int = 2600
    mixed_steps: int = 0
    steps: int = 2400
    small_batch: int = 48
    batch: int = 16
    learning_rate: float = 2.5e-3
    warm_up: int = 100
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        least = {"small_batch": 1, "batch": 1, "warm_up": 1, "checkpoint_every": 1}
        least |= {"small_steps": 0, "mixed_steps": 0, "steps": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")

    @property
    def total(self) -> int:
        """All steps."""
        return self.small_steps + self.mixed_steps + self.steps

    def size_at(self, step: int) -> tuple[int, int]:
        """Side of the pictures and their number at a step."""
        if step < self.small_steps:
            return PICTURE_SIZE // 2, self.small_batch
        size = PICTURE_SIZE
        if step < self.small_steps + self.mixed_steps:
            size = _MIXED[step % len(_MIXED)]
        return size, self.batch * PICTURE_SIZE**2 // size**2

    def judged_at(self, step: int) -> tuple[int, int]:
        """Side of the pictures and their number at a time that the network is tried with."""
        small = step <= self.small_steps
        return (PICTURE_SIZE // 2, self.small_batch) if small else (PICTURE_SIZE, self.batch)

    def seen_before(self, step: int) -> int:
        """Pictures used before a step."""
        small = min(step, self.small_steps)
        mixed = min(step - small, self.mixed_steps)
        # Whole rounds of the mixed sizes, and what is left of one.
        numbers = [self.size_at(small + k)[1] for k in range(min(mixed, len(_MIXED)))]
        rounds, rest = divmod(mixed, len(_MIXED))
        seen = rounds * sum(numbers) + sum(numbers[:rest])
        return small * self.small_batch + seen + (step - small - mixed) * self.batch

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, then a cosine to nearly nothing."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        share = (step - self.warm_up) / max(self.total - self.warm_up, 1)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


PRESETS = {
    # From nothing, on one core with half-precision arithmetic an hour and a half.
    "scratch": Schedule(),
    # Shipped weights on more or other data.
    "refine": Schedule(0, 0, 1200, learning_rate=1.2e-3, warm_up=60, checkpoint_every=50),
    # To see whether everything is in place.
    "quick": Schedule(60, 0, 20, 16, 8, learning_rate=2e-3, warm_up=10, checkpoint_every=20),
}


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes:
        data: folder of the training shards.
        output: folder of checkpoints and log.
        validation: a shard whose people are not in the training shards, for the report.
        start: checkpoint to start from; its optimiser state is not kept.
        tracks: folders that ``mvs tracks`` wrote; pairs of frames without true coordinates.
        tracks_share: share of the steps that are spent on ``tracks``.
        use_cube: whether the latent cube's losses are added on rendered pictures, too.
        n_shards: how many shards the folder has or will have.
        schedule: how long and how fast.
        cube: the latent cube and the weights of its losses.
        decay: of the matrices, relative to the learning rate.
        average: decay of the running mean of the weights, which is what is kept.
        reuse: times a picture is seen before newer shards are waited for.
        augment: whether pictures are cropped, hidden and developed anew each time they are seen.
        threads: of PyTorch.
        loaders: threads that make the next steps' pictures; a GPU wants as many as there are cores.
        device: where to compute, ``cpu`` or ``cuda``.
        tensorboard: whether scalars and sample pictures are written for TensorBoard.
        seed: of initial weights and batches.
        network: its size.
    """

    data: Path
    output: Path
    validation: Path | None = None
    start: Path | None = None
    tracks: tuple[Path, ...] = ()
    tracks_share: float = 0.2
    use_cube: bool = False
    n_shards: int = 40
    schedule: Schedule = field(default_factory=Schedule)
    cube: CubeOptions = field(default_factory=CubeOptions)
    decay: float = 0.03
    average: float = 0.998
    reuse: float = 4.0
    augment: bool = True
    threads: int = 1
    loaders: int = 1
    device: str = "cpu"
    tensorboard: bool = False
    seed: int = 0
    network: CompactConfig = field(default_factory=CompactConfig)

    def __post_init__(self) -> None:
        for name in ("n_shards", "threads", "loaders"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.reuse > 0 and 0 <= self.average < 1 and 0 <= self.tracks_share <= 1):
            raise ValueError(
                "reuse must be positive, average in [0, 1) and tracks_share in [0, 1], got "
                f"{self.reuse}, {self.average} and {self.tracks_share}"
            )
