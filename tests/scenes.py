"""Exact synthetic scenes: a bumpy head-like ellipsoid, seen by cameras on an arc.

The surface is the ellipsoid pushed outwards by smooth bumps along its radius; rays meet it by
Newton's method to 1e-13 of its size, so that cube maps, masks, depths and pictures are exact. The
cube is the scene's own: coords = 0.5 + (point in the head's frame) * scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from calib.camera import Camera
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, IntArray

# No head reaches further from its origin, metres.
_REACH = 0.16
IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class HeadShape:
    """A star-shaped surface: radius(direction) of an ellipsoid times 1 + bumps.

    Attributes:
        axes: half axes along x (to the left), y (up) and z (forward), in metres.
        bumps: (B, 5) direction x, y, z, height (share of the radius), sharpness.
    """

    axes: tuple[float, float, float] = (0.075, 0.11, 0.095)
    bumps: tuple[tuple[float, float, float, float, float], ...] = (
        (0.0, -0.1, 1.0, 0.16, 40.0),  # nose
        (0.35, 0.25, 0.9, -0.05, 30.0),  # eye sockets
        (-0.35, 0.25, 0.9, -0.05, 30.0),
        (0.0, -0.75, 0.66, 0.07, 20.0),  # chin
        (1.0, 0.0, 0.0, 0.08, 60.0),  # ears
        (-1.0, 0.0, 0.0, 0.08, 60.0),
    )

    def level(self, points: DoubleArray) -> DoubleArray:
        """Zero on the surface, positive outside: |p / axes| / (1 + bumps) - 1."""
        scaled = points / np.array(self.axes)
        radius = np.linalg.norm(scaled, axis=-1)
        return radius / (1.0 + self._bump(points)) - 1.0

    def bounds(self, start: DoubleArray, rays: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """How far along rays (N, 3) it can begin and end; NaN where they pass it by."""
        axes = np.array(self.axes) * (1.0 + sum(max(bump[3], 0.0) for bump in self.bumps))
        start, rays = start / axes, rays / axes
        square, middle = (rays * rays).sum(axis=1), rays @ start
        with np.errstate(invalid="ignore"):
            half = np.sqrt(middle**2 - square * (start @ start - 1.0))
        return (-middle - half) / square, (-middle + half) / square

    def gradient(self, points: DoubleArray) -> DoubleArray:
        """Gradient of ``level``, analytically."""
        axes = np.array(self.axes)
        scaled = points / axes
        radius = np.linalg.norm(scaled, axis=-1, keepdims=True)
        stretch = 1.0 + self._bump(points)[..., None]
        slope = scaled / axes / radius / stretch
        return slope - radius / stretch**2 * self._bump_gradient(points)

    def _bump(self, points: DoubleArray) -> DoubleArray:
        length = np.linalg.norm(points, axis=-1)
        total = np.zeros(points.shape[:-1])
        for x, y, z, height, sharpness in self.bumps:
            axis = np.array([x, y, z]) / np.linalg.norm([x, y, z])
            total += height * np.exp(sharpness * (points @ axis / length - 1.0))
        return total

    def _bump_gradient(self, points: DoubleArray) -> DoubleArray:
        length = np.linalg.norm(points, axis=-1, keepdims=True)
        total = np.zeros(points.shape)
        for x, y, z, height, sharpness in self.bumps:
            axis = np.array([x, y, z]) / np.linalg.norm([x, y, z])
            cosine = (points @ axis)[..., None] / length
            value = height * np.exp(sharpness * (cosine - 1.0))
            total += value * sharpness * (axis / length - cosine * points / length**2)
        return total


@dataclass(frozen=True)
class Scene:
    """A head with cameras around it, and everything that can be known of it.

    Attributes:
        shape: the surface, in its own frame.
        world_from_head: (4, 4) float64 rigid motion.
        cameras: pinhole cameras.
        names: image names.
        cube_maps: exact maps at the pictures' resolution.
        images: (H, W, 3) uint8 pictures.
        depths: (H, W) float64 depth along the camera's z, NaN where there is no head.
        center: (3,) float64 centre of the head, world.
        size: radius of a sphere around the head.
        cube_scale: cube units per metre.
    """

    shape: HeadShape
    world_from_head: DoubleArray
    cameras: tuple[Camera, ...]
    names: tuple[str, ...]
    cube_maps: tuple[CubeMap, ...]
    images: tuple[ByteArray, ...]
    depths: tuple[DoubleArray, ...]
    center: DoubleArray
    size: float
    cube_scale: float

    def head_from_world(self, points: DoubleArray) -> DoubleArray:
        """Points (N, 3) in the head's frame."""
        return (points - self.world_from_head[:3, 3]) @ self.world_from_head[:3, :3]

    def distance(self, points: DoubleArray) -> DoubleArray:
        """Distance (N,) from world points to the surface, to first order."""
        local = self.head_from_world(points)
        gradient = np.linalg.norm(self.shape.gradient(local), axis=-1)
        return np.abs(self.shape.level(local)) / gradient

    def normals(self, points: DoubleArray) -> DoubleArray:
        """Outward unit normals (N, 3) at world points on the surface."""
        gradient = self.shape.gradient(self.head_from_world(points))
        gradient /= np.linalg.norm(gradient, axis=-1, keepdims=True)
        return gradient @ self.world_from_head[:3, :3].T

    def coords(self, points: DoubleArray) -> DoubleArray:
        """Cube coordinates (N, 3) of world points."""
        return 0.5 + self.head_from_world(points) * self.cube_scale

    def surface_points(self, view: int) -> DoubleArray:
        """World points (M, 3) that a view's pixel centres see."""
        ys, xs = np.nonzero(self.cube_maps[view].mask)
        pixels = np.column_stack([xs, ys]) + 0.5
        camera = self.cameras[view]
        rays = camera.unproject(pixels)
        along = self.depths[view][ys, xs] / (rays @ camera.rotation[2])
        return camera.center + along[:, None] * rays


def make_scene(
    n_views: int = 6,
    size: int = 128,
    arc_deg: float = 80.0,
    shape: HeadShape | None = None,
    motion: DoubleArray | None = None,
    lens: tuple[str, tuple[float, ...]] = ("PINHOLE", ()),
    shift: tuple[float, float] = (3.0, -2.0),
) -> Scene:
    """Render a scene.

    Args:
        n_views: cameras on the arc.
        size: width and height of the pictures.
        arc_deg: angle between the first and the last camera.
        shape: the head.
        motion: (4, 4) rigid motion of the whole scene, cameras and all.
        lens: COLMAP's model with two focal lengths, and its parameters of distortion.
        shift: of the principal point from the picture's middle, pixels.

    Returns:
        The scene; pictures and maps are in the distorted pixels.
    """
    shape = shape or HeadShape()
    motion = np.eye(4) if motion is None else motion
    cube_scale = 3.5
    cameras, maps, images, depths = [], [], [], []
    for azimuth, elevation in _arc(n_views, arc_deg):
        pose = _look_at(azimuth, elevation)
        linear = [2.6 * size, 2.6 * size, size / 2 + shift[0], size / 2 + shift[1]]
        camera = Camera(lens[0], size, size, np.array([*linear, *lens[1]]), pose)
        for seen, into in zip(_see(shape, camera, cube_scale), (maps, images, depths), strict=True):
            into.append(seen)
        moved = (np.vstack([pose, [0, 0, 0, 1]]) @ np.linalg.inv(motion))[:3]
        cameras.append(camera.with_pose(moved))
    names = tuple(f"view_{index:02d}.png" for index in range(n_views))
    radius = max(shape.axes) * 1.2
    return Scene(
        shape,
        motion,
        tuple(cameras),
        names,
        tuple(maps),
        tuple(images),
        tuple(depths),
        motion[:3, 3].copy(),
        radius,
        cube_scale,
    )


def move_head(scene: Scene, motion: DoubleArray) -> Scene:
    """The head moved before cameras that stay: ``motion`` is (4, 4), rigid, in the head's frame."""
    world_from_head = scene.world_from_head @ motion
    seen = [
        _see(
            scene.shape, camera.with_pose(camera.cam_from_world @ world_from_head), scene.cube_scale
        )
        for camera in scene.cameras
    ]
    maps, images, depths = zip(*seen, strict=True)
    return replace(
        scene,
        world_from_head=world_from_head,
        cube_maps=maps,
        images=images,
        depths=depths,
        center=world_from_head[:3, 3].copy(),
    )


def write_capture(scene: Scene, folder: Path) -> None:
    """Write a scene as a COLMAP capture: images/, masks/ and a text model in sparse/0."""
    import cv2

    for name in ("images", "masks", "sparse/0"):
        (folder / name).mkdir(parents=True)
    cameras, poses = [], []
    for index, (camera, name) in enumerate(zip(scene.cameras, scene.names, strict=True), 1):
        image, mask = scene.images[index - 1], scene.cube_maps[index - 1].mask
        cv2.imwrite(str(folder / "images" / name), image[..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask.astype(np.uint8) * 255)
        params = " ".join(f"{value:.17g}" for value in camera.params)
        cameras.append(f"{index} {camera.model} {camera.width} {camera.height} {params}\n")
        pose = " ".join(f"{value:.17g}" for value in _quaternion(camera.rotation))
        shift = " ".join(f"{value:.17g}" for value in camera.translation)
        poses.append(f"{index} {pose} {shift} {index} {name}\n\n")
    (folder / "sparse/0/cameras.txt").write_text("".join(cameras))
    (folder / "sparse/0/images.txt").write_text("".join(poses))
    (folder / "sparse/0/points3D.txt").write_text("")


def write_cube_maps(scene: Scene, folder: Path) -> None:
    """Write the exact maps as the precomputed embedder reads them: <image name>.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    for cube_map, name in zip(scene.cube_maps, scene.names, strict=True):
        np.savez_compressed(
            folder / f"{name}.npz",
            coords=cube_map.coords,
            confidence=cube_map.confidence,
            mask=cube_map.mask,
        )


def unit_ball(rows: int, columns: int) -> tuple[DoubleArray, IntArray]:
    """Positions (V, 3) on the unit sphere, poles along y, and counter-clockwise faces."""
    polar = np.linspace(0, np.pi, rows + 1)[:, None]
    turn = np.arange(columns) * 2 * np.pi / columns
    unit = [np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.cos(turn)]
    i, j = (k.ravel() for k in np.indices((rows, columns)))
    a, b = i * columns + j, i * columns + (j + 1) % columns
    faces = [np.stack([a, a + columns, b], 1), np.stack([b, a + columns, b + columns], 1)]
    return np.stack(unit, -1).reshape(-1, 3), np.concatenate(faces).astype(np.int32)


def perturb(scene: Scene, bias: float, noise: float, seed: int = 0) -> list[CubeMap]:
    """The scene's maps with a smooth error field of each view's own, and noise.

    Args:
        scene: the scene.
        bias: root mean square length of the smooth error, in the cube.
        noise: the same of the noise, which is correlated over a pixel or two.
        seed: of the random numbers.

    Returns:
        One map per view; confidence 0.8 on the head.
    """
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(seed)
    maps = []
    for cube_map in scene.cube_maps:
        coords = cube_map.coords.astype(np.float64)
        for amount, width in ((bias, cube_map.mask.shape[0] / 10), (noise, 1.5)):
            field = generator.normal(size=coords.shape)
            field = gaussian_filter(field, (width, width, 0))
            coords += field / np.sqrt((field**2).sum(axis=2).mean()) * amount
        confidence = np.where(cube_map.mask, 0.8, 0.0).astype(np.float32)
        maps.append(
            CubeMap(coords.astype(np.float32), confidence, cube_map.mask, cube_map.image_from_map)
        )
    return maps


def _arc(n_views: int, arc_deg: float) -> list[tuple[float, float]]:
    azimuths = np.deg2rad(np.linspace(-arc_deg / 2, arc_deg / 2, n_views))
    return [(float(a), 0.25 * float(np.sin(3.0 * i))) for i, a in enumerate(azimuths)]


def _look_at(azimuth: float, elevation: float, distance: float = 0.7) -> DoubleArray:
    """cam_from_head (3, 4) of a camera that looks at the head's centre, y down."""
    towards = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    forward = -towards
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.column_stack([rotation, -rotation @ (towards * distance)])


def _see(
    shape: HeadShape, camera: Camera, cube_scale: float
) -> tuple[CubeMap, ByteArray, DoubleArray]:
    """What a camera sees of a head at the world's origin: map, picture and depths."""
    points, mask = _trace(shape, camera)
    depths = np.where(mask, points @ camera.rotation[2] + camera.translation[2], np.nan)
    coords = np.where(mask[..., None], 0.5 + points * cube_scale, 0.0).astype(np.float32)
    cube_map = CubeMap(coords, mask.astype(np.float32), mask, IDENTITY.copy())
    return cube_map, _shade(shape, points, mask), depths


def _trace(shape: HeadShape, camera: Camera) -> tuple[DoubleArray, BoolArray]:
    """Where rays through the pixel centres meet the surface; (H, W, 3) and a mask."""
    size = (camera.height, camera.width)
    xs, ys = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = camera.unproject(np.column_stack([xs.ravel(), ys.ravel()]))
    center = camera.center
    # March to the first place inside, bisect, then Newton; rays beyond the head's reach stay out.
    far = np.linalg.norm(center)
    low, high = np.full(len(rays), np.nan), np.full(len(rays), np.nan)
    first, last = shape.bounds(center, rays)
    first[np.linalg.norm(np.cross(rays, center), axis=1) >= _REACH] = np.nan
    for before, after in pairwise(np.linspace(far - _REACH, far + _REACH, 65)):
        some = np.flatnonzero((first <= after) & (last >= after) & np.isnan(high))
        inside = some[shape.level(center + after * rays[some]) < 0]
        low[inside], high[inside] = before, after
    mask = ~np.isnan(high)
    hit, low, high = rays[mask], low[mask], high[mask]
    for _ in range(20):
        middle = 0.5 * (low + high)
        outside = shape.level(center + middle[:, None] * hit) > 0
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    along = np.full(len(rays), far)
    along[mask] = 0.5 * (low + high)
    for _ in range(4):
        points = center + along[mask, None] * hit
        slope = np.einsum("nk,nk->n", shape.gradient(points), hit)
        along[mask] = np.clip(along[mask] - shape.level(points) / slope, low, high)
    return (center + along[:, None] * rays).reshape(*size, 3), mask.reshape(size)


def _shade(shape: HeadShape, points: DoubleArray, mask: BoolArray) -> ByteArray:
    """Smooth colours with texture at a few scales, lit from the front; the same from all sides."""
    base = np.stack([np.sin(points @ row * 60.0) for row in np.eye(3) + 0.3], axis=-1)
    fine = np.sin(points @ np.array([310.0, 170.0, 90.0])) * np.sin(points[..., 1] * 400.0)
    normal = shape.gradient(points)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = 0.6 + 0.4 * np.clip(normal[..., 2], 0.0, 1.0)
    colors = (150.0 + 40.0 * base + 20.0 * fine[..., None]) * light[..., None]
    return np.where(mask[..., None], np.clip(colors, 0, 255), 40.0).astype(np.uint8)


def _quaternion(rotation: DoubleArray) -> DoubleArray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_quat(scalar_first=True)
