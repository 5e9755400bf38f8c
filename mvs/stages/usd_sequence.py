"""A mesh that moves as Universal Scene Description: one topology, points sampled in time."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.files import note_file
from mvs.stages.model import METRES
from mvs.types import DoubleArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class MovingMesh:
    """What is written.

    Attributes:
        numbers: time codes of the T frames, ascending.
        points: (T, V, 3).
        faces: (F, 3) int32.
        coords: (V, 3) float32 cube coordinates.
        uv: (W, 2) float32 places in a texture, None without.
        uv_faces: (F, 3) int32 rows of ``uv`` of each face's corners.
        fps: time codes per second.
        unit: of the world, None where nobody said.
        up: y or z.
    """

    numbers: tuple[int, ...]
    points: DoubleArray
    faces: IntArray
    coords: FloatArray
    uv: FloatArray | None = None
    uv_faces: IntArray | None = None
    fps: float = 24.0
    unit: str | None = None
    up: str = "y"


def write_usd_sequence(path: Path, mesh: MovingMesh) -> None:
    """Write .usd, .usdc (binary) or .usda (text); the file appears whole or not at all.

    Args:
        path: the file.
        mesh: positions become time samples of ``points``, with an extent each; cube coordinates the
            primvar ``uvw``, places in the texture ``st``.

    Raises:
        ValueError: if the library is missing, or the ending is another.
    """
    try:
        from pxr import Sdf, Usd, UsdGeom, Vt
    except ImportError:
        raise ValueError(f"{path}: USD needs usd-core: pip install 'headmvs[export]'") from None
    if path.suffix.lower() not in (".usd", ".usda", ".usdc"):
        raise ValueError(f"{path}: the ending must be one of .usd, .usda, .usdc")
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as scratch:
        inner = Path(scratch) / path.name
        stage = Usd.Stage.CreateNew(str(inner))
        if mesh.unit is not None:
            UsdGeom.SetStageMetersPerUnit(stage, METRES[mesh.unit])
        UsdGeom.SetStageUpAxis(stage, mesh.up.upper())
        stage.SetTimeCodesPerSecond(mesh.fps)
        stage.SetFramesPerSecond(mesh.fps)
        stage.SetStartTimeCode(mesh.numbers[0])
        stage.SetEndTimeCode(mesh.numbers[-1])
        stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/head").GetPrim())
        shape = UsdGeom.Mesh.Define(stage, "/head/mesh")
        counts = np.full(len(mesh.faces), 3, np.int32)
        shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(counts))
        shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.ravel()))
        shape.CreateSubdivisionSchemeAttr("none")
        places, extent = shape.CreatePointsAttr(), shape.CreateExtentAttr()
        for number, points in zip(mesh.numbers, mesh.points.astype(np.float32), strict=True):
            places.Set(Vt.Vec3fArray.FromNumpy(points), float(number))
            box = np.stack([points.min(axis=0), points.max(axis=0)])
            extent.Set(Vt.Vec3fArray.FromNumpy(box), float(number))
        primvars, kinds = UsdGeom.PrimvarsAPI(shape), Sdf.ValueTypeNames
        uvw = primvars.CreatePrimvar("uvw", kinds.Float3Array, "vertex")
        uvw.Set(Vt.Vec3fArray.FromNumpy(mesh.coords))
        if mesh.uv is not None and mesh.uv_faces is not None:
            st = primvars.CreatePrimvar("st", kinds.TexCoord2fArray, "faceVarying")
            st.Set(Vt.Vec2fArray.FromNumpy(mesh.uv))
            st.SetIndices(Vt.IntArray.FromNumpy(mesh.uv_faces.ravel()))
        stage.GetRootLayer().Save()
        inner.chmod(0o644)
        inner.replace(path)
    note_file(path)
