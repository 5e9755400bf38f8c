"""Universal Scene Description, by Pixar's library (extra ``export``)."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from calib.files import note_file
from mvs.stages.model import METRES, Model, encode_picture, linear_colors


def write_usd(path: Path, model: Model) -> list[Path]:
    """Write a USD file: text (.usda), binary (.usd, .usdc) or a package with its picture (.usdz).

    The stage says its unit and which axis is up; cube coordinates are the primvar ``uvw``.

    Args:
        path: the file; a texture comes beside it, in .usdz inside.
        model: a mesh, or points; its ``up`` is y, z or None.

    Returns:
        The files written.

    Raises:
        ValueError: if the library is missing, or the axis is neither y nor z.
    """
    try:
        from pxr import Sdf, Usd, UsdGeom, UsdUtils
    except ImportError:
        raise ValueError(f"{path}: USD needs usd-core: pip install 'headmvs[export]'") from None
    if model.up not in ("y", "z", None):
        raise ValueError(f"{path}: USD knows y and z up, not {model.up}; say --up y or --up z")
    packed = path.suffix.lower() == ".usdz"
    picture = f"{path.stem}.{model.picture or 'png'}"
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as scratch:
        inner = Path(scratch) / (f"{path.stem}.usdc" if packed else path.name)
        stage = Usd.Stage.CreateNew(str(inner))
        if model.unit is not None:
            UsdGeom.SetStageMetersPerUnit(stage, METRES[model.unit])
        UsdGeom.SetStageUpAxis(stage, (model.up or "y").upper())
        root = UsdGeom.Xform.Define(stage, "/head")
        stage.SetDefaultPrim(root.GetPrim())
        _add_geometry(stage, model, picture)
        stage.GetRootLayer().Save()
        files = [inner]
        if model.texture is not None:
            Path(scratch, picture).write_bytes(
                encode_picture(model.texture.color, model.picture or "png")
            )
            files.insert(0, Path(scratch, picture))
            if model.texture.normal is not None:
                files.insert(1, Path(scratch, _normal_name(picture)))
                files[1].write_bytes(encode_picture(model.texture.normal, "png"))
        if packed:
            # The package notes the files' times, to two seconds and by the local clock.
            epoch = time.mktime((1980, 1, 1, 0, 0, 0, 0, 0, -1))
            for file in files:
                os.utime(file, (epoch, epoch))
            files = [Path(scratch) / path.name]
            if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(inner)), str(files[0])):
                raise ValueError(f"{path}: USD could not pack the file")
        written = [path.parent / file.name for file in files]
        for file, place in zip(files, written, strict=True):
            file.chmod(0o644)
            shutil.move(file, place)
            note_file(place)
    return written


def _add_geometry(stage: Any, model: Model, picture: str) -> None:
    from pxr import Sdf, UsdGeom, Vt

    cloud, faces = model.vertices, model.faces
    if faces is None:
        shape = UsdGeom.Points.Define(stage, "/head/points")
    else:
        shape = UsdGeom.Mesh.Define(stage, "/head/mesh")
        shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
        shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel().astype(np.int32)))
        shape.CreateSubdivisionSchemeAttr("none")
        shape.CreateDoubleSidedAttr(True)
        shape.SetNormalsInterpolation("vertex")
    points = cloud.points.astype(np.float32)
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
    shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(cloud.normals))
    if len(points):
        box = np.stack([points.min(axis=0), points.max(axis=0)])
        shape.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(box))
    primvars = UsdGeom.PrimvarsAPI(shape)
    kinds = Sdf.ValueTypeNames
    uvw = primvars.CreatePrimvar("uvw", kinds.Float3Array, "vertex")
    uvw.Set(Vt.Vec3fArray.FromNumpy(cloud.coords))
    sure = primvars.CreatePrimvar("confidence", kinds.FloatArray, "vertex")
    sure.Set(Vt.FloatArray.FromNumpy(cloud.confidence))
    color = primvars.CreatePrimvar("displayColor", kinds.Color3fArray, "vertex")
    color.Set(Vt.Vec3fArray.FromNumpy(linear_colors(cloud.colors).astype(np.float32)))
    if model.texture is not None and faces is not None:
        st = primvars.CreatePrimvar("st", kinds.TexCoord2fArray, "faceVarying")
        st.Set(Vt.Vec2fArray.FromNumpy(model.texture.uv))
        st.SetIndices(Vt.IntArray.FromNumpy(model.texture.uv_faces.ravel()))
        normal = None if model.texture.normal is None else _normal_name(picture)
        _add_material(stage, shape, picture, normal)


def _normal_name(picture: str) -> str:
    """The normal map's file name, beside the picture's."""
    return f"{Path(picture).stem}_normal.png"


def _add_material(stage: Any, shape: Any, picture: str, normal: str | None) -> None:
    """A material with the texture, as the UsdPreviewSurface specification builds it."""
    from pxr import Sdf, UsdShade

    kinds = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, "/head/material")
    shader = UsdShade.Shader.Define(stage, "/head/material/surface")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("roughness", kinds.Float).Set(1.0)
    shader.CreateInput("metallic", kinds.Float).Set(0.0)
    reader = UsdShade.Shader.Define(stage, "/head/material/st")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", kinds.String).Set("st")
    place = reader.CreateOutput("result", kinds.Float2)
    files = {"picture": (picture, "sRGB")}
    if normal is not None:
        files["normal"] = (normal, "raw")
    colors = {}
    for name, (file, space) in files.items():
        image = UsdShade.Shader.Define(stage, f"/head/material/{name}")
        image.CreateIdAttr("UsdUVTexture")
        image.CreateInput("file", kinds.Asset).Set(Sdf.AssetPath(f"./{file}"))
        image.CreateInput("sourceColorSpace", kinds.Token).Set(space)
        for side in ("wrapS", "wrapT"):
            image.CreateInput(side, kinds.Token).Set("clamp")
        if space == "raw":
            # From 0..1 to -1..1.
            image.CreateInput("scale", kinds.Float4).Set((2, 2, 2, 1))
            image.CreateInput("bias", kinds.Float4).Set((-1, -1, -1, 0))
        image.CreateInput("st", kinds.Float2).ConnectToSource(place)
        colors[name] = image.CreateOutput("rgb", kinds.Float3)
    shader.CreateInput("diffuseColor", kinds.Color3f).ConnectToSource(colors["picture"])
    if normal is not None:
        shader.CreateInput("normal", kinds.Normal3f).ConnectToSource(colors["normal"])
    surface = shader.CreateOutput("surface", kinds.Token)
    material.CreateSurfaceOutput().ConnectToSource(surface)
    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
