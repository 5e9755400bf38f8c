"""Is this machine fit for headmvs? Versions, processor, and small tests with known answers."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from mvs.record import library_versions

# What kernels and networks gain from, of what Linux calls a processor's flags.
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd")
_OPTIONAL = {"usd-core": "export", "tensorboard": "train"}
# Names that are loaded too, with what it means where one is not.
_MORE = ("opencv-python-headless", "pillow", "pyyaml", "xatlas", "plyfile", "safetensors", "tyro")


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: what.
        is_well: whether the answer was right.
        seconds: it took.
        reason: what went wrong; empty if nothing.
    """

    name: str
    is_well: bool
    seconds: float
    reason: str


def describe_machine() -> dict[str, str]:
    """The system, the processor and the memory, by name."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "processor": f"{usable} of {os.cpu_count()} cores, {_processor_flags()}",
        "memory": _memory(),
    }


def describe_libraries() -> dict[str, str]:
    """Versions of what headmvs uses, and which extras are not installed."""
    versions = library_versions()
    for name in (*_MORE, *_OPTIONAL):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name in _OPTIONAL:
                versions[name] = f"not installed: pip install 'headmvs[{_OPTIONAL[name]}]'"
    return versions


def run_checks() -> Iterator[Check]:
    """Try each part on something whose answer is known; seconds in all, the first time longer.

    Yields:
        A check as soon as it is done; whatever a part raises is its reason.
    """
    for name, check in _CHECKS.items():
        start = time.perf_counter()
        try:
            reason = check()
        except Exception as error:  # noqa: BLE001 - what is asked for is what fails
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        yield Check(name, not reason, time.perf_counter() - start, reason)


def _check_pictures() -> str:
    import cv2

    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    read = cv2.imdecode(cv2.imencode(".png", picture)[1], cv2.IMREAD_COLOR)
    is_same = read is not None and bool((np.asarray(read) == picture).all())
    return "" if is_same else "a picture changed on its way through PNG"


def _check_cameras() -> str:
    from calib.camera import Camera

    lens = np.array([500.0, 510.0, 320.0, 240.0, -0.1, 0.02, 0.001, -0.001])
    camera = Camera("OPENCV", 640, 480, lens, np.eye(3, 4))
    points = np.array([[0.1, -0.2, 1.0], [-0.3, 0.2, 1.5]])
    rays = camera.unproject(camera.project(points)[0])
    off = np.abs(rays * points[:, 2:] / rays[:, 2:] - points).max()
    return "" if off < 1e-6 else f"a point came back {off:.1e} off"


def _check_triangulation() -> str:
    from mvs.kernels.dlt import Observations, triangulate_points

    rng = np.random.default_rng(0)
    points = rng.uniform([-0.1, -0.1, 0.9], [0.1, 0.1, 1.1], (50, 3))
    projections = np.stack([np.eye(3, 4) + np.eye(1, 12, 3).reshape(3, 4) * x for x in (0, 0.2)])
    seen = np.column_stack([points, np.ones(50)]) @ projections.transpose(0, 2, 1)
    pixels = (seen[..., :2] / seen[..., 2:]).transpose(1, 0, 2)
    off = np.abs(triangulate_points(Observations(projections, pixels)).points - points).max()
    return "" if off < 1e-9 else f"a point came back {off:.1e} off"


def _check_mesher() -> str:
    from mvs.stages.meshers import Evidence, mesh_poisson
    from mvs.types import PointCloud

    index = np.arange(2000) + 0.5
    z, angle = 1 - 2 * index / 2000, np.pi * (1 + np.sqrt(5)) * index
    ring = np.sqrt(1 - z * z)
    points = np.column_stack([ring * np.cos(angle), ring * np.sin(angle), z])
    unit = points.astype(np.float32)
    ones = np.ones(2000)
    views, colors = ones.astype(np.int32), np.zeros((2000, 3), np.uint8)
    cloud = PointCloud(points, unit, colors, unit, ones.astype(np.float32), views)
    vertices, _ = mesh_poisson(Evidence(cloud, 0.05, 5, ()))
    off = float(np.abs(np.linalg.norm(vertices, axis=1) - 1).max()) if len(vertices) else np.inf
    return "" if off < 0.05 else f"a sphere came out {off:.2f} radii off"


def _check_network() -> str:
    from mvs.canonical.template import load_template
    from mvs.network.embedders import load_embedder
    from mvs.types import Square

    grey = np.full((192, 192, 3), 128, np.uint8)
    cube_map = load_embedder("compact").embed(grey, Square((96.0, 96.0), 192.0))
    is_well = bool(np.isfinite(cube_map.coords).all()) and len(load_template().coords) > 1000
    return "" if is_well else "the shipped network gave no numbers"


_CHECKS: dict[str, Callable[[], str]] = {
    "pictures (OpenCV)": _check_pictures,
    "cameras (pycolmap)": _check_cameras,
    "triangulation (Numba)": _check_triangulation,
    "mesher (Open3D)": _check_mesher,
    "shipped network (PyTorch)": _check_network,
}


def _processor_flags() -> str:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine()
    words = set(path.read_text(errors="replace").lower().split())
    return " ".join(flag for flag in _FLAGS if flag in words) or platform.machine()


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / (1 << 30):.1f} GiB"
