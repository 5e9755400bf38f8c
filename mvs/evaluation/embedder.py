"""How well an embedder's maps agree with the truth, and with each other from view to view.

Points spread over the true surface are followed from one view to another by the maps alone: the
coordinate at the point's pixel in the one is looked up in the other. Pixels are counted in pictures
512 pixels wide. Masks of the capture are not shown to the embedder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError
from mvs.evaluation.truth import PART_NAMES, SurfacePoints, Truth
from mvs.kernels.nearest import nearest
from mvs.kernels.subpixel import locate
from mvs.network.crop import paste_cube_map
from mvs.stages.embed import EmbeddedViews, embed_views
from mvs.stages.views import MatchView, map_from_image, prepare_view, sample_coords
from mvs.types import BoolArray, DoubleArray, Embedder, FloatArray

_PICTURE = 512.0
_MAX_EDGE = 8.0 / 512.0
_MAX_SHIFT = 4.0


@dataclass(frozen=True)
class EmbedderEvaluationOptions:
    """What is measured.

    Attributes:
        parts: names of the truth's parts that points are taken from.
        n_points: on the true surface.
        angles_deg: upper ends of the classes of angle between two views' rays at the head.
        pck: shares of the head's size within which a point counts as found.
        cube_mm: length of the cube's side on the neutral head.
    """

    parts: tuple[str, ...] = ("face", "head_neck")
    n_points: int = 20_000
    angles_deg: tuple[float, ...] = (15.0, 30.0, 45.0, 60.0, 90.0)
    pck: tuple[float, ...] = (0.01, 0.02, 0.05)
    cube_mm: float = 375.7

    def __post_init__(self) -> None:
        if not self.parts or not set(self.parts) <= set(PART_NAMES):
            raise ValueError(f"parts must be of {', '.join(PART_NAMES)}, got {self.parts}")
        if self.n_points < 1:
            raise ValueError(f"n_points must be at least 1, got {self.n_points}")
        if not self.angles_deg or list(self.angles_deg) != sorted(self.angles_deg):
            raise ValueError(f"angles_deg must ascend, got {self.angles_deg}")


@dataclass(frozen=True)
class PairFigures:
    """Points followed between the pairs of views of one class.

    Attributes:
        part: of the head.
        angle_deg: (from, to) between the views' rays at the head.
        n: points followed, over all pairs.
        found: share of them that had a coordinate in the first view.
        epe_median: median end-point error, pixels of a picture 512 wide.
        pck: share within each of the options' shares of the head's size; not found is not within.
    """

    part: str
    angle_deg: tuple[float, float]
    n: int
    found: float
    epe_median: float
    pck: tuple[float, ...]


@dataclass(frozen=True)
class EmbedderEvaluation:
    """How good an embedder is on a capture.

    Attributes:
        pairs: per part and class of angle.
        cube_error_mm: median distance to the true coordinate, on the neutral head, by part.
        sparsification: area between the curves of mean error when points are dropped by confidence
            and when they are dropped by their error, in parts of the mean error (AUSE); 0 is best.
        mask_iou: mean intersection over union with the capture's masks; NaN where it has none.
    """

    pairs: tuple[PairFigures, ...]
    cube_error_mm: dict[str, float]
    sparsification: float
    mask_iou: float


def evaluate_embedder(
    capture: Capture,
    embedder: Embedder,
    options: EmbedderEvaluationOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> EmbedderEvaluation:
    """Evaluate an embedder on a capture with truth.

    Args:
        capture: with ground truth, see ``mvs.evaluation.truth``.
        embedder: what is evaluated.
        options: what is measured.
        progress: called twice per view.

    Raises:
        CaptureError: if there is no truth or a picture cannot be read.
        ReconstructionError: if fewer than two views show a head.
    """
    options = options or EmbedderEvaluationOptions()
    truth = Truth(capture)
    points = _wanted(truth.sample(options.n_points), options)
    seen = [truth.visible(view, points.positions) for view in capture.views]
    if not any(s.any() for s in seen):
        raise CaptureError(capture.path / "gt", "no view sees the parts asked for", "check poses")
    unmasked = [replace(view, mask_path=None) for view in capture.views]
    embedded = embed_views(unmasked, embedder, None, progress)
    looks = [_Look.at(embedded, index, points) for index in range(len(unmasked))]
    errors = _Errors.of(looks, seen, points, options.cube_mm)
    return EmbedderEvaluation(
        tuple(_pair_figures(embedded, looks, seen, points, options)),
        {
            name: _median(errors.distance_mm[errors.part == PART_NAMES.index(name)])
            for name in options.parts
        },
        sparsification_error(errors.distance_mm, errors.confidence),
        _mask_iou(capture, embedded),
    )


def sparsification_error(errors: FloatArray, confidence: FloatArray) -> float:
    """Area under the sparsification error (AUSE), in parts of the mean error.

    Args:
        errors: (N,) of the points.
        confidence: (N,) of the same points.

    Returns:
        Mean, over the shares of points dropped, of the mean error left when the least confident go
        first less that when the worst go first; NaN without points.

    Source:
        Ilg et al. (2018), section 5.1.
    """
    if not len(errors):
        return float("nan")
    mean = float(errors.mean())
    if mean == 0:
        return 0.0
    left = np.arange(1, len(errors) + 1)
    by_confidence = np.cumsum(errors[np.argsort(-confidence, kind="stable")]) / left
    by_error = np.cumsum(np.sort(errors)) / left
    return float((by_confidence - by_error).mean()) / mean


@dataclass(frozen=True)
class _Look:
    """One view: its map made ready, and what the map says at every surface point's pixel.

    Attributes:
        view: for matching.
        pixels: (N, 2) true pixels of the points in the picture.
        coords: (N, 3) the map's coordinates there.
        confidence: (N,) the map's confidence there.
        has: (N,) bool, whether the map knows the pixel.
    """

    view: MatchView
    pixels: DoubleArray
    coords: FloatArray
    confidence: FloatArray
    has: BoolArray

    @staticmethod
    def at(embedded: EmbeddedViews, index: int, points: SurfacePoints) -> _Look:
        cube_map, camera = embedded.cube_maps[index], embedded.cameras[index]
        view = prepare_view(cube_map, camera, 0.0, _MAX_EDGE)
        pixels = np.nan_to_num(camera.project(points.positions)[0], nan=-1e6)
        to_map = map_from_image(cube_map)
        on_map = pixels @ to_map[:, :2].T + to_map[:, 2]
        height, width = cube_map.mask.shape
        column, row = np.floor(on_map).astype(np.int64).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
        return _Look(
            view,
            pixels,
            sample_coords(view, on_map),
            cube_map.confidence[row, column],
            np.asarray(inside & cube_map.mask[row, column]),
        )


@dataclass(frozen=True)
class _Errors:
    """Of all points in all views that see them: distance to the true coordinate."""

    distance_mm: FloatArray
    confidence: FloatArray
    part: npt.NDArray[np.int32]

    @staticmethod
    def of(
        looks: Sequence[_Look], seen: Sequence[BoolArray], points: SurfacePoints, cube_mm: float
    ) -> _Errors:
        distances, confidences, parts = [], [], []
        for look, visible in zip(looks, seen, strict=True):
            rows = look.has & visible
            off = look.coords[rows] - points.coords[rows]
            distances.append(np.linalg.norm(off, axis=1) * cube_mm)
            confidences.append(look.confidence[rows])
            parts.append(points.parts[rows])
        return _Errors(
            np.concatenate(distances).astype(np.float32),
            np.concatenate(confidences),
            np.concatenate(parts),
        )


def _wanted(points: SurfacePoints, options: EmbedderEvaluationOptions) -> SurfacePoints:
    keep = np.isin(points.parts, [PART_NAMES.index(name) for name in options.parts])
    return SurfacePoints(points.positions[keep], points.coords[keep], points.parts[keep])


def _pair_figures(
    embedded: EmbeddedViews,
    looks: Sequence[_Look],
    seen: Sequence[BoolArray],
    points: SurfacePoints,
    options: EmbedderEvaluationOptions,
) -> list[PairFigures]:
    """Follow the points between all ordered pairs of views, and sort by part and angle."""
    towards = np.stack([embedded.head.center - camera.center for camera in embedded.cameras])
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    edges = (0.0, *options.angles_deg)
    followed: dict[tuple[str, int], list[tuple[DoubleArray, float]]] = {}
    for a, b in permutations(range(len(looks)), 2):
        angle = float(np.rad2deg(np.arccos(np.clip(towards[a] @ towards[b], -1, 1))))
        group = int(np.searchsorted(options.angles_deg, angle))
        both = seen[a] & seen[b]
        if group == len(options.angles_deg) or not both.any():
            continue
        error = _follow(looks[a], looks[b], embedded, b, both) * _PICTURE
        error /= embedded.cameras[b].width
        size = np.ptp(looks[b].pixels[seen[b]], axis=0).max() * _PICTURE
        size /= embedded.cameras[b].width
        for name in options.parts:
            chosen = points.parts[both] == PART_NAMES.index(name)
            followed.setdefault((name, group), []).append((error[chosen], float(size)))
    figures = []
    for (name, group), pairs in sorted(followed.items()):
        errors = np.concatenate([error for error, _ in pairs])
        shares = np.concatenate([error / size for error, size in pairs])
        if len(errors):
            found = np.isfinite(errors)
            figures.append(
                PairFigures(
                    name,
                    (edges[group], edges[group + 1]),
                    len(errors),
                    float(found.mean()),
                    _median(errors[found]),
                    tuple(float((shares <= bound).mean()) for bound in options.pck),
                )
            )
    return figures


def _follow(
    a: _Look, b: _Look, embedded: EmbeddedViews, index: int, rows: BoolArray
) -> DoubleArray:
    """End-point errors of points in the picture of the second view; infinite where not found."""
    error = np.full(int(rows.sum()), np.inf)
    has = a.has[rows]
    if not has.any() or not len(b.view.pixels):
        return error
    targets = np.ascontiguousarray(a.coords[rows][has])
    start = nearest(b.view.grid, targets).index
    place, distance = locate(
        b.view.coords, b.view.cells, targets, b.view.pixels[start], max_shift=_MAX_SHIFT
    )
    centers = b.view.centers(b.view.pixels[start])
    place = np.where(np.isfinite(distance)[:, None], place, centers)
    affine = embedded.cube_maps[index].image_from_map
    found = place @ affine[:, :2].T + affine[:, 2]
    error[has] = np.linalg.norm(found - b.pixels[rows][has], axis=1)
    return error


def _mask_iou(capture: Capture, embedded: EmbeddedViews) -> float:
    shares = []
    for view, cube_map, image in zip(
        capture.views, embedded.cube_maps, embedded.images, strict=True
    ):
        if view.mask_path is None:
            continue
        true = view.load_pinhole().mask
        found = paste_cube_map(cube_map, *image.shape[:2]).mask
        shares.append((found & true).sum() / max(int((found | true).sum()), 1))
    return float(np.mean(shares)) if shares else float("nan")


def _median(values: npt.NDArray[np.floating]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
