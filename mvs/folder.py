"""The folder of a run's results: one run at a time, one capture, nothing half-written left."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from calib.capture import Capture
from calib.errors import CaptureError
from calib.files import write_json

STAGES_FOLDER = ".stages"
_LOCK, _HELD, _OWNER, _CAPTURE = "lock", "held", "owner.json", "capture.json"
# What file systems say that cannot lock, as some of networks.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
# What ``tempfile.mkstemp`` adds to the names of files that a killed run was writing.
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")


@contextmanager
def claimed(output: Path) -> Iterator[None]:
    """Have a folder for this process alone; the system frees it however the process ends.

    Where the file system cannot lock, a file says who has it. One whose process is gone is taken
    away on its own host; after a death on another, somebody has to.

    Args:
        output: exists and can be written to.

    Raises:
        CaptureError: if another run has it, or it cannot be locked.
    """
    folder = output / STAGES_FOLDER
    try:
        folder.mkdir(exist_ok=True)
        lock = _locked(folder)
    except Timeout:
        owner = _read_json(folder / _OWNER)
        who = f"process {owner['pid']} on {owner['host']}" if owner else "its process is not known"
        reason, what = f"another run is writing here ({who})", "wait for it"
        if (folder / _HELD).exists():
            what = f"wait for it, remove {folder / _HELD} if it is gone"
        raise CaptureError(output, reason, f"{what}, or choose another --output") from None
    except (OSError, NotImplementedError) as error:
        reason = f"cannot be locked ({getattr(error, 'strerror', None) or error})"
        raise CaptureError(output, reason, "choose another --output") from None
    try:
        with suppress(OSError):
            write_json(folder / _OWNER, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        with suppress(OSError):
            (folder / _OWNER).unlink(missing_ok=True)
        lock.release()


def _locked(folder: Path) -> BaseFileLock:
    """A lock that is held.

    Raises:
        Timeout: if somebody else holds it.
        OSError: if there is none to be had.
    """
    lock: BaseFileLock = FileLock(folder / _LOCK, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        lock = SoftFileLock(folder / _HELD)
        lock.acquire(blocking=False)
    return lock


def claim_for(output: Path, capture: Capture, inputs: dict[str, str], force: bool = False) -> None:
    """Note whose results a folder holds.

    It is another capture's if both its path and every view are others: a capture that was moved,
    or some of whose pictures were replaced, is the same.

    Args:
        output: exists.
        capture: the one that is to be reconstructed.
        inputs: hash of each view's picture, mask and camera, by name.
        force: take the folder over.

    Raises:
        CaptureError: if it holds results of another capture.
        OSError: if it cannot be written.
    """
    noted = output / STAGES_FOLDER / _CAPTURE
    before = [_read_json(path) for path in (noted, output / "run.json")]
    others = [found["capture"] for found in before if found and _is_other(found, capture, inputs)]
    if others and len(others) == sum(found is not None for found in before) and not force:
        reason = f"holds results of another capture ({others[0]})"
        raise CaptureError(output, reason, "choose another --output, or --force")
    write_json(noted, {"capture": str(capture.path.resolve()), "inputs": inputs})


def _is_other(before: dict[str, Any], capture: Capture, inputs: dict[str, str]) -> bool:
    path, known = before.get("capture"), before.get("inputs")
    if not isinstance(path, str) or not isinstance(known, dict):
        return False
    same_views = set(map(str, known.values())) & set(inputs.values())
    return not same_views and Path(path).resolve() != capture.path.resolve()


def clear_unfinished(output: Path, names: Sequence[str]) -> None:
    """Remove what a killed run left half-written: of results of these names, and of stages.

    Args:
        output: folder that is claimed.
        names: of results.
    """
    folder = output / STAGES_FOLDER
    unfinished = [path for path in output.iterdir() if _is_unfinished(path, names)]
    unfinished += [path for path in folder.iterdir() if path.name in names or _is_unfinished(path)]
    for path in unfinished:
        path.unlink(missing_ok=True)


def _is_unfinished(path: Path, names: Sequence[str] | None = None) -> bool:
    found = _UNFINISHED.fullmatch(path.name)
    return found is not None and (names is None or found["name"] in names)


def _read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, None where there is none that can be read."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
