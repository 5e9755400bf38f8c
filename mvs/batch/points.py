"""The registered meshes of a sequence as one mesh whose vertices move."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calib.calibration import some_names
from calib.capture import CaptureError
from calib.files import replacing
from mvs.batch.work import REGISTERED
from mvs.canonical.scan import mesh_normals
from mvs.canonical.template import load_template
from mvs.stages.model import METRES, Model, find_up, placement
from mvs.stages.ply import read_properties, write_properties
from mvs.stages.usd_sequence import MovingMesh
from mvs.types import DoubleArray, FloatArray, IntArray, PointCloud

_ORDER = 2


@dataclass(frozen=True, eq=False)
class Sequence:
    """One mesh in time.

    Attributes:
        numbers: of the T frames, ascending; there may be gaps.
        points: (T, V, 3) float64, world.
        confidence: (T, V) float32.
        coords: (V, 3) float32 cube coordinates.
        faces: (F, 3) int32.
    """

    numbers: tuple[int, ...]
    points: DoubleArray
    confidence: FloatArray
    coords: FloatArray
    faces: IntArray


def read_sequence(output: Path) -> tuple[Sequence, tuple[str, ...]]:
    """Read the registered meshes of ``mvs batch --register``.

    Args:
        output: folder of the batch.

    Returns:
        The sequence, and a warning of frames that are left out.

    Raises:
        CaptureError: if there are none, or they are not of one topology.
    """
    folders = sorted(p for p in (output / "frames").glob("[0-9]*") if p.is_dir())
    there = [folder for folder in folders if (folder / REGISTERED).is_file()]
    if not there:
        reason = f"holds no frames/*/{REGISTERED}"
        raise CaptureError(output, reason, "run mvs batch --register into it")
    points, confidence, coords, faces = [], [], None, None
    for folder in there:
        path = folder / REGISTERED
        try:
            vertex, found = read_properties(path)
            points.append(np.column_stack([vertex[name] for name in "xyz"]).astype(np.float64))
            confidence.append(vertex["confidence"].astype(np.float32))
            coords = np.column_stack([vertex[name] for name in "uvw"]).astype(np.float32)
        except (KeyError, ValueError) as error:
            raise CaptureError(path, f"is damaged ({error})", "run mvs batch again") from None
        faces = found if faces is None else faces
        if found is None or faces is None or not np.array_equal(found, faces):
            raise CaptureError(path, f"is not of the topology of {there[0]}", "run mvs batch again")
    if coords is None or faces is None:
        raise CaptureError(output, "holds no faces", "run mvs batch --register into it")
    bare = [folder.name for folder in folders if folder not in there]
    warnings = (f"{len(bare)} frames are not registered: {some_names(bare)}",) if bare else ()
    numbers = tuple(int(folder.name) for folder in there)
    return Sequence(numbers, np.stack(points), np.stack(confidence), coords, faces), warnings


def smooth(sequence: Sequence, window: int) -> Sequence:
    """Every vertex smoothed in time by a parabola through the frames around.

    Motion at even acceleration is left as it is, so nothing is flattened that ``window`` frames can
    tell; gaps are not smoothed across.

    Args:
        sequence: to smooth.
        window: frames, odd; 1 leaves all as it is.

    Raises:
        ValueError: if the window is even or less than 1.

    Source:
        Savitzky and Golay, "Smoothing and differentiation of data by simplified least squares
        procedures" (1964).
    """
    from scipy.signal import savgol_filter

    if window < 1 or window % 2 == 0:
        raise ValueError(f"the window must be an odd number of frames, got {window}")
    points = sequence.points.copy()
    cuts = 1 + np.flatnonzero(np.diff(sequence.numbers) != 1)
    for rows in np.split(np.arange(len(points)), cuts):
        width = min(window, len(rows) - 1 + len(rows) % 2)
        if width > _ORDER:
            points[rows] = savgol_filter(points[rows], width, _ORDER, axis=0)
    return replace(sequence, points=points)


def write_plys(folder: Path, sequence: Sequence) -> list[Path]:
    """Write a PLY file a frame, ``000000.ply`` and so on; the files written.

    Raises:
        OSError: if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, points, sure in zip(
        sequence.numbers, sequence.points, sequence.confidence, strict=True
    ):
        normals = mesh_normals(points, sequence.faces).astype(np.float32)
        columns = {name: points[:, k] for k, name in enumerate("xyz")}
        columns |= {name: normals[:, k] for k, name in enumerate(("nx", "ny", "nz"))}
        columns |= {name: sequence.coords[:, k] for k, name in enumerate("uvw")}
        columns |= {"confidence": sure, "quality": sure}
        paths.append(folder / f"{number:06d}.ply")
        with replacing(paths[-1]) as stream:
            write_properties(stream, columns, sequence.faces)
    return paths


def moving_mesh(sequence: Sequence, output: Path, fps: float) -> MovingMesh:
    """What USD is written from; unit as the batch's, places in the texture as the template's.

    USD knows y and z as up: a head that is upright along another axis is turned to y.
    """
    cloud = _first_cloud(sequence)
    up, points = find_up(cloud), sequence.points
    if up not in ("y", "z", None):
        turn = placement(Model(cloud, sequence.faces, up=up), "y", None).rotation
        points = points @ turn.T
    template = load_template()
    is_ours = np.array_equal(template.faces, sequence.faces)
    return MovingMesh(
        sequence.numbers,
        points,
        sequence.faces,
        sequence.coords,
        template.atlas if is_ours else None,
        template.atlas_faces if is_ours else None,
        fps,
        _unit(output),
        "z" if up == "z" else "y",
    )


def _first_cloud(sequence: Sequence) -> PointCloud:
    points = sequence.points[0]
    n = len(points)
    normals = mesh_normals(points, sequence.faces).astype(np.float32)
    colors = np.zeros((n, 3), np.uint8)
    seen = np.ones(n, np.int32)
    return PointCloud(points, normals, colors, sequence.coords, np.ones(n, np.float32), seen)


def _unit(output: Path) -> str | None:
    try:
        unit = json.loads((output / "batch.json").read_text(encoding="utf-8"))["unit"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return unit if unit in METRES else None
