"""How far warps between a capture's views land from the truth, and how regions and queries hold.

Points spread over the true surface that two views both see: the flow from the one to the other is
read at a point's pixel and compared with the point's pixel in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from calib.scale import UNIT_MM
from mvs.canonical.landmarks import find_landmarks
from mvs.canonical.regions import REGIONS
from mvs.canonical.segmentation import SegmentOptions, segment_map
from mvs.canonical.segments import shipped_regions
from mvs.canonical.warp import WarpOptions, warp_flow
from mvs.evaluation.follow import view_angles
from mvs.evaluation.landmarks import read_landmark_truth
from mvs.evaluation.parts import FINER, select_part
from mvs.evaluation.truth import SurfacePoints, Truth
from mvs.stages.embed import EmbeddedViews
from mvs.stages.views import map_from_image
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray

_PICTURE = 512.0


@dataclass(frozen=True)
class WarpEvaluationOptions:
    """What is measured.

    Attributes:
        parts: of the head, see ``mvs.evaluation.parts``.
        angles_deg: between the views of a pair, as seen from the head.
        tolerance_deg: how far a pair's angle may be from that.
        max_pairs: per angle, spread over all there are.
        n_points: on the true surface.
    """

    parts: tuple[str, ...] = FINER
    angles_deg: tuple[float, ...] = (15.0, 30.0)
    tolerance_deg: float = 6.0
    max_pairs: int = 16
    n_points: int = 20_000

    def __post_init__(self) -> None:
        if self.n_points < 1 or self.max_pairs < 1:
            raise ValueError(f"n_points and max_pairs must be positive, got {self}")
        if not self.angles_deg or not self.tolerance_deg > 0:
            raise ValueError(f"angles_deg must not be empty, tolerance_deg > 0, got {self}")


@dataclass(frozen=True)
class WarpFigures:
    """The warps of pairs of views at one angle, over one part.

    Attributes:
        part: of the head.
        angle_deg: between the views.
        n_pairs: ordered pairs of views.
        n: points that both views of a pair see, over all pairs.
        found: share of them at which the warp is valid.
        median_px: error there, pixels of a picture 512 wide.
        p90_px: its 90th percentile.
        median_mm: the same across the ray, on the head.
    """

    part: str
    angle_deg: float
    n_pairs: int
    n: int
    found: float
    median_px: float
    p90_px: float
    median_mm: float


@dataclass(frozen=True)
class RegionFigures:
    """One region, predicted and true, over the visible points of all views.

    Attributes:
        region: its name.
        n: points that are truly of it.
        iou: intersection over union.
    """

    region: str
    n: int
    iou: float


@dataclass(frozen=True)
class LandmarkQuery:
    """One person's landmarks found on another by query.

    Attributes:
        n: visible landmarks over all views.
        found: share of them that got a place.
        median_px: median error, pixels of a picture 512 wide.
        p90_px: its 90th percentile.
    """

    n: int
    found: float
    median_px: float
    p90_px: float


def warp_figures(
    truth: Truth,
    embedded: EmbeddedViews,
    options: WarpEvaluationOptions | None = None,
    warp: WarpOptions | None = None,
) -> tuple[WarpFigures, ...]:
    """Compare warps with the truth.

    Args:
        truth: of the capture.
        embedded: its views.
        options: what is measured.
        warp: how pictures are warped.

    Returns:
        Figures by angle and part; those without a pair or a point are left out.
    """
    options = options or WarpEvaluationOptions()
    points = truth.sample(options.n_points)
    seen = [truth.visible(view, points.positions) for view in truth.capture.views]
    chosen = {name: select_part(points, name) for name in options.parts}
    unit = UNIT_MM[truth.capture.unit or "m"]
    figures = []
    for angle in options.angles_deg:
        pairs = _pairs(embedded, angle, options)
        errors = [_errors(embedded, pair, points, seen, warp) for pair in pairs]
        for name, rows in chosen.items():
            parts = [e[rows[r]] for r, e in errors]
            found = np.concatenate([np.zeros((0, 2)), *parts])
            if len(found):
                figures.append(_figures((name, angle, len(pairs)), found, unit))
    return tuple(figures)


def region_figures(
    truth: Truth, embedded: EmbeddedViews, n_points: int = 20_000
) -> tuple[RegionFigures, ...]:
    """Compare the regions of pixels with those of the true surface there.

    The truth is the shipped regions at the true cube coordinate, so that the same place of two
    people has one label; what is measured is whether the maps keep to that.

    Args:
        truth: of the capture.
        embedded: its views.
        n_points: on the true surface.

    Returns:
        Figures of the regions that some view sees.
    """
    points = truth.sample(n_points)
    regions = shipped_regions()
    true = regions.labels(points.coords)
    told, wanted = [], []
    for view, camera, cube_map in zip(
        truth.capture.views, embedded.cameras, embedded.cube_maps, strict=True
    ):
        seen = truth.visible(view, points.positions)
        labels = segment_map(cube_map, regions, SegmentOptions())
        told.append(_look_up(labels, cube_map, camera.project(points.positions[seen])[0]))
        wanted.append(true[seen])
    predicted, expected = np.concatenate(told), np.concatenate(wanted)
    figures = []
    for index, name in enumerate(REGIONS):
        both = (predicted == index) & (expected == index)
        either = (predicted == index) | (expected == index)
        if (expected == index).any() and index:
            n = int((expected == index).sum())
            figures.append(RegionFigures(name, n, float(both.sum() / either.sum())))
    return tuple(figures)


def landmark_queries(
    first: tuple[Truth, EmbeddedViews], second: tuple[Truth, EmbeddedViews]
) -> LandmarkQuery:
    """Look up what one person's maps say of its landmarks on another person.

    A landmark's query is the median of the coordinates that the first person's views have at its
    true pixels; the truth is the second person's own landmark. Both captures hold
    ``gt/landmarks.json``.

    Args:
        first: truth and views of the person whose landmarks are asked for.
        second: the same of the person on whom they are found.

    Raises:
        CaptureError: if a capture has no landmarks.
    """
    queries = _queries(*first)
    truth, embedded = second
    positions, visible = read_landmark_truth(truth.capture.path / "gt" / "landmarks.json")
    errors = []
    for view, camera, cube_map in zip(
        truth.capture.views, embedded.cameras, embedded.cube_maps, strict=True
    ):
        seen = visible.get(view.name, np.zeros(len(positions), np.bool_))
        seen = seen & np.isfinite(queries).all(axis=1)
        found = find_landmarks(cube_map, queries[seen].astype(np.float32)).pixels
        off = np.linalg.norm(found - camera.project(positions[seen])[0], axis=1)
        errors.append(off * _PICTURE / camera.width)
    every = np.concatenate(errors)
    known = every[np.isfinite(every)]
    if not len(known):
        return LandmarkQuery(len(every), 0.0, float("nan"), float("nan"))
    share = len(known) / len(every)
    return LandmarkQuery(len(every), share, *np.percentile(known, [50, 90]).tolist())


def _queries(truth: Truth, embedded: EmbeddedViews) -> DoubleArray:
    """(68, 3) medians over the views of the coordinates at the true landmarks; NaN unseen."""
    positions, visible = read_landmark_truth(truth.capture.path / "gt" / "landmarks.json")
    told = np.full((len(embedded.cameras), len(positions), 3), np.nan)
    for index, view in enumerate(truth.capture.views):
        cube_map = embedded.cube_maps[index]
        coords = np.where(cube_map.mask[..., None], cube_map.coords, np.nan).astype(np.float32)
        seen = visible.get(view.name, np.zeros(len(positions), np.bool_))
        pixels = embedded.cameras[index].project(positions[seen])[0]
        to_map = map_from_image(cube_map)
        told[index, seen] = _bilinear(coords, pixels @ to_map[:, :2].T + to_map[:, 2])
    known = np.isfinite(told).all(axis=2)
    rows = [
        np.median(told[k, i], axis=0) if k.any() else [np.nan] * 3 for i, k in enumerate(known.T)
    ]
    return np.array(rows)


def _pairs(
    embedded: EmbeddedViews, angle: float, options: WarpEvaluationOptions
) -> Sequence[tuple[int, int]]:
    """Ordered pairs of views about ``angle`` degrees apart."""
    angles = view_angles(embedded)
    close = [
        (a, b)
        for a, b in permutations(range(len(angles)), 2)
        if abs(angles[a, b] - angle) <= options.tolerance_deg
    ]
    picked = np.unique(np.linspace(0, len(close) - 1, min(len(close), options.max_pairs)).round())
    return [close[int(k)] for k in picked] if close else []


def _errors(
    embedded: EmbeddedViews,
    pair: tuple[int, int],
    points: SurfacePoints,
    seen: Sequence[BoolArray],
    warp: WarpOptions | None,
) -> tuple[BoolArray, DoubleArray]:
    """Points that both views see, and their errors in pixels of 512 and in world units."""
    a, b = pair
    rows = seen[a] & seen[b]
    flow = warp_flow(embedded.cube_maps[a], embedded.cube_maps[b], warp)
    true, depth = embedded.cameras[a].project(points.positions[rows])
    asked = embedded.cameras[b].project(points.positions[rows])[0]
    to_map = map_from_image(embedded.cube_maps[b])
    found = _bilinear(flow.pixels, asked @ to_map[:, :2].T + to_map[:, 2])
    error = np.linalg.norm(found - true, axis=1)
    camera = embedded.cameras[a]
    scaled = [error * _PICTURE / camera.width, error * depth / camera.K[0, 0]]
    return rows, np.column_stack(scaled)


def _figures(where: tuple[str, float, int], errors: DoubleArray, unit: float) -> WarpFigures:
    valid = np.isfinite(errors[:, 0])
    pixels, lengths = (errors[valid] if valid.any() else np.full((1, 2), np.nan)).T
    return WarpFigures(
        *where,
        len(errors),
        float(valid.mean()),
        float(np.median(pixels)),
        float(np.percentile(pixels, 90)),
        float(np.median(lengths)) * unit,
    )


def _bilinear(field: FloatArray, at: DoubleArray) -> DoubleArray:
    """(N, C) values at pixels (N, 2); NaN beside the field or next to a pixel without a value."""
    height, width = field.shape[:2]
    place = at - 0.5
    low = np.floor(place).astype(np.int64)
    inside = np.asarray(((low >= 0) & (low < [width - 1, height - 1])).all(axis=1))
    x, y = np.where(inside[:, None], low, 0).T
    fx, fy = (place - low).T[:, :, None]
    top = field[y, x] * (1 - fx) + field[y, x + 1] * fx
    bottom = field[y + 1, x] * (1 - fx) + field[y + 1, x + 1] * fx
    return np.where(inside[:, None], top * (1 - fy) + bottom * fy, np.nan)


def _look_up(labels: ByteArray, cube_map: CubeMap, pixels: DoubleArray) -> ByteArray:
    """Labels (N,) of the map's pixels that pixels (N, 2) of its picture fall into; 0 beside it."""
    to_map = map_from_image(cube_map)
    column, row = np.floor(pixels @ to_map[:, :2].T + to_map[:, 2]).astype(np.int64).T
    height, width = labels.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found = labels[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return np.where(inside, found, 0).astype(np.uint8)
