"""Fetches public checkpoints. The only code of the project that downloads, and only when asked."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors

from calib.files import replacing

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_REMEDY = "check the connection, or fetch the file elsewhere and give it with --weights"

Progress = Callable[[int, int | None], None]


class DownloadError(ValueError):
    """A checkpoint that could not be fetched; str is one line."""

    def __init__(self, url: str, reason: str, remedy: str) -> None:
        reason = " ".join(reason.split())
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
        sha256: hexadecimal digest that the file must have, None where its makers state none.
    """

    url: str
    licence: str
    source: str
    sha256: str | None = None


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
    *,
    allow_local_http: bool = False,
) -> FetchedWeights:
    """Downloads a public checkpoint; an existing file is replaced once the new one is whole.

    Args:
        name: key of ``PUBLIC_WEIGHTS``.
        output: the file to write; by default ``cached_path(name)``.
        url: another place to get it from, https.
        progress: called with the bytes so far and the total, None where the server does not say.
        allow_local_http: accept plain http from 127.0.0.1, for tests.

    Raises:
        ValueError: if the name is unknown.
        DownloadError: if the server cannot be reached, breaks off, or sends something else, or the
            file cannot be written.
    """
    if name not in PUBLIC_WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(PUBLIC_WEIGHTS)}, got {name!r}")
    origin = PUBLIC_WEIGHTS[name]
    url = origin.url if url is None else url
    path = output or cached_path(name)
    opener = urllib.request.build_opener(_SafeRedirects(allow_local_http))
    _check_address(url, allow_local_http)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            size, sha256 = _download(url, opener, file, progress)
            file.flush()
            _check_content(url, Path(file.name), sha256, origin.sha256)
    except OSError as error:
        remedy = "choose another place with --output, or free some space"
        reason = f"cannot write {path} ({error.strerror or error})"
        raise DownloadError(url, reason, remedy) from None
    return FetchedWeights(path, size, sha256, origin)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server's redirections, but never out of https."""

    def __init__(self, allow_local_http: bool) -> None:
        self._allow_local_http = allow_local_http

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_address(newurl, self._allow_local_http)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _check_address(url: str, allow_local_http: bool) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        url.encode("ascii")
    except ValueError as error:
        reason = f"not an address ({str(error).partition(':')[0]})"
        raise DownloadError(url, reason, "give one that starts with https://") from None
    is_local = parts.scheme == "http" and parts.hostname == "127.0.0.1"
    if parts.scheme != "https" and not (allow_local_http and is_local):
        raise DownloadError(url, "not an https address", "give one that starts with https://")


def _download(
    url: str, opener: urllib.request.OpenerDirector, file: BinaryIO, progress: Progress | None
) -> tuple[int, str]:
    """Copies what the server sends; returns its size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    try:
        answer = opener.open(url, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        reason = f"the server answers {error.code} {error.reason}"
        error.close()
        raise DownloadError(url, reason, _REMEDY) from None
    except DownloadError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = f"cannot be reached ({getattr(error, 'reason', error)})"
        raise DownloadError(url, reason, _REMEDY) from None
    with answer:
        length = answer.headers.get("Content-Length") or ""
        total = int(length) if length.isdecimal() else None
        while chunk := _read(url, answer):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            if progress is not None:
                progress(size, total)
    if total is not None and size != total:
        raise DownloadError(url, f"broke off after {size} of {total} bytes", _REMEDY)
    return size, digest.hexdigest()


def _read(url: str, answer: http.client.HTTPResponse) -> bytes:
    """The next bytes; apart from writing them, so that an error says which of the two it was."""
    try:
        return answer.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(url, f"broke off ({error})", _REMEDY) from None


def _check_content(url: str, path: Path, sha256: str, expected: str | None) -> None:
    """Raises ``DownloadError`` unless the file is whole and the one that is meant."""
    try:
        # Reads the header and compares the file's size with it.
        with safetensors.safe_open(path, framework="np"):
            pass
    except safetensors.SafetensorError as error:
        reason = f"not a safetensors file ({error})"
        raise DownloadError(url, reason, "check the address") from None
    if expected is not None and sha256 != expected:
        reason = f"SHA-256 is {sha256}, not {expected}"
        raise DownloadError(url, reason, "fetch it again; if that does not help, do not use it")
