"""Matches between views: pixels of two pictures that the cube maps send to the same place.

Every bound in pixels counts pixels of a map in which the side of the cube is 512 pixels long (0.7
mm on an adult's head), so that the same options fit maps of any resolution. Bounds tighten
themselves to the scatter that the maps show: exact maps are held to a fraction of a pixel, a
network's to what it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from mvs.errors import ReconstructionError
from mvs.kernels.epipolar import search_lines
from mvs.kernels.nearest import nearest
from mvs.kernels.subpixel import locate
from mvs.stages.views import (
    CUBE_PIXELS,
    MatchView,
    epipolar_segments,
    homogeneous_lines,
    prepare_view,
    sample_coords,
)
from mvs.types import CubeMap, DoubleArray, FloatArray, IntArray, Matches

_TIGHTEST_PX = 0.25
_STRIDE_PER_SCALE = 1.5


@dataclass(frozen=True)
class MatchOptions:
    """How matches are found and which are kept.

    Attributes:
        matcher: nearest (in the cube) or epipolar (along the line).
        stride: every how many rows and columns a pixel of the reference is matched; None takes
            all pixels of coarse maps and of fine ones a lattice with about 340 to the cube's side.
        coarser: a lattice that ``stride`` None takes is so many times as wide.
        min_confidence: pixels of less confidence are left out.
        max_cube_distance: between the two ends, in the cube.
        max_mutual_px: how far from where it started the way there and back may end.
        max_epipolar_px: distance from the epipolar line.
        max_edge_px: longest edge of a cell of four pixels that may be interpolated (and at least
            four steps between pixels); a longer one straddles an occlusion.
        min_consistent: share of the matches that must lie within ``max_epipolar_px`` of their
            epipolar lines; less means that poses and pictures do not belong together.
        tighten: bounds on cube distance and epipolar distance become this many times the median
            that is seen, where that is less; 0 turns it off.
    """

    matcher: str = "nearest"
    stride: int | None = None
    coarser: float = 1.0
    min_confidence: float = 0.05
    max_cube_distance: float = 0.03
    max_mutual_px: float = 8.0
    max_epipolar_px: float = 14.0
    max_edge_px: float = 8.0
    min_consistent: float = 0.5
    tighten: float = 5.0

    def __post_init__(self) -> None:
        if self.matcher not in MATCHERS:
            raise ValueError(f"matcher must be one of {', '.join(MATCHERS)}, got {self.matcher}")
        if self.stride is not None and self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        if not 0 < self.coarser < float("inf"):
            raise ValueError(f"coarser must be positive and finite, got {self.coarser}")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence must be in [0, 1], got {self.min_confidence}")
        for name in ("max_cube_distance", "max_mutual_px", "max_epipolar_px", "max_edge_px"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.min_consistent <= 1:
            raise ValueError(f"min_consistent must be in [0, 1], got {self.min_consistent}")
        if not self.tighten >= 0:
            raise ValueError(f"tighten must not be negative, got {self.tighten}")


@dataclass(frozen=True)
class Candidates:
    """Matches of one pair before the bounds that need all pairs.

    Attributes:
        reference_index: (M,) int32 flat pixels of the reference map.
        pixels: (M, 2) float64 positions in the source map.
        cube_distance: (M,) float32.
        epipolar_px: (M,) float64 distance from the epipolar line, in pixels of the source map.
    """

    reference_index: IntArray
    pixels: DoubleArray
    cube_distance: FloatArray
    epipolar_px: DoubleArray


Matcher = Callable[[MatchView, MatchView, MatchOptions], Candidates]


def match_views(
    cube_maps: Sequence[CubeMap],
    cameras: Sequence[Camera],
    pairs: Sequence[tuple[int, Sequence[int]]],
    options: MatchOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> list[Matches]:
    """Match every reference view with each of its sources.

    Args:
        cube_maps: one per view.
        cameras: one pinhole camera per view.
        pairs: reference view and its source views, from ``choose_pairs``.
        options: see ``MatchOptions``.
        progress: called once per finished pair.

    Returns:
        One entry per pair, in the order of ``pairs``.

    Raises:
        ValueError: if the numbers of maps and cameras differ.
        ReconstructionError: if most matches contradict the poses.
    """
    options = options or MatchOptions()
    if len(cube_maps) != len(cameras):
        raise ValueError(f"got {len(cube_maps)} cube maps for {len(cameras)} cameras")
    views = [
        prepare_view(cube_map, camera, options.min_confidence, options.max_edge_px / CUBE_PIXELS)
        for cube_map, camera in zip(cube_maps, cameras, strict=True)
    ]
    matcher = MATCHERS[options.matcher]
    order = [(reference, source) for reference, sources in pairs for source in sources]
    scales = [views[source].scale for _, source in order]
    near, n_found = [], 0
    for (reference, source), scale in zip(order, scales, strict=True):
        found = matcher(views[reference], views[source], options)
        n_found += len(found.pixels)
        near.append(_near((reference, source), found, cube_maps[source], scale, options))
        if progress is not None:
            progress()
    bounds = _tighten(near, n_found, scales, options)
    # One by one: of many views they are most of the memory.
    near.reverse()
    return [_keep(near.pop(), bounds) for _ in order]


def match_nearest(reference: MatchView, source: MatchView, options: MatchOptions) -> Candidates:
    """Exact mutual nearest neighbours in the cube, then the sub-pixel place on the surface.

    Args:
        reference: view whose pixels are matched.
        source: view in which they are sought.
        options: see ``MatchOptions``.

    Returns:
        Candidates within the bounds, in the order of the reference's pixels.
    """
    rows = reference.select(options.stride or _stride(reference, options.coarser))
    found = nearest(source.grid, reference.points[rows], options.max_cube_distance).index
    rows, found = rows[found >= 0], found[found >= 0]
    back = nearest(reference.grid, source.points[found], options.max_cube_distance, rows).index
    start = reference.centers(reference.pixels[rows])
    away = np.linalg.norm(reference.centers(reference.pixels[back]) - start, axis=1)
    # Where the source sees a place in less detail, its pixel covers several of the reference.
    slack = max(reference.scale / source.scale, 1.0)
    mutual = (back >= 0) & (away <= options.max_mutual_px * reference.scale * slack)
    rows, found = rows[mutual], found[mutual]
    pixels, distance = locate(
        source.coords,
        source.cells,
        reference.points[rows],
        source.pixels[found],
        max_shift=2.0 + options.max_mutual_px * source.scale,
    )
    return _measure(reference, source, rows, pixels, distance)


def match_epipolar(reference: MatchView, source: MatchView, options: MatchOptions) -> Candidates:
    """The place on the epipolar line whose cube coordinate is nearest.

    Args:
        reference: view whose pixels are matched.
        source: view in which they are sought.
        options: see ``MatchOptions``; the way back is checked along the epipolar line, too.

    Returns:
        Candidates within the bounds, in the order of the reference's pixels.
    """
    rows = reference.select(options.stride or _stride(reference, options.coarser))
    start = reference.centers(reference.pixels[rows])
    lines = epipolar_segments(reference, source, start)
    targets = reference.points[rows]
    pixels, distance = search_lines(source.tiles, targets, lines, options.max_cube_distance)
    hit = np.isfinite(distance)
    rows, pixels, distance, start = rows[hit], pixels[hit], distance[hit], start[hit]
    back_lines = epipolar_segments(source, reference, pixels)
    targets = sample_coords(source.coords, pixels)
    back, _ = search_lines(reference.tiles, targets, back_lines, options.max_cube_distance)
    with np.errstate(invalid="ignore"):
        away = np.linalg.norm(back - start, axis=1)
        mutual = away <= options.max_mutual_px * reference.scale
    return _measure(reference, source, rows[mutual], pixels[mutual], distance[mutual])


MATCHERS: dict[str, Matcher] = {"nearest": match_nearest, "epipolar": match_epipolar}


def _stride(view: MatchView, coarser: float) -> int:
    """Every how many rows and columns there is enough to see."""
    return max(1, round(_STRIDE_PER_SCALE * view.scale * coarser))


def _measure(
    reference: MatchView,
    source: MatchView,
    rows: IntArray,
    pixels: DoubleArray,
    distance: FloatArray,
) -> Candidates:
    """Drop what was not found and measure the distance from the epipolar line."""
    hit = np.isfinite(distance)
    flat, pixels = reference.pixels[rows[hit]], pixels[hit]
    far, near = homogeneous_lines(reference, source, reference.centers(flat))
    normal = np.cross(far, near)
    length = np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-300)
    away = np.abs(normal[:, :2] * pixels @ np.ones(2) + normal[:, 2]) / length
    return Candidates(flat, pixels, distance[hit], away)


@dataclass(frozen=True)
class _Near:
    """Candidates of one pair near their epipolar lines.

    ``epipolar_px`` is in pixels of a map in which the cube is 512 pixels wide.
    """

    matches: Matches
    epipolar_px: DoubleArray


def _near(
    pair: tuple[int, int],
    found: Candidates,
    source_map: CubeMap,
    scale: float,
    options: MatchOptions,
) -> _Near:
    """What every bound will leave out is dropped; positions are taken to the picture."""
    away = found.epipolar_px / scale
    near = away <= options.max_epipolar_px
    affine = source_map.image_from_map
    matches = Matches(
        pair[0],
        pair[1],
        found.reference_index[near],
        (found.pixels[near] @ affine[:, :2].T + affine[:, 2]).astype(np.float32),
        found.cube_distance[near],
    )
    return _Near(matches, away[near])


def _tighten(
    near: Sequence[_Near], n_found: int, scales: Sequence[float], options: MatchOptions
) -> tuple[float, float]:
    """Bounds on cube distance and epipolar distance, from what the maps show."""
    max_distance, max_epipolar = options.max_cube_distance, options.max_epipolar_px
    if not n_found:
        return max_distance, max_epipolar
    n_near = sum(len(found.epipolar_px) for found in near)
    if n_near / n_found < options.min_consistent:
        raise ReconstructionError(
            f"only {n_near / n_found:.0%} of the matched pixels lie near their epipolar lines",
            "check that the poses belong to these pictures, and that they show a head",
        )
    if options.tighten == 0 or not n_near:
        return max_distance, max_epipolar
    distance = _median([found.matches.cube_distance for found in near])
    away = _median([found.epipolar_px for found in near])
    floor = _TIGHTEST_PX * max(1.0, float(np.median(1.0 / np.array(scales))))
    tight_distance = max(options.tighten * distance, floor / CUBE_PIXELS)
    tight_epipolar = max(options.tighten * away, floor)
    return min(max_distance, tight_distance), min(max_epipolar, tight_epipolar)


def _median(parts: Sequence[npt.NDArray[np.floating]]) -> float:
    return float(np.median(np.concatenate(parts), overwrite_input=True))


def _keep(found: _Near, bounds: tuple[float, float]) -> Matches:
    """Apply the bounds."""
    matches = found.matches
    keep = (matches.cube_distance <= bounds[0]) & (found.epipolar_px <= bounds[1])
    return replace(
        matches,
        reference_index=matches.reference_index[keep],
        source_pixels=matches.source_pixels[keep],
        cube_distance=matches.cube_distance[keep],
    )
