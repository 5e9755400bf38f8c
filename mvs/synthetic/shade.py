"""Shading of rasterised surfaces in Numba: procedural materials under harmonics and lamps.

A layer is drawn over what is there already; hair is several translucent layers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from mvs.synthetic.noise import noise
from mvs.types import ByteArray, FloatArray, IntArray

SKIN, EYE, MOUTH, TEETH, CLOTH, HAT, FRAME, LENS, HAIR = range(9)
N_FEATURES = 8
# Samples of one block share their shading if their depths differ by less (cm).
_SAME_SURFACE = 0.7
# Coverage below this is not drawn.
_CLEAR = 0.02
# Columns of a skin vertex's features; hair uses _COVER and _LEVEL instead of the first two.
LIP, LID, BROW, BEARD, BLUSH, HEIGHT, OCCLUSION, SCALP = range(N_FEATURES)
COVER, LEVEL = LIP, LID


class Surface(NamedTuple):
    """Triangles with what shading needs at their vertices.

    Attributes:
        positions: (V, 3) float32, head frame, cm.
        canonical: (V, 3) float32, template frame, cm.
        normals: (V, 3) float32 unit vectors.
        features: (V, 8) float32, see the column names above.
        faces: (F, 3) int32.
        materials: (F,) uint8.
    """

    positions: FloatArray
    canonical: FloatArray
    normals: FloatArray
    features: FloatArray
    faces: IntArray
    materials: ByteArray


class Lighting(NamedTuple):
    """Light in the form the kernel reads; see ``lights.Lights`` and ``lights.ShadowMap``."""

    ambient: FloatArray
    directions: FloatArray
    colors: FloatArray
    shadow_depth: FloatArray
    shadow_map: FloatArray
    softness: float


class Film(NamedTuple):
    """The picture being drawn.

    Attributes:
        color: (H, W, 3) float32 linear RGB, the background before the first layer.
        canonical: (H, W, 3) float32, cm.
        material: (H, W) int8, -1 where the background shows.
        depth: (H, W) float32, cm along z.
    """

    color: FloatArray
    canonical: FloatArray
    material: npt.NDArray[np.int8]
    depth: FloatArray


class Constants(NamedTuple):
    """What stays the same over a picture.

    Attributes:
        look: (1,) array of ``look.LOOK``.
        eyes: (2, 3) float32 template centres of the eyeballs, cm.
        camera: (3,) float32 its centre in the head's frame, cm.
        pixel_cm: distance between shaded samples on the head.
        rate: side of the blocks of samples that share one shading.
        volume: the noise.
    """

    look: npt.NDArray[np.void]
    eyes: FloatArray
    camera: FloatArray
    pixel_cm: float
    rate: int
    volume: FloatArray


@numba.njit(cache=True)
def draw_layer(
    face: IntArray,
    barycentric: FloatArray,
    depth: FloatArray,
    surface: Surface,
    light: Lighting,
    constants: Constants,
    film: Film,
) -> None:
    """Shade what a raster buffer sees and draw it onto the film.

    Args:
        face: (H, W) int32 face index, -1 for none.
        barycentric: (H, W, 3) float32.
        depth: (H, W) float32.
        surface: the layer's triangles.
        light: what lights it.
        constants: look, eyes and camera.
        film: drawn on in place.
    """
    height, width = face.shape
    look = constants.look[0]
    rate = constants.rate
    at = np.zeros(
        20, np.float32
    )  # position 0:3, canonical 3:6, normal 6:9, view 9:12, features 12:
    out = np.zeros(8, np.float32)  # albedo 0:3, alpha 3, roughness 4, specular 5, strand 6, wrap 7
    rgb = np.zeros(3, np.float32)
    for block in range((height // rate) * (width // rate)):
        top, left = block // (width // rate) * rate, block % (width // rate) * rate
        shaded, near = -1, np.float32(0.0)
        for sample in range(rate * rate):
            row, column = top + sample // rate, left + sample % rate
            f, z = face[row, column], depth[row, column]
            if f < 0 or z >= film.depth[row, column]:
                continue
            kind = surface.materials[f]
            if kind != shaded or abs(z - near) > _SAME_SURFACE:
                shaded, near = kind, z
                _interpolate(surface, f, barycentric[row, column], constants.camera, at)
                _material(kind, at, look, constants, out)
                if out[3] > _CLEAR:
                    _light(kind, at, light, out, rgb)
            alpha = out[3]
            if alpha <= _CLEAR:
                continue
            for k in range(3):
                film.color[row, column, k] += alpha * (rgb[k] - film.color[row, column, k])
            if alpha >= 0.5:
                _label(surface, f, barycentric[row, column], film.canonical[row, column])
                film.material[row, column] = kind
                film.depth[row, column] = z


@numba.njit(cache=True)
def _material(kind: int, at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    if kind == SKIN:
        _skin(at, look, constants, out)
    elif kind == HAIR:
        _hair(at, look, constants, out)
    elif kind == EYE:
        _eye(at, look, constants, out)
    else:
        _stuff(kind, at, look, constants, out)


@numba.njit(cache=True)
def _label(surface: Surface, f: int, weights: FloatArray, canonical: FloatArray) -> None:
    a, b, c = surface.faces[f, 0], surface.faces[f, 1], surface.faces[f, 2]
    for k in range(3):
        canonical[k] = (
            weights[0] * surface.canonical[a, k]
            + weights[1] * surface.canonical[b, k]
            + weights[2] * surface.canonical[c, k]
        )


@numba.njit(cache=True)
def _interpolate(
    surface: Surface, f: int, weights: FloatArray, camera: FloatArray, at: FloatArray
) -> None:
    a, b, c = surface.faces[f, 0], surface.faces[f, 1], surface.faces[f, 2]
    u, v, w = weights[0], weights[1], weights[2]
    for k in range(3):
        at[k] = (
            u * surface.positions[a, k] + v * surface.positions[b, k] + w * surface.positions[c, k]
        )
        at[3 + k] = (
            u * surface.canonical[a, k] + v * surface.canonical[b, k] + w * surface.canonical[c, k]
        )
        at[6 + k] = (
            u * surface.normals[a, k] + v * surface.normals[b, k] + w * surface.normals[c, k]
        )
        at[9 + k] = camera[k] - at[k]
    for k in range(8):
        at[12 + k] = (
            u * surface.features[a, k] + v * surface.features[b, k] + w * surface.features[c, k]
        )
    _normalise(at, 9)
    _normalise(at, 6)
    if at[6] * at[9] + at[7] * at[10] + at[8] * at[11] < 0 and surface.materials[f] >= CLOTH:
        for k in range(6, 9):
            at[k] = -at[k]


@numba.njit(inline="always")
def _normalise(at: FloatArray, first: int) -> None:
    length = np.sqrt(at[first] ** 2 + at[first + 1] ** 2 + at[first + 2] ** 2)
    scale = np.float32(1.0) / max(length, np.float32(1e-9))
    at[first] *= scale
    at[first + 1] *= scale
    at[first + 2] *= scale


@numba.njit(inline="always")
def _step(value: float, low: float, high: float) -> float:
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@numba.njit(inline="always")
def _fade(frequency: float, pixel_cm: float) -> float:
    """How much of a pattern of so many cells per cm a pixel still resolves."""
    return min(max(1.4 - 1.4 * frequency * pixel_cm, 0.0), 1.0)


@numba.njit(cache=True)
def _skin(at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    volume, pixel = constants.volume, constants.pixel_cm
    x, y, z = at[3] + look.seed[0], at[4] + look.seed[1], at[5] + look.seed[2]
    a0, a1, a2, a3 = noise(x * 0.55, y * 0.55, z * 0.55, volume)
    b0, b1, b2, b3 = noise(x * 2.9, y * 2.9, z * 2.9, volume)
    c0, c1, c2, c3 = noise(x * 9.7, y * 9.7, z * 9.7, volume)
    fine = np.float32(_fade(9.7, pixel))
    middle = np.float32(_fade(2.9, pixel))
    blotch = look.blotches * (0.16 * a0 + 0.10 * middle * b0 + 0.10 * fine * c0)
    dark = 1.0 + blotch + 0.06 * look.pores * fine * c1
    freckle = look.freckles * _step(b1 + 0.5 * c0 * fine, 0.25, 0.6) * middle
    mole = look.moles * _step(b2 + 0.35 * a1, 0.93, 1.0)
    shade = dark * (1.0 - 0.35 * freckle) * (1.0 - 0.75 * mole)
    blood = look.blood * (at[12 + BLUSH] * 0.5 + 0.12 * a1 + 0.06 * b3)
    lip = at[12 + LIP] * look.lip_amount
    lid = at[12 + LID] + 0.05 * b1
    shadow = look.shadow_amount * _step(lid, 1.3, 0.2) * (1.0 if at[4] > 3.6 else 0.35)
    line = look.liner * _step(lid, 0.20, 0.03)
    hairy = look.brow * _step(at[12 + BROW] + 0.3 * b2 + 0.5 * fine * c2, 1.4, 0.3)
    full = _step(look.beard, 0.35, 0.7)
    coarse = 0.9 * c1 * fine + 0.6 * b0 + 0.8 * (1.0 - full)
    grown = at[12 + BEARD] * look.beard
    hairy = max(hairy, _step(grown * (2.2 + coarse) - 0.5, 0.0, 0.8) * (0.35 + 0.55 * full))
    stubble = min(1.0, 2.0 * at[12 + BEARD] * look.beard) * (0.30 + 0.25 * fine * c2)
    scalp = at[12 + SCALP]
    cropped = scalp * look.shaved * _step(at[12 + HEIGHT] + 0.3 * b0, -0.1, 0.5)
    hairy = max(hairy, cropped * (0.45 + 0.3 * fine * c2 + 0.12 * b1))
    for k in range(3):
        red = (0.5, -0.35, -0.3)[k]
        value = look.skin[k] * shade * (1.0 + blood * red)
        value *= 1.0 - stubble * (0.6, 0.5, 0.42)[k] * (1.0 - full)
        value += lip * (look.lips[k] * (1.0 + 0.15 * b0 + 0.1 * c0 * fine) - value)
        value += shadow * (look.shadow[k] - value)
        value += line * (0.25 * look.hair[k] + 0.01 - value)
        gray = look.hair[k] + look.hair_gray * _step(c3, 0.0, 0.5) * (0.45 - look.hair[k])
        gray *= max(0.9 + 0.5 * fine * c3 + 0.4 * middle * b3, 0.2)
        value += min(1.0, hairy) * (gray * 0.8 + 0.006 - value)
        out[k] = max(value, 0.004)
    bump = 0.035 + 0.10 * look.pores
    crease = look.wrinkles * np.sin((at[4] + 0.5 * a2 + 0.15 * at[3] * a3) * 7.5)
    crease *= _step(at[4], 5.2, 6.2) * _step(at[4], 10.0, 8.6)
    at[6] += bump * (0.5 * middle * b1 + fine * c1 + 0.3 * a1)
    at[7] += bump * (0.5 * middle * b2 + fine * c2 + 0.3 * a2) + 0.25 * crease
    at[8] += bump * (0.5 * middle * b3 + fine * c3 + 0.3 * a3)
    _normalise(at, 6)
    out[3] = 1.0
    out[4] = look.roughness * (1.0 - 0.35 * lip) + 0.1 * a1 + 0.3 * hairy
    out[5] = look.oil * (0.6 + 0.25 * a0 + 0.2 * lip) * (1.0 - 0.8 * hairy)
    out[6] = 0.0
    out[7] = 1.0 - hairy


@numba.njit(cache=True)
def _eye(at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    eyes = constants.eyes
    side = 0 if (at[3] > 0) == (eyes[0, 0] > 0) else 1
    dx, dy, dz = at[3] - eyes[side, 0], at[4] - eyes[side, 1], at[5] - eyes[side, 2]
    scale = 1.0 / max(np.sqrt(dx * dx + dy * dy + dz * dz), 1e-6)
    cosine = scale * (dx * look.gaze[0] + dy * look.gaze[1] + dz * look.gaze[2])
    angle = np.arccos(min(max(cosine, -1.0), 1.0))
    radius = look.iris_radius
    soft = 0.02 + 0.9 * constants.pixel_cm
    inside = _step(angle, radius + soft, radius - soft)
    pupil = _step(angle, look.pupil * radius + soft, look.pupil * radius - soft)
    n0, n1, _, _ = noise(dx * 9 + look.seed[0], dy * 9, dz * 9, constants.volume)
    rim = 1.0 - 0.55 * _step(angle, 0.78 * radius, radius)
    for k in range(3):
        white = (0.72, 0.66, 0.63)[k] * (1.0 - (0.02, 0.10, 0.10)[k] * _step(n0, 0.0, 0.8))
        iris = look.iris[k] * (1.0 + 0.5 * n1) * rim
        value = white + inside * (iris - white)
        out[k] = value + pupil * (0.004 - value)
    out[3], out[4], out[5], out[6], out[7] = 1.0, 0.08, 1.6, 0.0, 0.0


@numba.njit(cache=True)
def _stuff(kind: int, at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
    """Mouth, teeth, clothes, hats and glasses."""
    x, y, z = at[3] + look.seed[0], at[4] + look.seed[1], at[5] + look.seed[2]
    a0, a1, a2, a3 = noise(x * 0.8, y * 0.8, z * 0.8, constants.volume)
    b0, b1, b2, b3 = noise(x * 6.0, y * 6.0, z * 6.0, constants.volume)
    fine = np.float32(_fade(6.0, constants.pixel_cm))
    out[3], out[4], out[5], out[6], out[7] = 1.0, 0.6, 0.1, 0.0, 0.3
    rib = 0.0
    for k in range(3):
        if kind == MOUTH:
            value = (0.22, 0.06, 0.055)[k] * (1.0 + 0.3 * a0)
        elif kind == TEETH:
            value = (0.62, 0.56, 0.46)[k] * (1.0 + 0.08 * a0)
        elif kind == CLOTH:
            band = _step(np.sin(look.stripes * at[4] * 6.2832 + 0.6 * a1), -0.1, 0.1)
            band = band if look.stripes > 0 else _step(a2, 0.35, 0.45) * (1.0 if b3 > 2 else 0.0)
            value = look.cloth[k] + band * (look.cloth_other[k] - look.cloth[k])
            value *= 1.0 + look.weave * 0.35 * b0 * fine + 0.1 * a0
        elif kind == HAT:
            rib = np.sin(look.knit * np.arctan2(at[3], at[5] - 1.0) * 9.0 * 6.2832)
            rib *= 1.0 if look.knit > 0 else 0.0
            band = _step(at[12 + COVER], 3.9, 3.8)
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
        _normalise(at, 6)
    elif kind in (TEETH, MOUTH):
        out[4], out[5] = 0.2, 0.7
    else:
        out[4], out[5] = 0.15, 1.0


@numba.njit(cache=True)
def _hair(at: FloatArray, look: Any, constants: Constants, out: FloatArray) -> None:
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
    fine = np.float32(_fade(look.strand, pixel))
    strand = (1.0 - curl) * (0.65 * p0 * fine + 0.5 * r0) + curl * (0.9 * q0 + 0.35 * p1 * fine)
    level = at[12 + LEVEL]
    edge = at[12 + COVER] + 0.9 * strand
    hole = strand + 0.35 * p2 * fine + 1.1 - 0.75 * look.sparse - 1.35 * level
    out[3] = _step(edge, 0.0, 0.5) * _step(hole, 0.0, 0.35)
    depth = 0.62 + 0.38 * level + 0.5 * strand
    for k3 in range(3):
        base = look.hair[k3]
        base += look.hair_gray * _step(p3, -0.1, 0.4) * (0.5 - base)
        base *= 1.0 + 0.25 * w3
        out[k3] = max(base * max(depth, 0.15), 0.003)
    at[6] += 0.35 * (r1 + 0.5 * p1 * fine) * ca + 0.4 * curl * q1 - 0.0
    at[7] += 0.3 * curl * q2 + 0.2 * w1
    at[8] += -0.35 * (r1 + 0.5 * p1 * fine) * sa + 0.4 * curl * q3
    _normalise(at, 6)
    out[4] = 0.25
    out[5] = look.gloss * max(0.2, 0.8 + 0.8 * strand)
    out[6] = 1.0 - 0.6 * curl
    out[7] = 0.4


@numba.njit(cache=True)
def _light(kind: int, at: FloatArray, light: Lighting, out: FloatArray, rgb: FloatArray) -> None:
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
        if out[6] > 0:  # strands: highlight across the tangent, which points down along the head
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
