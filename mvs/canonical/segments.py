"""Regions defined once in the cube: the shipped ones, and any others that a file describes.

A file of regions is JSON; later regions cover earlier ones::

    {"shipped": true,
     "paint": "painted.png",
     "regions": [
       {"name": "patch", "color": [255, 0, 0], "paint": [255, 0, 0]},
       {"name": "cheek", "atlas": [[0.6, 0.5], [0.7, 0.5], [0.65, 0.4]]},
       {"name": "muzzle", "landmarks": ["nose_tip", "cheek_left", "chin", "cheek_right"]},
       {"name": "spot", "sphere": [0.5, 0.8, 0.71, 0.02]},
       {"name": "top", "box": [[0, 0.9, 0], [1, 1, 1]], "split": true}]}

``paint`` names the colour of a region in the picture painted over the template's atlas;
``atlas`` is a polygon there, x to the right and y up; ``landmarks`` a polygon on the head whose
corners are names of the layouts 68 and named, or places [u, v, w]; ``sphere`` is u, v, w, radius;
``box`` its lower and upper corner. ``split`` makes two of a region, left_NAME and right_NAME.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from calib.image_files import read_picture
from mvs.canonical.atlas import atlas_places
from mvs.canonical.layouts import load_layout
from mvs.canonical.parts import region_volume
from mvs.canonical.regions import PAIRED, REGION_COLORS, REGIONS
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray

# Places (N, 3) to memberships (N,) in [0, 1].
Membership = Callable[[FloatArray], FloatArray]

_KEYS = {"name", "color", "split", "paint", "atlas", "landmarks", "sphere", "box"}
_SHAPES = ("paint", "atlas", "landmarks", "sphere", "box")
# Borders are this soft, in the cube, and in texels of the picture that polygons are drawn to.
_SOFT = 0.002
_TEXELS = 1024
_BLUR = 1.2
# An edge between two landmarks follows the head in this many steps.
_EDGE_STEPS = 24
# Colours of a painted picture within this of a region's count as it.
_SAME_COLOR = 24
_MAX_REGIONS = 255
# Hue by the golden ratio, for regions without a colour.
_HUE_STEP = 0.6180339887498949


@dataclass(frozen=True)
class Region:
    """One region of the cube.

    Attributes:
        name: of it.
        color: RGB.
        membership: how much places are of it.
    """

    name: str
    color: tuple[int, int, int]
    membership: Membership


@dataclass(frozen=True)
class Regions:
    """Labels of places of the cube. Label 0 is none.

    Attributes:
        names: of the labels, ``background`` first.
        colors: (K, 3) uint8 RGB of the labels.
        base: labels of the shipped regions before the others cover them, or None.
        over: regions that cover what is before them; the last labels.
    """

    names: tuple[str, ...]
    colors: ByteArray
    base: Callable[[FloatArray], FloatArray] | None
    over: tuple[Region, ...]

    def scores(self, coords: FloatArray) -> FloatArray:
        """How much places (N, 3) of the cube are of each label: (N, K) float32, rows sum to 1."""
        coords = np.ascontiguousarray(coords, np.float32)
        scores = np.zeros((len(coords), len(self.names)), np.float32)
        scores[:, 0] = 1
        first = len(self.names) - len(self.over)
        if self.base is not None:
            scores[:, :first] = self.base(coords)
        for index, region in enumerate(self.over, first):
            share = region.membership(coords)
            scores *= 1 - share[:, None]
            scores[:, index] = share
        scores[~np.isfinite(coords).all(axis=1)] = np.eye(1, len(self.names))
        return scores

    def labels(self, coords: FloatArray) -> ByteArray:
        """Labels (N,) of places (N, 3)."""
        return np.asarray(self.scores(coords).argmax(axis=1), np.uint8)


def shipped_regions(split: bool = False) -> Regions:
    """The regions of ``mvs.canonical.regions``.

    Args:
        split: brows, eyes and ears are left or right ones.
    """
    names, colors = _shipped_names(split)
    return Regions(names, colors, _base(split), ())


def load_regions(path: Path, split: bool = False) -> Regions:
    """Regions of a file, see above.

    Args:
        path: the JSON file; the painted picture is named relative to it.
        split: the shipped regions below, where the file wants them, are split.

    Raises:
        ValueError: if the file is none of regions.
        CaptureError: if the painted picture cannot be read.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        entries = list(document["regions"])
        painted = document.get("paint")
        unknown = set(document) - {"shipped", "paint", "regions"}
        unknown |= {key for entry in entries for key in entry} - _KEYS
        if unknown:
            raise ValueError(f"unknown key {min(unknown)!r}")
        picture = None if painted is None else read_picture(path.parent / str(painted))[0]
        over = [r for k, entry in enumerate(entries) for r in _parse(entry, picture, k)]
        shipped = bool(document.get("shipped", False))
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: not a file of regions ({reason}); correct it") from None
    names, colors = _shipped_names(split) if shipped else (REGIONS[:1], _colors(REGION_COLORS[:1]))
    names = (*names, *(region.name for region in over))
    if len(set(names)) < len(names) or not over or len(names) > _MAX_REGIONS:
        raise ValueError(f"{path}: needs 1 to {_MAX_REGIONS} regions of different names")
    colors = np.concatenate([colors, _colors([region.color for region in over])])
    return Regions(names, colors, _base(split) if shipped else None, tuple(over))


def _parse(entry: dict[str, Any], picture: ByteArray | None, index: int) -> list[Region]:
    """One entry, or its two sides."""
    name = str(entry["name"])
    color = _color(entry["color"]) if "color" in entry else _nth_color(index, entry.get("paint"))
    shapes = [key for key in _SHAPES if key in entry]
    if len(shapes) != 1:
        raise ValueError(f"{name!r} needs one of {', '.join(_SHAPES)}")
    membership = _membership(shapes[0], entry[shapes[0]], picture)
    if not entry.get("split", False):
        return [Region(name, color, membership)]
    dim = (color[0] * 2 // 3, color[1] * 2 // 3, color[2] * 2 // 3)
    return [
        Region(f"left_{name}", color, lambda c: membership(c) * _left(c)),
        Region(f"right_{name}", dim, lambda c: membership(c) * (1 - _left(c))),
    ]


def _membership(shape: str, value: Any, picture: ByteArray | None) -> Membership:
    if shape == "sphere":
        *center, radius = _numbers(value, (4,))
        return lambda coords: _soft(radius - np.linalg.norm(coords - np.array(center), axis=1))
    if shape == "box":
        low, high = _numbers(value, (2, 3))
        return lambda coords: _soft(np.minimum(coords - low, high - coords).min(axis=1))
    if shape == "paint":
        if picture is None:
            raise ValueError("a painted region needs the picture's name, 'paint'")
        off = np.abs(picture.astype(np.int16) - _color(value)).max(axis=2)
        if not (off <= _SAME_COLOR).any():
            raise ValueError(f"nothing is painted in {value}")
        return _of_picture((off <= _SAME_COLOR).astype(np.float32))
    if shape == "landmarks":
        return _of_polygon(_outline(value))
    polygon = _numbers(value, (len(value), 2))
    return _of_polygon(polygon * [1, -1] + [0, 1])


def _outline(corners: Sequence[Any]) -> DoubleArray:
    """A polygon in the atlas (x, y down) along the head between landmarks or places."""
    known: dict[str, DoubleArray] = {}
    for layout in ("68", "named"):
        found = load_layout(layout)
        known |= dict(zip(found.names, found.positions.astype(np.float64), strict=True))
    places = [known[c] if isinstance(c, str) else _numbers(c, (3,)) for c in corners]
    if len(places) < 3:
        raise ValueError("a polygon needs three corners or more")
    share = np.arange(_EDGE_STEPS)[:, None] / _EDGE_STEPS
    edges = [a + (b - a) * share for a, b in zip(places, places[1:] + places[:1], strict=True)]
    return atlas_places(np.concatenate(edges).astype(np.float32))[0]


def _of_polygon(corners: DoubleArray) -> Membership:
    """Membership of a polygon (N, 2) in the atlas, [0, 1]^2 with y down."""
    import cv2

    if len(corners) < 3:
        raise ValueError("a polygon needs three corners or more")
    drawn = np.zeros((_TEXELS, _TEXELS), np.uint8)
    fixed = np.rint((corners * _TEXELS - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(drawn, [fixed], 1, cv2.LINE_8, 4)
    if not drawn.any():
        raise ValueError("a polygon lies outside the atlas or has no area")
    return _of_picture(drawn.astype(np.float32))


def _of_picture(drawn: FloatArray) -> Membership:
    """Membership of what is drawn over the atlas (h, w), with soft borders."""
    import cv2

    blurred = np.asarray(
        cv2.GaussianBlur(drawn, (0, 0), _BLUR * len(drawn) / _TEXELS + 1e-3), np.float32
    )
    return lambda coords: sample_atlas(blurred[..., None], atlas_places(coords)[0])[:, 0]


def sample_atlas(picture: FloatArray, places: DoubleArray) -> FloatArray:
    """Values (N, C) of a picture (h, w, C) over the atlas at places (N, 2), y down; 0 for NaN."""
    height, width = picture.shape[:2]
    at = np.clip(np.nan_to_num(places) * [width, height] - 0.5, 0, [width - 1, height - 1])
    low = np.minimum(np.floor(at).astype(np.int64), [max(width - 2, 0), max(height - 2, 0)])
    (x, y), (fx, fy) = low.T, (at - low).astype(np.float32).T[:, :, None]
    right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
    top = picture[y, x] * (1 - fx) + picture[y, right] * fx
    bottom = picture[below, x] * (1 - fx) + picture[below, right] * fx
    known = np.asarray(np.isfinite(places).all(axis=1))
    return np.asarray(np.where(known[:, None], top * (1 - fy) + bottom * fy, 0), np.float32)


def _base(split: bool) -> Callable[[FloatArray], FloatArray]:
    def scores(coords: FloatArray) -> FloatArray:
        told = _between_voxels(coords)
        if not split:
            return told
        left = _left(coords)
        layers = []
        for index, name in enumerate(REGIONS):
            if name in PAIRED:
                layers += [told[:, index] * left, told[:, index] * (1 - left)]
            else:
                layers.append(told[:, index])
        return np.asarray(np.stack(layers, axis=1), np.float32)

    return scores


def _between_voxels(coords: FloatArray) -> FloatArray:
    """Memberships (N, K) of the shipped regions at places (N, 3): cubic B-splines over the labels.

    Source: Unser, "Splines: a perfect fit for signal and image processing" (1999).
    """
    volume = region_volume()
    size, n = len(volume), len(REGIONS)
    at = np.clip(np.nan_to_num(coords), 0, 1).astype(np.float64) * size - 0.5
    low = np.floor(at)
    u, v, w = np.clip(low, 0, size - 1).astype(np.int64).T
    total = np.eye(n, dtype=np.float32)[volume[u, v, w]]
    mixed = np.flatnonzero(_mixed()[u, v, w])
    t, low = (at - low)[mixed], low[mixed].astype(np.int64)
    spline = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    steps = [np.clip(low + k, 0, size - 1) for k in (-1, 0, 1, 2)]
    rows = np.arange(len(mixed)) * n
    votes = np.zeros(len(mixed) * n)
    for i, j, k in np.ndindex(4, 4, 4):
        weight = spline[i][:, 0] * spline[j][:, 1] * spline[k][:, 2] / 216
        label = volume[steps[i][:, 0], steps[j][:, 1], steps[k][:, 2]]
        votes += np.bincount(rows + label, weight, minlength=len(votes))
    total[mixed] = votes.reshape(-1, n)
    return np.asarray(total, np.float32)


@cache
def _mixed() -> BoolArray:
    """(S, S, S) bool: voxels whose neighbours up to two away have more than one label."""
    from scipy.ndimage import maximum_filter, minimum_filter

    volume = region_volume()
    low = minimum_filter(volume, 5, mode="nearest")
    return np.asarray(low != maximum_filter(volume, 5, mode="nearest"))


def _shipped_names(split: bool) -> tuple[tuple[str, ...], ByteArray]:
    names: list[str] = []
    colors: list[tuple[int, ...]] = []
    for name, color in zip(REGIONS, REGION_COLORS, strict=True):
        if split and name in PAIRED:
            names += [f"left_{name}", f"right_{name}"]
            colors += [color, tuple(c * 2 // 3 for c in color)]
        else:
            names.append(name)
            colors.append(color)
    return tuple(names), _colors(colors)


def _left(coords: FloatArray) -> FloatArray:
    return _soft(coords[:, 0] - 0.5)


def _soft(inside: DoubleArray | FloatArray) -> FloatArray:
    """From signed distances inside a border to memberships."""
    return np.asarray(np.clip(0.5 + inside / (2 * _SOFT), 0, 1), np.float32)


def _numbers(value: Any, shape: tuple[int, ...]) -> DoubleArray:
    numbers = np.array(value, np.float64)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"expected {' x '.join(map(str, shape))} numbers, got {value}")
    return numbers


def _color(value: Any) -> tuple[int, int, int]:
    red, green, blue = _numbers(value, (3,))
    if not all(0 <= c <= 255 for c in (red, green, blue)):
        raise ValueError(f"a colour is three numbers from 0 to 255, got {value}")
    return int(red), int(green), int(blue)


def _nth_color(index: int, paint: Any) -> tuple[int, int, int]:
    import colorsys

    if paint is not None:
        return _color(paint)
    red, green, blue = colorsys.hsv_to_rgb(index * _HUE_STEP % 1.0, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _colors(rows: Sequence[Sequence[int]]) -> ByteArray:
    return np.array(rows, np.uint8).reshape(-1, 3)
