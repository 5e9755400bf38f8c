"""What a run did, and what it depends on: times, counts, warnings, files, versions, inputs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from calib.capture import Capture, CaptureError

RESULTS = (
    *("points.ply", "cloud.ply", "cloud.ply.vis", "mesh.ply"),
    *("textured.ply", "textured.npz", "textured.png", "textured_normal.png", "textured.glb"),
    *("run.json", "report.html"),
)
_LIBRARIES = ("numpy", "scipy", "numba", "torch", "open3d-cpu", "open3d", "pycolmap")

# (stage, steps done, steps in all)
Progress = Callable[[str, int, int], None]


@dataclass
class Report:
    """What a run did.

    Attributes:
        seconds: per stage.
        cpu_seconds: of all threads, per stage.
        stage_peak_mb: most memory the process had held at the end of each stage.
        counts: what each stage produced, by name.
        notes: what else is worth keeping, of plain values, by name.
        warnings: what the user should know, one line each.
        files: written or found as they would be written, in order.
        cached: stages that came from an earlier run: ``all``, or how many of their parts.
        peak_mb: most memory the process held so far.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    stage_peak_mb: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    cached: dict[str, str] = field(default_factory=dict)
    peak_mb: float = 0.0


class CaptureSource(NamedTuple):
    """Where a capture was read from: its folder, and what ``calib.formats.read_capture`` took."""

    path: Path
    images: Path | None = None
    masks: Path | None = None
    format: str | None = None


def note_source(capture: Capture) -> dict[str, str | None]:
    """What ``run.json`` holds of where its capture was read from."""
    images, masks = (
        None if p is None else str(p.absolute()) for p in (capture.images, capture.masks)
    )
    named = {"images": images, "masks": masks, "format": capture.format}
    return {"capture": str(capture.path), **named}


def noted_source(folder: Path) -> CaptureSource | None:
    """Where the capture of a run's folder was read from; None where no ``run.json`` says it."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        # Runs of older versions noted the capture alone.
        images, masks = (Path(p) if (p := record.get(key)) else None for key in ("images", "masks"))
        return CaptureSource(Path(record["capture"]), images, masks, record.get("format"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def prepare_output(output: Path) -> None:
    """Make the output folder.

    Raises:
        CaptureError: if it cannot be made or written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        reason = f"cannot be written to ({error.strerror or error})"
        raise CaptureError(output, reason, "choose another --output") from None


def peak_memory_mb() -> float:
    """Most memory this process has held, MiB; 0 on systems that do not say."""
    try:
        import resource
    except ImportError:
        return _peak_memory_of_windows_mb()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def _peak_memory_of_windows_mb() -> float:
    import ctypes

    class Counters(ctypes.Structure):
        # PROCESS_MEMORY_COUNTERS of psapi.h; the peak is the third.
        _fields_ = (
            *(("size", ctypes.c_uint32), ("faults", ctypes.c_uint32)),
            *((f"bytes_{k}", ctypes.c_size_t) for k in range(8)),
        )

    library = getattr(ctypes, "WinDLL", None)
    if library is None:
        return 0.0
    kernel = library("kernel32")
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    ask = kernel.K32GetProcessMemoryInfo
    ask.argtypes = (ctypes.c_void_p, ctypes.POINTER(Counters), ctypes.c_uint32)
    counters = Counters(size=ctypes.sizeof(Counters))
    is_known = ask(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size)
    return counters.bytes_0 / (1 << 20) if is_known else 0.0


def library_versions() -> dict[str, str]:
    """Versions of Python, of this package and of what its results depend on."""
    versions = {"python": platform.python_version()}
    for name in ("headmvs", *_LIBRARIES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True)
class ViewHashes:
    """SHA-256, in hexadecimal digits, of what a view is made of.

    Attributes:
        picture: its file.
        whole: picture, mask and camera.
    """

    picture: str
    whole: str


def hash_views(capture: Capture) -> dict[str, ViewHashes]:
    """Hashes of every view, by name.

    Raises:
        CaptureError: if a picture or a mask cannot be read.
    """
    hashes = {}
    for view in capture.views:
        picture = _read(view.image_path)
        whole = hashlib.sha256(picture)
        whole.update(b"-" if view.mask_path is None else _read(view.mask_path))
        camera = view.camera
        whole.update(f"{camera.model} {camera.width} {camera.height}".encode())
        whole.update(camera.params.tobytes() + camera.cam_from_world.tobytes())
        hashes[view.name] = ViewHashes(hashlib.sha256(picture).hexdigest(), whole.hexdigest())
    return hashes


def hash_inputs(capture: Capture) -> dict[str, str]:
    """SHA-256 of every picture with its mask and camera, by view.

    Raises:
        CaptureError: if a picture or a mask cannot be read.
    """
    return {name: hashed.whole for name, hashed in hash_views(capture).items()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        raise CaptureError(path, reason, "check the file") from None
