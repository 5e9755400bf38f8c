"""Mouth, teeth, clothes, hats and glasses, as the shading kernel sees them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from mvs.synthetic.drawing import CLOTH, COVER, FRAME, HAT, LENS, MOUTH, TEETH, Constants
from mvs.synthetic.noise import noise
from mvs.synthetic.patterns import fade, normalise, step
from mvs.types import FloatArray


@numba.njit(cache=True)
def shade_stuff(
    kind: int, at: FloatArray, look: Any, constants: Constants, out: FloatArray
) -> None:
    """Mouth, teeth, clothes, hats and glasses."""
    x, y, z = at[3] + look.seed[0], at[4] + look.seed[1], at[5] + look.seed[2]
    a0, a1, a2, a3 = noise(x * 0.8, y * 0.8, z * 0.8, constants.volume)
    b0, b1, b2, b3 = noise(x * 6.0, y * 6.0, z * 6.0, constants.volume)
    fine = np.float32(fade(6.0, constants.pixel_cm))
    out[3], out[4], out[5], out[6], out[7] = 1.0, 0.6, 0.1, 0.0, 0.3
    rib = 0.0
    for k in range(3):
        if kind == MOUTH:
            value = (0.22, 0.06, 0.055)[k] * (1.0 + 0.3 * a0)
        elif kind == TEETH:
            value = (0.62, 0.56, 0.46)[k] * (1.0 + 0.08 * a0)
        elif kind == CLOTH:
            band = step(np.sin(look.stripes * at[4] * 6.2832 + 0.6 * a1), -0.1, 0.1)
            band = band if look.stripes > 0 else step(a2, 0.35, 0.45) * (1.0 if b3 > 2 else 0.0)
            value = look.cloth[k] + band * (look.cloth_other[k] - look.cloth[k])
            value *= 1.0 + look.weave * 0.35 * b0 * fine + 0.1 * a0
        elif kind == HAT:
            rib = np.sin(look.knit * np.arctan2(at[3], at[5] - 1.0) * 9.0 * 6.2832)
            rib *= 1.0 if look.knit > 0 else 0.0
            band = step(at[12 + COVER], 3.9, 3.8)
            value = look.hat[k] + band * 0.5 * (look.hat_other[k] - look.hat[k])
            value *= 1.0 + 0.25 * rib + 0.25 * b0 * fine + 0.08 * a0
        elif kind == FRAME:
            value = look.frame[k]
        else:
            value = look.lens[k]
        out[k] = max(value, 0.004)
    if kind in (CLOTH, HAT):
        out[3] = 1.0 if at[12 + COVER] > 0 else 0.0
        rough = 0.12 + 0.3 * look.weave
        at[6] += rough * (b1 * fine + 0.5 * a1)
        at[7] += rough * (b2 * fine + 0.5 * a2)
        at[8] += rough * (b3 * fine + 0.5 * a3)
        normalise(at, 6)
    elif kind in (TEETH, MOUTH):
        out[4], out[5] = 0.2, 0.7
    else:
        out[4], out[5] = 0.15, 1.0
    if kind == LENS and at[12 + COVER] < 0.5:
        _clear_glass(at, look, out)


@numba.njit(inline="always")
def _clear_glass(at: FloatArray, look: Any, out: FloatArray) -> None:
    """A pane that shows little but what it mirrors: a bright window and the surround."""
    facing = at[6] * at[9] + at[7] * at[10] + at[8] * at[11]
    mx, my = 2 * facing * at[6] - at[9], 2 * facing * at[7] - at[10]
    across = (
        mx - 0.5 * np.sin(look.seed[0]) + 0.4 * (at[3] + 3.2 * (at[3] < 0) - 3.2 * (at[3] > 0)) / 4
    )
    up = my - 0.4 * np.sin(look.seed[1]) + 0.08 * at[4] - 0.3
    window = step(abs(across), 0.16, 0.12) * step(abs(up), 0.22, 0.17)
    window *= 1.0 - step(abs(across), 0.02, 0.01)
    for k in range(3):
        out[k] = 0.25 + 2.0 * window
    out[3] = min(look.glare * (0.10 + 0.35 * (1 - facing) ** 3 + 0.9 * window), 0.95)
    out[4], out[5] = 0.05, 0.5
