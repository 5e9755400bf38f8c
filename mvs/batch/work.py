"""The unit of work: one frame, done once, whatever happens to who does it.

A frame's results appear in ``frames/000123`` all at once, by the renaming of a folder. Beside them
lies ``manifest.json``: hashes of what they were made from and of the results themselves. Where it
still holds, the frame is done.

A frame of a chain is handed the surface of the frame before; it takes it where its own pictures
agree, and is reconstructed as if there were none where they do not, or that frame failed. What it
was handed is part of what it was made from: where that changes, the frame is done no more.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from calib.calibration import some_names
from calib.capture import Capture, CaptureError
from calib.files import write_json
from calib.formats import read_capture
from calib.lens import KeptMaps
from mvs.batch.frames import Frame
from mvs.batch.jobs import (
    SURFACE,
    Job,
    file_stat,
    frame_key,
    input_bytes,
    is_done,
    note_failure,
    read_manifest,
    seed_of,
)
from mvs.cache import CacheOptions, file_digest
from mvs.errors import ReconstructionError
from mvs.kernels.threads import use_threads
from mvs.pipeline import reconstruct
from mvs.record import Report, peak_memory_mb
from mvs.stages.export import read_mesh
from mvs.stages.prior import LEAST_SHARE, Prior
from mvs.types import Embedder

REGISTERED = "registered.ply"
RUN = "run.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a frame.

    Attributes:
        frame: its name.
        state: ``done``, ``kept`` (done before), or ``failed``.
        reason: why it failed.
        seconds: it took; 0 where it was kept.
        cpu_seconds: of all threads.
        overhead: seconds of these that went into anything but reconstruction and registration.
        peak_mb: most memory its worker had held by then.
        worker: host and process.
        start: what it started from.
        warnings: what the user should know, one line each.
    """

    frame: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    overhead: float = 0.0
    peak_mb: float = 0.0
    worker: str = ""
    start: str = ""
    warnings: tuple[str, ...] = ()


def work(job: Job, frame: Frame) -> Outcome:
    """Do a frame, unless it is done; whatever is wrong with it is its own fault.

    Args:
        job: what all have in common.
        frame: which.
    """
    start, cpu = time.perf_counter(), time.process_time()
    worker = f"{socket.gethostname()}:{os.getpid()}"
    try:
        state, manifest, inner = _make(job, frame)
    except (CaptureError, ReconstructionError, ValueError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
    except Exception as error:  # noqa: BLE001
        # A fault of ours in one frame must not end the others.
        reason = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
    else:
        job.failure(frame.name).unlink(missing_ok=True)
        seconds = time.perf_counter() - start
        return Outcome(
            frame.name,
            state,
            "",
            seconds if state == "done" else 0.0,
            time.process_time() - cpu,
            max(seconds - inner, 0.0),
            peak_memory_mb(),
            worker,
            manifest["start"],
            tuple(manifest["warnings"]),
        )
    # A worker of a run that was broken off may have been overtaken.
    if job.force or not is_done(job, frame):
        note_failure(job, frame, reason)
    took, used = time.perf_counter() - start, time.process_time() - cpu
    return Outcome(frame.name, "failed", reason, took, used, 0.0, peak_memory_mb(), worker)


def _make(job: Job, frame: Frame) -> tuple[str, dict[str, Any], float]:
    """State, manifest, and the seconds that went into the frame itself."""
    use_threads(job.threads)
    target = job.folder(frame.name)
    lost: dict[str, str] = {}
    given = _read(job, frame, lost)
    prior, seed = _prior(job, frame)
    key, stat = frame_key(job, frame, given, seed), file_stat(frame)
    manifest = read_manifest(target)
    if manifest is not None and manifest["key"] == key and not job.force:
        if manifest["stat"] != stat:
            write_json(target / "manifest.json", manifest | {"stat": stat})
        return "kept", manifest, 0.0
    with _scratch(target) as folder:
        start = time.perf_counter()
        report, warnings = _reconstruct(job, frame, (given, prior), lost, folder)
        names = [path.name for path in report.files]
        if job.register:
            names += _register(folder)
        inner = time.perf_counter() - start
        document = {
            "frame": frame.name,
            "key": key,
            "settings": job.settings,
            "stat": stat,
            "seed": seed,
            "start": _start(frame, report),
            "head": report.notes.get("head"),
            "input_bytes": input_bytes(frame),
            "warnings": warnings,
            "files": _seal(folder, names),
        }
        write_json(folder / "manifest.json", document)
        _publish(folder, target, None if job.force else key)
    return "done", document, inner


def _prior(job: Job, frame: Frame) -> tuple[Prior | None, dict[str, Any] | None]:
    """The surface to start from and its ``seed_of``; None without, or if it is damaged."""
    seed = seed_of(job, frame)
    if frame.after is None or seed is None:
        return None, None
    path, head = job.folder(frame.after) / SURFACE, seed["head"]
    if file_digest(path) != seed["sha256"]:
        return None, None
    return Prior(read_mesh(path), np.array(head["center"]), head["radius"]), seed


def _start(frame: Frame, report: Report) -> str:
    """What a frame was started from, in words."""
    if frame.after is None:
        return "anew"
    found = report.notes.get("prior")
    if found is None:  # None was there, or nothing came of it.
        return f"anew: no surface of frame {frame.after} is of use"
    if not found["taken"] and found["share"] >= LEAST_SHARE:
        return f"anew: the head moved too far since frame {frame.after}"
    if not found["taken"]:
        return f"anew: the surface of frame {frame.after} fits {found['share']:.0%} of the pixels"
    return f"frame {frame.after}"


def _reconstruct(
    job: Job,
    frame: Frame,
    given: tuple[Capture, Prior | None],
    lost: dict[str, str],
    folder: Path,
) -> tuple[Report, tuple[str, ...]]:
    """The report and all warnings; images whose picture or mask cannot be read become lost."""
    capture, prior = given
    # The folder goes with whoever dies: nobody would ever take up the stages' results.
    options = replace(job.pipeline, cache=CacheOptions(is_used=False))
    while True:
        warnings = [*_missing(job, frame), *lost.values()]
        try:
            _check_views(job, capture, warnings)
            report = reconstruct(capture, _embedder(job, frame), folder, options, prior=prior)
            return report, (*warnings, *report.warnings)
        except ReconstructionError:
            if prior is None:
                raise
            prior = None
        except CaptureError as error:
            _lose(frame, error, lost)
            capture = _read(job, frame, lost)


def _read(job: Job, frame: Frame, lost: dict[str, str]) -> Capture:
    """The frame's capture without the images that are lost."""
    if frame.capture is not None or job.rig is None:
        return read_capture(frame.capture or Path())
    while True:
        pictures = {n: p for n, p in frame.pictures.items() if n not in lost and p.is_file()}
        try:
            return job.rig.capture(pictures, frame.masks, _maps(job.maps_mb))
        except CaptureError as error:
            _lose(frame, error, lost)


def _lose(frame: Frame, error: CaptureError, lost: dict[str, str]) -> None:
    """Note the image whose picture or mask an error is about; any other error goes on."""
    for files in (frame.pictures, frame.masks):
        for name, path in files.items():
            if path == error.path and name not in lost:
                lost[name] = f"{name} is left out: {error.path}: {error.reason}"
                return
    raise error


def _missing(job: Job, frame: Frame) -> list[str]:
    if job.rig is None:
        return []
    absent = [i.name for i in job.rig.images if not frame.pictures.get(i.name, Path()).is_file()]
    absent = [name for name in absent if name in job.cameras]
    return [f"{len(absent)} pictures are missing: {some_names(absent)}"] if absent else []


def _check_views(job: Job, capture: Capture, warnings: Sequence[str]) -> None:
    if len(capture.views) < job.min_views:
        why = "; ".join(warnings) or f"{job.min_views} are asked for"
        raise ReconstructionError(
            f"{len(capture.views)} usable pictures: {why}", "restore them, or lower --min-views"
        )


def _embedder(job: Job, frame: Frame) -> Embedder | None:
    choice = job.embedder
    if choice.name is None:
        return None
    return _load_embedder(choice.name, choice.weights, frame.cube_maps, choice.device)


@lru_cache(maxsize=1)
def _load_embedder(
    name: str, weights: Path | None, cube_maps: Path | None, device: str
) -> Embedder:
    """Loaded once by every worker."""
    from mvs.network.embedders import load_embedder

    return load_embedder(name, weights, cube_maps, device)


@lru_cache(maxsize=1)
def _maps(limit_mb: float) -> KeptMaps:
    """Kept by every worker from frame to frame."""
    return KeptMaps(limit_mb)


def _register(folder: Path) -> list[str]:
    """Wrap the template onto the mesh; names of the files written."""
    from mvs.canonical.register import register
    from mvs.canonical.scan import read_scan
    from mvs.canonical.wrapped import write_wrapped

    write_wrapped(folder / REGISTERED, register(read_scan(folder / "mesh.ply")))
    return [REGISTERED]


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder of a name of its own beside the target, gone in the end."""
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _seal(folder: Path, names: Sequence[str]) -> dict[str, dict[str, object]]:
    """Remove what is no result; sizes and hashes of the results that are the same every time."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()
    files: dict[str, dict[str, object]] = {}
    for name in sorted(set(names) - {RUN}):
        data = (folder / name).read_bytes()
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return files


def _publish(folder: Path, target: Path, key: str | None) -> None:
    """Give a finished folder its name; what had it before goes, but not what is of this ``key``."""
    if key is not None and (read_manifest(target) or {}).get("key") == key:
        # Another worker was as fast, and the frame after may be reading its result.
        return
    aside = folder.with_name(f"{folder.name}.old")
    with suppress(FileNotFoundError):
        target.rename(aside)
    try:
        folder.rename(target)
    except OSError as error:
        # Another worker was as fast; its bytes are the same.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    shutil.rmtree(aside, ignore_errors=True)
