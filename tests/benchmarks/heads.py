"""Exact cube maps of a synthetic capture with ground truth, by casting rays at its mesh.

    python -m tests.benchmarks.heads CAPTURE OUTPUT    writes OUTPUT/<image name>.npz

The capture holds a COLMAP model in sparse/0, gt/mesh.ply with u v w at its vertices, and
gt/torso.ply, which hides the mesh. ``tests.shared`` says where the captures of the benchmarks are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.camera import Camera
from mvs.types import CubeMap
from tests.shared import HEADS


@dataclass(frozen=True)
class Truth:
    """The mesh: vertices (V, 3), cube coordinates (V, 3), faces (F, 3)."""

    vertices: np.ndarray
    coords: np.ndarray
    faces: np.ndarray


def heads_folder() -> Path | None:
    """Where the captures are, None if they are absent."""
    return HEADS if HEADS.is_dir() else None


def read_truth(path: Path) -> Truth:
    """Read a mesh; without u v w the coordinates are zero."""
    from plyfile import PlyData

    data = PlyData.read(str(path))
    vertex = data["vertex"].data
    vertices = np.column_stack([vertex[name] for name in "xyz"]).astype(np.float64)
    coords = np.zeros_like(vertices)
    if "u" in vertex.dtype.names:
        coords = np.column_stack([vertex[name] for name in "uvw"]).astype(np.float64)
    faces = np.stack(list(data["face"].data["vertex_indices"])).astype(np.uint32)
    return Truth(vertices, coords, faces)


def read_views(capture: Path):
    """Names, pinhole cameras and unit rays (H, W, 3) of every pixel in camera frame, by name."""
    import pycolmap

    model = pycolmap.Reconstruction(str(capture / "sparse" / "0"))
    views = []
    for image in sorted(model.images.values(), key=lambda image: image.name):
        camera = model.cameras[image.camera_id]
        K = camera.calibration_matrix()
        params = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
        pose = np.asarray(image.cam_from_world().matrix(), np.float64)
        y, x = np.mgrid[: camera.height, : camera.width] + 0.5
        plane = camera.cam_from_img(np.column_stack([x.ravel(), y.ravel()]))
        rays = np.column_stack([plane[:, :2], np.ones(len(plane))])
        pinhole = Camera("PINHOLE", camera.width, camera.height, params, pose)
        views.append((image.name, pinhole, rays.reshape(camera.height, camera.width, 3)))
    return views


def cast_cube_maps(capture: Path):
    """Names, cameras and exact cube maps of a capture, in the pictures' own pixels."""
    import open3d

    truth = read_truth(capture / "gt" / "mesh.ply")
    scene = open3d.t.geometry.RaycastingScene(nthreads=2)
    for mesh in (truth, read_truth(capture / "gt" / "torso.ply")):
        scene.add_triangles(
            open3d.core.Tensor(mesh.vertices.astype(np.float32)), open3d.core.Tensor(mesh.faces)
        )
    names, cameras, maps = [], [], []
    for name, camera, local_rays in read_views(capture):
        rays = local_rays @ camera.rotation
        origin = np.broadcast_to(camera.center, rays.shape)
        six = np.concatenate([origin, rays], axis=-1).astype(np.float32)
        hits = scene.cast_rays(open3d.core.Tensor(six), nthreads=2)
        mask = hits["geometry_ids"].numpy() == 0
        faces = np.where(mask, hits["primitive_ids"].numpy(), 0)
        coords = np.zeros(rays.shape, np.float32)
        coords[mask] = _interpolate(truth, faces[mask], camera.center, rays[mask])
        identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        maps.append(CubeMap(coords, mask.astype(np.float32), mask, identity))
        names.append(name)
        cameras.append(camera)
    return names, cameras, maps


def _interpolate(truth: Truth, faces, center, rays) -> np.ndarray:
    """Cube coordinates where rays meet the planes of their faces, in double precision."""
    a, b, c = (truth.vertices[truth.faces[faces, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    along = ((a - center) * normal).sum(axis=1) / (rays * normal).sum(axis=1)
    points = center + along[:, None] * rays
    square = (normal**2).sum(axis=1)
    second = (np.cross(points - a, c - a) * normal).sum(axis=1) / square
    third = (np.cross(b - a, points - a) * normal).sum(axis=1) / square
    weights = np.column_stack([1.0 - second - third, second, third])
    return np.einsum("nk,nkc->nc", weights, truth.coords[truth.faces[faces]])


def seen_surface(capture: Path, views, n_points: int = 150_000) -> np.ndarray:
    """Points spread evenly over the surface that at least two views see."""
    truth = read_truth(capture / "gt" / "mesh.ply")
    generator = np.random.default_rng(0)
    corners = truth.vertices[truth.faces]
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    picked = corners[generator.choice(len(area), 3 * n_points, p=area / area.sum())]
    share = np.sqrt(generator.uniform(size=len(picked)))[:, None]
    other = generator.uniform(size=len(picked))[:, None]
    points = picked[:, 0] * (1 - share) + share * (
        picked[:, 1] * (1 - other) + picked[:, 2] * other
    )
    seen = np.zeros(len(points), int)
    for name, camera in views:
        depth = np.load(capture / "gt" / "depth" / f"{Path(name).stem}.npz")["depth"]
        pixels, z = camera.project(points)
        size = np.array([camera.width, camera.height])
        x, y = np.clip(np.floor(np.nan_to_num(pixels)), 0, size - 1).astype(int).T
        there = depth[y, x]
        inside = ((pixels >= 0) & (pixels < size)).all(axis=1)
        seen += inside & (there > 0) & (np.abs(z - there) < 0.001)
    return points[seen >= 2]


def main() -> None:
    """Write a capture's exact maps as the precomputed embedder reads them."""
    capture, output = Path(sys.argv[1]), Path(sys.argv[2])
    names, _, maps = cast_cube_maps(capture)
    for name, cube_map in zip(names, maps, strict=True):
        path = output / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path, coords=cube_map.coords, confidence=cube_map.confidence, mask=cube_map.mask
        )
        print(path)


if __name__ == "__main__":
    main()
