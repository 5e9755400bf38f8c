"""Skin and eyes, as the shading kernel sees them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from mvs.synthetic.drawing import BEARD, BLUSH, BROW, HEIGHT, LID, LIP, SCALP, Constants
from mvs.synthetic.noise import noise
from mvs.synthetic.patterns import fade, normalise, step
from mvs.types import FloatArray


@numba.njit(cache=True)
def shade_skin(at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    """Skin with what grows on it, lips and make-up; ``at`` and ``out`` as in ``shade``."""
    volume, pixel = constants.volume, constants.pixel_cm
    x, y, z = at[3] + look.seed[0], at[4] + look.seed[1], at[5] + look.seed[2]
    a0, a1, a2, a3 = noise(x * 0.55, y * 0.55, z * 0.55, volume)
    b0, b1, b2, b3 = noise(x * 2.9, y * 2.9, z * 2.9, volume)
    c0, c1, c2, c3 = noise(x * 9.7, y * 9.7, z * 9.7, volume)
    fine = np.float32(fade(9.7, pixel))
    middle = np.float32(fade(2.9, pixel))
    blotch = look.blotches * (0.16 * a0 + 0.10 * middle * b0 + 0.10 * fine * c0)
    dark = 1.0 + blotch + 0.06 * look.pores * fine * c1
    freckle = look.freckles * step(b1 + 0.5 * c0 * fine, 0.25, 0.6) * middle
    mole = look.moles * step(b2 + 0.35 * a1, 0.93, 1.0)
    shade = dark * (1.0 - 0.35 * freckle) * (1.0 - 0.75 * mole)
    blood = look.blood * (at[12 + BLUSH] * 0.5 + 0.12 * a1 + 0.06 * b3)
    lip = at[12 + LIP] * look.lip_amount
    lid = at[12 + LID] + 0.05 * b1
    shadow = look.shadow_amount * step(lid, 1.3, 0.2) * (1.0 if at[4] > 3.6 else 0.35)
    line = look.liner * step(lid, 0.20, 0.03)
    arch = (at[12 + BROW] + 0.3 * b2 + 0.5 * fine * c2) / look.brow_scale
    hairy = look.brow * step(arch, 1.4, 0.3)
    full = step(look.beard, 0.35, 0.7)
    coarse = 0.9 * c1 * fine + 0.6 * b0 + 0.8 * (1.0 - full)
    region = 0.0
    if look.beard > 0 and at[12 + BEARD] > 0:
        region = min(max(at[12 + BEARD] * (1.0 + 0.5 * a1 + 0.3 * b1), 0.0), 1.0)
        region *= _beard_shape(abs(at[3]) + 0.25 * b0, at[4] + 0.3 * b1, look.beard_shape)
    grown = region * look.beard
    hairy = max(hairy, step(grown * (2.2 + coarse) - 0.5, 0.0, 0.8) * (0.10 + 0.80 * full))
    stubble = min(1.0, 2.2 * grown) * (0.35 + 0.35 * fine * c2 + 0.1 * middle * b3)
    scalp = at[12 + SCALP]
    cropped = scalp * look.shaved * step(at[12 + HEIGHT] + 0.3 * b0, -0.1, 0.5)
    hairy = max(hairy, cropped * (0.45 + 0.3 * fine * c2 + 0.12 * b1))
    for k in range(3):
        red = (0.5, -0.35, -0.3)[k]
        value = look.skin[k] * shade * (1.0 + blood * red)
        value *= 1.0 - stubble * (0.6, 0.5, 0.42)[k] * (1.0 - full)
        value += lip * (look.lips[k] * (1.0 + 0.15 * b0 + 0.1 * c0 * fine) - value)
        value += shadow * (look.shadow[k] - value)
        value += line * (0.25 * look.hair[k] + 0.01 - value)
        gray = look.hair[k] + look.hair_gray * step(c3, 0.0, 0.5) * (0.45 - look.hair[k])
        gray *= max(0.9 + 0.5 * fine * c3 + 0.4 * middle * b3, 0.2)
        value += min(1.0, hairy) * (gray * 0.8 + 0.006 - value)
        out[k] = max(value, 0.004)
    if at[5] > 4.0 and -5.6 < at[4] < 6.0:
        fold, tilt = _folds(abs(at[3]) + 0.08 * b0, at[4] + 0.08 * b1)
        for k in range(3):
            out[k] *= 1.0 - 0.35 * look.folds * fold * (1.0 - 0.35 * (k == 0))
        at[6] += look.folds * tilt * (1.0 if at[3] > 0 else -1.0)
    bump = 0.035 + 0.10 * look.pores
    crease = look.wrinkles * np.sin((at[4] + 0.5 * a2 + 0.15 * at[3] * a3) * 7.5)
    crease *= step(at[4], 5.2, 6.2) * step(at[4], 10.0, 8.6)
    at[6] += bump * (0.5 * middle * b1 + fine * c1 + 0.3 * a1)
    at[7] += bump * (0.5 * middle * b2 + fine * c2 + 0.3 * a2) + 0.25 * crease
    at[8] += bump * (0.5 * middle * b3 + fine * c3 + 0.3 * a3)
    normalise(at, 6)
    out[3] = 1.0
    out[4] = look.roughness * (1.0 - 0.35 * lip) + 0.1 * a1 + 0.3 * hairy
    out[5] = look.oil * (0.6 + 0.25 * a0 + 0.2 * lip) * (1.0 - 0.8 * hairy)
    out[6] = 0.0
    out[7] = 1.0 - hairy


@numba.njit(inline="always")
def _beard_shape(x: float, y: float, shape: int) -> float:
    """Share of a full beard that is left: all, moustache, goatee, both, chin strap."""
    lip = step(y, -2.7, -2.4) * step(x, 3.0, 2.6)
    chin = step(y, -4.1, -4.5) * step(x, 2.4, 2.0)
    if shape == 0:
        return 1.0
    if shape == 1:
        return lip
    if shape == 2:
        return chin
    if shape == 3:
        ring = step(x, 2.2, 2.5) * step(x, 3.5, 3.1)
        return max(lip, chin, ring * step(y, -1.6, -2.2))
    return max(step(y, -5.0, -5.9), step(x, 5.0, 5.8))


@numba.njit(inline="always")
def _folds(x: float, y: float) -> tuple[float, float]:
    """Folds from nose to mouth, below and beside the eyes: depth, and slope sideways."""
    along = min(max((-0.6 - y) / 3.8, 0.0), 1.0)
    gap = (x - 1.95 - 1.35 * along) / 0.22
    ends = step(y, -5.2, -4.2) * step(y, 0.0, -0.8)
    fold = np.exp(-gap * gap) * ends if abs(gap) < 3 and ends > 0 else 0.0
    tilt = 0.9 * gap * fold
    bag = (y - 2.35 - 0.12 * (x - 3.1) ** 2) / 0.18
    if abs(bag) < 3:
        fold += 0.6 * np.exp(-bag * bag) * step(x, 1.4, 2.0) * step(x, 4.8, 4.2)
    dx, dy = x - 4.3, y - 3.3
    square = dx * dx + dy * dy
    if dx > 0.2 and 0.25 < square < 4.41:
        radius = np.sqrt(square)
        rays = max(np.sin(9.0 * np.arctan2(dy, dx) + 0.6), 0.0) ** 3
        fold += 0.7 * rays * step(radius, 0.5, 0.8) * step(radius, 2.1, 1.3)
    return fold, tilt


@numba.njit(cache=True)
def shade_eye(at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    """Iris, pupil and white of the eyeball."""
    eyes = constants.eyes
    side = 0 if (at[3] > 0) == (eyes[0, 0] > 0) else 1
    dx, dy, dz = at[3] - eyes[side, 0], at[4] - eyes[side, 1], at[5] - eyes[side, 2]
    scale = 1.0 / max(np.sqrt(dx * dx + dy * dy + dz * dz), 1e-6)
    cosine = scale * (dx * look.gaze[0] + dy * look.gaze[1] + dz * look.gaze[2])
    angle = np.arccos(min(max(cosine, -1.0), 1.0))
    radius = look.iris_radius
    soft = 0.02 + 0.9 * constants.pixel_cm
    inside = step(angle, radius + soft, radius - soft)
    pupil = step(angle, look.pupil * radius + soft, look.pupil * radius - soft)
    n0, n1, _, _ = noise(dx * 9 + look.seed[0], dy * 9, dz * 9, constants.volume)
    lid = look.white * (1.0 - 0.4 * step(dy, 0.1, 0.75)) * (1.0 - 0.25 * step(abs(dx), 0.5, 1.1))
    rim = 1.0 - 0.55 * step(angle, 0.78 * radius, radius)
    for k in range(3):
        white = (0.72, 0.66, 0.63)[k] * (1.0 - (0.02, 0.10, 0.10)[k] * step(n0, 0.0, 0.8))
        iris = look.iris[k] * (1.0 + 0.5 * n1) * rim
        value = white + inside * (iris - white)
        out[k] = (value + pupil * (0.004 - value)) * lid
    out[3], out[4], out[5], out[6], out[7] = 1.0, 0.08, 1.6, 0.0, 0.0
