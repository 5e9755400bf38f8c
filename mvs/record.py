"""What a run did: times, counts, warnings and files, and the writing of them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib.capture import Capture, CaptureError
from calib.files import replacing

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
        files: written, in order.
        peak_mb: most memory the process held so far.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    stage_peak_mb: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    peak_mb: float = 0.0


class Run:
    """Times, counts and files of the run in progress.

    Attributes:
        report: what there is so far.
        unit: of the capture's world, None where it is not known.
    """

    def __init__(
        self, report: Report, progress: Progress | None, until: str, unit: str | None = None
    ) -> None:
        """Start with ``report``; ``until`` is the last stage asked for."""
        self.report = report
        self.unit = unit
        self._progress = progress or (lambda *_: None)
        self._until = until

    @contextmanager
    def stage(self, name: str, n_steps: int = 1) -> Iterator[Callable[[], None]]:
        """Time a stage; the value is to be called once per step."""
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            self._progress(name, min(done, n_steps), n_steps)

        self._progress(name, 0, n_steps)
        start, cpu = time.perf_counter(), time.process_time()
        yield step
        self.report.seconds[name] = time.perf_counter() - start
        self.report.cpu_seconds[name] = time.process_time() - cpu
        self.report.peak_mb = self.report.stage_peak_mb[name] = peak_memory_mb()
        self._progress(name, n_steps, n_steps)

    def count(self, **counts: int) -> None:
        """Note what a stage produced."""
        self.report.counts |= counts

    def note(self, **notes: Any) -> None:
        """Keep what the report of the run shows, of values that JSON can say."""
        self.report.notes |= notes

    def write(self, path: Path, write: Callable[[Path], None]) -> None:
        """Write a result and note it; what an earlier run made of older ones goes."""
        write(path)
        if not self.report.files:
            for stale in RESULTS[RESULTS.index(path.name) + 1 :]:
                (path.parent / stale).unlink(missing_ok=True)
        if path not in self.report.files:
            self.report.files.append(path)

    def is_over(self, stage: str) -> bool:
        """Whether this was the last stage asked for."""
        return stage == self._until


def prepare_output(output: Path) -> None:
    """Make the output folder.

    Raises:
        CaptureError: if it cannot be made or written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".writable"
        with replacing(probe):
            pass
        probe.unlink()
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


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, whole or not at all."""
    with replacing(path) as stream:
        stream.write((json.dumps(document, indent=2) + "\n").encode())


def library_versions() -> dict[str, str]:
    """Versions of Python, of this package and of what its results depend on."""
    versions = {"python": platform.python_version()}
    for name in ("headmvs", *_LIBRARIES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def hash_inputs(capture: Capture) -> dict[str, str]:
    """SHA-256 of every picture, mask and camera, by view."""
    hashes = {}
    for view in capture.views:
        digest = hashlib.sha256()
        for path in (view.image_path, view.mask_path):
            digest.update(path.read_bytes() if path is not None else b"-")
        camera = view.camera
        digest.update(f"{camera.model} {camera.width} {camera.height}".encode())
        digest.update(camera.params.tobytes() + camera.cam_from_world.tobytes())
        hashes[view.name] = digest.hexdigest()
    return hashes
