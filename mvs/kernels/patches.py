"""Patches on slanted planes: what a reference patch looks like in another picture.

The plane of a pixel is (w, wx, wy): its inverse depth and how that changes from pixel to pixel,
along which planes in space are linear. A source picture is M (3, 3) and t (3,) with homogeneous
source pixel = M [x, y, 1] + w t. Within a patch that map is replaced by its derivative in the
middle: over a few pixels the rest is thousandths of a pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
# A source that sees a patch smaller or larger than this (in area), or from behind, has no say.
_SHRINK = 0.05
_STRETCH = 12.0
# Makes pixels near the patch's middle positive, so that cutting off decimals rounds down.
SHIFT = 256


class Reference(NamedTuple):
    """The picture whose pixels get planes.

    Attributes:
        picture: (H, W) float32 brightness.
        mask: (H, W) pixels that count.
        seen: (H, W) uint64 bit set of the sources that show a pixel.
        limits: (H, W, 2) float32 lowest and highest inverse depth.
        coords: (H, W, 3) float32 cube coordinates; (0, 0, 3) for none.
        trust: (H, W) float32 trust in them, 0 to 1; (0, 0) for none.
    """

    picture: FloatArray
    mask: BoolArray
    seen: np.typing.NDArray[np.uint64]
    limits: FloatArray
    coords: FloatArray
    trust: FloatArray


class Sources(NamedTuple):
    """What the reference picture is compared with.

    Attributes:
        pictures: (S, H, W) float32 brightness, smaller ones filled up.
        sizes: (S, 2) int32 height and width.
        rotations: (S, 3, 3) float64 M.
        translations: (S, 3) float64 t.
        coords: (S, h, w, 3) float32 cube maps; (S, 0, 0, 3) for none.
        trust: (S, h, w) float32 trust in them, 0 to 1.
        map_from_pixel: (S, 4) float64 scale and offset in x, then in y, of the maps' pixels.
    """

    pictures: FloatArray
    sizes: IntArray
    rotations: DoubleArray
    translations: DoubleArray
    coords: FloatArray
    trust: FloatArray
    map_from_pixel: DoubleArray


class Patch(NamedTuple):
    """How pixels are compared.

    Attributes:
        across: (N,) int32 horizontal offsets of the samples, pixels.
        along: (N,) int32 vertical ones.
        near: (N,) float32 weights by distance.
        radius: largest offset.
        spread: standard deviation of the weight over distance, pixels.
        contrast: difference in brightness at which a sample's weight is a quarter.
        n_best: sources of which the mean is taken.
        noise: standard deviation of the brightness's noise.
        smoothness: weight of the neighbours' planes against a patch of full contrast.
        cube: weight of the cube coordinates, likewise.
    """

    across: IntArray
    along: IntArray
    near: FloatArray
    radius: int
    spread: float
    contrast: float
    n_best: int
    noise: float
    smoothness: float
    cube: float


def make_patch(
    radius: int,
    step: int,
    spread: float,
    contrast: float,
    n_best: int,
    noise: float,
    smoothness: float,
    cube: float = 0.0,
) -> Patch:
    """A square patch with samples every ``step`` pixels from its middle.

    Args:
        radius: of the square, pixels.
        step: between the samples, pixels.
        spread: standard deviation of the weight over distance, pixels.
        contrast: difference in brightness at which a sample's weight is a quarter.
        n_best: sources of which the mean is taken.
        noise: standard deviation of the brightness's noise.
        smoothness: weight of the neighbours' planes against a patch of full contrast.
        cube: weight of the cube coordinates, likewise.
    """
    reach = radius // step * step
    offsets = np.arange(-reach, reach + 1, step, dtype=np.int32)
    along, across = (a.ravel() for a in np.meshgrid(offsets, offsets, indexing="ij"))
    near = np.exp(-0.5 * (across**2 + along**2) / spread**2).astype(np.float32)
    numbers = (float(spread), float(contrast), n_best, float(noise), float(smoothness), float(cube))
    return Patch(across, along, near, radius, *numbers)


@numba.njit(cache=True, fastmath=FAST)
def read_patch(picture, row, column, patch, values, weights):  # type: ignore[no-untyped-def]
    """The reference patch: weights of sum 1, values of mean 0 and variance 1; its variance."""
    height, width = picture.shape
    middle = picture[row, column]
    per = np.float32(1.0 / patch.contrast)
    n = len(patch.near)
    one = np.float32(1.0)
    total, mean, square = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(n):
        r = min(max(row + patch.along[i], 0), height - 1)
        c = min(max(column + patch.across[i], 0), width - 1)
        value = picture[r, c] - middle
        off = value * per
        # Falls like a bell, without an exponential.
        bell = one / (one + off * off)
        weight = patch.near[i] * bell * bell
        values[i], weights[i] = value, weight
        total += weight
        mean += weight * value
        square += weight * value * value
    mean /= total
    variance = max(square / total - mean * mean, np.float32(0.0))
    scale = one / np.float32(np.sqrt(variance + np.float32(1e-12)))
    for i in range(n):
        weights[i] /= total
        values[i] = (values[i] - mean) * scale
    return variance


@numba.njit(cache=True, fastmath=FAST)
def warp(sources, s, x, y, w, wx, wy, radius):  # type: ignore[no-untyped-def]
    """Where a source shows a patch: whether it does, the place, its derivatives over x, y and w.

    Places count from the middle of the first pixel.
    """
    m, t = sources.rotations[s], sources.translations[s]
    down = m[2, 0] * x + m[2, 1] * y + m[2, 2] + w * t[2]
    per = 1.0 / down
    u = (m[0, 0] * x + m[0, 1] * y + m[0, 2] + w * t[0]) * per
    v = (m[1, 0] * x + m[1, 1] * y + m[1, 2] + w * t[1]) * per
    tu, tv = (t[0] - u * t[2]) * per, (t[1] - v * t[2]) * per
    ux = (m[0, 0] - u * m[2, 0]) * per + wx * tu
    uy = (m[0, 1] - u * m[2, 1]) * per + wy * tu
    vx = (m[1, 0] - v * m[2, 0]) * per + wx * tv
    vy = (m[1, 1] - v * m[2, 1]) * per + wy * tv
    u -= 0.5
    v -= 0.5
    wide, high = radius * (abs(ux) + abs(uy)), radius * (abs(vx) + abs(vy))
    area = ux * vy - uy * vx
    shown = (
        down > 0
        and _SHRINK < area < _STRETCH
        and max(wide, high) < SHIFT
        and u - wide >= 0
        and v - high >= 0
        and u + wide < sources.sizes[s, 1] - 1
        and v + high < sources.sizes[s, 0] - 1
    )
    return shown, u, v, ux, uy, vx, vy, tu, tv


@numba.njit(cache=True, fastmath=FAST)
def compare(sources, s, place, patch, values, weights):  # type: ignore[no-untyped-def]
    """ZNCC of a patch with one source where ``warp`` says that it shows it."""
    _, u, v, ux, uy, vx, vy, _, _ = place
    width = np.uint64(sources.pictures.shape[2])
    flat = sources.pictures.reshape(-1)
    column, row = int(u), int(v)
    start = (s * sources.pictures.shape[1] + row - SHIFT) * sources.pictures.shape[2]
    start += column - SHIFT
    fu, fv = np.float32(u - column + SHIFT), np.float32(v - row + SHIFT)
    ux, uy, vx, vy = np.float32(ux), np.float32(uy), np.float32(vx), np.float32(vy)
    mean, square, both = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    middle = sources.pictures[s, row, column]
    for i in range(len(patch.near)):
        dx, dy = np.float32(patch.across[i]), np.float32(patch.along[i])
        a, b = fu + ux * dx + uy * dy, fv + vx * dx + vy * dy
        c, r = np.int32(a), np.int32(b)
        fx, fy = a - np.float32(c), b - np.float32(r)
        at = np.uint64(start + r * np.int64(width) + c)
        first, second = flat[at], flat[at + np.uint64(1)]
        third, fourth = flat[at + width], flat[at + width + np.uint64(1)]
        top = first + fx * (second - first)
        value = top + fy * (third + fx * (fourth - third) - top) - middle
        weighted = weights[i] * value
        mean += weighted
        square += weighted * value
        both += weighted * values[i]
    return both / np.float32(np.sqrt(max(square - mean * mean, np.float32(1e-10))))


@numba.njit(cache=True)
def cube_step(reference, row, column, sources, s, place):  # type: ignore[no-untyped-def]
    """Change of inverse depth that brings the cube coordinates together, and trust in it."""
    trust = reference.trust[row, column]
    if not trust > 0:
        return 0.0, 0.0
    _, u, v, _, _, _, _, tu, tv = place
    to = sources.map_from_pixel[s]
    mu, mv = to[0] * (u + 0.5) + to[1] - 0.5, to[2] * (v + 0.5) + to[3] - 0.5
    _, height, width, _ = sources.coords.shape
    if not (0 <= mu < width - 1 and 0 <= mv < height - 1):
        return 0.0, 0.0
    c, r = int(mu), int(mv)
    fx, fy = mu - c, mv - r
    maps, sure = sources.coords[s], sources.trust[s]
    worst = min(sure[r, c], sure[r, c + 1], sure[r + 1, c], sure[r + 1, c + 1])
    if not worst > 0:
        return 0.0, 0.0
    along, square = 0.0, 1e-12
    for k in range(3):
        first, second = maps[r, c, k], maps[r, c + 1, k]
        third, fourth = maps[r + 1, c, k], maps[r + 1, c + 1, k]
        across = (1 - fy) * (second - first) + fy * (fourth - third)
        down = (1 - fx) * (third - first) + fx * (fourth - second)
        value = first + fx * (second - first)
        value += fy * (third + fx * (fourth - third) - value)
        slope = across * to[0] * tu + down * to[2] * tv
        along += slope * (reference.coords[row, column, k] - value)
        square += slope * slope
    return along / square, trust * worst
