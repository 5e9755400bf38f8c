"""Progress bars, tables, warnings, and what JSON can say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars with the time left, one per stage.

    Args:
        quiet: show nothing.

    Yields:
        A function of stage, steps done and steps in all.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        tasks = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield update


def counter(
    progress: Callable[[str, int, int], None], stage: str, total: int
) -> Callable[[], None]:
    """A function to be called once per step of a stage."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(stage, done, total)

    return step


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to stdout; all columns but the first are flush right."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        drawn.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    Console(soft_wrap=False).print(drawn)


def warn(lines: Sequence[str]) -> None:
    """Print warnings to stderr, a line each."""
    import sys

    for line in lines:
        sys.stderr.write(f"warning: {line}\n")


def plain_json(value: Any) -> Any:
    """What JSON can say: no infinity, no NaN."""
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
