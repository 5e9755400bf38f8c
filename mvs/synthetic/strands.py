"""Hair, as the shading kernel sees it."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from mvs.synthetic.drawing import COVER, LEVEL, SIDE, TINT, Constants
from mvs.synthetic.noise import noise
from mvs.synthetic.patterns import fade, normalise, step
from mvs.types import FloatArray


@numba.njit(cache=True)
def shade_hair(at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    """A layer of hair, translucent between its strands."""
    volume, pixel = constants.volume, constants.pixel_cm
    s0, s1, s2 = look.seed[0], look.seed[1], look.seed[2]
    x, y, z = at[3], at[4], at[5] - 1.0
    w0, w1, w2, w3 = noise(x * 0.35 + s0, y * 0.35 + s1, z * 0.35 + s2, volume)
    turn = look.wave * (0.10 * w0 + 0.05 * np.sin(1.3 * y + 3.0 * w1))
    radius = max(np.sqrt(x * x + z * z), 0.3)
    ca, sa = z / radius, x / radius
    ca, sa = ca - turn * sa, sa + turn * ca
    k = 8.0 * look.strand
    p0, p1, p2, p3 = noise(ca * k + s0, sa * k + s1, y * 0.25 + s2, volume)
    q0, q1, q2, q3 = noise(x * 1.6 + w1 + s0, y * 1.6 + w2 + s1, z * 1.6 + w3 + s2, volume)
    r0, r1, _, _ = noise(ca * k * 0.3 + s1, sa * k * 0.3 + s2, y * 0.12 + s0 + 0.3 * w2, volume)
    curl = look.curl
    fine = np.float32(fade(look.strand, pixel))
    strand = (1.0 - curl) * (0.65 * p0 * fine + 0.5 * r0) + curl * (0.9 * q0 + 0.35 * p1 * fine)
    level = at[12 + LEVEL]
    edge = at[12 + COVER] + 0.9 * strand
    hole = strand + 0.35 * p2 * fine + 1.1 - 0.75 * look.sparse - 1.35 * level
    out[3] = step(edge, 0.0, 0.5) * step(hole, 0.0, 0.35)
    depth = 0.62 + 0.38 * level + 0.5 * strand
    for k3 in range(3):
        base = look.hair[k3]
        base += look.hair_gray * step(p3, -0.1, 0.4) * (0.5 - base)
        base *= 1.0 + 0.25 * w3
        out[k3] = max(base * max(depth, 0.15), 0.003)
    at[6] += 0.35 * (r1 + 0.5 * p1 * fine) * ca + 0.4 * curl * q1 - 0.0
    at[7] += 0.3 * curl * q2 + 0.2 * w1
    at[8] += -0.35 * (r1 + 0.5 * p1 * fine) * sa + 0.4 * curl * q3
    normalise(at, 6)
    out[4] = 0.25
    out[5] = look.gloss * max(0.2, 0.8 + 0.8 * strand)
    out[6] = 1.0 - 0.6 * curl
    out[7] = 0.4


@numba.njit(cache=True)
def shade_strand(at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    """A lock of hair: a ribbon of many strands, each of its own colour."""
    tint, along, side = at[12 + TINT], at[12 + LEVEL], at[12 + SIDE]
    own = 977.0 * tint
    fine = fade(7.0, constants.pixel_cm)
    a0, a1, _, _ = noise(own, 2.5 * side, 0.9 * along + look.seed[0], constants.volume)
    tone = np.exp(look.contrast * (1.6 * (tint - 0.5) + (0.4 + 0.6 * fine) * a0))
    tone *= (1.0 - 0.3 * side * side) * (1.0 + look.tips * along)
    gray = look.hair_gray * step((own % 1.0) + 0.25 * a1, 0.5, 0.9)
    for k in range(3):
        base = look.hair[k] + gray * (0.5 - look.hair[k])
        out[k] = min(max(base * tone, 0.003), 0.9)
    out[3] = at[12 + COVER] * step(1.15 - along + 0.3 * a1, 0.0, 0.25)
    out[4] = 0.25
    out[5] = look.gloss * (0.25 + 0.6 * tint) * (0.25 + 1.5 * min(out[0] + out[1], 0.5))
    out[6] = 2.0
    out[7] = 0.4
