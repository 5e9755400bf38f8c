"""Landmarks of any head: places of the cube that are looked up in a picture's cube map.

No detector is trained: a landmark is a query in the canonical cube, and the picture's map answers
where on the picture that place is. Any other place of the cube can be asked for in the same way.

Source: Chandran, Zoss, Gotardo and Bradley, "Continuous Landmark Detection with 3D Queries" (CVPR
2023), for the idea of landmarks as positions on a canonical head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mvs.canonical.layouts import load_layout
from mvs.stages.views import cube_per_pixel
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray

# A network's confidence is 1 / (1 + variance / _SURE^2), see ``NetworkEmbedder``.
_SURE = 0.01
# The window of a fit reaches this many times its kernel's width, and weighs so little there that
# what lies beyond changes nothing.
_REACH = 2.5
_ROBUST_SCALE = 1.4826
# A neighbourhood is at least this many pixels wide.
_MIN_STEPS = 1.5
# A place has settled when the last step was shorter than this, and lies beside a pixel of the map
# when it is no farther from its centre, both in pixels of the map.
_SETTLED = 0.3
_BESIDE = 1.0
# What a camera is fitted to: pixels, at most and at least, and their spread along the direction
# in which they spread least, in the cube.
_MAX_SAMPLES = 20_000
_MIN_SAMPLES = 50
_MIN_SPREAD = 0.01


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
        steps: of the fit.
    """

    radius: float = 0.012
    max_radius: float = 0.05
    min_pixels: float = 9.0
    max_gap: float = 0.008
    noise_gap: float = 1.0
    steps: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.radius <= self.max_radius:
            raise ValueError(f"radius must be in (0, max_radius], got {self.radius}")
        if not self.min_pixels >= 6:
            raise ValueError(f"min_pixels must be at least 6, got {self.min_pixels}")
        if not (self.max_gap > 0 and self.noise_gap >= 0):
            raise ValueError(f"max_gap must be > 0 and noise_gap >= 0, got {self}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


@dataclass(frozen=True)
class Landmarks2d:
    """Places of the cube in a picture.

    Attributes:
        pixels: (K, 2) float64 in the picture (the centre of the first pixel is (0.5, 0.5)); of a
            hidden place where it would be, NaN where the map says too little even for that.
        confidence: (K,) float32 in [0, 1], the map's, less where its surface passes at a distance.
        visible: (K,) bool, whether the surface at the place is in the picture.
    """

    pixels: DoubleArray
    confidence: FloatArray
    visible: BoolArray


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
    confidence and by distance, and the pixel is where that surface comes nearest to the place. A
    place that the map does not show is put where an affine camera fitted to the whole map, moved
    by what that camera is wrong by nearby, sees it.

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
    samples = _Samples.of(cube_map)
    if len(samples.coords):
        for row in np.flatnonzero(np.isfinite(wanted).all(axis=1)):
            found = _locate(samples, wanted[row], options)
            pixels[row], confidence[row], visible[row] = found.pixel, found.confidence, found.seen
        hidden = np.isfinite(wanted).all(axis=1) & ~visible
        pixels[hidden] = _extrapolate(samples, wanted[hidden], options)
    affine = cube_map.image_from_map
    return Landmarks2d(pixels @ affine[:, :2].T + affine[:, 2], confidence, visible)


@dataclass(frozen=True, eq=False)
class _Samples:
    """The pixels of a map that count.

    Attributes:
        pixels: (N, 2) float64 centres, pixels of the map.
        coords: (N, 3) float64.
        weight: (N,) float64 confidence.
        step: distance in the cube between neighbouring pixels.
    """

    pixels: DoubleArray
    coords: DoubleArray
    weight: DoubleArray
    step: float

    @cached_property
    def tree(self) -> Any:
        """The coordinates, for neighbours."""
        from scipy.spatial import cKDTree

        return cKDTree(self.coords)

    @staticmethod
    def of(cube_map: CubeMap) -> _Samples:
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite(cube_map.coords.sum(axis=2) + cube_map.confidence)
        y, x = np.nonzero(cube_map.mask & finite & (cube_map.confidence > 0))
        return _Samples(
            np.column_stack([x, y]).astype(np.float64) + 0.5,
            cube_map.coords[y, x].astype(np.float64),
            cube_map.confidence[y, x].astype(np.float64),
            cube_per_pixel(cube_map),
        )


@dataclass(frozen=True)
class _Found:
    """One place: where, how sure, and whether it is really there."""

    pixel: DoubleArray
    confidence: float
    seen: bool


_NOT_FOUND = _Found(np.full(2, np.nan), 0.0, False)


def _locate(samples: _Samples, place: DoubleArray, options: LandmarkOptions) -> _Found:
    """Fit the map around a place and solve for the pixel."""
    radius, rows = _neighborhood(samples, place, options)
    if len(rows) == 0:
        return _NOT_FOUND
    near = samples.weight[rows] * _kernel(samples.coords[rows], place, radius)
    pixels, coords = samples.pixels[rows], samples.coords[rows]
    # No surface is larger in the picture than one that faces the camera.
    width = 1.5 * radius / samples.step
    origin = pixel = _weighted_median(pixels, near)
    robust, window, fit = np.ones(len(rows)), near, np.zeros((6, 3))
    for _ in range(options.steps):
        origin = pixel
        offsets = (pixels - origin) / width
        window = near * np.exp(-0.5 * (offsets**2).sum(axis=1))
        basis = _basis(offsets)
        fit = _fit(basis, coords, window * robust)
        off = np.linalg.norm(coords - basis @ fit, axis=1)
        scale = 3.0 * _ROBUST_SCALE * float(_weighted_median(off[:, None], window)[0])
        robust = 1.0 / (1.0 + (off / (scale + 1e-9)) ** 2) ** 2
        pixel = origin + width * np.clip(_nearest_on(fit, place), -0.5, 0.5)
    gap = float(np.linalg.norm(_basis((pixel - origin)[None] / width)[0] @ fit - place))
    window *= robust
    sure = min(float(window @ samples.weight[rows] / window.sum()), 1.0)
    bound = max(options.max_gap, options.noise_gap * _SURE * float(np.sqrt(1 / sure - 1)))
    settled = float(np.abs(pixel - origin).max()) < _SETTLED
    beside = float(np.sqrt(((pixels - pixel) ** 2).sum(axis=1).min()))
    seen = settled and gap <= bound and beside <= _BESIDE
    return _Found(pixel, sure * float(np.exp(-0.5 * (gap / bound) ** 2)), seen)


def _neighborhood(
    samples: _Samples, place: DoubleArray, options: LandmarkOptions
) -> tuple[float, npt.NDArray[np.int64]]:
    """Width of the kernel around a place that holds enough pixels, and the pixels; none if none."""
    radius = max(options.radius, _MIN_STEPS * samples.step)
    while radius <= max(options.max_radius, _MIN_STEPS * samples.step):
        rows = np.sort(np.array(samples.tree.query_ball_point(place, _REACH * radius), np.int64))
        if _kernel(samples.coords[rows], place, radius).sum() >= options.min_pixels:
            return radius, rows
        radius *= 1.4
    return radius, np.empty(0, np.int64)


def _extrapolate(samples: _Samples, places: DoubleArray, options: LandmarkOptions) -> DoubleArray:
    """Where an affine camera sees places (K, 3), corrected by its error nearby; NaN without one."""
    rows = slice(None, None, max(1, len(samples.coords) // _MAX_SAMPLES))
    coords, pixels, weight = samples.coords[rows], samples.pixels[rows], samples.weight[rows]
    middle = np.average(coords, axis=0, weights=weight)
    spread = (coords - middle) * np.sqrt(weight / weight.sum())[:, None]
    if len(coords) < _MIN_SAMPLES or np.linalg.svd(spread, compute_uv=False)[2] < _MIN_SPREAD:
        return np.full((len(places), 2), np.nan)
    basis = np.column_stack([np.ones(len(coords)), coords - middle])
    robust = np.ones(len(coords))
    for _ in range(options.steps):
        camera = _fit(basis, pixels, weight * robust)
        error = pixels - basis @ camera
        off = np.linalg.norm(error, axis=1)
        scale = 3.0 * _ROBUST_SCALE * float(np.median(off))
        robust = 1.0 / (1.0 + (off / (scale + 1e-9)) ** 2) ** 2
    seen = np.column_stack([np.ones(len(places)), places - middle]) @ camera
    for row, place in enumerate(places):
        squared = ((coords - place) ** 2).sum(axis=1)
        near = np.exp(-0.5 * (squared - squared.min()) / options.max_radius**2) * weight * robust
        seen[row] += near @ error / near.sum()
    return seen


def _kernel(coords: DoubleArray, place: DoubleArray, radius: float) -> DoubleArray:
    """(N,) Gaussian of the distances to a place."""
    squared = ((coords - place) ** 2).sum(axis=1)
    return np.asarray(np.exp(-0.5 * squared / radius**2))


def _basis(offsets: DoubleArray) -> DoubleArray:
    """(N, 6) monomials up to the second degree of (N, 2)."""
    x, y = offsets.T
    return np.column_stack([np.ones(len(x)), x, y, x * x, x * y, y * y])


def _fit(basis: DoubleArray, values: DoubleArray, weight: DoubleArray) -> DoubleArray:
    """Weighted least squares; a trace of ridge keeps a deficient fit finite."""
    weighted = basis * weight[:, None]
    normal = weighted.T @ basis
    normal += 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
    return np.asarray(np.linalg.solve(normal, weighted.T @ values))


def _nearest_on(fit: DoubleArray, place: DoubleArray) -> DoubleArray:
    """Offset (2,) at which a quadratic surface comes nearest to a place, by Gauss-Newton."""
    offset = np.zeros(2)
    for _ in range(4):
        x, y = offset
        across = fit[1] + 2 * x * fit[3] + y * fit[4]
        down = fit[2] + x * fit[4] + 2 * y * fit[5]
        slope = np.column_stack([across, down])
        normal = slope.T @ slope
        normal += 1e-9 * np.trace(normal) * np.eye(2) + 1e-30 * np.eye(2)
        rest = place - _basis(offset[None])[0] @ fit
        offset = np.clip(offset + np.linalg.solve(normal, slope.T @ rest), -2.0, 2.0)
    return offset


def _weighted_median(values: DoubleArray, weight: DoubleArray) -> DoubleArray:
    """Weighted median of each column of (N, D)."""
    middle = np.empty(values.shape[1])
    for column, row in enumerate(values.T):
        order = np.argsort(row, kind="stable")
        total = np.cumsum(weight[order])
        middle[column] = row[order[np.searchsorted(total, total[-1] / 2)]]
    return middle
