"""Landmarks in space: places of the cube located in all views of a capture together.

A single landmark seen in a few views is as wrong as the maps are at that place. So places spread
over the whole head are triangulated, and a landmark is where a map from the cube to the world,
affine over a wide neighbourhood and robust, puts its place. Places inside the head and such as no
view sees come out of the same map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from calib.camera import Camera
from mvs.canonical.carry import Correspondences, map_locally
from mvs.canonical.landmarks import LandmarkOptions, Landmarks2d, find_landmarks, find_layout
from mvs.canonical.layouts import Layout
from mvs.canonical.template import spread_points
from mvs.errors import ReconstructionError
from mvs.kernels.dlt import Observations, PointStatus, TriangulateBounds, triangulate_points
from mvs.kernels.subpixel import information_roots
from mvs.stages.views import CUBE_PIXELS, cube_per_pixel, map_from_image
from mvs.types import CubeMap, DoubleArray, FloatArray, IntArray

# How much an observation may count along a direction, by that of a surface that faces the camera.
_SLANTS = (0.5, 4.0)
_DOUBT = 0.3
_MIN_SUPPORT = 50


@dataclass(frozen=True)
class Landmarks3dOptions:
    """How places are located in space.

    Attributes:
        support: places spread over the head that are triangulated.
        radius: width of the neighbourhood of a landmark, in the cube.
        max_error_px: reprojection error of a view of a place, in pixels of a map in which the cube
            is 512 pixels wide; the worst views are dropped until it holds.
        min_angle_deg: widest angle between a place's rays, at least.
        landmarks: how places are located in a view.
    """

    support: int = 2000
    radius: float = 0.07
    max_error_px: float = 5.0
    min_angle_deg: float = 3.0
    landmarks: LandmarkOptions = field(default_factory=lambda: LandmarkOptions(stride=2))

    def __post_init__(self) -> None:
        if self.support < _MIN_SUPPORT:
            raise ValueError(f"support must be at least {_MIN_SUPPORT}, got {self.support}")
        if not (self.radius > 0 and self.max_error_px > 0 and 0 <= self.min_angle_deg < 90):
            raise ValueError(
                "radius and max_error_px must be > 0 and min_angle_deg in [0, 90), got "
                f"{self.radius}, {self.max_error_px} and {self.min_angle_deg}"
            )


@dataclass(frozen=True)
class Landmarks3d:
    """Places of the cube in space; K rows.

    Attributes:
        points: (K, 3) float64, frame and unit of the calibration.
        confidence: (K,) float32 in [0, 1]: the mean of the maps' in the views that see the place,
            less for one view than for several; of other places what is seen around them is worth,
            less with distance.
        n_views: (K,) int32 views that see the place; 0 inside the head.
        error_px: (K,) float32 root mean square distance, in those views' pictures, between where
            the view alone sees the place and where the point appears; NaN without any.
        views: the places in each picture.
    """

    points: DoubleArray
    confidence: FloatArray
    n_views: IntArray
    error_px: FloatArray
    views: tuple[Landmarks2d, ...]


def find_landmarks_3d(
    cube_maps: Sequence[CubeMap],
    cameras: Sequence[Camera],
    layout: Layout,
    options: Landmarks3dOptions | None = None,
) -> Landmarks3d:
    """Locate a layout's places in the space that two views or more are calibrated in.

    Args:
        cube_maps: one per view.
        cameras: one pinhole camera per view.
        layout: what is asked for.
        options: see ``Landmarks3dOptions``.

    Raises:
        ValueError: if the numbers of maps and cameras differ.
        ReconstructionError: if too few places are seen by two views.
    """
    options = options or Landmarks3dOptions()
    if len(cube_maps) != len(cameras):
        raise ValueError(f"got {len(cube_maps)} cube maps and {len(cameras)} cameras")
    seen = _support(cube_maps, cameras, options)
    places = layout.positions.astype(np.float64)
    points, carried = map_locally(seen, places, options.radius)
    views = tuple(find_layout(cube_map, layout) for cube_map in cube_maps)
    n_views, error = _agreement(points, cameras, views)
    confidence = _confidence(carried, n_views, views)
    return Landmarks3d(points, confidence, n_views, error, views)


def _support(
    cube_maps: Sequence[CubeMap], cameras: Sequence[Camera], options: Landmarks3dOptions
) -> Correspondences:
    """Places spread over the head, as far as they can be triangulated."""
    spread = spread_points(options.support)
    found = [find_landmarks(cube_map, spread, options.landmarks) for cube_map in cube_maps]
    visible = np.stack([view.visible for view in found], axis=1)
    pixels = np.stack([view.pixels for view in found], axis=1)
    pixels[~visible] = np.nan
    roots = [_roots(c, pixels[:, i]) for i, c in enumerate(cube_maps)]
    bounds = TriangulateBounds(options.max_error_px, min_angle_deg=options.min_angle_deg)
    projections = np.stack([camera.P for camera in cameras])
    solved = triangulate_points(Observations(projections, pixels, np.stack(roots, 1)), bounds)
    good = solved.status == PointStatus.OK
    if good.sum() < _MIN_SUPPORT:
        raise ReconstructionError(
            f"two views agree on {int(good.sum())} of {len(good)} places of the head",
            "give views that overlap, 10 to 40 degrees apart",
        )
    used = solved.used[good]
    sure = np.stack([view.confidence for view in found], axis=1)[good] * used
    weight = sure.sum(axis=1) / (_DOUBT + solved.error[good]) ** 2
    return Correspondences(
        spread[good].astype(np.float64), solved.points[good], weight / np.median(weight)
    )


def _roots(cube_map: CubeMap, pixels: DoubleArray) -> FloatArray:
    """Weights of errors in pixels of the picture, so that they count distance in the cube."""
    from_image, step = map_from_image(cube_map), cube_per_pixel(cube_map)
    limits = (_SLANTS[0] * step * CUBE_PIXELS, _SLANTS[1] * step * CUBE_PIXELS)
    place = np.ascontiguousarray(pixels @ from_image[:, :2].T + from_image[:, 2])
    coords = np.ascontiguousarray(cube_map.coords, np.float32)
    roots = information_roots(coords, cube_map.mask, place, 1.0 / CUBE_PIXELS, limits)
    return np.asarray(roots * np.float32(np.sqrt(abs(np.linalg.det(from_image[:, :2])))))


def _confidence(carried: FloatArray, n_views: IntArray, views: Sequence[Landmarks2d]) -> FloatArray:
    """Confidence (K,) of places seen by some views, and of those carried from around them."""
    total = np.sum([view.confidence * view.visible for view in views], axis=0)
    mean = total / np.maximum(n_views, 1) * (1 - 0.5**n_views)
    usual = np.median(mean[n_views > 0]) if n_views.any() else 0.5
    return np.where(n_views > 0, mean, usual * carried).astype(np.float32)


def _agreement(
    points: DoubleArray, cameras: Sequence[Camera], views: Sequence[Landmarks2d]
) -> tuple[IntArray, FloatArray]:
    """Views that see each place, and how far from there the point appears."""
    n_views, total = np.zeros(len(points), np.int32), np.zeros(len(points))
    for camera, view in zip(cameras, views, strict=True):
        off = ((camera.project(points)[0] - view.pixels) ** 2).sum(axis=1)
        n_views += view.visible
        total += np.where(view.visible & np.isfinite(off), off, 0.0)
    mean = total / np.maximum(n_views, 1)
    return n_views, np.where(n_views > 0, np.sqrt(mean), np.nan).astype(np.float32)
