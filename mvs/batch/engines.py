"""Who does the work: this process, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, Protocol

from mvs.batch.frames import Frame
from mvs.batch.work import Outcome

_KILLED = (
    "every worker that tried it died, as those beyond their memory limit do; give workers a larger "
    "--memory-limit, or frames a cheaper --quality, and --retry"
)
# Why futures are cancelled when the scheduler has gone.
_GONE = ("scheduler-connection-lost", "client-closed")
# How often a frame is asked for whose outcome gets lost.
_MOST_TIMES = 10
Work = Callable[[Frame], Outcome]
# Every frame with its outcome, or with the reason why it was given up.
Answers = Iterator[tuple[Frame, Outcome | str]]


class SchedulerLostError(Exception):
    """The scheduler went away; what it had not handed back may be asked for again."""


class Engine(Protocol):
    """Does frames in any order that has each after the one it starts from.

    Attributes:
        name: for the record.
    """

    name: str

    def run(self, work: Work, frames: Sequence[Frame]) -> Answers:
        """Do all frames, each once the one that it comes after has its outcome.

        Raises:
            SchedulerLostError: if nobody is there to ask any more.
        """


class SerialEngine:
    """This process."""

    name = "serial"

    def run(self, work: Work, frames: Sequence[Frame]) -> Answers:
        """Every frame in its order."""
        for frame in frames:
            yield frame, work(frame)


class DaskEngine:
    """The workers of a Dask scheduler, which retries what a worker that died was doing.

    Attributes:
        name: for the record.
    """

    def __init__(self, client: Any, name: str, resources: dict[str, float] | None = None) -> None:
        """Work through a ``distributed.Client``; tasks ask for the workers' ``resources``."""
        self.name = name
        self._client, self._resources = client, resources

    def run(self, work: Work, frames: Sequence[Frame]) -> Answers:
        """Every frame as it is finished."""
        as_completed: Any = _distributed().as_completed
        names = {frame.name for frame in frames}
        follower_of = {frame.after: frame for frame in frames if frame.after in names}
        first = [frame for frame in frames if frame.after not in names]
        # One group of many tasks without dependencies is handed out one by one, not in advance.
        futures = self._client.map(
            work, first, pure=False, resources=self._resources, batch_size=len(first)
        )
        asked = {future.key: (frame, 1) for future, frame in zip(futures, first, strict=True)}
        finished = as_completed(futures)

        def submit(frame: Frame, times: int) -> None:
            future = self._client.submit(work, frame, pure=False, resources=self._resources)
            asked[future.key] = (frame, times)
            finished.add(future)

        for future in finished:
            frame, times = asked.pop(future.key)
            answer = self._answer(future)
            if answer is None and times < _MOST_TIMES:
                submit(frame, times + 1)
                future.release()
                continue
            # The frame after it looks at what is written down of this one, which is settled then.
            yield frame, _KILLED if answer is None else answer
            future.release()
            if frame.name in follower_of:
                submit(follower_of.pop(frame.name), 1)

    def _answer(self, future: Any) -> Outcome | str | None:
        """What became of a frame; None where the word of it died with a worker."""
        try:
            error = future.exception()
            outcome: Outcome | None = None if error is not None else future.result()
        except CancelledError as loss:
            if getattr(loss, "reason", "") in _GONE or self._client.status != "running":
                raise SchedulerLostError from None
            return None
        except _distributed().KilledWorker:
            # The outcome died with its worker, and then those who tried to make it again.
            return _KILLED
        except OSError:
            # The connection broke while it was asked.
            raise SchedulerLostError from None
        if outcome is not None:
            return outcome
        if isinstance(error, _distributed().KilledWorker):
            return _KILLED
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def _distributed() -> Any:
    import distributed

    return distributed
