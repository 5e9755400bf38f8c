"""How well an embedder's maps agree with the truth, and with each other from view to view.

Points spread over the true surface are followed from one view to another by the maps alone: the
coordinate at the point's pixel in the one is looked up in the other. Pixels are counted in pictures
512 pixels wide. Masks of the capture are not shown to the embedder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError
from mvs.evaluation.follow import (
    Look,
    embed_unmasked,
    follow,
    longer_side,
    pairs_by_angle,
    view_angles,
)
from mvs.evaluation.parts import ALL_PARTS, SKIN, select_part, select_parts
from mvs.evaluation.truth import SurfacePoints, Truth
from mvs.network.crop import paste_cube_map
from mvs.stages.embed import EmbeddedViews
from mvs.types import BoolArray, Embedder, FloatArray

# What the figure of acceptance is taken over.
ACCEPTANCE_PARTS = ("face", "neck")
ACCEPTANCE_ANGLE_DEG = 45.0
_PICTURE = 512.0
_Followed = tuple[npt.NDArray[np.float64], float]


@dataclass(frozen=True)
class EmbedderEvaluationOptions:
    """What is measured.

    Attributes:
        parts: that points are taken from, see ``mvs.evaluation.parts``.
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
        if not self.parts or not set(self.parts) <= set(ALL_PARTS):
            raise ValueError(f"parts must be of {', '.join(ALL_PARTS)}, got {self.parts}")
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
        pck: share within each of the options' shares of the head's size (the longer side of the box
            around what the second view sees of face, head and neck); not found is not within.
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
        summary: face and neck together, over all pairs of views up to 45 degrees apart; the truth's
            face, ears and all.
        cube_error_mm: median distance to the true coordinate, on the neutral head, by part.
        sparsification: area between the curves of mean error when points are dropped by confidence
            and when they are dropped by their error, in parts of the mean error (AUSE); 0 is best.
        mask_iou: mean intersection over union with the capture's masks; NaN where it has none.
    """

    pairs: tuple[PairFigures, ...]
    summary: PairFigures
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
    scene = SurfaceScene.of(capture, options)
    return evaluate_embedded(scene, embed_unmasked(capture, embedder, progress), options)


@dataclass(frozen=True)
class SurfaceScene:
    """The true surface of a capture, and what each of its views sees of it.

    Attributes:
        capture: with ground truth.
        truth: its surface.
        points: of face, head and neck, and of whatever other parts are asked for.
        seen: (N,) bool per view, which points it sees.
    """

    capture: Capture
    truth: Truth
    points: SurfacePoints
    seen: tuple[BoolArray, ...]

    @staticmethod
    def of(capture: Capture, options: EmbedderEvaluationOptions) -> SurfaceScene:
        """Read the truth and look at it from every view.

        Raises:
            CaptureError: if there is no truth, or no view sees the parts asked for.
        """
        truth = Truth(capture)
        points = truth.sample(options.n_points)
        points = _take(points, select_parts(points, (*SKIN, *options.parts)))
        wanted = select_parts(points, options.parts)
        seen = tuple(truth.visible(view, points.positions) for view in capture.views)
        if not any((s & wanted).any() for s in seen):
            raise CaptureError(
                capture.path / "gt", "no view sees the parts asked for", "check poses"
            )
        return SurfaceScene(capture, truth, points, seen)


def evaluate_embedded(
    scene: SurfaceScene, embedded: EmbeddedViews, options: EmbedderEvaluationOptions
) -> EmbedderEvaluation:
    """Evaluate cube maps that were computed before.

    Args:
        scene: the truth.
        embedded: the capture's views, embedded without their masks.
        options: what is measured.
    """
    points, seen = scene.points, scene.seen
    looks = [Look.at(embedded, index, points.positions) for index in range(len(seen))]
    wanted = select_parts(points, options.parts)
    errors = _Errors.of(looks, [s & wanted for s in seen], points, options.cube_mm)
    pairs, summary = _pair_figures(embedded, looks, seen, points, options)
    return EmbedderEvaluation(
        tuple(pairs),
        summary,
        {
            name: median(errors.distance_mm[select_part(points, name)[errors.point]])
            for name in options.parts
        },
        sparsification_error(errors.distance_mm, errors.confidence),
        _mask_iou(scene.capture, embedded),
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
class _Errors:
    """Of all points in all views that see them: distance to the true coordinate."""

    distance_mm: FloatArray
    confidence: FloatArray
    point: npt.NDArray[np.int64]

    @staticmethod
    def of(
        looks: Sequence[Look], seen: Sequence[BoolArray], points: SurfacePoints, cube_mm: float
    ) -> _Errors:
        distances, confidences, rows_of = [], [], []
        for look, visible in zip(looks, seen, strict=True):
            rows = look.has & visible
            off = look.coords[rows] - points.coords[rows]
            distances.append(np.linalg.norm(off, axis=1) * cube_mm)
            confidences.append(look.confidence[rows])
            rows_of.append(np.flatnonzero(rows))
        return _Errors(
            np.concatenate(distances).astype(np.float32),
            np.concatenate(confidences),
            np.concatenate(rows_of),
        )


def _pair_figures(
    embedded: EmbeddedViews,
    looks: Sequence[Look],
    seen: Sequence[BoolArray],
    points: SurfacePoints,
    options: EmbedderEvaluationOptions,
) -> tuple[list[PairFigures], PairFigures]:
    """Follow the points between all ordered pairs of views: by part and angle, and in sum."""
    edges = (0.0, *options.angles_deg)
    skin = select_parts(points, SKIN)
    chosen = {name: select_part(points, name) for name in options.parts}
    acceptance = select_parts(points, ACCEPTANCE_PARTS)
    near = view_angles(embedded) <= ACCEPTANCE_ANGLE_DEG
    followed: dict[tuple[str, int], list[_Followed]] = {}
    summary: list[_Followed] = []
    for group, pairs in enumerate(pairs_by_angle(embedded, options.angles_deg)):
        for a, b in pairs:
            both = seen[a] & seen[b]
            if not both.any():
                continue
            scale = _PICTURE / embedded.cameras[b].width
            error = follow(looks[a], looks[b], both) * scale
            head = seen[b] & skin if (seen[b] & skin).any() else seen[b]
            size = longer_side(looks[b].pixels[head]) * scale
            for name, rows in chosen.items():
                followed.setdefault((name, group), []).append((error[rows[both]], size))
            if near[a, b]:
                summary.append((error[acceptance[both]], size))
    figures = [
        _pooled(name, (edges[group], edges[group + 1]), pairs, options.pck)
        for (name, group), pairs in sorted(followed.items())
    ]
    name = " + ".join(ACCEPTANCE_PARTS)
    total = _pooled(name, (0.0, ACCEPTANCE_ANGLE_DEG), summary, options.pck)
    return [figure for figure in figures if figure.n], total


def _pooled(
    part: str, angle_deg: tuple[float, float], pairs: Sequence[_Followed], pck: Sequence[float]
) -> PairFigures:
    errors = np.concatenate([np.empty(0), *(error for error, _ in pairs)])
    shares = np.concatenate([np.empty(0), *(error / size for error, size in pairs)])
    found = np.isfinite(errors)
    return PairFigures(
        part,
        angle_deg,
        len(errors),
        float(found.mean()) if len(errors) else float("nan"),
        median(errors[found]),
        tuple(float((shares <= bound).mean()) if len(errors) else float("nan") for bound in pck),
    )


def _mask_iou(capture: Capture, embedded: EmbeddedViews) -> float:
    shares = []
    for view, cube_map in zip(capture.views, embedded.cube_maps, strict=True):
        if view.mask_path is None and not view.has_alpha:
            continue
        true = view.load_pinhole().mask
        found = paste_cube_map(cube_map, *true.shape).mask
        shares.append((found & true).sum() / max(int((found | true).sum()), 1))
    return float(np.mean(shares)) if shares else float("nan")


def median(values: npt.NDArray[np.floating]) -> float:
    """Median, NaN of nothing."""
    return float(np.median(values)) if len(values) else float("nan")


def _take(points: SurfacePoints, rows: BoolArray) -> SurfacePoints:
    return SurfacePoints(points.positions[rows], points.coords[rows], points.parts[rows])
