"""What the commands about landmarks write: one set of files for pictures, captures and meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from calib.files import write_json
from mvs.canonical.draw import write_picture
from mvs.canonical.landmarks import Landmarks2d, find_layout
from mvs.canonical.landmarks3d import Landmarks3d, find_landmarks_3d
from mvs.canonical.layouts import Layout
from mvs.canonical.mark_files import (
    PICTURE_HEADER,
    draw_landmarks,
    layout_document,
    picture_document,
    picture_rows,
    round_list,
    write_pts,
    write_table,
)
from mvs.canonical.mesh_places import MeshPlaces
from mvs.canonical.pictures import MappedPicture
from mvs.types import DoubleArray

_DIGITS = 6


@dataclass(frozen=True)
class MarkFiles:
    """What is written where.

    Attributes:
        output: folder, which exists.
        formats: of json, csv and pts.
        overlay: whether to draw on the pictures too.
        name: of the files of all pictures together.
    """

    output: Path
    formats: tuple[str, ...] = ("json", "csv")
    overlay: bool = False
    name: str = "landmarks"


def mark_pictures(
    pictures: Sequence[MappedPicture], layout: Layout
) -> tuple[tuple[Landmarks2d, ...], Landmarks3d | None]:
    """A layout's places in pictures, and in space where they are calibrated views.

    Args:
        pictures: with cube maps.
        layout: what is asked for.

    Raises:
        ReconstructionError: if the views of a capture see too little together.
    """
    cameras = [picture.camera for picture in pictures if picture.camera is not None]
    maps = [picture.cube_map for picture in pictures]
    if not pictures or len(cameras) < len(pictures):
        return tuple(find_layout(cube_map, layout) for cube_map in maps), None
    space = find_landmarks_3d(maps, cameras, layout)
    return space.views, space


def write_marks(
    files: MarkFiles,
    layout: Layout,
    pictures: Sequence[MappedPicture],
    marks: tuple[Sequence[Landmarks2d], Landmarks3d | None],
    unit: str | None = None,
) -> None:
    """Write landmarks of pictures, in their own pixels: of a picture by itself, as EXIF turns it.

    Writes NAME.json, NAME.csv, NAME_space.csv for a capture, ``pts/<picture>.pts`` and
    ``overlay/<picture>.png``.

    Args:
        files: what to write where.
        layout: whose places were found.
        pictures: in which.
        marks: of ``mark_pictures``.
        unit: of the capture's world, None where nobody said.
    """
    found = [_as_taken(p, marks_in) for p, marks_in in zip(pictures, marks[0], strict=True)]
    space, output = marks[1], files.output
    if "json" in files.formats:
        document = layout_document(layout)
        rows = zip(pictures, found, strict=True)
        document["pictures"] = {p.name: picture_document(f) for p, f in rows}
        if space is not None:
            document["space"] = _space_document(space, unit)
        write_json(output / f"{files.name}.json", document, indent=None)
    if "csv" in files.formats:
        per_picture = [
            picture_rows(p.name, layout, f) for p, f in zip(pictures, found, strict=True)
        ]
        rows_of_all = [row for part in per_picture for row in part]
        write_table(output / f"{files.name}.csv", PICTURE_HEADER, rows_of_all)
        if space is not None:
            _write_space_table(output / f"{files.name}_space.csv", layout, space)
    stems = _stems([picture.name for picture in pictures])
    for picture, stem, marks_in in zip(pictures, stems, found, strict=True):
        if "pts" in files.formats:
            path = output / "pts" / f"{stem}.pts"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_pts(path, marks_in.pixels)
        if files.overlay:
            path = output / "overlay" / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = picture.image if picture.view is None else picture.view.load_image()
            drawn = draw_landmarks(image, marks_in.pixels, marks_in.visible, layout.inside)
            write_picture(path, drawn)


def _stems(names: Sequence[str]) -> list[str]:
    """What pictures' own files are called: their names, without the ending where that will do."""
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    return [s if stems.count(s) == 1 else n for s, n in zip(stems, names, strict=True)]


def write_mesh_marks(files: MarkFiles, layout: Layout, found: MeshPlaces) -> None:
    """Write landmarks of a mesh as NAME.json and NAME.csv."""
    if "json" in files.formats:
        document = layout_document(layout)
        document["mesh"] = {
            "xyz": round_list(found.points),
            "normals": round_list(found.normals),
            "confidence": round_list(found.confidence, 4),
            "cube_distance": round_list(found.distance),
        }
        write_json(files.output / f"{files.name}.json", document, indent=None)
    if "csv" in files.formats:
        header = [
            "name",
            "u",
            "v",
            "w",
            "x",
            "y",
            "z",
            "nx",
            "ny",
            "nz",
            "confidence",
            "cube_distance",
            "inside",
        ]
        columns = (
            layout.positions,
            found.points,
            found.normals,
            found.confidence[:, None],
            found.distance[:, None],
        )
        table = np.round(np.column_stack(columns).astype(np.float64), _DIGITS)
        rows = [
            [name, *row.tolist(), int(inside)]
            for name, row, inside in zip(layout.names, table, layout.inside, strict=True)
        ]
        write_table(files.output / f"{files.name}.csv", header, rows)


def taken_to_pinhole(picture: MappedPicture, pixels: DoubleArray) -> DoubleArray:
    """Pixels (N, 2) of the picture as it was taken, in ``picture.image``."""
    if picture.view is None or picture.camera is None or picture.view.camera.is_pinhole:
        return pixels
    rays = picture.view.camera.unproject(pixels)
    return np.asarray(picture.camera.project(picture.camera.center + rays)[0])


def _as_taken(picture: MappedPicture, found: Landmarks2d) -> Landmarks2d:
    pixels = found.pixels.copy()
    known = np.isfinite(pixels).all(axis=1)
    pixels[known] = picture.pixels_as_taken(pixels[known])
    return replace(found, pixels=pixels)


def _space_document(space: Landmarks3d, unit: str | None) -> dict[str, Any]:
    return {
        "unit": unit,
        "xyz": round_list(space.points, 7),
        "confidence": round_list(space.confidence, 4),
        "n_views": space.n_views.tolist(),
        "error_px": round_list(space.error_px, 3),
    }


def _write_space_table(path: Path, layout: Layout, space: Landmarks3d) -> None:
    header = ["name", "u", "v", "w", "x", "y", "z", "confidence", "n_views", "error_px", "inside"]
    rows = []
    for k, name in enumerate(layout.names):
        place = np.round(layout.positions[k].astype(float), 6).tolist()
        figures = [round(float(space.confidence[k]), 4), int(space.n_views[k])]
        error = round(float(space.error_px[k]), 3)
        point = np.round(space.points[k], 7).tolist()
        rows.append([name, *place, *point, *figures, error, int(layout.inside[k])])
    write_table(path, header, rows)
