"""A batch from beginning to end: what is to do, who does it, what became of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from calib.files import write_json
from mvs.batch.clusters import ClusterOptions, open_engine
from mvs.batch.engines import Engine, SchedulerLostError
from mvs.batch.frames import Frame
from mvs.batch.jobs import Job, is_done, known_failure, note_failure, read_manifest
from mvs.batch.work import RUN, Outcome, work
from mvs.folder import claimed
from mvs.record import library_versions, prepare_output

SUMMARY = "batch.json"
# Seconds between two writings of the summary on the way.
_SUMMARY_EVERY = 10.0
# A scheduler lost so often with nothing done in between will be lost again.
_MAX_LOSSES = 10
# Seconds that a scheduler which was never seen is waited for.
_FIRST_PATIENCE = 10.0


@dataclass
class Batch:
    """What became of the frames so far.

    Attributes:
        outcomes: by the frames' names.
        n_frames: in all.
        engine: who works.
        dashboard: its address, "" without.
        seconds: since the start.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    n_frames: int = 0
    engine: str = ""
    dashboard: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> list[Outcome]:
        """The frames that failed, in order."""
        return [
            self.outcomes[n] for n in sorted(self.outcomes) if self.outcomes[n].state == "failed"
        ]


# Called with the batch so far whenever something is known.
Progress = Callable[[Batch], None]


def run_batch(
    job: Job,
    frames: Sequence[Frame],
    cluster: ClusterOptions,
    retry: bool = False,
    progress: Progress | None = None,
) -> Batch:
    """Do all frames that are not done.

    Args:
        job: what they have in common.
        frames: in order.
        cluster: who works on them.
        retry: do again what failed before of the same pictures and settings.
        progress: called at the start and after every frame.

    Returns:
        What became of every frame; also in ``batch.json``.

    Raises:
        CaptureError: if the output cannot be written, or another run is at work there.
        ValueError: if the workers cannot be had, or the scheduler is lost again and again.
    """
    prepare_output(job.output)
    with claimed(job.output):
        _sweep(job.output)
        batch = Batch(n_frames=len(frames))
        recorder = _Recorder(job, batch, progress or (lambda _: None))
        known: dict[str, Outcome | None] = {}
        for frame in frames:
            # What the frame before will give decides.
            waits = frame.after in known and known[frame.after] is None
            known[frame.name] = None if waits else _known(job, frame, retry)
        batch.outcomes |= {name: outcome for name, outcome in known.items() if outcome is not None}
        left = [frame for frame in frames if known[frame.name] is None]
        recorder.stamps = {frame.name: _stamp(job, frame) for frame in left}
        recorder.note(force=True)
        patience, n_left, n_lost = _FIRST_PATIENCE, len(left), 0
        while left:
            n_lost = n_lost + 1 if len(left) == n_left else 0
            n_left = len(left)
            if n_lost > _MAX_LOSSES:
                recorder.note(force=True)
                raise ValueError(
                    f"the scheduler was lost {_MAX_LOSSES} times running before a frame was done; "
                    "look at its log and at the workers', then give the same command again"
                )
            # Who has answered once is waited for.
            with (
                suppress(SchedulerLostError),
                open_engine(cluster, job.threads, patience) as (engine, dashboard),
            ):
                batch.engine, batch.dashboard = engine.name, dashboard
                patience = cluster.patience
                recorder.note()
                _work_off(engine, job, left, recorder)
        _sweep(job.output)
        recorder.note(force=True)
    return batch


class _Recorder:
    """Keeps ``batch.json`` and the caller up to date."""

    def __init__(self, job: Job, batch: Batch, progress: Progress) -> None:
        self.batch = batch
        self.stamps: dict[str, tuple[int, int] | None] = {}
        self._job, self._progress = job, progress
        self._start = time.perf_counter()
        self._written = 0.0

    def note(self, force: bool = False) -> None:
        """Something is known."""
        now = time.perf_counter()
        self.batch.seconds = now - self._start
        if force or now - self._written > _SUMMARY_EVERY:
            write_json(self._job.output / SUMMARY, _document(self._job, self.batch))
            self._written = now
        self._progress(self.batch)


def _work_off(engine: Engine, job: Job, left: list[Frame], recorder: _Recorder) -> None:
    """Do the frames that are left, taking each from the list when it is done."""
    for frame, answer in engine.run(partial(work, job), list(left)):
        outcomes = recorder.batch.outcomes
        if isinstance(answer, str):
            outcomes[frame.name] = _given_up(job, frame, answer, recorder.stamps[frame.name])
        else:
            outcomes[frame.name] = answer
        left.remove(frame)
        recorder.note()


def _stamp(job: Job, frame: Frame) -> tuple[int, int] | None:
    """What changes when a frame is published; None before it ever is."""
    try:
        found = (job.folder(frame.name) / "manifest.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _given_up(job: Job, frame: Frame, reason: str, before: tuple[int, int] | None) -> Outcome:
    """The outcome of a frame that no worker could finish, or say that it was finished.

    ``before`` is the frame's stamp at the start: by force, what has not changed since is not done.
    """
    is_new = not job.force or _stamp(job, frame) != before
    if is_new and is_done(dataclasses.replace(job, force=False), frame):
        return _earlier(job, frame)
    note_failure(job, frame, reason)
    return Outcome(frame.name, "failed", reason)


def _known(job: Job, frame: Frame, retry: bool) -> Outcome | None:
    """The outcome of a frame that is done or has failed already; None where it is to do."""
    if is_done(job, frame):
        return _earlier(job, frame)
    failure = None if retry or job.force else known_failure(job, frame)
    return None if failure is None else Outcome(frame.name, "failed", failure)


def _earlier(job: Job, frame: Frame) -> Outcome:
    """The outcome of a frame that is done already, as its own record has it."""
    job.failure(frame.name).unlink(missing_ok=True)
    folder = job.folder(frame.name)
    manifest = read_manifest(folder) or {}
    start = str(manifest.get("start", ""))
    warnings = tuple(manifest.get("warnings", ()))
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
        seconds, cpu = (sum(record[key].values()) for key in ("seconds", "cpu_seconds"))
        peak = float(record["peak_memory_mb"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Outcome(frame.name, "kept", start=start, warnings=warnings)
    return Outcome(frame.name, "kept", "", seconds, cpu, 0.0, peak, "", start, warnings)


def _document(job: Job, batch: Batch) -> dict[str, Any]:
    """What ``batch.json`` holds."""
    states = [outcome.state for outcome in batch.outcomes.values()]
    counts = {state: states.count(state) for state in ("done", "kept", "failed")}
    return {
        "output": str(job.output),
        "calibration": None if job.rig is None else str(job.rig.path),
        "unit": None if job.rig is None else job.rig.unit,
        "engine": batch.engine,
        "counts": {"frames": batch.n_frames, **counts, "left": batch.n_frames - len(states)},
        "seconds": round(batch.seconds, 3),
        "threads": job.threads,
        "registered": job.register,
        "options": dataclasses.asdict(job.pipeline),
        "versions": library_versions(),
        "frames": {
            name: dataclasses.asdict(batch.outcomes[name]) for name in sorted(batch.outcomes)
        },
    }


def _sweep(output: Path) -> None:
    """Remove what workers that died have left."""
    (output / "frames").mkdir(exist_ok=True)
    for path in (output / "frames").glob(".*"):
        shutil.rmtree(path, ignore_errors=True)
