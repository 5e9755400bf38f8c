"""The template head seen from its middle: for every direction, the skin that lies there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.synthetic.head import FACE, HEAD_NECK, Head
from mvs.types import FloatArray, IntArray

CENTER = (0.0, 3.0, -0.5)
_ROWS, _COLUMNS = 72, 128


@dataclass(frozen=True)
class Skull:
    """Tables over directions from ``CENTER``: polar angle from the top by azimuth from the front.

    Attributes:
        vertex: (R, C) int32 nearest skin vertex of the head.
        radius: (R, C) float32 distance of the skin there, cm.
        scalp: (R, C) int32 nearest vertex of the scalp patch.
        on_scalp: (R, C) float32 1 on the patch, fading to 0 beside it.
    """

    vertex: IntArray
    radius: FloatArray
    scalp: IntArray
    on_scalp: FloatArray

    def cells(self, points: npt.NDArray[np.floating]) -> tuple[Any, Any]:
        """Rows and columns of the directions of template positions (..., 3)."""
        d = points - np.array(CENTER, np.float32)
        length = np.maximum(np.sqrt((d * d).sum(axis=-1)), 1e-6)
        polar = np.arccos(np.clip(d[..., 1] / length, -1, 1))
        azimuth = np.arctan2(d[..., 0], d[..., 2])
        rows = np.minimum((polar * (_ROWS / np.pi)).astype(np.int32), _ROWS - 1)
        columns = ((azimuth + np.pi) * (_COLUMNS / (2 * np.pi))).astype(np.int32) % _COLUMNS
        return rows, columns


def map_skull(head: Head, scalp: FloatArray) -> Skull:
    """Tabulate a head.

    Args:
        head: the morphable head.
        scalp: (N, 3) template positions of the scalp patch.
    """
    from scipy.spatial import cKDTree

    polar = (np.arange(_ROWS) + 0.5) * np.pi / _ROWS
    azimuth = (np.arange(_COLUMNS) + 0.5) * 2 * np.pi / _COLUMNS - np.pi
    rays = np.stack(
        [
            np.sin(polar)[:, None] * np.sin(azimuth),
            np.cos(polar)[:, None] + 0 * azimuth,
            np.sin(polar)[:, None] * np.cos(azimuth),
        ],
        axis=-1,
    ).reshape(-1, 3)
    used = np.unique(head.faces)
    skin = used[np.isin(head.vertex_part[used], (FACE, HEAD_NECK))]
    radius, unit = _polar(head.template[skin])
    _, near = cKDTree(unit).query(rays, 4)
    vertex = skin[near[:, 0]]
    gap, closest = cKDTree(_polar(scalp)[1]).query(rays)
    shape = (_ROWS, _COLUMNS)
    return Skull(
        vertex.reshape(shape).astype(np.int32),
        radius[near].max(axis=1).reshape(shape).astype(np.float32),
        closest.reshape(shape).astype(np.int32),
        np.clip(1.25 - gap * 6, 0, 1).reshape(shape).astype(np.float32),
    )


def _polar(points: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Distances (N,) and directions (N, 3) from the middle."""
    d = points.astype(np.float64) - CENTER
    radius = np.linalg.norm(d, axis=1)
    return radius, d / radius[:, None]
