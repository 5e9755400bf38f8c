"""Depths for other programs: NPZ files, and COLMAP's dense workspace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import Capture, View
from calib.colmap import write_model
from calib.files import replacing
from calib.write import undistort_capture
from mvs.kernels.raster import rasterise, vertex_normals
from mvs.stages.export import write_visibility
from mvs.stages.ply import write_colored_points
from mvs.types import DoubleArray, FloatArray, Mesh, PointCloud


@dataclass(frozen=True)
class ViewDepth:
    """A surface as a view sees it.

    Attributes:
        depth: (H, W) float32 camera z, 0 where there is no surface.
        normals: (H, W, 3) float32 unit normals in the camera's frame, 0 where there is none.
    """

    depth: FloatArray
    normals: FloatArray


def view_depth(mesh: Mesh, camera: Camera) -> ViewDepth:
    """Depth and normals of a mesh in a view.

    Args:
        mesh: in the frame of the cameras.
        camera: a pinhole camera.
    """
    points = mesh.vertices.points
    pixels, z = camera.project(points)
    size = camera.height, camera.width
    found = rasterise(np.nan_to_num(pixels, nan=-1e6), z, mesh.faces, size)
    shown = found.face >= 0
    normals = vertex_normals(points - points.mean(axis=0), mesh.faces) @ camera.rotation.T
    corners = normals[mesh.faces[found.face[shown]]]
    blended = np.einsum("nk,nkc->nc", found.barycentric[shown], corners)
    blended /= np.maximum(np.linalg.norm(blended, axis=1, keepdims=True), 1e-12)
    out = np.zeros((*size, 3), np.float32)
    out[shown] = blended
    return ViewDepth(np.where(shown, found.depth, 0).astype(np.float32), out)


def write_depths(
    folder: Path,
    mesh: Mesh,
    views: Sequence[View],
    progress: Callable[[], None] | None = None,
) -> list[Path]:
    """Write the mesh's depth and normals in every view.

    Args:
        folder: gets ``<image name>.npz`` with ``depth``, ``normals`` (see ``ViewDepth``), ``K``
            (3, 3) and ``cam_from_world`` (3, 4), of the undistorted picture.
        mesh: in the frame of the cameras.
        views: as calibrated.
        progress: called once per view.

    Returns:
        The files written.
    """
    files = []
    for view in views:
        camera = view.camera.as_pinhole()
        found = view_depth(mesh, camera)
        path = folder / f"{view.name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            np.savez_compressed(
                stream,
                depth=found.depth,
                normals=found.normals,
                K=camera.K,
                cam_from_world=camera.cam_from_world,
            )
        files.append(path)
        if progress is not None:
            progress()
    return files


def write_workspace(
    folder: Path,
    capture: Capture,
    mesh: Mesh,
    cloud: PointCloud,
    progress: Callable[[], None] | None = None,
) -> list[Path]:
    """Write a dense workspace from which COLMAP and OpenMVS go on.

    ``images/`` without distortion, ``sparse/``, depth and normal maps of the mesh under
    ``stereo/`` with the lists of pictures that ``patch_match_stereo`` and ``stereo_fusion`` read,
    and ``fused.ply`` with ``fused.ply.vis`` for COLMAP's meshers: the cloud, each point with the
    views that see it by the depth maps.

    Args:
        folder: made where absent; holds no capture yet.
        capture: as calibrated.
        mesh: in the frame of the cameras.
        cloud: likewise.
        progress: called twice per view.

    Returns:
        The main files written.

    Raises:
        CaptureError: if a picture cannot be read or the folder holds a capture.
    """
    flat = undistort_capture(folder, capture, progress)
    names, cameras = [v.name for v in flat.views], [v.camera for v in flat.views]
    stereo = folder / "stereo"
    (stereo / "consistency_graphs").mkdir(parents=True, exist_ok=True)
    words = np.zeros((len(cloud), -(-len(cameras) // 64)), np.uint64)
    for index, (name, camera) in enumerate(zip(names, cameras, strict=True)):
        found = view_depth(mesh, camera)
        for kind, values in (("depth_maps", found.depth), ("normal_maps", found.normals)):
            # What stereo fusion and OpenMVS look for first.
            write_map(stereo / kind / f"{name}.geometric.bin", values)
        words[:, index // 64] |= _sees(cloud, camera, found).astype(np.uint64) << np.uint64(
            index % 64
        )
        if progress is not None:
            progress()
    _write_text(stereo / "fusion.cfg", "".join(f"{name}\n" for name in names))
    _write_text(stereo / "patch-match.cfg", "".join(f"{n}\n__auto__, 20\n" for n in names))
    ids, seen = [v.point_ids for v in flat.views], [v.observed for v in flat.views]
    write_model(folder / "sparse", names, cameras, capture.points, ids, seen)
    fused, visibility = folder / "fused.ply", folder / "fused.ply.vis"
    with replacing(fused) as stream:
        write_colored_points(stream, cloud)
    write_visibility(words, visibility)
    return [folder / "sparse", stereo, fused, visibility]


def write_map(path: Path, values: npt.NDArray[np.floating]) -> None:
    """Write a map as COLMAP does: "width&height&channels&", then float32 plane by plane.

    Args:
        path: the file; its folder is made.
        values: (H, W) or (H, W, C).
    """
    planes = np.moveaxis(np.atleast_3d(values), 2, 0)
    channels, height, width = planes.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(f"{width}&{height}&{channels}&".encode())
        stream.write(np.ascontiguousarray(planes, "<f4").tobytes())


def read_map(path: Path) -> FloatArray:
    """Read what ``write_map`` or COLMAP wrote: (H, W) or, of several channels, (H, W, C) float32.

    Raises:
        ValueError: if the file is no such map.
    """
    data = path.read_bytes()
    head = data[:64].split(b"&", 3)
    if len(head) < 4 or not all(word.isdigit() for word in head[:3]):
        raise ValueError(f"{path}: not one of COLMAP's maps: no width&height&channels& in front")
    width, height, channels = (int(word) for word in head[:3])
    start = sum(len(word) + 1 for word in head[:3])
    if len(data) != start + 4 * width * height * channels:
        raise ValueError(f"{path}: {len(data)} bytes, not those of a {width} x {height} map")
    planes = np.frombuffer(data, "<f4", offset=start).reshape(channels, height, width)
    return np.ascontiguousarray(planes[0] if channels == 1 else np.moveaxis(planes, 0, 2))


def _sees(cloud: PointCloud, camera: Camera, found: ViewDepth) -> npt.NDArray[np.bool_]:
    """(N,) points that the depth map shows, to a few pixels' widths."""
    pixels, z = camera.project(cloud.points)
    place: DoubleArray = np.nan_to_num(pixels, nan=-1.0)
    column, row = np.floor(place).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    inside &= z > 0
    depth = np.zeros(len(cloud))
    depth[inside] = found.depth[row[inside], column[inside]]
    slack = 4.0 * z / camera.K[0, 0]
    return np.asarray(inside & (depth > 0) & (z <= depth + slack))


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as stream:
        stream.write(text.encode())
