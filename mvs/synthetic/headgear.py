"""Hoods, scarves and visors: cloth around the head that belongs to it as a hat does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.synthetic.head import Head
from mvs.synthetic.noise import noise_at
from mvs.synthetic.shells import Patch, Shell, skin_patch
from mvs.synthetic.skull import CENTER
from mvs.types import FloatArray

_FACE_MIDDLE = 0.8


@dataclass(frozen=True)
class HoodStyle:
    """Shape of a hood or head scarf, cm.

    Attributes:
        width: half width of the opening around the face.
        height: half height of it.
        thickness: distance from the skin.
        bulk: how much more at the back and on top.
        fold: depth of the folds.
    """

    width: float
    height: float
    thickness: float
    bulk: float
    fold: float


def hood_patch(head: Head) -> Patch:
    """The skin that a hood may cover: all but the middle of the face and the shoulders."""
    x, y, z = head.template.T
    face = (np.abs(x) < 4.2) & (y > -5) & (y < 6) & (z > 3)
    return skin_patch(head, ~face & (y > -14.0), with_ears=True)


def put_hood(patch: Patch, posed: FloatArray, style: HoodStyle, seed: FloatArray) -> Shell:
    """Lay a hood around a head.

    Args:
        patch: of ``hood_patch``.
        posed: (V, 3) posed head vertices, cm.
        style: shape.
        seed: (3,) offset into the noise for folds.

    Returns:
        The shell; its canonical positions are the skin's below, moved out as it is.
    """
    at = patch.template
    oval = np.hypot(at[:, 0] / style.width, (at[:, 1] - _FACE_MIDDLE) / style.height)
    cover = np.minimum(np.maximum((oval - 1) * 6, (3.2 - at[:, 2]) * 1.5), 3.7)
    radial = at - np.array(CENTER, np.float32)
    radial = radial / np.linalg.norm(radial, axis=1, keepdims=True)
    out = radial + 0.6 * patch.normals
    out = out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
    back = np.clip((4 - at[:, 2]) / 10, 0, 1) + np.clip((at[:, 1] - 8) / 8, 0, 1)
    folds = style.fold * noise_at(at * [0.5, 0.22, 0.5] + seed)[:, 0]
    rise = style.thickness + style.bulk * back + folds
    rise = np.maximum(rise, 0.12) * np.clip((cover + 0.5) / 0.8, 0.05, 1)
    offset = out * rise[:, None]
    offset[:, 0] += np.sign(at[:, 0]) * _over_ears(at)
    keep = (cover[patch.faces] > -0.4).any(axis=1)
    return Shell(
        (patch.on(posed) + offset).astype(np.float32),
        (at + offset).astype(np.float32),
        patch.faces[keep],
        cover.astype(np.float32),
    )


def _over_ears(at: FloatArray) -> FloatArray:
    """How far (N,) cloth is stretched sideways so that it does not follow the ear's folds."""
    x, y, z = np.abs(at[:, 0]), at[:, 1] - 1.0, at[:, 2] + 0.3
    near = np.clip(2.2 - np.hypot(y / 2.6, z / 2.0), 0, 1) * np.clip((x - 6.3) / 1.0, 0, 1)
    return np.asarray(near * np.maximum(8.7 - x, 0), np.float32)


def put_visor(patch: Patch, posed: FloatArray, level: float, tilt: float, reach: float) -> Shell:
    """The peak of a cap at the front of a hat's rim.

    Args:
        patch: the scalp.
        posed: (V, 3) posed head vertices, cm.
        level: height of the hat's rim at the middle of the head, cm.
        tilt: how much higher the rim is in front (cm per cm).
        reach: length, cm.
    """
    turn, out = np.meshgrid(np.linspace(-1.05, 1.05, 17), np.linspace(0, 1, 6), indexing="ij")
    x = 7.3 * np.sin(turn)
    z = 0.6 + 9.4 * np.cos(turn)
    far = reach * out * np.sqrt(np.maximum(1 - (turn / 1.12) ** 2, 0))
    y = level + tilt * z + 0.3 - 0.028 * x * x * out - 0.3 * far * (0.4 + 0.6 * out)
    canonical = np.stack([x * (1 + 0.02 * far), y, z + far], -1).reshape(-1, 3)
    near = np.argmin(np.linalg.norm(patch.template - [0, level + tilt * 9, 9.5], axis=1))
    shift = patch.on(posed)[near] - patch.template[near]
    i, j = (index.ravel() for index in np.indices((16, 5)))
    a = 6 * i + j
    faces = np.concatenate([np.stack([a, a + 6, a + 1], 1), np.stack([a + 1, a + 6, a + 7], 1)])
    return Shell(
        (canonical + shift).astype(np.float32),
        canonical.astype(np.float32),
        faces.astype(np.int32),
        np.full(len(canonical), 9.0, np.float32),
    )
