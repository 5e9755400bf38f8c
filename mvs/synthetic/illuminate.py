"""Light on a shaded point: surround, lamps, highlights and the first lamp's shadow."""

from __future__ import annotations

import numba
import numpy as np

from mvs.synthetic.drawing import MOUTH, OCCLUSION, TANGENT, TEETH, TINT, Lighting
from mvs.types import FloatArray


@numba.njit(cache=True)
def illuminate(
    kind: int, at: FloatArray, light: Lighting, out: FloatArray, rgb: FloatArray
) -> None:
    """Write the light (3,) that a shaded point sends to the camera.

    Args:
        kind: material.
        at: (20,) the point, see ``shade``.
        light: what lights it.
        out: (8,) its material's values, see ``shade``.
        rgb: written.
    """
    nx, ny, nz = at[6], at[7], at[8]
    vx, vy, vz = at[9], at[10], at[11]
    occlusion = at[12 + OCCLUSION]
    facing = max(nx * vx + ny * vy + nz * vz, 0.0)
    fresnel = 0.04 + 0.5 * (1.0 - facing) ** 5
    rough = min(max(out[4], 0.05), 1.0)
    power = 2.0 / (rough * rough) - 1.0
    rx, ry, rz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
    for k in range(3):
        around = _surround(light.ambient, k, nx, ny, nz)
        mirrored = _surround(light.ambient, k, rx, ry, rz)
        rgb[k] = out[k] * occlusion * around
        rgb[k] += out[5] * fresnel * occlusion * mirrored
    for i in range(len(light.directions)):
        lx, ly, lz = light.directions[i, 0], light.directions[i, 1], light.directions[i, 2]
        cosine = nx * lx + ny * ly + nz * lz
        shadow = _shadow(at, light) if i == 0 else 0.35 + 0.65 * occlusion
        hx, hy, hz = lx + vx, ly + vy, lz + vz
        scale = 1.0 / max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
        half = scale * (nx * hx + ny * hy + nz * hz)
        shine = 0.0
        if out[6] > 1.5:  # a lock: light across its own direction
            shine, cosine = _across(at, light, i, cosine)
        elif out[6] > 0:  # strands: highlight across the tangent, which points down along the head
            ty = -1.0 + ny * ny
            tx, tz = nx * ny, nz * ny
            size = max(np.sqrt(tx * tx + ty * ty + tz * tz), 0.1)
            along = scale * (tx * hx + ty * hy + tz * hz) / size
            shine = 0.25 * max(1.0 - along * along, 0.0) ** 20 * max(cosine + 0.3, 0.0)
        elif half > 0 and cosine > 0:
            shine = (
                (power + 2.0) * 0.125 * half**power * (0.03 + 0.3 * (1.0 - facing) ** 5) * cosine
            )
        for k in range(3):
            wrap = (0.32, 0.14, 0.09)[k] * out[7]
            lit = max((cosine + wrap) / (1.0 + wrap), 0.0)
            tone = light.colors[i, k] * shadow
            rgb[k] += tone * (out[k] * lit + out[5] * shine)
    if kind in (MOUTH, TEETH):
        for k in range(3):
            rgb[k] *= 0.25 + 0.75 * occlusion


@numba.njit(inline="always")
def _across(at: FloatArray, light: Lighting, i: int, cosine: float) -> tuple[float, float]:
    """Highlight and diffuse share of a thin cylinder (Kajiya and Kay, 1989), shaded by its side."""
    tx, ty, tz = at[12 + TANGENT], at[13 + TANGENT], at[14 + TANGENT]
    lx, ly, lz = light.directions[i, 0], light.directions[i, 1], light.directions[i, 2]
    shift = 0.3 * (at[12 + TINT] - 0.5)
    tl = tx * lx + ty * ly + tz * lz
    sx, sy, sz = tx + shift * at[6], ty + shift * at[7], tz + shift * at[8]
    hx, hy, hz = lx + at[9], ly + at[10], lz + at[11]
    size = (sx * sx + sy * sy + sz * sz) * (hx * hx + hy * hy + hz * hz)
    th = (sx * hx + sy * hy + sz * hz) ** 2 / max(size, 1e-6)
    across = np.sqrt(max(1.0 - tl * tl, 0.0))
    front = max(min(cosine + 0.4, 1.0), 0.0)
    back = 0.25 * max(-(lx * at[9] + ly * at[10] + lz * at[11]), 0.0)
    return 0.35 * max(1.0 - th, 0.0) ** 30 * front, across * (front + back) * 1.1 - 0.1


@numba.njit(inline="always")
def _surround(ambient: FloatArray, k: int, x: float, y: float, z: float) -> float:
    value = ambient[0, k] + ambient[1, k] * y + ambient[2, k] * z + ambient[3, k] * x
    value += ambient[4, k] * x * y + ambient[5, k] * y * z + ambient[6, k] * (3 * z * z - 1)
    value += ambient[7, k] * x * z + ambient[8, k] * (x * x - y * y)
    return float(max(value, 0.02))


@numba.njit(cache=True)
def _shadow(at: FloatArray, light: Lighting) -> float:
    """Share of the first lamp's light that arrives: 9 looks at its shadow map."""
    m, depth = light.shadow_map, light.shadow_depth
    px, py, pz = at[0] + 0.12 * at[6], at[1] + 0.12 * at[7], at[2] + 0.12 * at[8]
    column = m[0, 0] * px + m[0, 1] * py + m[0, 2] * pz + m[0, 3]
    row = m[1, 0] * px + m[1, 1] * py + m[1, 2] * pz + m[1, 3]
    distance = m[2, 0] * px + m[2, 1] * py + m[2, 2] * pz + m[2, 3]
    step = 0.7 + 2.2 * light.softness
    free = 0.0
    for i in range(-1, 2):
        for j in range(-1, 2):
            r, c = int(row + i * step), int(column + j * step)
            inside = 0 <= r < depth.shape[0] and 0 <= c < depth.shape[1]
            if not inside or distance < depth[r, c] + 0.25:
                free += 1.0
    return free / 9.0
