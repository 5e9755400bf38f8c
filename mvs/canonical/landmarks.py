"""Landmarks of any head: places of the cube that are looked up in a picture's cube map.

No detector is trained: a landmark is a query in the canonical cube, and the picture's map answers
where on the picture that place is. Any other place of the cube can be asked for in the same way.

Source: Chandran, Zoss, Gotardo and Bradley, "Continuous Landmark Detection with 3D Queries" (CVPR
2023), for the idea of landmarks as positions on a canonical head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from mvs.canonical.carry import Correspondences, carry, fit_affine, map_locally
from mvs.canonical.layouts import Layout, load_layout
from mvs.kernels.places import Neighborhoods, fit_places
from mvs.stages.views import cube_per_pixel
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray

# A network's confidence is 1 / (1 + variance / _SURE^2), see ``NetworkEmbedder``.
_SURE = 0.01
# The window of a fit reaches this many times its kernel's width, and weighs so little there that
# what lies beyond changes nothing.
_REACH = 2.5
# A neighbourhood is at least this many pixels wide.
_MIN_STEPS = 1.5
# A place has settled when the last step was shorter than this, and lies beside a pixel of the map
# when it is no farther from its centre, both in pixels of the map.
_SETTLED = 0.3
_BESIDE = 1.0
# A gap of this length, in the cube, is as likely noise as not.
_GAP_NOISE = 0.003
# Width of the neighbourhood that carries a place inside the head, in the cube.
_INSIDE_RADIUS = 0.1
# Layouts of more places than this are located from every second pixel of every second row.
_DENSE = 1000


@dataclass(frozen=True)
class LandmarkOptions:
    """How a place of the cube is located in a map.

    Attributes:
        radius: width of the neighbourhood that a place is fitted to, in the cube.
        max_radius: widest neighbourhood; where it holds too few pixels the place is not seen.
        min_pixels: pixels that a neighbourhood must hold, counted by their weight.
        max_gap: a place is seen where the map's surface is no farther from it than this, in the
            cube, or than ``noise_gap`` times the map's own uncertainty.
        noise_gap: see ``max_gap``.
        steps: of the fit, at most.
        stride: fit to every so many pixels and rows of the map: the neighbourhood is as wide, with
            fewer pixels in it.
    """

    radius: float = 0.012
    max_radius: float = 0.05
    min_pixels: float = 9.0
    max_gap: float = 0.008
    noise_gap: float = 1.0
    steps: int = 8
    stride: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.radius <= self.max_radius:
            raise ValueError(f"radius must be in (0, max_radius], got {self.radius}")
        if not self.min_pixels >= 6:
            raise ValueError(f"min_pixels must be at least 6, got {self.min_pixels}")
        if not (self.max_gap > 0 and self.noise_gap >= 0):
            raise ValueError(f"max_gap must be > 0 and noise_gap >= 0, got {self}")
        if self.steps < 1 or self.stride < 1:
            raise ValueError(f"steps and stride must be at least 1, got {self}")


@dataclass(frozen=True)
class Landmarks2d:
    """Places of the cube in a picture.

    Attributes:
        pixels: (K, 2) float64 in the picture (the centre of the first pixel is (0.5, 0.5)); of a
            hidden place where it would be, NaN where the map says too little even for that.
        confidence: (K,) float32 in [0, 1], the map's, less where its surface passes at a distance.
        visible: (K,) bool, whether the surface at the place is in the picture.
        coords: (K, 3) float64 the map's cube coordinates at the pixel, beside the place where the
            surface passes at a distance; NaN where the map has nothing near.
    """

    pixels: DoubleArray
    confidence: FloatArray
    visible: BoolArray
    coords: DoubleArray


def landmark_positions(layout: str = "68") -> FloatArray:
    """Cube coordinates (K, 3) float32 of a layout, see ``load_layout``."""
    return load_layout(layout).positions.copy()


def landmark_names(layout: str = "68") -> tuple[str, ...]:
    """Names of a layout's places, such as ``left_eye_3``, in order."""
    return load_layout(layout).names


def find_landmarks(
    cube_map: CubeMap, positions: FloatArray, options: LandmarkOptions | None = None
) -> Landmarks2d:
    """Locate places of the cube in a picture by its cube map, to a part of a pixel.

    Around each place a quadratic surface, pixel to cube, is fitted to the map robustly, weighted by
    confidence and by distance, and the pixel is where that surface comes nearest to the place. What
    still lies between the two, as at a lid's corner behind the lashes, is added as an affine camera
    fitted to the whole map sees it. A place that the map does not show is put where that camera,
    moved by what it is wrong by nearby, sees it.

    Args:
        cube_map: of a picture.
        positions: (K, 3) places in the cube.
        options: how places are located.

    Raises:
        ValueError: if ``positions`` is not (K, 3).
    """
    options = options or LandmarkOptions()
    wanted = np.asarray(positions, np.float64)
    if wanted.ndim != 2 or wanted.shape[1] != 3:
        raise ValueError(f"positions must be (K, 3), got {wanted.shape}")
    pixels = np.full((len(wanted), 2), np.nan)
    confidence = np.zeros(len(wanted), np.float32)
    visible = np.zeros(len(wanted), np.bool_)
    coords = np.full((len(wanted), 3), np.nan)
    known = np.isfinite(wanted).all(axis=1)
    samples = Samples.of(cube_map, options.stride)
    if len(samples.coords):
        found = _locate(samples, wanted[known], options)
        pixels[known], confidence[known], visible[known], coords[known] = found
        seen, hidden = samples.correspondences(), known & ~visible
        pixels[visible] += _aside(seen, wanted[visible] - coords[visible])
        pixels[hidden] = carry(seen, wanted[hidden], options.max_radius)
    return Landmarks2d(_to_picture(cube_map, pixels), confidence, visible, coords)


def find_inside(cube_map: CubeMap, positions: FloatArray) -> Landmarks2d:
    """Locate places off the surface, such as teeth and eye centres, in a picture.

    They are never visible, and lie where an affine map from the cube to the picture, fitted to what
    is seen around each, puts them.

    Args:
        cube_map: of a picture.
        positions: (K, 3) places in the cube.
    """
    wanted = np.asarray(positions, np.float64)
    seen = Samples.of(cube_map).correspondences()
    pixels, confidence = map_locally(seen, wanted, _INSIDE_RADIUS)
    hidden = np.zeros(len(wanted), np.bool_)
    return Landmarks2d(
        _to_picture(cube_map, pixels), confidence, hidden, np.full_like(wanted, np.nan)
    )


def find_layout(
    cube_map: CubeMap, layout: Layout, options: LandmarkOptions | None = None
) -> Landmarks2d:
    """Locate a layout's places, on the surface and inside, in a picture.

    Layouts of more than a thousand places are fitted to a quarter of the map's pixels (``stride``
    2), which moves most by a few hundredths of a pixel and one in twenty by half a pixel.

    Args:
        cube_map: of a picture.
        layout: what is asked for.
        options: how places are located.
    """
    options = options or LandmarkOptions()
    if len(layout) > _DENSE:
        options = replace(options, stride=max(options.stride, 2))
    found = find_landmarks(cube_map, layout.positions, options)
    if not layout.inside.any():
        return found
    inside = find_inside(cube_map, layout.positions[layout.inside])
    for name in ("pixels", "confidence", "visible", "coords"):
        getattr(found, name)[layout.inside] = getattr(inside, name)
    return found


def _to_picture(cube_map: CubeMap, pixels: DoubleArray) -> DoubleArray:
    """Pixels (K, 2) of the map in the picture; each the same bits whatever the others are."""
    affine = cube_map.image_from_map
    return np.asarray(pixels[:, :1] * affine[:, 0] + pixels[:, 1:] * affine[:, 1] + affine[:, 2])


@dataclass(frozen=True, eq=False)
class Samples:
    """The pixels of a map that count.

    Attributes:
        pixels: (N, 2) float64 centres, pixels of the map.
        coords: (N, 3) float64.
        weight: (N,) float64 confidence.
        step: distance in the cube between neighbouring pixels of the map.
        stride: pixels of the map from one sample to the next.
    """

    pixels: DoubleArray
    coords: DoubleArray
    weight: DoubleArray
    step: float
    stride: int

    @cached_property
    def tree(self) -> Any:
        """The coordinates, for neighbours."""
        from scipy.spatial import cKDTree

        return cKDTree(self.coords)

    def correspondences(self) -> Correspondences:
        """Cube coordinates with their pixels of the map."""
        return Correspondences(self.coords, self.pixels, self.weight)

    @staticmethod
    def of(cube_map: CubeMap, stride: int = 1) -> Samples:
        """The pixels on the head whose values are numbers, every ``stride``-th of each axis."""
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite(cube_map.coords.sum(axis=2) + cube_map.confidence)
        valid = (cube_map.mask & finite & (cube_map.confidence > 0))[::stride, ::stride]
        y, x = (stride * index for index in np.nonzero(valid))
        return Samples(
            np.column_stack([x, y]).astype(np.float64) + 0.5,
            cube_map.coords[y, x].astype(np.float64),
            cube_map.confidence[y, x].astype(np.float64),
            cube_per_pixel(cube_map),
            stride,
        )


def _locate(
    samples: Samples, places: DoubleArray, options: LandmarkOptions
) -> tuple[DoubleArray, FloatArray, BoolArray, DoubleArray]:
    """Pixels of the map (K, 2), confidence, whether the surface is there, coordinates there."""
    near = _neighborhoods(samples, places, options)
    seen = (samples.pixels, samples.coords, samples.weight)
    found = fit_places(seen, places, near, samples.step, options.steps)
    gaps = np.linalg.norm(found.coords - places, axis=1)
    known = np.isfinite(gaps)
    sure = np.where(known, np.minimum(found.weight, 1.0), 0.5)
    bound = np.maximum(options.max_gap, options.noise_gap * _SURE * np.sqrt(1 / sure - 1))
    confidence = np.where(known, sure * np.exp(-0.5 * (gaps / bound) ** 2), 0.0)
    beside = found.beside <= _BESIDE * samples.stride
    visible = (found.moved < _SETTLED) & (gaps <= bound) & beside
    return found.pixels, confidence.astype(np.float32), visible, found.coords


def _aside(seen: Correspondences, offsets: DoubleArray) -> DoubleArray:
    """How far in the map (K, 2) an affine camera sees offsets (K, 3), less what may be noise."""
    seen = seen.thinned()
    if not seen.spreads():
        return np.zeros((len(offsets), 2))
    squared = (offsets**2).sum(axis=1, keepdims=True)
    real = squared / (squared + _GAP_NOISE**2)
    return np.asarray((real * offsets) @ fit_affine(seen)[0][1:])


def _neighborhoods(
    samples: Samples, places: DoubleArray, options: LandmarkOptions
) -> Neighborhoods:
    """Width of the kernel around each place that holds enough pixels, and the pixels."""
    narrowest = _MIN_STEPS * samples.step * samples.stride
    radius = max(options.radius, narrowest)
    widths = np.full(len(places), radius)
    lists: list[list[int]] = [[]] * len(places)
    open_rows = np.arange(len(places))
    while len(open_rows) and radius <= max(options.max_radius, narrowest):
        around = samples.tree.query_ball_point(
            places[open_rows], _REACH * radius, return_sorted=True
        )
        counts = np.array([len(rows) for rows in around])
        flat = np.fromiter(chain.from_iterable(around), np.int64, int(counts.sum()))
        place = np.repeat(np.arange(len(open_rows)), counts)
        squared = ((samples.coords[flat] - places[open_rows[place]]) ** 2).sum(axis=1)
        held = np.bincount(place, np.exp(-0.5 * squared / radius**2), len(open_rows))
        enough = held >= options.min_pixels
        for index in np.flatnonzero(enough):
            lists[open_rows[index]] = around[index]
        widths[open_rows[enough]] = radius
        open_rows, radius = open_rows[~enough], 1.4 * radius
    starts = np.cumsum([0, *map(len, lists)])
    rows = np.fromiter(chain.from_iterable(lists), np.int64, int(starts[-1]))
    return Neighborhoods(rows, starts, widths)
