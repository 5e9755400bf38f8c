"""Light: a surround in spherical harmonics, and up to three lamps, the first with a shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.kernels.raster import rasterise
from mvs.types import DoubleArray, FloatArray, IntArray

_SHADOW_SIZE = 320
N_HARMONICS = 9


@dataclass(frozen=True)
class ShadowMap:
    """Depths seen from a lamp, orthographic.

    Attributes:
        depth: (S, S) float32 distance along the light's direction, inf where nothing is.
        map_from_head: (3, 4) float32: column, row, distance of a position in the head's frame.
    """

    depth: FloatArray
    map_from_head: FloatArray


@dataclass(frozen=True)
class Lights:
    """Everything that lights a scene; directions in the head's frame, linear RGB.

    Attributes:
        ambient: (9, 3) float32 irradiance over pi in real spherical harmonics up to order 2.
        directions: (L, 3) float32 unit vectors towards the lamps.
        colors: (L, 3) float32 irradiance over pi at normal incidence.
        softness: 0..1, how blurred the shadow's edge is.
    """

    ambient: FloatArray
    directions: FloatArray
    colors: FloatArray
    softness: float


def harmonics(directions: FloatArray) -> FloatArray:
    """Real spherical harmonics, unnormalised, of unit vectors (N, 3): (N, 9) float32."""
    x, y, z = directions.T
    one = np.ones_like(x)
    terms = (one, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y)
    return np.stack(terms, axis=1).astype(np.float32)


def random_lights(rng: np.random.Generator) -> Lights:
    """Draw a surround and lamps: sky, rooms, studios, windows, one hard lamp, coloured lamps."""
    kind = rng.choice(5, p=[0.34, 0.26, 0.12, 0.14, 0.14])
    if kind == 0:
        n_lamps, level, strength = int(rng.integers(0, 4)), rng.uniform(0.06, 0.6), 0.7
    elif kind == 1:  # one hard lamp from anywhere, next to nothing on the other side
        n_lamps, level, strength = 1, rng.uniform(0.004, 0.06), rng.uniform(0.7, 2.0)
    elif kind == 2:  # coloured lamps
        n_lamps, level, strength = int(rng.integers(2, 4)), rng.uniform(0.01, 0.12), 0.9
    elif kind == 3:  # a window
        n_lamps, level, strength = 1, rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5)
    else:  # soft boxes
        n_lamps, level, strength = 3, rng.uniform(0.3, 0.9), 0.35
    directions, colors = _lamps(n_lamps, strength, 0.7 if kind == 2 else 0.15, kind == 1, rng)
    ambient = _surround(level, 0.3 if kind == 2 else 0.13, rng)
    if kind == 3:
        ambient[1:4] += 0.9 * level * directions[0][[1, 2, 0], None]
    soft = rng.uniform(0, 0.35) if kind == 1 else rng.uniform(0, 1)
    return Lights(
        ambient.astype(np.float32),
        directions.astype(np.float32),
        colors.astype(np.float32),
        float(soft),
    )


def _surround(level: float, spread: float, rng: np.random.Generator) -> DoubleArray:
    ambient = np.zeros((N_HARMONICS, 3))
    ambient[0] = level * _tint(rng, spread)
    ambient[1] = level * rng.uniform(-0.15, 0.5) * _tint(rng, spread)
    ambient[2:4] = level * rng.normal(0, 0.3, (2, 1)) * _tint(rng, spread)
    ambient[4:] = level * rng.normal(0, 0.07, (5, 1)) * _tint(rng, spread)
    return ambient


def _lamps(
    n: int, strength: float, spread: float, anywhere: bool, rng: np.random.Generator
) -> tuple[DoubleArray, DoubleArray]:
    """Directions and colours (n, 3)."""
    directions, colors = np.zeros((n, 3)), np.zeros((n, 3))
    for k in range(n):
        wide = anywhere or k >= 2 or rng.random() < 0.2
        yaw = rng.uniform(-np.pi, np.pi) if wide else rng.normal(0, 1.0)
        pitch = rng.uniform(-0.4, 1.4)
        directions[k] = (
            np.sin(yaw) * np.cos(pitch),
            np.sin(pitch),
            np.cos(yaw) * np.cos(pitch),
        )
        colors[k] = strength * rng.uniform(0.3, 1.6) * (0.8**k) * _tint(rng, spread)
    return directions, colors


def cast_shadow(vertices: FloatArray, faces: IntArray, direction: FloatArray) -> ShadowMap:
    """See the scene from a lamp.

    Args:
        vertices: (V, 3) float32 positions, cm.
        faces: (F, 3) int32.
        direction: (3,) unit vector towards the lamp.

    Returns:
        The map, which covers everything above the chest.
    """
    up = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(up, direction)
    right /= np.linalg.norm(right)
    down = -np.cross(direction, right)
    scale = _SHADOW_SIZE / 44.0
    half = _SHADOW_SIZE / 2
    center = np.array([0.0, 0.0, 0.0])
    rows = np.stack([right * scale, down * scale, -direction.astype(np.float64)])
    shift = np.array([half, half, 100.0]) - rows @ center
    seen = vertices @ rows.T + shift
    size = (_SHADOW_SIZE, _SHADOW_SIZE)
    buffers = rasterise(seen[:, :2], seen[:, 2], faces, size, False, orthographic=True)
    transform = np.concatenate([rows, shift[:, None]], axis=1).astype(np.float32)
    return ShadowMap(buffers.depth, transform)


def ambient_occlusion(vertices: FloatArray, normals: FloatArray, faces: IntArray) -> FloatArray:
    """Share of the surround that each vertex sees.

    Args:
        vertices: (V, 3) float32 positions, cm.
        normals: (V, 3) float32 unit vectors.
        faces: (F, 3) int32.

    Returns:
        (V,) float32 in [0, 1], cosine-weighted over 96 directions.
    """
    index = np.arange(96) + 0.5
    y = 1 - 2 * index / 96
    angle = index * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - y * y)
    seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], axis=1):
        shadow = cast_shadow(vertices, faces, direction)
        weight = np.maximum(normals @ direction, 0.0)
        at = (vertices + 0.15 * normals) @ shadow.map_from_head[:, :3].T
        at = at + shadow.map_from_head[:, 3]
        column, row = np.clip(at[:, :2].astype(int), 0, _SHADOW_SIZE - 1).T
        free = at[:, 2] < shadow.depth[row, column] + 0.12
        seen += weight * free
        total += weight
    return (seen / np.maximum(total, 1e-6)).astype(np.float32)


def _tint(rng: np.random.Generator, spread: float) -> FloatArray:
    return np.exp(rng.normal(0, spread, 3)).astype(np.float32)
