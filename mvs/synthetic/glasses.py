"""Glasses: two rims, a bridge and temples of round wire, and lenses, fitted to the template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvs.types import FloatArray, IntArray

DoubleArray = npt.NDArray[np.float64]
_SIDES = 6


@dataclass(frozen=True)
class GlassesStyle:
    """Shape of a pair of glasses, cm.

    Attributes:
        width: of one lens.
        height: of one lens.
        roundness: exponent of the rim's super-ellipse; 2 is an ellipse, 5 nearly a rectangle.
        wire: radius of the rim's wire.
        drop: how far below the eyes the lenses are centred.
        forward: distance of the lenses in front of the eyes' centres.
    """

    width: float
    height: float
    roundness: float
    wire: float
    drop: float
    forward: float


def make_glasses(
    style: GlassesStyle, eye_centers: FloatArray
) -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
    """Build a pair of glasses around the template's eyes.

    Args:
        style: shape.
        eye_centers: (2, 3) centres of the eyeballs, cm.

    Returns:
        Frame vertices (N, 3) and faces (F, 3), lens vertices (M, 3) and faces (G, 3), in the
        template's frame.
    """
    center = eye_centers.astype(np.float64).mean(axis=0)
    half = abs(float(eye_centers[0, 0] - eye_centers[1, 0])) / 2
    z = center[2] + style.forward
    wires, lenses = [], []
    for side in (-1.0, 1.0):
        rim = _rim(style) * [side, 1.0, 1.0] + [side * half, center[1] - style.drop, z]
        rim[:, 2] -= 0.035 * rim[:, 0] ** 2
        wires.append(_tube(np.concatenate([rim, rim[:2]]), style.wire))
        lenses.append(_fan(rim if side > 0 else rim[::-1]))
        hinge = rim[np.argmax(side * rim[:, 0] + 0.3 * rim[:, 1])]
        ear = np.array([side * 7.9, center[1] - 0.1, -0.6])
        tip = np.array([side * 8.0, center[1] - 3.2, -2.2])
        corner = np.array([side * 7.7, hinge[1], hinge[2] - 1.4])
        wires.append(_tube(np.stack([hinge, corner, ear, tip]), style.wire))
    inner = half - style.width / 2
    arch = np.linspace(-inner, inner, 5)
    bridge = np.stack(
        [arch, center[1] + 0.3 - 0.12 * np.abs(arch), np.full(5, z - 0.035 * inner**2 + 0.1)], 1
    )
    wires.append(_tube(bridge, style.wire))
    return (*_join(wires), *_join(lenses))


def _rim(style: GlassesStyle) -> DoubleArray:
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    x = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / style.roundness) * style.width / 2
    y = np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / style.roundness) * style.height / 2
    return np.stack([x, y, np.zeros_like(x)], axis=1)


def _tube(path: DoubleArray, radius: float) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
    """A tube of six sides around a polyline."""
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    aside = np.cross(along, [0.11, 0.23, 0.97])
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-9)
    other = np.cross(along, aside)
    t = np.arange(_SIDES) * 2 * np.pi / _SIDES
    ring = np.cos(t)[:, None] * aside[:, None] + np.sin(t)[:, None] * other[:, None]
    vertices = (path[:, None] + radius * ring).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(len(path) - 1), np.arange(_SIDES), indexing="ij")
    a, b = (i * _SIDES + j).ravel(), (i * _SIDES + (j + 1) % _SIDES).ravel()
    quads = [np.stack([a, b, b + _SIDES], 1), np.stack([a, b + _SIDES, a + _SIDES], 1)]
    return vertices, np.concatenate(quads)


def _fan(rim: DoubleArray) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
    vertices = np.concatenate([rim.mean(axis=0, keepdims=True), rim])
    index = 1 + np.arange(len(rim))
    return vertices, np.stack([np.zeros_like(index), index, 1 + index % len(rim)], axis=1)


def _join(
    pieces: list[tuple[DoubleArray, npt.NDArray[np.int64]]],
) -> tuple[FloatArray, IntArray]:
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in pieces[:-1]])
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    faces = np.concatenate([f + start for (_, f), start in zip(pieces, starts, strict=True)])
    return vertices.astype(np.float32), faces.astype(np.int32)
