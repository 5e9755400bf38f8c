"""Labels written as files: pictures, meshes, and what the labels are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.files import replacing, write_json
from calib.lens import distortion_map
from mvs.canonical.draw import write_picture
from mvs.canonical.meshes import CubeMesh
from mvs.canonical.pictures import MappedPicture
from mvs.canonical.segmentation import (
    SegmentOptions,
    overlay,
    segment_picture,
    segment_vertices,
)
from mvs.canonical.segments import Regions
from mvs.types import ByteArray


def write_picture_labels(
    picture: MappedPicture, regions: Regions, folder: Path, options: SegmentOptions
) -> None:
    """Write ``<name>.labels.png`` and ``<name>.overlay.png`` in the picture's pixels as taken."""
    labels = segment_picture(picture.cube_map, picture.image.shape, regions, options)
    image = picture.image
    if picture.view is not None and not picture.view.camera.is_pinhole:
        labels = _distorted(labels, picture)
        image = picture.view.load_image()
    write_picture(folder / f"{picture.name}.labels.png", labels)
    drawn = overlay(image, labels, regions, options.opacity)
    write_picture(folder / f"{picture.name}.overlay.png", drawn)


def write_mesh_labels(
    mesh: CubeMesh, regions: Regions, folder: Path, options: SegmentOptions
) -> None:
    """Write ``labels.npz`` (``labels``, one per vertex) and ``labels.ply``, coloured by them."""
    labels = segment_vertices(mesh.coords, mesh.faces, regions, options)
    with replacing(folder / "labels.npz") as stream:
        np.savez_compressed(stream, labels=labels)
    mesh.write(folder / "labels.ply", regions.colors[labels], label=labels)


def write_labels(regions: Regions, folder: Path) -> None:
    """Write ``labels.json``: number, name and colour of each label."""
    rows = zip(regions.names, regions.colors.tolist(), strict=True)
    labels = [{"label": k, "name": name, "color": color} for k, (name, color) in enumerate(rows)]
    write_json(folder / "labels.json", {"labels": labels})


def _distorted(labels: ByteArray, picture: MappedPicture) -> ByteArray:
    """Labels of the undistorted picture at the pixels as taken."""
    if picture.view is None:
        return labels
    mapping = distortion_map(picture.view.camera)
    height, width = labels.shape
    inside = np.asarray(((mapping >= 0) & (mapping < [width, height])).all(axis=2))
    column, row = np.where(inside[..., None], mapping, 0).astype(np.int64).transpose(2, 0, 1)
    return np.where(inside, labels[row, column], 0).astype(np.uint8)
