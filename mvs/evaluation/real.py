"""How well an embedder's maps agree on photographs of which only the poses are known.

Two questions that need no ground truth. Confident mutual nearest neighbours in the cube, sought
without any use of the poses: how many of them lie near the epipolar line? And the sparse points of
the calibration, which were matched by other means: does a point's coordinate in one view's map lead
to its pixel in the other?

Distances are counted twice: in pixels of a picture whose longer side is 512, and in pixels of a
crop of 512 to the square around the head, which do not shrink with the head.

A sparse point's pixel is the projection of the point, so its error holds what the calibration's own
reprojection leaves, half a pixel to one as a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import Capture
from mvs.evaluation.follow import (
    MAX_EDGE,
    MAX_SHIFT,
    Look,
    embed_unmasked,
    follow,
    longer_side,
    pairs_by_angle,
)
from mvs.kernels.nearest import nearest
from mvs.kernels.subpixel import locate
from mvs.stages.embed import EmbeddedViews, head_square
from mvs.stages.views import MatchView, picture_pixels, prepare_view
from mvs.types import BoolArray, CubeMap, DoubleArray, Embedder, IntArray

_SIDE = 512.0
# Sparse points farther from the middle of the head, in its radii, are behind it.
_NEAR_HEAD = 1.3
_NOTHING = np.empty(0)


@dataclass(frozen=True)
class RealEvaluationOptions:
    """What is measured.

    Attributes:
        angles_deg: upper ends of the classes of angle between two views' rays at the head.
        within_px: distances that shares are given for.
        pck: shares of the head's size within which a sparse point counts as found.
        confidence_quantile: of each view's confidence on the head; a match counts as confident if
            both its ends are at or above their view's.
        max_cube_distance: between the two ends of a match, in the cube.
        max_mutual_px: how far from where it started the way there and back may end, in pixels of
            the crop of 512.
        n_pairs: ordered pairs of views per class of angle, at most, spread evenly over all.
    """

    angles_deg: tuple[float, ...] = (15.0, 30.0, 45.0)
    within_px: tuple[float, ...] = (1.0, 2.0, 4.0)
    pck: tuple[float, ...] = (0.01, 0.02, 0.05)
    confidence_quantile: float = 0.5
    max_cube_distance: float = 0.03
    max_mutual_px: float = 2.0
    n_pairs: int = 200

    def __post_init__(self) -> None:
        if not self.angles_deg or list(self.angles_deg) != sorted(self.angles_deg):
            raise ValueError(f"angles_deg must ascend, got {self.angles_deg}")
        if not 0 <= self.confidence_quantile < 1:
            got = self.confidence_quantile
            raise ValueError(f"confidence_quantile must be in [0, 1), got {got}")
        for name in ("max_cube_distance", "max_mutual_px"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.n_pairs < 1:
            raise ValueError(f"n_pairs must be at least 1, got {self.n_pairs}")


@dataclass(frozen=True)
class EpipolarFigures:
    """Confident mutual matches of all pairs of one class, against the epipolar lines.

    Attributes:
        angle_deg: (from, to) between the views' rays at the head.
        pairs: ordered pairs of views that were matched.
        pixels: confident pixels on the head in the first views, over all pairs.
        matches: confident mutual matches among them.
        median_px: median distance from the line, pixels of the crop of 512.
        within_picture: share of the matches within each of the options' pixels, picture of 512.
        within_crop: the same in pixels of the crop of 512.
        chance_crop: the same when the matches' ends are shuffled: what guessing reaches.
    """

    angle_deg: tuple[float, float]
    pairs: int
    pixels: int
    matches: int
    median_px: float
    within_picture: tuple[float, ...]
    within_crop: tuple[float, ...]
    chance_crop: tuple[float, ...]


@dataclass(frozen=True)
class TrackFigures:
    """Sparse points that both views of a pair observe on the head, followed by the maps.

    Attributes:
        angle_deg: (from, to) between the views' rays at the head.
        pairs: ordered pairs of views that share such points.
        points: followed, over all pairs.
        epe_median_picture: median end-point error, pixels of a picture of 512.
        epe_median_crop: the same in pixels of the crop of 512.
        within_picture: share of the points within each of the options' pixels, picture of 512.
        within_crop: the same in pixels of the crop of 512.
        pck: share within each of the options' shares of the head's size, which is the longer side
            of the box around the second view's mask.
    """

    angle_deg: tuple[float, float]
    pairs: int
    points: int
    epe_median_picture: float
    epe_median_crop: float
    within_picture: tuple[float, ...]
    within_crop: tuple[float, ...]
    pck: tuple[float, ...]


@dataclass(frozen=True)
class RealEvaluation:
    """How well an embedder's maps agree on a capture without ground truth.

    Attributes:
        views: pictures of the capture.
        views_with_head: in which the head was found where the others see it.
        head_share: median side of the head's square, in parts of the picture's longer side.
        epipolar: per class of angle.
        tracks: per class of angle; empty where the capture has no sparse points on the head.
    """

    views: int
    views_with_head: int
    head_share: float
    epipolar: tuple[EpipolarFigures, ...]
    tracks: tuple[TrackFigures, ...]


def evaluate_real(
    capture: Capture,
    embedder: Embedder,
    options: RealEvaluationOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> RealEvaluation:
    """Evaluate an embedder on a capture of which only the calibration is known.

    Args:
        capture: pictures, poses and, where there are any, sparse points.
        embedder: what is evaluated; it is not shown the capture's masks.
        options: what is measured.
        progress: called twice per view.

    Raises:
        CaptureError: if a picture cannot be read.
        ReconstructionError: if fewer than two views show a head.
    """
    return evaluate_real_embedded(capture, embed_unmasked(capture, embedder, progress), options)


def evaluate_real_embedded(
    capture: Capture, embedded: EmbeddedViews, options: RealEvaluationOptions | None = None
) -> RealEvaluation:
    """Evaluate cube maps that were computed before; see ``evaluate_real``."""
    options = options or RealEvaluationOptions()
    scales = [_Scale.of(embedded, index) for index in range(len(embedded.cameras))]
    sides = [
        _SIDE / scale.crop / max(camera.width, camera.height)
        for scale, camera in zip(scales, embedded.cameras, strict=True)
        if scale.crop
    ]
    return RealEvaluation(
        len(embedded.cameras),
        int(embedded.head.agrees.sum()),
        float(np.median(sides)) if sides else float("nan"),
        _epipolar_figures(embedded, scales, options),
        _track_figures(capture, embedded, scales, options),
    )


def epipolar_distance(
    first: Camera, second: Camera, from_pixels: DoubleArray, to_pixels: DoubleArray
) -> DoubleArray:
    """Distances of pixels of the second view from the epipolar lines of the first view's pixels.

    Args:
        first: pinhole camera.
        second: pinhole camera.
        from_pixels: (M, 2) in the first picture.
        to_pixels: (M, 2) in the second.

    Returns:
        (M,) pixels of the second picture.

    Source:
        Hartley and Zisserman (2004), section 9.2: the line joins the epipole and the image of any
        point of the ray.
    """
    K, R, t = second.K, second.rotation, second.translation
    epipole = K @ (R @ first.center + t)
    far = first.unproject(from_pixels) @ (K @ R).T
    line = np.cross(epipole, far)
    length = np.maximum(np.hypot(line[:, 0], line[:, 1]), 1e-300)
    away: DoubleArray = np.abs((line[:, :2] * to_pixels).sum(axis=1) + line[:, 2]) / length
    return away


@dataclass(frozen=True)
class _Scale:
    """Pixels of the picture of 512 and of the crop of 512 per pixel of a view's picture."""

    picture: float
    crop: float

    @staticmethod
    def of(embedded: EmbeddedViews, index: int) -> _Scale:
        camera = embedded.cameras[index]
        square = head_square(camera, embedded.head)
        crop = _SIDE / square.side if square is not None else 0.0
        return _Scale(_SIDE / max(camera.width, camera.height), crop)


@dataclass(frozen=True)
class _Side:
    """One view ready for matching: its map, and which of its pixels on the head are confident."""

    view: MatchView
    cube_map: CubeMap
    is_confident: BoolArray

    @staticmethod
    def of(cube_map: CubeMap, camera: Camera, quantile: float) -> _Side:
        view = prepare_view(cube_map, camera, 0.0, MAX_EDGE)
        confidence = cube_map.confidence.ravel()[view.pixels]
        # Not interpolated: at least the share 1 - quantile is confident, whatever repeats.
        bound = np.quantile(confidence, quantile, method="lower") if len(confidence) else 1.0
        return _Side(view, cube_map, np.asarray(confidence >= bound))


def _epipolar_figures(
    embedded: EmbeddedViews, scales: Sequence[_Scale], options: RealEvaluationOptions
) -> tuple[EpipolarFigures, ...]:
    sides = [
        _Side.of(cube_map, camera, options.confidence_quantile)
        for cube_map, camera in zip(embedded.cube_maps, embedded.cameras, strict=True)
    ]
    edges = (0.0, *options.angles_deg)
    rng = np.random.default_rng(0)
    figures = []
    for group, pairs in enumerate(pairs_by_angle(embedded, options.angles_deg)):
        picture, crop, chance, n_pixels = [], [], [], 0
        chosen = [pair for pair in pairs if scales[pair[0]].crop and scales[pair[1]].crop]
        chosen = _spread(chosen, options.n_pairs)
        for a, b in chosen:
            n_pixels += int(sides[a].is_confident.sum())
            bound = options.max_mutual_px / scales[a].crop
            flat, place = _mutual(sides[a], sides[b], options.max_cube_distance, bound)
            start = picture_pixels(embedded.cube_maps[a], flat)
            cameras = embedded.cameras[a], embedded.cameras[b]
            away = epipolar_distance(*cameras, start, place)
            picture.append(away * scales[b].picture)
            crop.append(away * scales[b].crop)
            shuffled = place[rng.permutation(len(place))]
            chance.append(epipolar_distance(*cameras, start, shuffled) * scales[b].crop)
        if chosen:
            pooled = [np.concatenate(values) for values in (picture, crop, chance)]
            figures.append(
                EpipolarFigures(
                    (edges[group], edges[group + 1]),
                    len(chosen),
                    n_pixels,
                    len(pooled[0]),
                    _median(pooled[1]),
                    *(_within(values, options.within_px) for values in pooled),
                )
            )
    return tuple(figures)


def _mutual(
    a: _Side, b: _Side, max_distance: float, max_away: float
) -> tuple[IntArray, DoubleArray]:
    """Confident mutual nearest neighbours in the cube, then the sub-pixel place on the surface.

    Returns:
        (M,) flat pixels of the first map and (M, 2) places in the second picture.
    """
    rows = np.flatnonzero(a.is_confident).astype(np.int32)
    if not len(rows) or not len(b.view.pixels):
        return np.empty(0, np.int32), np.empty((0, 2))
    found = nearest(b.view.grid, a.view.points[rows], max_distance).index
    sure = (found >= 0) & b.is_confident[found]
    rows, found = rows[sure], found[sure]
    back = nearest(a.view.grid, b.view.points[found], max_distance, rows).index
    start = picture_pixels(a.cube_map, a.view.pixels[rows])
    end = picture_pixels(a.cube_map, a.view.pixels[back])
    mutual = (back >= 0) & (np.linalg.norm(end - start, axis=1) <= max_away)
    rows, found = rows[mutual], found[mutual]
    place, distance = locate(
        b.view.coords, b.view.cells, a.view.points[rows], b.view.pixels[found], max_shift=MAX_SHIFT
    )
    hit = np.isfinite(distance)
    affine = b.cube_map.image_from_map
    return a.view.pixels[rows[hit]], place[hit] @ affine[:, :2].T + affine[:, 2]


def _track_figures(
    capture: Capture,
    embedded: EmbeddedViews,
    scales: Sequence[_Scale],
    options: RealEvaluationOptions,
) -> tuple[TrackFigures, ...]:
    if not len(capture.points):
        return ()
    away = np.linalg.norm(capture.points - embedded.head.center, axis=1)
    near = away <= _NEAR_HEAD * embedded.head.radius
    looks = [Look.at(embedded, k, capture.points) for k in range(len(embedded.cameras))]
    observed = []
    for look, view in zip(looks, capture.views, strict=True):
        sees = np.zeros(len(capture.points), np.bool_)
        sees[view.point_ids] = True
        observed.append(sees & near & look.has)
    edges = (0.0, *options.angles_deg)
    figures = []
    for group, pairs in enumerate(pairs_by_angle(embedded, options.angles_deg)):
        chosen = [pair for pair in pairs if (observed[pair[0]] & observed[pair[1]]).any()]
        chosen = [pair for pair in chosen if scales[pair[1]].crop]
        errors = [follow(looks[a], looks[b], observed[a] & observed[b]) for a, b in chosen]
        if chosen:
            ends = [b for _, b in chosen]
            sizes = {b: _head_size(embedded.cube_maps[b]) for b in set(ends)}
            picture = [e * scales[b].picture for e, b in zip(errors, ends, strict=True)]
            crop = [e * scales[b].crop for e, b in zip(errors, ends, strict=True)]
            shares = [e / sizes[b] for e, b in zip(errors, ends, strict=True)]
            pooled = [np.concatenate(values) for values in (picture, crop, shares)]
            figures.append(
                TrackFigures(
                    (edges[group], edges[group + 1]),
                    len(chosen),
                    len(pooled[0]),
                    _median(pooled[0]),
                    _median(pooled[1]),
                    _within(pooled[0], options.within_px),
                    _within(pooled[1], options.within_px),
                    _within(pooled[2], options.pck),
                )
            )
    return tuple(figures)


def _head_size(cube_map: CubeMap) -> float:
    """Longer side of the box around a map's mask, pixels of the picture."""
    return longer_side(picture_pixels(cube_map, np.flatnonzero(cube_map.mask).astype(np.int32)))


def _spread(pairs: list[tuple[int, int]], n: int) -> list[tuple[int, int]]:
    """At most ``n`` of the pairs, evenly over the list."""
    if len(pairs) <= n:
        return pairs
    return [pairs[k] for k in np.linspace(0, len(pairs) - 1, n).round().astype(int)]


def _within(values: npt.NDArray[np.float64], bounds: Sequence[float]) -> tuple[float, ...]:
    if not len(values):
        return tuple(float("nan") for _ in bounds)
    return tuple(float((values <= bound).mean()) for bound in bounds)


def _median(values: npt.NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
