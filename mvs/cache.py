"""Results of stages on disk, each under the hash of all that it hangs on.

An entry appears whole or not at all and carries a checksum: what is damaged, cut off or of another
kind counts as absent. Arrays come back bit by bit, and nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from calib.files import replacing

_T = TypeVar("_T")
AnyArray = npt.NDArray[Any]

_MAGIC = b"headmvs1"
_SHA_BYTES, _LENGTH_BYTES = 32, 8
# Numba compiles anew for arrays that start at odd places.
_ALIGN = 64
_PLAIN = (type(None), bool, int, float, str)


@dataclasses.dataclass(frozen=True)
class CacheOptions:
    """What is taken over from earlier runs into the same folder, and what is left for later ones.

    Attributes:
        force: take nothing over, and write even where the folder holds another capture's results.
        start: first stage that is computed anew; None where what has not changed is taken over.
        keep: what stays once a run has ended well: ``some`` is what another mesh, refinement or
            matching starts from; ``all`` also what that was made of, ``none`` nothing.
        is_used: whether results of stages are written and taken over at all; without, a run that
            ended early starts anew.
    """

    force: bool = False
    start: str | None = None
    keep: Literal["none", "some", "all"] = "some"
    is_used: bool = True


class Store:
    """Entries in a folder; may be used by several threads.

    Attributes:
        counts: per stage, how many results were taken from here and how many were asked for.
        entries: names of those that were taken or written, in order; True if they last.
    """

    def __init__(
        self, folder: Path, kinds: Sequence[type], skipped: Collection[str] | None = ()
    ) -> None:
        """Look in ``folder``.

        Args:
            folder: made with the first entry.
            kinds: dataclasses that entries hold.
            skipped: stages whose entries are not read; None for a store that keeps nothing.
        """
        self._folder = folder
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._skipped = skipped
        self._lock = threading.Lock()
        self.counts: dict[str, list[int]] = {}
        self.entries: dict[str, bool] = {}

    def take(self, stage: str, key: str, compute: Callable[[], _T], *, lasting: bool = True) -> _T:
        """A stage's result: from here, or computed and written.

        What was computed comes back as it would be read, so that no stage sees a difference.

        Args:
            stage: its name.
            key: hash of all that the result hangs on.
            compute: makes it.
            lasting: whether it is of use once the results of the stages after it are here.

        Raises:
            OSError: if the entry cannot be written.
        """
        found, is_known = self.find(stage, key, lasting=lasting)
        with self._lock:
            counts = self.counts.setdefault(stage, [0, 0])
            counts[0] += is_known
            counts[1] += 1
        if is_known:
            return found  # type: ignore[no-any-return]
        return self.put(stage, key, compute(), lasting=lasting)

    def find(self, stage: str, key: str, *, lasting: bool = True) -> tuple[Any, bool]:
        """An entry and True, or None and False where it is absent, damaged or not wanted."""
        if self._skipped is None or stage in self._skipped:
            return None, False
        try:
            path = self._path(stage, key)
            value = _unpack(path.name, bytearray(path.read_bytes()), self._kinds)
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            return None, False
        self._note(stage, key, lasting)
        return value, True

    def put(self, stage: str, key: str, value: _T, *, lasting: bool = True) -> _T:
        """Write an entry; the value as it would be read."""
        arrays: list[AnyArray] = []
        document = _encode(value, arrays)
        if self._skipped is not None:
            self._folder.mkdir(exist_ok=True)
            path = self._path(stage, key)
            with replacing(path) as file:
                file.writelines(_pack(path.name, document, arrays))
            self._note(stage, key, lasting)
        written = iter(arrays)
        return _decode(document, lambda *_: next(written), self._kinds)  # type: ignore[no-any-return]

    def keep(self, names: Sequence[str]) -> None:
        """Note that entries are of use to this run though it did not ask for them."""
        with self._lock:
            self.entries |= dict.fromkeys(names, True)

    def lasting(self) -> list[str]:
        """Names of the entries of use so far that last."""
        return [name for name, lasts in self.entries.items() if lasts]

    def clean(self, keep: Literal["none", "some", "all"]) -> None:
        """Remove what this run did not ask for, and of the rest what ``CacheOptions.keep`` says."""
        kept: set[str] = set()
        names = list(self.entries)
        if keep == "all":
            kept = set(names)
        elif keep == "some" and names:
            last = max((names.index(name) for name in self.lasting()), default=-1)
            kept = {*self.lasting(), *names[last + 1 :]}
        for path in self._folder.glob("*-*.stage"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _path(self, stage: str, key: str) -> Path:
        return self._folder / f"{stage}-{key[:40]}.stage"

    def _note(self, stage: str, key: str, lasting: bool) -> None:
        with self._lock:
            name = self._path(stage, key).name
            # At the end: of use until now.
            self.entries[name] = self.entries.pop(name, False) or lasting


def digest(*parts: Any) -> str:
    """SHA-256 of anything that an entry may hold, in hexadecimal digits."""
    arrays: list[AnyArray] = []
    document = _encode(parts, arrays)
    return hashlib.sha256(b"".join(_body(document, arrays))).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_digest() -> str:
    """SHA-256 of this package's source: what another version computed is of no use."""
    whole = hashlib.sha256()
    root = Path(__file__).parents[1]
    for package in ("calib", "mvs"):
        for path in sorted((root / package).rglob("*.py")):
            whole.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()


def _pack(name: str, document: Any, arrays: Sequence[AnyArray]) -> Iterator[bytes | memoryview]:
    """An entry's bytes: magic, checksum of name and rest, length of the JSON, JSON, arrays."""
    checksum = hashlib.sha256(name.encode())
    for part in _body(document, arrays):
        checksum.update(part)
    yield _MAGIC + checksum.digest()
    yield from _body(document, arrays)


def _body(document: Any, arrays: Sequence[AnyArray]) -> Iterator[bytes | memoryview]:
    text = json.dumps(document).encode()
    yield len(text).to_bytes(_LENGTH_BYTES, "little") + text
    at = len(_MAGIC) + _SHA_BYTES + _LENGTH_BYTES + len(text)
    for array in arrays:
        yield bytes(-at % _ALIGN)
        yield array.reshape(-1).view(np.uint8).data if array.size else b""
        at += -at % _ALIGN + array.nbytes


def _unpack(name: str, data: bytearray, kinds: dict[str, type]) -> Any:
    """What an entry holds.

    Raises:
        ValueError, TypeError, KeyError, IndexError: if it is damaged or of another kind.
    """
    start = len(_MAGIC) + _SHA_BYTES
    checksum = hashlib.sha256(name.encode())
    checksum.update(memoryview(data)[start:])
    if data[:start] != _MAGIC + checksum.digest():
        raise ValueError("damaged")
    begin = start + _LENGTH_BYTES
    at = begin + int.from_bytes(data[start:begin], "little")
    document = json.loads(bytes(data[begin:at]))

    def fetch(dtype: str, shape: list[int]) -> AnyArray:
        nonlocal at
        at += -at % _ALIGN
        n = math.prod(shape)
        array: AnyArray = np.frombuffer(data, np.dtype(dtype), n, at) if n else np.empty(0, dtype)
        at += array.nbytes
        return array.reshape(shape)

    return _decode(document, fetch, kinds)


def _encode(value: Any, arrays: list[AnyArray]) -> Any:
    """What JSON can say of a value; its arrays are appended."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.ndarray):
        arrays.append(np.asarray(value, order="C"))
        return {"array": [value.dtype.str, list(value.shape)]}
    if dataclasses.is_dataclass(value):
        inner = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {type(value).__name__: {name: _encode(v, arrays) for name, v in inner.items()}}
    if isinstance(value, dict):
        return {"dict": {name: _encode(v, arrays) for name, v in value.items()}}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encode(v, arrays) for v in value]}
    raise TypeError(f"an entry cannot hold {type(value).__name__}")


def _decode(
    document: Any, fetch: Callable[[str, list[int]], AnyArray], kinds: dict[str, type]
) -> Any:
    """What ``_encode`` was given; ``fetch`` has the next array of a type and shape."""
    if not isinstance(document, dict):
        return document
    ((kind, inner),) = document.items()
    if kind == "array":
        return fetch(*inner)
    if kind in ("list", "tuple"):
        values = [_decode(item, fetch, kinds) for item in inner]
        return values if kind == "list" else tuple(values)
    named = {name: _decode(item, fetch, kinds) for name, item in inner.items()}
    return named if kind == "dict" else kinds[kind](**named)
