"""Places of the cube followed through a video, hidden or not.

Each frame is looked up by itself, so nothing drifts. While a place is hidden it goes with the rest
of the head: an affine camera fitted to what is seen says where it would be, and what that camera
was wrong by for this place when it was last and is next seen is carried over in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mvs.canonical.carry import apply_affine, fit_affine
from mvs.canonical.landmarks import LandmarkOptions, Samples, find_layout
from mvs.canonical.layouts import Layout
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray

_HIDDEN_WEIGHT = 0.1
_WINDOW = 3.0


@dataclass(frozen=True)
class TrackOptions:
    """How places are followed.

    Attributes:
        smooth: width in frames of the window that positions are smoothed over, 0 for none.
        min_confidence: a place is visible from this confidence on.
        min_share: and from this share of its own usual confidence on. A network goes on guessing
            behind a hand or a phone, but less surely.
        landmarks: how places are located in a frame.
    """

    smooth: float = 1.0
    min_confidence: float = 0.1
    min_share: float = 0.6
    landmarks: LandmarkOptions = field(default_factory=LandmarkOptions)

    def __post_init__(self) -> None:
        if not self.smooth >= 0:
            raise ValueError(f"smooth must not be negative, got {self.smooth}")
        for name in ("min_confidence", "min_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True)
class Tracks:
    """Places in T frames; K places.

    Attributes:
        pixels: (T, K, 2) float64; NaN where no frame near says anything.
        confidence: (T, K) float32.
        visible: (T, K) bool.
    """

    pixels: DoubleArray
    confidence: FloatArray
    visible: BoolArray


def track_places(
    cube_maps: Iterable[CubeMap], layout: Layout, options: TrackOptions | None = None
) -> Tracks:
    """Follow a layout's places through the frames of a video.

    Args:
        cube_maps: one per frame, in order; with an empty mask where no head is seen.
        layout: what is followed.
        options: see ``TrackOptions``.
    """
    options = options or TrackOptions()
    found, camera = [], []
    for cube_map in cube_maps:
        found.append(find_layout(cube_map, layout, options.landmarks))
        camera.append(_see(cube_map, layout.positions.astype(np.float64)))
    shape = (len(found), len(layout))
    pixels = np.array([f.pixels for f in found], np.float64).reshape(*shape, 2)
    confidence = np.array([f.confidence for f in found], np.float32).reshape(shape)
    visible = np.array([f.visible for f in found], np.bool_).reshape(shape)
    visible &= confidence >= np.maximum(
        options.min_confidence, options.min_share * _usual(confidence, visible)
    )
    rigid = np.array(camera, np.float64).reshape(*shape, 2)
    for k in range(len(layout)):
        if not layout.inside[k]:
            pixels[:, k] = _bridge(pixels[:, k], rigid[:, k], visible[:, k])
        pixels[:, k] = _fill(pixels[:, k])
        weight = np.where(visible[:, k], np.maximum(confidence[:, k], 1e-3), _HIDDEN_WEIGHT)
        pixels[:, k] = smooth_path(pixels[:, k], weight, options.smooth)
    return Tracks(pixels, confidence, visible)


def _usual(confidence: FloatArray, visible: BoolArray) -> FloatArray:
    """Median confidence (K,) of each place over the frames that show it; 0 where none does."""
    usual = [
        np.median(c[v]) if v.any() else 0.0 for c, v in zip(confidence.T, visible.T, strict=True)
    ]
    return np.array(usual, np.float32)


def smooth_path(path: DoubleArray, weight: DoubleArray, width: float) -> DoubleArray:
    """Smooth positions in time: in each frame the value of a line fitted to the frames around.

    Args:
        path: (T, 2); frames that are NaN count nothing and stay so.
        weight: (T,) > 0.
        width: of the Gaussian window, frames; 0 changes nothing.
    """
    known = np.isfinite(path).all(axis=1)
    if width <= 0 or known.sum() < 2:
        return path
    smooth, times = path.copy(), np.flatnonzero(known)
    for t in times:
        near = times[np.abs(times - t) <= max(_WINDOW * width, 1)]
        offset = (near - t).astype(np.float64)
        share = np.exp(-0.5 * (offset / width) ** 2) * weight[near]
        basis = np.column_stack([np.ones(len(near)), offset])
        normal = basis.T @ (share[:, None] * basis) + 1e-9 * np.diag([0.0, share.sum()])
        smooth[t] = np.linalg.solve(normal, basis.T @ (share[:, None] * path[near]))[0]
    return smooth


def _see(cube_map: CubeMap, places: DoubleArray) -> DoubleArray:
    """Where an affine camera fitted to a whole map sees places (K, 3); NaN without a head."""
    seen = Samples.of(cube_map).correspondences().thinned()
    if not seen.spreads():
        return np.full((len(places), 2), np.nan)
    affine = cube_map.image_from_map
    pixels = apply_affine(fit_affine(seen)[0], places)
    return np.asarray(pixels @ affine[:, :2].T + affine[:, 2])


def _bridge(path: DoubleArray, rigid: DoubleArray, visible: BoolArray) -> DoubleArray:
    """Path (T, 2) with the hidden frames replaced by the rigid one and its error beside them."""
    error = path - rigid
    known = visible & np.isfinite(error).all(axis=1)
    if not known.any():
        return path
    times, seen = np.arange(len(path)), np.flatnonzero(known)
    carried = np.column_stack([np.interp(times, seen, error[seen, axis]) for axis in (0, 1)])
    return np.where(visible[:, None], path, rigid + carried)


def _fill(path: DoubleArray) -> DoubleArray:
    """Path (T, 2) with frames without a head interpolated between those before and after."""
    known = np.isfinite(path).all(axis=1)
    if known.all() or not known.any():
        return path
    times, seen = np.arange(len(path)), np.flatnonzero(known)
    inside = (times >= seen[0]) & (times <= seen[-1])
    filled = np.column_stack([np.interp(times, seen, path[seen, axis]) for axis in (0, 1)])
    return np.where(inside[:, None], filled, np.nan)
