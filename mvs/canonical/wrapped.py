"""A wrapped template as files, and figures of how well it lies on its scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calib.files import replacing, write_json
from mvs.canonical.cube import CUBE_MM
from mvs.canonical.pose import HeadPose
from mvs.canonical.regions import REGIONS
from mvs.canonical.register import Registration
from mvs.canonical.scan import Scan, mesh_normals
from mvs.canonical.template import Template
from mvs.stages.obj import ObjMesh, write_obj
from mvs.stages.ply import write_properties
from mvs.types import BoolArray, DoubleArray

# The head's parts by canonical place: scalp is what lies above a line from the hairline down to
# the nape.
PARTS = ("face", "ears", "scalp", "neck")
_HAIRLINE, _NAPE = (0.80, 0.70), (0.46, 0.33)


def template_parts(template: Template) -> dict[str, BoolArray]:
    """Which vertices (V,) belong to each of ``PARTS``; what is of no region belongs to none."""
    outside: BoolArray = template.region != REGIONS.index("background")
    ears: BoolArray = template.region == REGIONS.index("ear")
    neck: BoolArray = template.region == REGIONS.index("neck")
    _, height, depth = template.coords.T
    slope = (_HAIRLINE[0] - _NAPE[0]) / (_HAIRLINE[1] - _NAPE[1])
    above = height > _NAPE[0] + slope * (depth - _NAPE[1])
    scalp: BoolArray = ~ears & ~neck & above
    parts = {"face": ~ears & ~neck & ~scalp, "ears": ears, "scalp": scalp, "neck": neck}
    return {name: chosen & outside for name, chosen in parts.items()}


def spread(values: DoubleArray) -> dict[str, float]:
    """Number, mean, median and 90 % quantile; NaN without any values."""
    if not len(values):
        return {"n": 0, "mean": np.nan, "median": np.nan, "p90": np.nan}
    median, high = (float(v) for v in np.quantile(values, [0.5, 0.9]))
    return {"n": len(values), "mean": float(values.mean()), "median": median, "p90": high}


def pose_document(pose: HeadPose) -> dict[str, Any]:
    """A head's pose for JSON: the frame and unit are the world's."""
    return {
        "scale": pose.scale,
        "rotation": pose.rotation.tolist(),
        "translation": pose.translation.tolist(),
    }


def registration_report(
    wrapped: Registration, scan: Scan, mm: float | None = None
) -> dict[str, Any]:
    """How well a template lies on its scan, for JSON.

    Args:
        wrapped: from ``register``.
        scan: a mesh or a cloud.
        mm: millimetres per unit of the scan; None if not known: then a head counts as large as the
            neutral one.

    Returns:
        Distances from the middles of the template's faces to the scan, by part, of all faces and
        of those that the scan shows, and how many are turned over or run through others.
    """
    unit = CUBE_MM / wrapped.pose.scale if mm is None else mm
    faces = wrapped.template.faces
    distance = scan.distance(wrapped.vertices[faces].mean(axis=1)) * unit
    seen: BoolArray = np.asarray(wrapped.visible[faces].all(axis=1))
    parts = {}
    for name, vertices in template_parts(wrapped.template).items():
        chosen = vertices[faces].all(axis=1)
        parts[name] = {
            "seen": float(seen[chosen].mean()) if chosen.any() else 0.0,
            "distance_mm": spread(distance[chosen & seen]),
            "distance_all_mm": spread(distance[chosen]),
            "folded_faces": int((wrapped.folded & chosen).sum()),
        }
    return {
        "unit": "mm" if mm is not None else "mm on a head of the neutral size",
        "vertices": len(wrapped.vertices),
        "faces": len(faces),
        "seen": float(wrapped.visible.mean()),
        "folded_faces": int(wrapped.folded.sum()),
        "world_from_cube": pose_document(wrapped.pose),
        "parts": parts,
    }


def write_registration(folder: Path, wrapped: Registration, report: Any) -> None:
    """Write ``registered.ply``, ``registered.obj`` and ``registration.json``.

    Raises:
        OSError: if a file cannot be written; an older one is then left as it was.
    """
    template = wrapped.template
    write_wrapped(folder / "registered.ply", wrapped)
    normals = mesh_normals(wrapped.vertices, template.faces).astype(np.float32)
    flat = (template.atlas, template.atlas_faces) if len(template.atlas) else (None, None)
    mesh = ObjMesh(wrapped.vertices, template.faces, flat[0], flat[1], normals)
    with replacing(folder / "registered.obj") as stream:
        write_obj(stream, mesh)
    write_json(folder / "registration.json", report)


def write_wrapped(path: Path, wrapped: Registration) -> None:
    """Write the wrapped template as PLY.

    Raises:
        OSError: if the file cannot be written; an older one is then left as it was.
    """
    template = wrapped.template
    normals = mesh_normals(wrapped.vertices, template.faces).astype(np.float32)
    columns: dict[str, Any] = {}
    for names, values, kind in (
        (("x", "y", "z"), wrapped.vertices, np.float64),
        (("nx", "ny", "nz"), normals, np.float32),
        (("u", "v", "w"), template.coords, np.float32),
    ):
        columns |= {name: values[:, k].astype(kind) for k, name in enumerate(names)}
    columns |= {"confidence": wrapped.confidence, "quality": wrapped.confidence}
    columns["distance"] = wrapped.distance.astype(np.float32)
    columns["visible"] = wrapped.visible.astype(np.uint8)
    with replacing(path) as stream:
        write_properties(stream, columns, template.faces)
