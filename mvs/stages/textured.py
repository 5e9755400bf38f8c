"""Textured meshes on disk, in this project's own files, and what ``mvs export`` starts from."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.capture import Capture, CaptureError
from calib.files import replacing
from calib.image_files import read_picture
from mvs.stages.export import suited, write_model
from mvs.stages.model import Model, Texture, Unit, encode_picture, known_unit
from mvs.stages.ply import read_ply
from mvs.stages.texture import TextureOptions, texture
from mvs.types import Mesh

TEXTURED = "textured.ply"
_SOURCES = (TEXTURED, "mesh.ply", "cloud.ply", "points.ply")


@dataclass(frozen=True)
class Textured:
    """What ``texture_capture`` did.

    Attributes:
        files: written.
        warnings: what a user should know, one line each.
    """

    files: tuple[Path, ...]
    warnings: tuple[str, ...]


def texture_capture(
    capture: Capture,
    mesh: Path,
    output: Path,
    options: TextureOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> Textured:
    """Colour the mesh of a run with the pictures of its capture.

    Args:
        capture: views with cameras.
        mesh: ``mesh.ply`` of the run, or the run's folder.
        output: gets ``textured.ply``, ``.npz`` and ``.png`` (see ``write_textured``), and
            ``textured.glb``.
        options: see ``TextureOptions``.
        progress: called once per view, and at the end.

    Raises:
        CaptureError: if a picture or the mesh cannot be read.
        ValueError: if no view sees the mesh.
        ReconstructionError: if the mesh cannot be laid flat.
    """
    path = mesh / "mesh.ply" if mesh.is_dir() else mesh
    source = read_model(path)
    if source.faces is None:
        raise CaptureError(path, "is a cloud, it holds no faces", "name the mesh")
    step = progress or (lambda: None)
    views = []
    for view in capture.views:
        views.append(view.load_pinhole())
        step()
    surface, picture = texture(Mesh(source.vertices, source.faces), views, options)
    unit = known_unit(capture.unit) or source.unit
    model = Model(surface.vertices, surface.faces, picture, unit)
    glb = output / "textured.glb"
    turned, warnings = suited(model, glb)
    files = [*write_textured(output / TEXTURED, model), *write_model(turned, glb)]
    step()
    return Textured(tuple(files), tuple(warnings))


def write_textured(path: Path, model: Model) -> list[Path]:
    """Write a textured mesh so that ``read_model`` reads it without loss.

    Args:
        path: a ``.ply`` file; beside it come ``.npz`` (``uv``, ``uv_faces``, ``unit``)
            and ``.png``, and with a normal map ``_normal.png``.
        model: with a texture.

    Returns:
        The files written.

    Raises:
        ValueError: if there is no texture.
    """
    if model.texture is None:
        raise ValueError(f"{path}: the mesh has no texture")
    # Written last: killed halfway, there is no textured mesh and not a mix of two.
    path.unlink(missing_ok=True)
    picture, atlas = path.with_suffix(".png"), path.with_suffix(".npz")
    with replacing(picture) as stream:
        stream.write(encode_picture(model.texture.color, "png"))
    normal = _normal_path(path)
    files = [picture, atlas]
    if model.texture.normal is None:
        normal.unlink(missing_ok=True)
    else:
        files.append(normal)
        with replacing(normal) as stream:
            stream.write(encode_picture(model.texture.normal, "png"))
    with replacing(atlas) as stream:
        np.savez_compressed(
            stream,
            uv=model.texture.uv,
            uv_faces=model.texture.uv_faces,
            unit=np.array(model.unit or ""),
        )
    return [*files, *write_model(model, path)]


def _normal_path(path: Path) -> Path:
    """Where the normal map of a textured mesh lies."""
    return path.with_name(f"{path.stem}_normal.png")


def read_model(source: Path) -> Model:
    """Read what a run wrote.

    Args:
        source: a ``.ply`` file, or the folder of a run, whose textured mesh comes before its mesh
            and that before its cloud.

    Returns:
        The model; its unit is the capture's, where the run or the texture noted it.

    Raises:
        CaptureError: if there is no such file, or it is damaged.
    """
    path = _find(source)
    try:
        vertices, faces = read_ply(path)
        texture, unit = _read_texture(path) if faces is not None else (None, None)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise CaptureError(path, reason, "give a .ply file that mvs wrote") from None
    if faces is not None and texture is not None and texture.uv_faces.shape != faces.shape:
        raise CaptureError(
            path.with_suffix(".npz"), "is of another mesh", "run mvs texture again, or remove it"
        )
    return Model(vertices, faces, texture, unit or noted_unit(path.parent))


def _find(source: Path) -> Path:
    if source.is_dir():
        for name in _SOURCES:
            if (source / name).is_file():
                return source / name
        raise CaptureError(source, f"holds none of {', '.join(_SOURCES)}", "name the .ply file")
    if not source.is_file():
        raise CaptureError(source, "no such file or folder", "name a run's folder or a .ply file")
    return source


def _read_texture(path: Path) -> tuple[Texture | None, Unit | None]:
    atlas, picture = path.with_suffix(".npz"), path.with_suffix(".png")
    if not (atlas.is_file() and picture.is_file()):
        return None, None
    try:
        with np.load(atlas, allow_pickle=False) as data:
            uv, uv_faces, unit = data["uv"], data["uv_faces"], str(data["unit"])
    except (KeyError, OSError, EOFError, ValueError, zipfile.BadZipFile):
        raise ValueError(f"{atlas.name} beside it holds no atlas") from None
    normal = _normal_path(path)
    bumps = read_picture(normal)[0] if normal.is_file() else None
    return Texture(uv, uv_faces, read_picture(picture)[0], bumps), known_unit(unit)


def noted_unit(folder: Path) -> Unit | None:
    """The unit that a run's ``run.json`` notes; None where there is none that can be read."""
    try:
        return known_unit(json.loads((folder / "run.json").read_text(encoding="utf-8")).get("unit"))
    except (OSError, ValueError, AttributeError):
        return None
