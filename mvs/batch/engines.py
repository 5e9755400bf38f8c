"""Who does the work: this process, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from mvs.batch.frames import Frame
from mvs.batch.work import Outcome

_KILLED = (
    "every worker that tried it died, as those beyond their memory limit do; give workers a larger "
    "--memory-limit, or frames a cheaper --quality, and --retry"
)
Chunk = tuple[Frame, ...]
Work = Callable[[Chunk], list[Outcome]]


class SchedulerLostError(Exception):
    """The scheduler went away; what it had not handed back may be asked for again."""


class Engine(Protocol):
    """Does chunks of frames in any order.

    Attributes:
        name: for the record.
    """

    name: str

    def run(
        self, work: Work, chunks: Sequence[Chunk]
    ) -> Iterator[tuple[Chunk, list[Outcome] | str]]:
        """Every chunk with its outcomes, or with the reason why it was given up.

        Raises:
            SchedulerLostError: if nobody is there to ask any more.
        """


class SerialEngine:
    """This process."""

    name = "serial"

    def run(
        self, work: Work, chunks: Sequence[Chunk]
    ) -> Iterator[tuple[Chunk, list[Outcome] | str]]:
        """Every chunk in its order."""
        for chunk in chunks:
            yield chunk, work(chunk)


class DaskEngine:
    """The workers of a Dask scheduler, which retries what a worker that died was doing.

    Attributes:
        name: for the record.
    """

    def __init__(self, client: Any, name: str, resources: dict[str, float] | None = None) -> None:
        """Work through a ``distributed.Client``; tasks ask for the workers' ``resources``."""
        self.name = name
        self._client, self._resources = client, resources

    def run(
        self, work: Work, chunks: Sequence[Chunk]
    ) -> Iterator[tuple[Chunk, list[Outcome] | str]]:
        """Every chunk as it is finished."""
        as_completed: Any = _distributed().as_completed

        # One group of many tasks without dependencies is handed out one by one, not in advance.
        futures = self._client.map(
            work, chunks, pure=False, resources=self._resources, batch_size=len(chunks)
        )
        chunk_of = {future.key: chunk for future, chunk in zip(futures, chunks, strict=True)}
        for future in as_completed(futures):
            yield chunk_of[future.key], self._answer(future)
            future.release()

    def _answer(self, future: Any) -> list[Outcome] | str:
        if future.status in ("cancelled", "lost"):
            raise SchedulerLostError
        if future.status == "finished":
            outcomes: list[Outcome] = future.result()
            return outcomes
        error = future.exception()
        if isinstance(error, _distributed().KilledWorker):
            return _KILLED
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def _distributed() -> Any:
    import distributed

    return distributed
