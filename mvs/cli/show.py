"""Progress bars, tables, warnings, files written; and all of it as JSON where that is asked for.

Under ``--json`` a ``Document`` gathers what a command finds, and the command's text goes to stderr:
commands say what they found with ``deliver``, and print as always.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# More files than this are counted instead of named.
_MOST_FILES = 12


@dataclass
class Document:
    """What a command found, for ``--json``.

    Attributes:
        results: by name.
        warnings: a line each.
        tables: printed; they stand for the results of a command that names none.
        is_muted: show no text, but errors.
    """

    results: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    is_muted: bool = False

    def as_dict(self, command: str, files: Sequence[Path]) -> dict[str, Any]:
        """The document that is printed."""
        found = self.results or ({"tables": self.tables} if self.tables else {})
        return {
            "command": command,
            "results": plain_json(found),
            "files": [str(file) for file in files],
            "warnings": self.warnings,
        }


class Aside(io.TextIOBase):
    """A stream for a command's text while its document is gathered: stderr, or nowhere."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self._document = document

    def write(self, text: str) -> int:
        """Write to stderr, unless the document is muted."""
        return len(text) if self._document.is_muted else sys.stderr.write(text)


_documents: list[Document] = []


@contextmanager
def gathering() -> Iterator[Document]:
    """Gather what a command finds, in place of printing it."""
    document = Document()
    _documents.append(document)
    try:
        yield document
    finally:
        _documents.remove(document)


def for_gathering(options: Any) -> Any:
    """A command's options; where a document is gathered, being quiet is the document's business."""
    if not _documents or not getattr(options, "quiet", False):
        return options
    _documents[-1].is_muted = True
    return replace(options, quiet=False)


def show_reports(reports: Iterable[Mapping[str, float]], quiet: bool) -> None:
    """Print each report of a training as a line of JSON when it comes, and deliver all so far."""
    gathered = []
    for report in reports:
        gathered.append(dict(report))
        deliver({"reports": gathered})
        if not quiet:
            line = json.dumps({name: round(value, 5) for name, value in report.items()})
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def deliver(found: Mapping[str, Any]) -> None:
    """Say what was found, for ``--json``; prints nothing."""
    for document in _documents:
        document.results.update(found)


def list_files(quiet: bool = False) -> None:
    """Print the files that the command wrote, a line each; of many, how many in which folder."""
    from calib.files import noted_files

    files = noted_files()
    if quiet:
        return
    if len(files) <= _MOST_FILES:
        sys.stdout.write("".join(f"{file}\n" for file in files))
        return
    folders: dict[Path, int] = {}
    for file in files:
        folders[file.parent] = folders.get(file.parent, 0) + 1
    for folder, count in folders.items():
        sys.stdout.write(f"{folder}: {count} files\n")


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars with the time left, one per stage; none where stderr is no terminal.

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
    # FORCE_COLOR makes a console of a pipe; bars there are noise all the same.
    is_muted = any(document.is_muted for document in _documents)
    is_seen = console.is_terminal and sys.stderr.isatty() and not is_muted
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not is_seen) as bars:
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
    """Print a table to stdout; all columns but the first are flush right.

    Columns are folded to the width of a terminal; in a pipe or a file no line is broken.
    """
    from rich.console import Console
    from rich.table import Table

    for document in _documents:
        document.tables.append(
            {"title": title, "header": list(header), "rows": [list(row) for row in rows]}
        )

    drawn = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        drawn.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    console = Console()
    if not sys.stdout.isatty():
        console.width = console.measure(drawn, options=console.options.update(width=10_000)).maximum
    console.print(drawn)


def warn(lines: Sequence[str]) -> None:
    """Print warnings to stderr, a line each."""
    for document in _documents:
        document.warnings.extend(lines)
        if document.is_muted:
            return
    for line in lines:
        sys.stderr.write(f"warning: {line}\n")


def plain_json(value: Any) -> Any:
    """What JSON can say: no infinity, no NaN; paths as strings, arrays as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
