"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# Those who want to know which files are written, the last one the innermost.
_notes: list[set[Path]] = []


@contextmanager
def noting_files() -> Iterator[None]:
    """Note the files that are written meanwhile, for ``noted_files``."""
    _notes.append(set())
    try:
        yield
    finally:
        _notes.pop()


def note_file(path: Path) -> None:
    """Note a file that was written; ``replacing`` does so by itself."""
    for notes in _notes:
        notes.add(path)


def noted_files() -> list[Path]:
    """Files noted since the innermost ``noting_files`` began and not removed again, by name."""
    return sorted(path for path in _notes[-1] if path.exists()) if _notes else []


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of ``path`` once it is left without error.

    Args:
        path: the file in the end, mode 0644; its folder exists.

    Yields:
        An open file under a temporary name in the same folder, removed again on any error.

    Raises:
        OSError: if the file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        # Named after the file that was asked for.
        raise OSError(error.errno, error.strerror, str(path)) from None
    os.close(handle)
    temporary = Path(name)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        note_file(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, document: Any, indent: int | None = 2) -> None:
    """Write a JSON document, whole or not at all; see ``replacing``."""
    with replacing(path) as file:
        file.write((json.dumps(document, indent=indent) + "\n").encode())
