"""A finished run, as its folder tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.capture import CaptureError
from mvs.stages.ply import read_ply
from mvs.types import IntArray, Mesh, PointCloud

_REMEDY = "name the --output folder of mvs reconstruct, or reconstruct again"
# Parts of run.json that a report cannot do without, and what they are.
_PARTS: dict[str, type] = {
    "capture": str,
    "options": dict,
    "versions": dict,
    "inputs": dict,
    "seconds": dict,
    "cpu_seconds": dict,
    "stage_peak_mb": dict,
    "counts": dict,
    "warnings": list,
    "files": list,
}


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind.

    Attributes:
        folder: of the results.
        record: ``run.json``.
        surface: the mesh, or with no faces the best cloud there is; None without either.
        cloud: the fused points, or the triangulated ones; None without either.
        points_of_view: (V,) int64 points of the fused cloud that each view agrees on; None where
            the run did not get there.
        missing: results that the run wrote and that are no longer there, or damaged.
    """

    folder: Path
    record: Mapping[str, Any]
    surface: Mesh | None
    cloud: PointCloud | None
    points_of_view: npt.NDArray[np.int64] | None
    missing: tuple[str, ...] = ()

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the run noted for its report; empty of runs of older versions."""
        found = self.record.get("notes", {})
        return found if isinstance(found, dict) else {}

    @property
    def cached(self) -> Mapping[str, str]:
        """Stages that came from a run before this one: ``all``, or how many of their parts."""
        found = self.record.get("cached", {})
        return found if isinstance(found, dict) else {}

    def of_views(self, name: str) -> list[Any]:
        """A note that has one value per view, in the order of their names; None each without."""
        n, found = len(self.record["inputs"]), self.notes.get(name)
        return found if isinstance(found, list) and len(found) == n else [None] * n


def read_record(folder: Path) -> dict[str, Any]:
    """The ``run.json`` of a run's folder.

    Raises:
        CaptureError: if there is none, or it is damaged.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        raise CaptureError(path, reason, _REMEDY) from None
    except ValueError:
        raise CaptureError(path, "is no JSON", _REMEDY) from None
    wrong = [
        name
        for name, kind in _PARTS.items()
        if not isinstance(record, dict) or not isinstance(record.get(name), kind)
    ]
    if wrong:
        raise CaptureError(path, f"is of no reconstruction: lacks {', '.join(wrong)}", _REMEDY)
    return dict(record)


def read_run(folder: Path, warnings: Sequence[str] = ()) -> FinishedRun:
    """Read what a run left behind; only files that its ``run.json`` names.

    Args:
        folder: of the results.
        warnings: more of them than the run itself noted.

    Raises:
        CaptureError: if there is no ``run.json``, or it is damaged.
    """
    record = read_record(folder)
    record["warnings"] = [*record["warnings"], *warnings]
    # Names alone: nothing outside the folder is looked at.
    record["files"] = [Path(str(name)).name for name in record["files"]]
    found: dict[str, tuple[PointCloud, IntArray | None]] = {}
    missing = [name for name in record["files"] if not (folder / name).is_file()]
    wanted = [n for n in ("mesh.ply", "cloud.ply", "points.ply") if n in record["files"]]
    for name in wanted:
        # Points are looked at only where there is nothing better.
        if name in missing or (name == "points.ply" and "cloud.ply" in found):
            continue
        try:
            found[name] = read_ply(folder / name)
        except ValueError:
            missing.append(name)
    cloud = next((found[n][0] for n in ("cloud.ply", "points.ply") if n in found), None)
    surface = None if cloud is None else Mesh(cloud, np.zeros((0, 3), np.int32))
    if "mesh.ply" in found:
        vertices, faces = found["mesh.ply"]
        surface = Mesh(vertices, np.zeros((0, 3), np.int32) if faces is None else faces)
    seen = None
    if "cloud.ply.vis" in record["files"] and "cloud.ply.vis" not in missing:
        seen = _count_points(folder / "cloud.ply.vis", len(record["inputs"]))
        missing += ["cloud.ply.vis"] if seen is None else []
    return FinishedRun(folder, record, surface, cloud, seen, tuple(missing))


def _count_points(path: Path, n_views: int) -> npt.NDArray[np.int64] | None:
    """Points per view of a visibility file, see ``write_visibility``; None of a damaged one."""
    data = path.read_bytes()
    if len(data) < 8 or len(data) % 4:
        return None
    n_points = int(np.frombuffer(data[:8], "<u8")[0])
    values = np.frombuffer(data[8:], "<u4")
    numbers, at = values.tolist(), 0
    heads: list[int] = []
    while at < len(numbers) and len(heads) < n_points:
        heads.append(at)
        at += numbers[at] + 1
    if at != len(numbers) or len(heads) != n_points:
        return None
    is_view = np.ones(len(values), np.bool_)
    is_view[heads] = False
    counts = np.bincount(values[is_view].astype(np.int64), minlength=n_views)
    return counts if len(counts) == n_views else None
