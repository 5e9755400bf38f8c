"""What a fit writes: parameters, meshes, an animated GLB, curves, and pictures to judge it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.files import replacing
from mvs.canonical.draw import write_picture
from mvs.canonical.scan import mesh_normals
from mvs.canonical.track_output import write_video
from mvs.headmodel.animate import write_fit_glb
from mvs.headmodel.curves import write_curves
from mvs.headmodel.fit_files import neutral_vertices, write_fit_files
from mvs.headmodel.overlay import draw_fit
from mvs.headmodel.types import Fit, Topology
from mvs.stages.model import Axis, Model, Unit, find_up, known_unit, placed, placement
from mvs.stages.obj import ObjMesh, write_obj
from mvs.stages.ply import write_ply
from mvs.types import ByteArray, DoubleArray, FloatArray, PointCloud

# (frame, view) to the picture (H, W, 3) uint8 RGB, as ``Fit.names[frame][view]`` is taken.
Pictures = Callable[[int, int], ByteArray]
_GREY = 200
# Words of parts' names.
_FACE, _MOUTH = ("face",), ("mouth", "gums", "teeth", "tongue")
_EYES = ("eye", "lacrimal", "eyelashes", "eyeball")


@dataclass(frozen=True)
class OutputOptions:
    """What is written of a fit, and how.

    Attributes:
        up: axis that shall point up in meshes; y in GLB, else as the input has it.
        unit: of meshes; m in GLB, else the input's.
        rate: frames a second of a video.
        meshes: write the posed mesh of every frame, not of the first alone.
        overlays: draw the head over the pictures.
    """

    up: Axis | None = None
    unit: Unit | None = None
    rate: float = 25.0
    meshes: bool = False
    overlays: bool = True

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate must be positive, got {self.rate}")


def write_fit(
    fit: Fit, output: Path, options: OutputOptions | None = None, pictures: Pictures | None = None
) -> list[Path]:
    """Write all that is known of a fit.

    ``fit.json`` and ``fit.npz`` (parameters, always in the frame and unit of the input; see
    ``mvs.headmodel.fit_files``); ``neutral`` and ``posed`` as ``.ply`` (with ``u v w``,
    ``confidence`` and ``part``) and ``.obj`` (with texture places); ``fit.glb`` (expressions as
    morph targets, a video as animation); ``expressions.csv``; and over the pictures
    ``overlay/<picture>.png``, of several frames ``overlay.mp4``. The neutral head is placed as that
    of the first frame is.

    Args:
        fit: one identity, T frames.
        output: folder, which exists.
        options: see ``OutputOptions``.
        pictures: gives the pictures of the fit one by one; None draws no overlays.

    Returns:
        The files written.

    Raises:
        ValueError: if ``unit`` is asked for, but the fit's own is not known.
        OSError: if a file cannot be written.
    """
    options = options or OutputOptions()
    files = write_fit_files(output, fit)
    heads = {"neutral": (neutral_vertices(fit), fit.confidence.max(axis=0))}
    heads["posed"] = (fit.vertices(0), fit.confidence[0])
    if options.meshes and len(fit.expressions) > 1:
        (output / "posed").mkdir(exist_ok=True)
        for t in range(len(fit.expressions)):
            heads[f"posed/{t:06d}"] = (fit.vertices(t), fit.confidence[t])
    for name, (vertices, confidence) in heads.items():
        model = _placed(fit, fit_model(fit, vertices, confidence), options)
        files += _write_mesh(output / name, model, fit)
    model = fit_model(fit, *heads["posed"])
    axis = options.up or ("y" if model.up is not None else None)
    unit = options.unit or ("m" if model.unit is not None else None)
    posed, to = placed(model, axis, unit), placement(model, axis, unit)
    write_fit_glb(output / "fit.glb", fit, posed, to, options.rate)
    write_curves(output / "expressions.csv", fit, options.rate)
    files += [output / "fit.glb", output / "expressions.csv"]
    if pictures is not None and options.overlays:
        files += _write_overlays(fit, output, options, pictures)
    return files


def fit_model(fit: Fit, vertices: DoubleArray, confidence: FloatArray) -> Model:
    """Vertices (V, 3) of a fit's head, with what is known of them, confidence (V,)."""
    topology, n = fit.model.topology, len(vertices)
    cloud = PointCloud(
        vertices,
        mesh_normals(vertices, topology.faces).astype(np.float32),
        np.full((n, 3), _GREY, np.uint8),
        topology.coords,
        confidence,
        np.zeros(n, np.int32),
    )
    known = cloud.rows(np.flatnonzero(np.isfinite(topology.coords).all(axis=1)).astype(np.int32))
    return Model(cloud, topology.faces, unit=known_unit(fit.unit), up=find_up(known))


def standard_parts(topology: Topology) -> ByteArray:
    """(V,) parts as all PLY files number them: face, head and neck, eyes, inside of the mouth."""
    numbers = np.ones(len(topology.part_names), np.uint8)
    for index, name in enumerate(topology.part_names):
        words = set(name.split("_"))
        for number, known in enumerate((_FACE, (), _EYES, _MOUTH)):
            numbers[index] = number if words & set(known) else numbers[index]
    return np.asarray(numbers[topology.parts])


def _placed(fit: Fit, model: Model, options: OutputOptions) -> Model:
    if options.unit is not None and model.unit is None:
        raise ValueError(f"the unit of the {fit.model.name} fit is not known: --unit cannot change")
    return placed(model, options.up, options.unit)


def _write_mesh(path: Path, model: Model, fit: Fit) -> list[Path]:
    """``path.ply`` and ``path.obj``."""
    topology, cloud = fit.model.topology, model.vertices
    files = [path.with_name(f"{path.name}.ply"), path.with_name(f"{path.name}.obj")]
    with replacing(files[0]) as stream:
        write_ply(stream, cloud, topology.faces, model.unit, {"part": standard_parts(topology)})
    uv = (topology.uv, topology.face_uv) if topology.is_textured else (None, None)
    mesh = ObjMesh(cloud.points, topology.faces, uv[0], uv[1], cloud.normals)
    known = f"headmvs, unit {model.unit or 'unknown'}, up {model.up or 'unknown'}"
    with replacing(files[1]) as stream:
        write_obj(stream, mesh, comment=known)
    return files


def _write_overlays(
    fit: Fit, output: Path, options: OutputOptions, pictures: Pictures
) -> list[Path]:
    if len(fit.expressions) > 1:
        return write_video(output, _overlays(fit, pictures), options.rate)
    files = []
    stems = Counter(str(Path(name).with_suffix("")) for name in fit.names[0])
    for name, drawn in _overlays(fit, pictures):
        stem = str(Path(name).with_suffix(""))
        # Two pictures may differ in their ending alone.
        files.append(output / "overlay" / f"{stem if stems[stem] == 1 else name}.png")
        write_picture(files[-1], drawn)
    return files


def _overlays(fit: Fit, pictures: Pictures) -> Iterator[tuple[str, ByteArray]]:
    """Of a video one a frame, of the first view."""
    is_video = len(fit.expressions) > 1
    for t, names in enumerate(fit.names):
        for view, name in enumerate(names[:1] if is_video else names):
            yield name, draw_fit(fit, t, view, pictures(t, view))
