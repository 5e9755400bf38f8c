"""What all frames of a batch have in common, and the record of what is done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calib.capture import Capture
from calib.files import write_json
from mvs.batch.frames import Frame
from mvs.batch.rig import Rig
from mvs.pipeline import PipelineOptions
from mvs.record import hash_inputs

SURFACE = "mesh.ply"
_LEAST_VIEWS = 2


@dataclass(frozen=True)
class EmbedderChoice:
    """Which embedder workers load, once each.

    Attributes:
        name: of ``mvs.network.embedders.EMBEDDERS``; None for none.
        weights: of its network, if not its own.
        weights_hash: SHA-256 of that file.
        device: where the network computes, as PyTorch names it.
    """

    name: str | None = "compact"
    weights: Path | None = None
    weights_hash: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Job:
    """What all frames have in common.

    Attributes:
        output: folder of the results.
        rig: the cameras; None where every frame is a capture of its own.
        pipeline: options of the stages.
        embedder: which.
        threads: of the kernels, in every worker.
        register: wrap the template onto every mesh, for one topology.
        min_views: frames with fewer usable pictures fail.
        cameras: images of the rig that have pictures at all.
        force: do again what is done.
        maps_mb: of undistortion maps that a worker keeps from frame to frame.
    """

    output: Path
    rig: Rig | None
    pipeline: PipelineOptions
    embedder: EmbedderChoice = field(default_factory=EmbedderChoice)
    threads: int = 1
    register: bool = False
    min_views: int = _LEAST_VIEWS
    cameras: frozenset[str] = frozenset()
    force: bool = False
    maps_mb: float = 1000.0

    def __post_init__(self) -> None:
        if self.min_views < _LEAST_VIEWS:
            raise ValueError(f"min_views must be at least {_LEAST_VIEWS}, got {self.min_views}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")

    def folder(self, frame: str) -> Path:
        """Of a frame's results, by its name."""
        return self.output / "frames" / frame

    def failure(self, frame: str) -> Path:
        """Where it is written why a frame failed, by its name."""
        return self.output / "failed" / f"{frame}.json"

    @property
    def settings(self) -> str:
        """Hash of everything but the pictures that decides about a frame's bytes."""
        pipeline = dataclasses.asdict(self.pipeline)
        # These change no byte.
        del pipeline["embed"]["threads"], pipeline["cache"]
        choice = [self.embedder.name, self.embedder.weights_hash, self.embedder.device]
        cameras = None if self.rig is None else self.rig.digest
        words = [
            version("headmvs"),
            cameras,
            pipeline,
            choice,
            self.register,
            self.min_views,
        ]
        return _hash(json.dumps(words, sort_keys=True))


def is_done(job: Job, frame: Frame) -> bool:
    """Whether a frame is done, judged by the names, sizes and times of its pictures alone."""
    manifest = read_manifest(job.folder(frame.name))
    return (
        not job.force
        and manifest is not None
        and manifest["settings"] == job.settings
        and manifest["stat"] == file_stat(frame)
        and manifest.get("seed") == seed_of(job, frame)
    )


def seed_of(job: Job, frame: Frame) -> dict[str, Any] | None:
    """Name, SHA-256 and head of the surface that a frame starts from, as it is now; None without.

    The frame before must have been done, or have failed, for good.
    """
    if frame.after is None:
        return None
    # What failed may have left what another try or other settings gave.
    manifest = read_manifest(job.folder(frame.after))
    if (
        manifest is None
        or manifest["settings"] != job.settings
        or manifest.get("head") is None
        or job.failure(frame.after).exists()
    ):
        return None
    sha256 = str(manifest["files"][SURFACE]["sha256"])
    return {"frame": frame.after, "sha256": sha256, "head": manifest["head"]}


def known_failure(job: Job, frame: Frame) -> str | None:
    """Why the frame failed before, of the same pictures and settings; None where it did not."""
    try:
        document = json.loads(job.failure(frame.name).read_text(encoding="utf-8"))
        if [document["settings"], document["stat"]] == [job.settings, file_stat(frame)]:
            return str(document["reason"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None


def note_failure(job: Job, frame: Frame, reason: str) -> None:
    """Write down why a frame failed."""
    path = job.failure(frame.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "frame": frame.name,
            "reason": reason,
            "settings": job.settings,
            "stat": file_stat(frame),
        },
    )


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a frame's folder whose files are all there; None without."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
        if {"key", "settings", "stat"} <= manifest.keys() and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        ):
            return dict(manifest)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return None


def frame_key(
    job: Job, frame: Frame, capture: Capture, seed: Mapping[str, str] | None = None
) -> str:
    """Hash of everything that decides about a frame's bytes.

    Args:
        job: its settings.
        frame: for its cube maps.
        capture: its pictures, masks and cameras.
        seed: of ``seed_of``.
    """
    maps = [hashlib.sha256(path.read_bytes()).hexdigest() for path in _map_files(frame)]
    return _hash(json.dumps([job.settings, hash_inputs(capture), maps, seed], sort_keys=True))


def input_bytes(frame: Frame) -> int:
    """How many bytes a frame's files have."""
    return sum(path.stat().st_size for path in _files(frame) if path.is_file())


def file_stat(frame: Frame) -> str:
    """Hash of the names, sizes and times of a frame's files."""
    return stat_of(_files(frame))


def stat_of(paths: Iterable[Path]) -> str:
    """Hash of files' names, sizes and times."""
    lines = []
    for path in paths:
        try:
            found = path.stat()
            lines.append(f"{path} {found.st_size} {found.st_mtime_ns}")
        except OSError:
            lines.append(f"{path} absent")
    return _hash("\n".join(lines))


def _files(frame: Frame) -> Iterator[Path]:
    for files in (frame.pictures, frame.masks):
        yield from (files[name] for name in sorted(files))
    yield from _map_files(frame)
    if frame.capture is not None:
        yield from sorted(path for path in frame.capture.rglob("*") if path.is_file())


def _map_files(frame: Frame) -> list[Path]:
    return [] if frame.cube_maps is None else sorted(frame.cube_maps.rglob("*.npz"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
