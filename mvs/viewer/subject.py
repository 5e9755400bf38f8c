"""What is looked at: the points, meshes and cameras of a run, a file or a capture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError
from calib.formats import has_cameras, read_capture
from mvs.kernels.raster import vertex_normals
from mvs.record import noted_source
from mvs.stages.model import Model, Texture, Unit, known_unit
from mvs.stages.ply import read_properties
from mvs.stages.textured import TEXTURED, noted_unit, read_model
from mvs.types import BoolArray, IntArray, PointCloud

# Files of a run by the shape they hold, and what can be looked at elsewhere.
RESULTS = {"textured": TEXTURED, "mesh": "mesh.ply", "cloud": "cloud.ply", "points": "points.ply"}
_REMEDY = "give a run's folder, a .ply or .glb file, or a capture"
_GREY = 180
# Attributes of vertices, and the columns of a PLY file that hold them.
_COLUMNS = {
    "normal": ("nx", "ny", "nz"),
    "rgb": ("red", "green", "blue"),
    "uvw": ("u", "v", "w"),
    "confidence": ("confidence",),
    "views": ("n_views",),
}


@dataclass(frozen=True)
class Shape:
    """Points or a mesh.

    Attributes:
        cloud: the points or vertices; what is not known of them is grey, NaN or zero.
        faces: (F, 3) int32; None for points.
        known: which of normal, rgb, uvw, confidence and views are known.
        texture: None without.
    """

    cloud: PointCloud
    faces: IntArray | None
    known: frozenset[str]
    texture: Texture | None = None

    @property
    def model(self) -> Model:
        """The same as an exporter takes it."""
        return Model(self.cloud, self.faces, self.texture)


@dataclass(frozen=True)
class Subject:
    """Something to look at.

    Attributes:
        name: of it, for the eye.
        shapes: by textured, mesh, cloud and points, as far as there.
        capture: whose cameras see it; None where nobody knows.
        unit: of the world; None where nobody said.
        warnings: what the user should know, one line each.
    """

    name: str
    shapes: Mapping[str, Shape]
    capture: Capture | None = None
    unit: Unit | None = None
    warnings: tuple[str, ...] = field(default=())

    @property
    def surface(self) -> Shape | None:
        """The mesh, else the textured mesh, None without."""
        return self.shapes.get("mesh", self.shapes.get("textured"))

    @property
    def best(self) -> Shape | None:
        """The shape that says most: a surface, else a cloud, else points."""
        return self.surface or self.shapes.get("cloud", self.shapes.get("points"))


def load_subject(path: Path, capture: Path | None = None) -> Subject:
    """Read what is to be looked at.

    Args:
        path: folder of a run, a .ply or .glb file, or a capture.
        capture: whose cameras see it; if None, the one that the run notes.

    Raises:
        CaptureError: if there is nothing to look at, or it is damaged.
    """
    if not path.exists():
        raise CaptureError(path, "no such file or folder", _REMEDY)
    files = _files(path)
    if not files:
        if not has_cameras(path):
            raise CaptureError(path, "holds no result and no camera file", _REMEDY)
        return _of_capture(path, read_capture(path))
    shapes, warnings = {}, []
    for name, file in files.items():
        shape = _READERS[file.suffix.lower()](file)
        if len(shape.cloud):
            shapes["mesh" if name == "cloud" and shape.faces is not None else name] = shape
        else:
            warnings.append(f"{file}: holds no points")
    if not shapes:
        raise CaptureError(path, "holds no points", _REMEDY)
    folder = path if path.is_dir() else path.parent
    if capture is not None:
        seen: Capture | None = read_capture(capture)
    else:
        # A GLB's frame is not the capture's.
        seen = _noted_capture(folder, warnings) if "glb" not in _kinds(files) else None
    unit = known_unit(seen.unit if seen else None) or noted_unit(folder)
    return Subject(path.resolve().name, shapes, seen, unit, tuple(warnings))


def _files(path: Path) -> dict[str, Path]:
    """The files with shapes, by the shapes' names."""
    if path.is_dir():
        return {name: path / file for name, file in RESULTS.items() if (path / file).is_file()}
    suffix = path.suffix.lower()
    if suffix == ".glb":
        # The same mesh in the capture's own frame, where mvs texture wrote it beside.
        beside = path.with_suffix(".ply")
        return {"textured": beside if _has_atlas(beside) else path}
    if suffix != ".ply":
        return {}
    return {"textured" if _has_atlas(path) else "cloud": path}


def _has_atlas(path: Path) -> bool:
    return all(path.with_suffix(suffix).is_file() for suffix in (".ply", ".npz", ".png"))


def _kinds(files: Mapping[str, Path]) -> set[str]:
    return {file.suffix.lower().lstrip(".") for file in files.values()}


def _of_capture(path: Path, capture: Capture) -> Subject:
    """A capture with its sparse points, where it has some."""
    shapes = {}
    if len(capture.points):
        shapes["points"] = Shape(_cloud({}, capture.points), None, frozenset())
    name = path.resolve().name
    return Subject(name, shapes, capture, known_unit(capture.unit), capture.warnings)


def _noted_capture(folder: Path, warnings: list[str]) -> Capture | None:
    """The capture that ``run.json`` notes; None, with a warning, where it cannot be read."""
    noted = noted_source(folder)
    if noted is None:
        return None
    try:
        return read_capture(*noted)
    except (CaptureError, ValueError) as error:
        warnings.append(f"no cameras are shown: {error}; say where the capture is by --capture")
        return None


def _read_ply(path: Path) -> Shape:
    """Any PLY of points or triangles; of this project's, all that is known."""
    if _has_atlas(path):
        model = read_model(path)
        return Shape(model.vertices, model.faces, frozenset(_COLUMNS), model.texture)
    try:
        columns, faces = read_properties(path)
    except ValueError as error:
        raise CaptureError(path, str(error), _REMEDY) from None
    if not {"x", "y", "z"} <= set(columns):
        raise CaptureError(path, "its vertices have no x, y and z", _REMEDY)
    points = np.column_stack([columns[axis] for axis in "xyz"]).astype(np.float64)
    finite = np.asarray(np.isfinite(points).all(axis=1))
    if faces is None or not len(faces):
        columns = {name: values[finite] for name, values in columns.items()}
        return Shape(_cloud(columns, points[finite]), None, _known(columns))
    _check_faces(path, faces, finite)
    return _meshed(_cloud(columns, points), faces, _known(columns))


def _check_faces(path: Path, faces: IntArray, finite: BoolArray) -> None:
    if faces.min() < 0 or faces.max() >= len(finite):
        raise CaptureError(path, "holds faces of vertices that it does not have", _REMEDY)
    if not finite[faces].all():
        raise CaptureError(path, "holds places that are no numbers", _REMEDY)


def _meshed(cloud: PointCloud, faces: IntArray, known: frozenset[str]) -> Shape:
    """A mesh, whose normals are computed where the file has none."""
    if "normal" not in known:
        local = cloud.points - cloud.points.mean(axis=0)
        cloud = replace(cloud, normals=vertex_normals(local, faces))
    return Shape(cloud, faces, known | {"normal"})


def _read_glb(path: Path) -> Shape:
    """Any GLB; of this project's, cube coordinates too."""
    import trimesh

    try:
        scene: Any = trimesh.load(path, process=False)
        mesh = scene.to_geometry()
        faces, points = np.asarray(mesh.faces, np.int32), np.asarray(mesh.vertices, np.float64)
    except (ValueError, AttributeError, KeyError, IndexError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CaptureError(path, f"not a readable GLB mesh ({reason})", _REMEDY) from None
    columns: dict[str, npt.NDArray[Any]] = {}
    for ours, names in (("_UVW", "uvw"), ("_CONFIDENCE", ("confidence",))):
        values = mesh.vertex_attributes.get(ours)
        if values is not None:
            columns |= dict(zip(names, np.asarray(values).reshape(len(points), -1).T, strict=True))
    colors = mesh.visual.to_color().vertex_colors
    columns |= dict(zip(_COLUMNS["rgb"], np.asarray(colors)[:, :3].T, strict=True))
    _check_faces(path, faces, np.asarray(np.isfinite(points).all(axis=1)))
    shape = _meshed(_cloud(columns, points), faces, _known(columns))
    return replace(shape, texture=_texture_of(mesh, faces))


def _texture_of(mesh: Any, faces: IntArray) -> Texture | None:
    material = getattr(mesh.visual, "material", None)
    image = getattr(material, "baseColorTexture", None)
    uv = getattr(mesh.visual, "uv", None)
    if image is None or uv is None:
        return None
    color = np.asarray(image.convert("RGB"), np.uint8)
    return Texture(np.asarray(uv, np.float32), faces, color)


_READERS: dict[str, Callable[[Path], Shape]] = {".ply": _read_ply, ".glb": _read_glb}


def _known(columns: Mapping[str, npt.NDArray[Any]]) -> frozenset[str]:
    return frozenset(name for name, needs in _COLUMNS.items() if set(needs) <= set(columns))


def _cloud(columns: Mapping[str, npt.NDArray[Any]], points: npt.NDArray[np.float64]) -> PointCloud:
    """Points with the attributes among the columns; the others grey, NaN or zero."""
    known, n = _known(columns), len(points)

    def values(name: str, otherwise: float) -> npt.NDArray[Any]:
        needs = _COLUMNS[name]
        if name not in known:
            return np.full((n, len(needs)), otherwise)
        return np.column_stack([columns[column] for column in needs])

    return PointCloud(
        points,
        values("normal", 0.0).astype(np.float32),
        values("rgb", _GREY).astype(np.uint8),
        values("uvw", np.nan).astype(np.float32),
        values("confidence", np.nan)[:, 0].astype(np.float32),
        values("views", 0)[:, 0].astype(np.int32),
    )
