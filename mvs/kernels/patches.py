"""Patches on slanted planes: what a reference patch looks like in another picture.

The plane of a pixel is (w, wx, wy): its inverse depth and how that changes from pixel to pixel,
along which planes in space are linear. A source picture is M (3, 3) and t (3,) with homogeneous
source pixel = M [x, y, 1] + w t. Within a patch that map is replaced by its derivative in the
middle: over a few pixels the rest is thousandths of a pixel.

Functions here are put in where they are called: their arguments, tuples of arrays, cost more to
hand over than many of them cost to run. Sampling goes in three passes over the patch's samples, of
which only the middle one, fetching, is not done on eight samples at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
# A source that sees a patch smaller or larger than this (in area), or from behind, has no say.
_SHRINK = 0.05
_STRETCH = 12.0
# Makes pixels near the patch's middle positive, so that cutting off decimals rounds down.
_SHIFT = 256
# Patches stay this far inside, pixels: their samples' places are rounded.
_MARGIN = 1e-3
# White, in a packed picture.
_WHITE = 65535.0
_LOW = np.uint32(0xFFFF)
# Variance of a patch of a packed picture at least; rounding alone gives a sixth of it.
LEAST = np.float32(0.5)


class Reference(NamedTuple):
    """The picture whose pixels get planes: all, or every so many in both directions.

    Attributes:
        picture: float32 brightness, ``stride`` times as high and wide as what follows, or more.
        stride: pixels of the picture from one plane to the next; see ``middle``.
        mask: (H, W) planes that count.
        seen: (H, W) uint64 bit set of the sources that show a pixel.
        limits: (H, W, 2) float32 lowest and highest inverse depth.
        coords: (H, W, 3) float32 cube coordinates; (0, 0, 3) for none.
        trust: (H, W) float32 trust in them, 0 to 1; (0, 0) for none.
    """

    picture: FloatArray
    stride: int
    mask: BoolArray
    seen: npt.NDArray[np.uint64]
    limits: FloatArray
    coords: FloatArray
    trust: FloatArray


class Sources(NamedTuple):
    """What the reference picture is compared with.

    Attributes:
        pairs: (S, H * width) uint32 from ``pack_pairs``, row by row, smaller pictures filled up.
        width: of the rows.
        sizes: (S, 2) int32 height and width.
        rotations: (S, 3, 3) float64 M.
        translations: (S, 3) float64 t.
        coords: (S, h, w, 3) float32 cube maps; (S, 0, 0, 3) for none.
        trust: (S, h, w) float32 trust in them, 0 to 1.
        map_from_pixel: (S, 4) float64 scale and offset in x, then in y, of the maps' pixels.
    """

    pairs: npt.NDArray[np.uint32]
    width: int
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
    """A round patch with samples every ``step`` pixels from its middle.

    Samples without weight fill it up to a multiple of eight, which are worked on together.

    Args:
        radius: of the patch, pixels.
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
    inside = across**2 + along**2 <= radius**2
    rest = (0, -int(inside.sum()) % 8)
    across, along = np.pad(across[inside], rest), np.pad(along[inside], rest)
    near = np.exp(-0.5 * (across**2 + along**2) / spread**2).astype(np.float32)
    near[len(near) - rest[1] :] = 0
    numbers = (float(spread), float(contrast), n_best, float(noise), float(smoothness), float(cube))
    return Patch(across, along, near, radius, *numbers)


class Room(NamedTuple):
    """Where one thread puts a patch's samples; in few arrays: loops over many are not vectorised.

    Attributes:
        own: (2, N) float32 of the reference: values of mean 0 and variance 1, weights of sum 1.
        part: (2, N) float32 how far a source's samples are right of and below ``at``, pixels.
        at: (N,) int32 pixel of the source, counted from ``_SHIFT`` before the patch's middle.
        pairs: (2, N) uint32 of the source there and in the row below.
        likeness: (n_best,) float32 ZNCC of the sources most alike, descending.
    """

    own: FloatArray
    part: FloatArray
    at: IntArray
    pairs: npt.NDArray[np.uint32]
    likeness: FloatArray


@numba.njit(cache=True)
def make_room(patch):  # type: ignore[no-untyped-def]
    """Room for patches."""
    n = len(patch.near)
    own, part = np.empty((2, n), np.float32), np.empty((2, n), np.float32)
    at, pairs = np.empty(n, np.int32), np.empty((2, n), np.uint32)
    return Room(own, part, at, pairs, np.empty(patch.n_best, np.float32))


def pack_pairs(picture: FloatArray) -> npt.NDArray[np.uint32]:
    """A picture with every pixel's right neighbour beside it.

    Args:
        picture: (H, W) float32 brightness, 1 is white.

    Returns:
        (H, W) uint32: the pixel in the lower 16 bits, its right neighbour in the upper.
    """
    level = np.rint(np.clip(picture, 0, 1) * np.float32(_WHITE)).astype(np.uint32)
    pairs: npt.NDArray[np.uint32] = level.copy()
    pairs[:, :-1] |= level[:, 1:] << np.uint32(16)
    return pairs


def unpack_pairs(pairs: npt.NDArray[np.uint32]) -> FloatArray:
    """The picture (H, W) of ``pack_pairs``, to the nearest 65535th."""
    return np.asarray((pairs & _LOW) / np.float32(_WHITE), np.float32)


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def middle(reference, row, column):  # type: ignore[no-untyped-def]
    """Row and column in the picture of the pixel that a plane belongs to."""
    stride = reference.stride
    return row * stride + stride // 2, column * stride + stride // 2


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def read_patch(reference, row, column, patch, room):  # type: ignore[no-untyped-def]
    """The reference patch: weights of sum 1, values of mean 0 and variance 1; its variance."""
    picture = reference.picture
    height, width = picture.shape
    row, column = middle(reference, row, column)
    center = picture[row, column]
    per = np.float32(1.0 / patch.contrast)
    n = len(patch.near)
    one = np.float32(1.0)
    total, mean, square = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(n):
        r = min(max(row + patch.along[i], 0), height - 1)
        c = min(max(column + patch.across[i], 0), width - 1)
        value = picture[r, c] - center
        off = value * per
        # Falls like a bell, without an exponential.
        bell = one / (one + off * off)
        weight = patch.near[i] * bell * bell
        room.own[0, i], room.own[1, i] = value, weight
        total += weight
        mean += weight * value
        square += weight * value * value
    mean /= total
    variance = max(square / total - mean * mean, np.float32(0.0))
    scale = one / np.float32(np.sqrt(variance + np.float32(1e-12)))
    for i in range(n):
        room.own[0, i] = (room.own[0, i] - mean) * scale
        room.own[1, i] /= total
    return variance


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def warp(sources, s, x, y, w, wx, wy, radius):  # type: ignore[no-untyped-def]
    """Where a source shows a patch: whether it does, the place, its derivatives over x, y and w.

    Places count from the middle of the first pixel.
    """
    m, t = sources.rotations, sources.translations
    t0, t1, t2 = t[s, 0], t[s, 1], t[s, 2]
    per = 1.0 / (m[s, 2, 0] * x + m[s, 2, 1] * y + m[s, 2, 2] + w * t2)
    u = (m[s, 0, 0] * x + m[s, 0, 1] * y + m[s, 0, 2] + w * t0) * per
    v = (m[s, 1, 0] * x + m[s, 1, 1] * y + m[s, 1, 2] + w * t1) * per
    tu, tv = (t0 - u * t2) * per, (t1 - v * t2) * per
    ux = (m[s, 0, 0] - u * m[s, 2, 0]) * per + wx * tu
    uy = (m[s, 0, 1] - u * m[s, 2, 1]) * per + wy * tu
    vx = (m[s, 1, 0] - v * m[s, 2, 0]) * per + wx * tv
    vy = (m[s, 1, 1] - v * m[s, 2, 1]) * per + wy * tv
    u -= 0.5
    v -= 0.5
    wide, high = radius * (abs(ux) + abs(uy)), radius * (abs(vx) + abs(vy))
    area = ux * vy - uy * vx
    shown = (
        per > 0
        and _SHRINK < area < _STRETCH
        and max(wide, high) < _SHIFT
        and u - wide >= _MARGIN
        and v - high >= _MARGIN
        and u + wide < sources.sizes[s, 1] - 1 - _MARGIN
        and v + high < sources.sizes[s, 0] - 1 - _MARGIN
    )
    return shown, u, v, ux, uy, vx, vy, tu, tv


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def fetch(sources, s, place, patch, room):  # type: ignore[no-untyped-def]
    """Bring a patch's samples of a source into the room, where ``warp`` says that it shows them.

    Returns the brightness in its middle, of which the samples' differ little.
    """
    _, u, v, ux, uy, vx, vy, _, _ = place
    column, row = int(u), int(v)
    fu, fv = np.float32(u - column + _SHIFT), np.float32(v - row + _SHIFT)
    ux, uy, vx, vy = np.float32(ux), np.float32(uy), np.float32(vx), np.float32(vy)
    for i in range(len(patch.near)):
        dx, dy = np.float32(patch.across[i]), np.float32(patch.along[i])
        x, y = fu + ux * dx + uy * dy, fv + vx * dx + vy * dy
        c, r = np.int32(x), np.int32(y)
        room.part[0, i], room.part[1, i] = x - np.float32(c), y - np.float32(r)
        room.at[i] = r * np.int32(sources.width) + c
    layer, wide = np.uint64(s), np.uint64(sources.width)
    start = (row - _SHIFT) * sources.width + column - _SHIFT
    for i in range(len(patch.near)):
        at = np.uint64(start + np.int64(room.at[i]))
        room.pairs[0, i] = sources.pairs[layer, at]
        room.pairs[1, i] = sources.pairs[layer, at + wide]
    center = np.uint64(row * sources.width + column)
    return np.float32(np.int32(sources.pairs[layer, center] & _LOW))


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def corners(room, i):  # type: ignore[no-untyped-def]
    """The four pixels around a sample, of 65535: two above, two below."""
    upper, lower = room.pairs[0, i], room.pairs[1, i]
    return (
        np.float32(np.int32(upper & _LOW)),
        np.float32(np.int32(upper >> np.uint32(16))),
        np.float32(np.int32(lower & _LOW)),
        np.float32(np.int32(lower >> np.uint32(16))),
    )


@numba.njit(cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def compare(sources, s, place, patch, room):  # type: ignore[no-untyped-def]
    """ZNCC of a patch with one source where ``warp`` says that it shows it."""
    center = fetch(sources, s, place, patch, room)
    mean, square, both = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(len(patch.near)):
        first, second, third, fourth = corners(room, i)
        top = first + room.part[0, i] * (second - first)
        low = third + room.part[0, i] * (fourth - third)
        value = top + room.part[1, i] * (low - top) - center
        weighted = room.own[1, i] * value
        mean += weighted
        square += weighted * value
        both += weighted * room.own[0, i]
    return both / np.float32(np.sqrt(max(square - mean * mean, LEAST)))


@numba.njit(cache=True, error_model="numpy", forceinline=True)
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
