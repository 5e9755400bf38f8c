"""``mvs train``: the compact network from rendered pictures and tracked frames."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from mvs.network.compact import CompactConfig
from mvs.training.cube import CubeOptions
from mvs.training.options import PRESETS, Schedule, TrainOptions


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train the compact network; goes on from the last checkpoint in --output.

    Attributes:
        data: folder of the training shards, see ``mvs synthesize training``.
        output: folder of checkpoints and log.
        validation: a shard whose people are not in the training shards, for the report.
        start: checkpoint to start from; its optimiser state is not kept.
        preset: schedule, from which the eight options below are taken that are not given:
            ``scratch`` from nothing, ``refine`` from given weights, ``quick`` to see whether
            everything is in place.
        small_steps: steps on pictures of half the size, before the others.
        mixed_steps: steps on pictures of 160, 192 and 224 pixels in turn, after those.
        steps: steps on pictures of full size, last.
        small_batch: pictures per step, half size.
        batch: pictures per step, full size; in mixed steps as many as have the same pixels.
        learning_rate: at its highest.
        warm_up: steps over which it rises.
        checkpoint_every: steps.
        tracks: folders that ``mvs tracks`` wrote.
        tracks_share: share of the steps that are spent on them.
        use_cube: whether the latent cube's losses are added on rendered pictures, too.
        cube: the latent cube and the weights of its losses.
        n_shards: how many shards the folder has or will have.
        decay: of the matrices, relative to the learning rate.
        average: decay of the running mean of the weights, which is what is kept.
        reuse: times a picture is seen before newer shards are waited for.
        augment: whether pictures are cropped, hidden and developed anew each time they are seen.
        threads: of PyTorch.
        loaders: threads that make the next steps' pictures; a GPU wants as many as there are cores.
        device: where to compute, ``cpu`` or ``cuda``.
        tensorboard: write scalars and sample pictures to OUTPUT/tensorboard.
        seed: of initial weights and batches.
        network: size of the network.
        quiet: print nothing but errors.
    """

    data: Path
    output: Path
    validation: Path | None = None
    start: Path | None = None
    preset: Literal["scratch", "refine", "quick"] = "scratch"
    small_steps: int | None = None
    mixed_steps: int | None = None
    steps: int | None = None
    small_batch: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    warm_up: int | None = None
    checkpoint_every: int | None = None
    tracks: tuple[Path, ...] = ()
    tracks_share: float = TrainOptions.tracks_share
    use_cube: bool = False
    cube: CubeOptions = field(default_factory=CubeOptions)
    n_shards: int = TrainOptions.n_shards
    decay: float = TrainOptions.decay
    average: float = TrainOptions.average
    reuse: float = TrainOptions.reuse
    augment: bool = TrainOptions.augment
    threads: int = TrainOptions.threads
    loaders: int = TrainOptions.loaders
    device: str = TrainOptions.device
    tensorboard: bool = False
    seed: int = 0
    network: CompactConfig = field(default_factory=CompactConfig)
    quiet: bool = False

    def resolve(self) -> TrainOptions:
        """The preset with what was changed of it.

        Raises:
            ValueError: if a value makes no sense.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {f.name: given[f.name] for f in fields(Schedule) if given[f.name] is not None}
        schedule = replace(PRESETS[self.preset], **changed)
        plain = {f.name: given[f.name] for f in fields(TrainOptions) if f.name in given}
        return TrainOptions(**plain, schedule=schedule)


def run(options: Options) -> None:
    """Run the command."""
    from mvs.cli.show import show_reports
    from mvs.training.loop import Trainer

    show_reports(Trainer(options.resolve()).run(), options.quiet)
