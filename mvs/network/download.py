"""Fetches public checkpoints. The only code of the project that downloads, and only when asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_MAX_HEADER = 100 << 20

Progress = Callable[[int, int | None], None]


class DownloadError(ValueError):
    """A checkpoint that could not be fetched; str is one line."""

    def __init__(self, url: str, reason: str, remedy: str) -> None:
        super().__init__(f"{url}: {reason}; {remedy}")
        self.url = url
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class PublicWeights:
    """A checkpoint that others publish.

    Attributes:
        url: where it is.
        licence: under which terms.
        source: who made it, for the user to cite.
    """

    url: str
    licence: str
    source: str


@dataclass(frozen=True)
class FetchedWeights:
    """A checkpoint that was fetched.

    Attributes:
        path: where it lies now.
        size: in bytes.
        sha256: hexadecimal digest of its content.
        origin: what is known of it.
    """

    path: Path
    size: int
    sha256: str
    origin: PublicWeights


PUBLIC_WEIGHTS = {
    "densemarks": PublicWeights(
        url="https://huggingface.co/diddone/densemarks/resolve/main/model.safetensors",
        licence="CC BY-NC 4.0: not for commercial use",
        source="Pozdeev et al. 2026, DenseMarks",
    ),
}


def cached_path(name: str) -> Path:
    """Where fetched weights lie: ``$XDG_CACHE_HOME/headmvs``, by default ``~/.cache/headmvs``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "headmvs" / f"{name}.safetensors"


def fetch_weights(
    name: str,
    output: Path | None = None,
    url: str | None = None,
    progress: Progress | None = None,
) -> FetchedWeights:
    """Downloads a public checkpoint; an existing file is replaced once the new one is whole.

    Args:
        name: key of ``PUBLIC_WEIGHTS``.
        output: the file to write; by default ``cached_path(name)``.
        url: another place to get it from.
        progress: called with the bytes so far and the total, None where the server does not say.

    Raises:
        ValueError: if the name is unknown.
        DownloadError: if the server cannot be reached, breaks off, or sends something else, or the
            file cannot be written.
    """
    if name not in PUBLIC_WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(PUBLIC_WEIGHTS)}, got {name!r}")
    origin = PUBLIC_WEIGHTS[name]
    url = url or origin.url
    path = output or cached_path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
            size, sha256 = _download(url, file, progress)
            _check_safetensors(url, Path(file.name), size)
            _publish(Path(file.name), path)
    except OSError as error:
        remedy = "choose another place with --output, or free some space"
        raise DownloadError(
            url, f"cannot write {path} ({error.strerror or error})", remedy
        ) from None
    return FetchedWeights(path, size, sha256, origin)
