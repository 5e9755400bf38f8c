"""A run in progress: times of its stages, results it writes, and how far an earlier run came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mvs.cache import Store, digest, file_digest
from mvs.folder import STAGES_FOLDER
from mvs.memory import return_memory
from mvs.record import RESULTS, Progress, Report, peak_memory_mb

_T = TypeVar("_T")

# What is made of the mesh afterwards.
_TEXTURED = tuple(name for name in RESULTS if name.startswith("textured"))
_OWN = tuple(name for name in RESULTS if name not in (*_TEXTURED, "run.json", "report.html"))


@dataclass(frozen=True)
class Milestone:
    """How things stood when the results of a stage had been written.

    Attributes:
        stages: that had run.
        counts: what they had produced, by name.
        notes: what else they had noted.
        warnings: what they had warned of.
        files: SHA-256 of the results, by name.
        own: those that the last of the stages wrote.
        entries: of the store, of use until then.
    """

    stages: list[str]
    counts: dict[str, int]
    notes: dict[str, Any]
    warnings: list[str]
    files: dict[str, str]
    own: list[str]
    entries: list[str]


class Run:
    """Times, counts and files of the run in progress.

    Attributes:
        report: what there is so far.
        output: folder of the results.
        store: results of stages.
        keys: of those, by stage.
        unit: of the capture's world, None where it is not known.
        is_complete: whether all that was asked for stood before.
    """

    def __init__(
        self,
        report: Report,
        output: Path,
        store: Store,
        progress: Progress | None,
        until: str,
        unit: str | None = None,
    ) -> None:
        """Start with ``report``; ``until`` is the last stage asked for."""
        self.report = report
        self.output = output
        self.store = store
        self.unit = unit
        self.keys: Mapping[str, str] = {}
        self.is_complete = False
        self._progress = progress or (lambda *_: None)
        self._until = until
        self._n_before = len(report.warnings)
        self._own: list[str] = []
        self._is_changed = False
        self._standing: tuple[str, Any] | None = None

    @contextmanager
    def stage(self, name: str, n_steps: int = 1) -> Iterator[Callable[[], None]]:
        """Time a stage; the value is to be called once per step."""
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            self._progress(name, min(done, n_steps), n_steps)

        self._own = []
        self.report.cached.pop(name, None)
        return_memory()
        self._progress(name, 0, n_steps)
        start, cpu = time.perf_counter(), time.process_time()
        yield step
        took, used = time.perf_counter() - start, time.process_time() - cpu
        # What was begun twice took both times.
        self.report.seconds[name] = self.report.seconds.get(name, 0.0) + took
        self.report.cpu_seconds[name] = self.report.cpu_seconds.get(name, 0.0) + used
        self.report.peak_mb = self.report.stage_peak_mb[name] = peak_memory_mb()
        self._progress(name, n_steps, n_steps)

    def count(self, **counts: int) -> None:
        """Note what a stage produced."""
        self.report.counts |= counts

    def note(self, **notes: Any) -> None:
        """Keep what the report of the run shows, of values that JSON can say."""
        self.report.notes |= notes

    def warn(self, lines: Sequence[str]) -> None:
        """Note what the user should know, once."""
        self.report.warnings += [line for line in lines if line not in self.report.warnings]

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a result; what an earlier run made of others goes, once there is a new one.

        A result that is there already, byte by byte, stays, and what was made of it.

        Args:
            name: one of ``RESULTS``.
            write: writes it to a path.

        Raises:
            OSError: if it cannot be written.
        """
        path, new = self.output / name, self.output / STAGES_FOLDER / name
        write(new)
        if path.is_file() and file_digest(new) == file_digest(path):
            new.unlink()
        else:
            if not self._is_changed:
                self._remove(RESULTS[RESULTS.index(name) + 1 :])
            self._is_changed = True
            new.replace(path)
        self._own.append(name)
        if path not in self.report.files:
            self.report.files.append(path)

    def is_over(self, stage: str) -> bool:
        """Whether this was the last stage asked for."""
        return stage == self._until

    def take(self, stage: str, compute: Callable[[], _T], *, lasting: bool = True) -> _T:
        """The result of a stage under its key, see ``Store.take``."""
        return self.store.take(stage, self.keys[stage], compute, lasting=lasting)

    def resume(self, keys: Mapping[str, str], stages: Sequence[str]) -> None:
        """Find the last stage whose results an earlier run left, of those up to the last wanted.

        Args:
            keys: of the stages' results.
            stages: after which a run can go on, in order.
        """
        self.keys = keys
        wanted = stages[: stages.index(self._until) + 1] if self._until in stages else []
        for stage in (name for name in reversed(wanted) if name in keys):
            mark, is_known = self.store.find(stage, digest("milestone", keys[stage]))
            if not is_known or not self._stands(mark, stage, keys[stage]):
                continue
            self.report.counts |= mark.counts
            self.report.notes |= mark.notes
            self.warn(mark.warnings)
            self.store.keep(mark.entries)
            for name in mark.stages:
                self.report.seconds[name] = self.report.cpu_seconds[name] = 0.0
                self.report.stage_peak_mb[name] = 0.0
                self.report.cached[name] = "all"
            self.report.files += [self.output / name for name in mark.files if name not in mark.own]
            if self.is_complete:
                self.report.files += [self.output / name for name in mark.own]
            return

    def standing(self, stage: str) -> Any:
        """What a stage gave, if it is the one whose results an earlier run left; else None."""
        return self._standing[1] if self._standing and self._standing[0] == stage else None

    def reach(self, stage: str) -> None:
        """Note that the results of a stage have been written."""
        names = [path.name for path in self.report.files]
        mark = Milestone(
            list(dict.fromkeys([*self.report.seconds, stage])),
            dict(self.report.counts),
            dict(self.report.notes),
            self.report.warnings[self._n_before :],
            {name: file_digest(self.output / name) for name in names},
            list(self._own),
            sorted(self.store.lasting()),
        )
        key = digest("milestone", self.keys[stage])
        if self.store.find(stage, key)[0] != mark:
            self.store.put(stage, key, mark)

    def finish(self, stages: Sequence[str]) -> None:
        """Note what came from the store, and leave no result of later stages of other runs.

        Args:
            stages: in order.
        """
        self.report.peak_mb = peak_memory_mb()
        written = {path.name for path in self.report.files}
        if written:
            absent = [name for name in _OWN if name not in written]
            stale = [*absent, *(_TEXTURED if "mesh.ply" in absent else ())]
            # A report shows them, and tells of them.
            if any((self.output / name).exists() for name in stale):
                self._remove([*stale, "report.html"])
        for stage, (taken, asked) in self.store.counts.items():
            if taken:
                self.report.cached[stage] = "all" if taken == asked else f"{taken} of {asked}"
        if self._standing:
            self.report.cached[self._standing[0]] = "all"
        for times in (self.report.seconds, self.report.cpu_seconds, self.report.stage_peak_mb):
            ordered = {stage: times[stage] for stage in stages if stage in times}
            times.clear()
            times.update(ordered)

    def _stands(self, mark: Milestone, stage: str, key: str) -> bool:
        """Whether an earlier run's results are there, or can be written from what it stored."""
        stand = {
            name: (self.output / name).is_file() and file_digest(self.output / name) == known
            for name, known in mark.files.items()
        }
        if all(stand.values()) and stage == self._until:
            self.is_complete = True
            return True
        if not all(is_there for name, is_there in stand.items() if name not in mark.own):
            return False
        value, is_known = self.store.find(stage, key)
        self._standing = (stage, value) if is_known else None
        return is_known

    def _remove(self, names: Sequence[str]) -> None:
        """Remove results, the last first: what is left at any moment belongs together."""
        for name in reversed(names):
            (self.output / name).unlink(missing_ok=True)
