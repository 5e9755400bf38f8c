"""What many frames cost on many workers: a simulation of what a few measured frames say.

Workers of one core take frames from a queue. A frame's pictures come from storage that all share,
one transfer after the other at full speed; then the worker computes; then the results go back the
same way. Workers start with a delay and may die: what they were doing is done again.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.capture import CaptureError
from mvs.batch.jobs import read_manifest
from mvs.batch.run import SUMMARY

# Tries of a frame before the simulation gives up on it.
_MOST_TRIES = 50


@dataclass(frozen=True)
class Measured:
    """What a few frames cost.

    Attributes:
        cpu_seconds: of every frame.
        peak_mb: most memory that a worker held.
        read_mb: pictures and masks, a frame.
        written_mb: results, a frame.
        overhead: share of a frame's seconds beside reconstruction.
    """

    cpu_seconds: tuple[float, ...]
    peak_mb: float
    read_mb: float
    written_mb: float
    overhead: float


@dataclass(frozen=True)
class PlanOptions:
    """What is planned.

    Attributes:
        n_frames: in all.
        storage_mb_per_s: that all workers together read and write.
        start_seconds: until a worker computes: its process, libraries and the network's weights.
        handling_ms: that the scheduler needs for a frame.
        deaths_per_hour: of a worker.
        scale: of the measured seconds, for slower or faster cores.
        seed: of the deaths and of which frame costs what.
    """

    n_frames: int = 1000
    storage_mb_per_s: float = 500.0
    start_seconds: float = 15.0
    handling_ms: float = 5.0
    deaths_per_hour: float = 0.01
    scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_frames < 1:
            raise ValueError(f"n_frames must be at least 1, got {self.n_frames}")
        for name in ("storage_mb_per_s", "scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("start_seconds", "handling_ms", "deaths_per_hour"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Plan:
    """What it comes to.

    Attributes:
        workers: of one core.
        hours: from the first to the last.
        core_hours: that workers are there.
        busy: share of these that they compute something that lasts.
        storage_busy: share of the hours that the storage transfers.
        memory_gb: of all workers.
        read_gb: in all.
        written_gb: in all.
        deaths: of workers.
    """

    workers: int
    hours: float
    core_hours: float
    busy: float
    storage_busy: float
    memory_gb: float
    read_gb: float
    written_gb: float
    deaths: int


def read_measured(output: Path) -> Measured:
    """What the frames of a batch cost.

    Args:
        output: of ``mvs batch``, run with one thread a worker.

    Raises:
        CaptureError: if there is no such, or none of its frames is done.
    """
    path = output / SUMMARY
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"].values()
        made = [frame for frame in frames if frame["state"] != "failed" and frame["cpu_seconds"]]
        seconds = tuple(float(frame["cpu_seconds"]) for frame in made)
        overheads = [frame["overhead"] / frame["seconds"] for frame in made if frame["overhead"]]
        peak = max((float(frame["peak_mb"]) for frame in made), default=0.0)
        names = [str(frame["frame"]) for frame in made]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise CaptureError(path, "not there, or damaged", "give the output of mvs batch") from None
    if not made:
        raise CaptureError(path, "none of its frames is done", "run mvs batch on a few first")
    manifests = [read_manifest(output / "frames" / name) for name in names]
    read = [int(m["input_bytes"]) for m in manifests if m is not None]
    written = [
        sum(path.stat().st_size for path in (output / "frames" / name).iterdir()) for name in names
    ]
    return Measured(
        seconds,
        peak,
        float(np.mean(read or [0])) / 1e6,
        float(np.mean(written)) / 1e6,
        float(np.mean(overheads or [0.0])),
    )


def simulate(measured: Measured, workers: int, options: PlanOptions) -> Plan:
    """Play through a batch.

    Args:
        measured: what a frame costs.
        workers: of one core.
        options: the rest.

    Raises:
        ValueError: if there are no workers, or frames take so long that workers die of all tries.
    """
    if workers < 1:
        raise ValueError(f"there must be at least one worker, got {workers}")
    rng = np.random.default_rng(options.seed)
    costs = rng.choice(np.array(measured.cpu_seconds), options.n_frames) * options.scale
    handling = options.handling_ms / 1000
    read, write = (
        size / options.storage_mb_per_s for size in (measured.read_mb, measured.written_mb)
    )
    storage = handler = end = transferred = 0.0
    deaths = 0
    # Events: a worker that wants the next frame, or one that wants to write its results.
    events = [(options.start_seconds, worker, -1, 0) for worker in range(workers)]
    left = [(frame, 0) for frame in reversed(range(options.n_frames))]
    while events:
        now, worker, frame, tries = heapq.heappop(events)
        if frame >= 0:
            storage = max(storage, now) + write
            transferred += write
            end = max(end, storage)
            heapq.heappush(events, (storage, worker, -1, 0))
            continue
        if not left:
            continue
        frame, tries = left.pop()
        handler = max(handler, now) + handling
        storage = max(storage, handler) + read
        transferred += read
        life = rng.exponential(3600) / max(options.deaths_per_hour, 1e-300)
        if life < costs[frame]:
            if tries >= _MOST_TRIES:
                raise ValueError("workers die before they finish a frame; lower --deaths-per-hour")
            deaths += 1
            left.append((frame, tries + 1))
            heapq.heappush(events, (storage + life + options.start_seconds, worker, -1, 0))
        else:
            heapq.heappush(events, (storage + costs[frame], worker, frame, tries))
    return Plan(
        workers,
        end / 3600,
        workers * end / 3600,
        float(costs.sum()) / (workers * end),
        transferred / end,
        workers * measured.peak_mb / 1000,
        (options.n_frames + deaths) * measured.read_mb / 1000,
        options.n_frames * measured.written_mb / 1000,
        deaths,
    )
