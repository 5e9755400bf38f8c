"""Accuracy, completeness and F-score of a cloud or a mesh; nothing is aligned.

The truth is the surface of the chosen parts that at least two views see inside their masks.
Completeness looks from it to the result. Accuracy looks from the result to the whole true mesh; of
the result, those samples do not count that lie on true surface which is not asked for (nearer than
``ON_SURFACE_MM`` to a part not chosen, or to surface seen by fewer than two views), or that most
views see among hair, since nobody said whether they should be there. All others count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calib.capture import Capture, CaptureError
from calib.scale import UNIT_MM
from mvs.canonical.surface import sample_faces
from mvs.evaluation.truth import PART_NAMES, Truth, mesh_scene, tensor
from mvs.stages.ply import read_properties
from mvs.types import BoolArray, DoubleArray, FloatArray

ON_SURFACE_MM = 5.0


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured.

    Attributes:
        parts: names of the truth's parts that are asked for.
        thresholds_mm: for precision, recall and F.
        unit: of the capture's world.
        n_samples: points on the truth, and on a mesh.
        cube_mm: length of the cube's side on the neutral head.
    """

    parts: tuple[str, ...] = ("face", "head_neck")
    thresholds_mm: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 5.0)
    unit: str = "m"
    n_samples: int = 150_000
    cube_mm: float = 375.7

    def __post_init__(self) -> None:
        unknown = sorted(set(self.parts) - set(PART_NAMES))
        if unknown or not self.parts:
            raise ValueError(f"parts must be of {', '.join(PART_NAMES)}, got {self.parts}")
        if not self.thresholds_mm or not all(value > 0 for value in self.thresholds_mm):
            raise ValueError(f"thresholds_mm must be positive, got {self.thresholds_mm}")
        if self.n_samples < 1 or not self.cube_mm > 0:
            raise ValueError(
                f"n_samples and cube_mm must be positive, got {self.n_samples}, {self.cube_mm}"
            )
        if self.unit not in UNIT_MM:
            raise ValueError(f"unit must be one of {', '.join(UNIT_MM)}, got {self.unit}")


@dataclass(frozen=True)
class Spread:
    """Mean, median and 90 % quantile of distances, millimetres, and how many there are."""

    mean: float
    median: float
    p90: float
    n: int


@dataclass(frozen=True)
class Score:
    """Precision, recall and their harmonic mean at a threshold."""

    threshold_mm: float
    precision: float
    recall: float
    f: float


@dataclass(frozen=True)
class Evaluation:
    """How good a result is.

    Attributes:
        accuracy: result to truth.
        completeness: truth to result.
        scores: one per threshold.
        by_part: accuracy and completeness of each part.
        cube_error_mm: median distance, on the neutral head, between the cube coordinates of the
            result and of the truth below; NaN where either has none.
    """

    accuracy: Spread
    completeness: Spread
    scores: tuple[Score, ...]
    by_part: dict[str, tuple[Spread, Spread]]
    cube_error_mm: float


def evaluate(
    capture: Capture, results: Sequence[Path], options: EvaluationOptions | None = None
) -> dict[str, Evaluation]:
    """Evaluate results against a capture's truth.

    Args:
        capture: with ground truth, see ``mvs.evaluation.truth``.
        results: ``.ply`` files in the capture's frame; with faces they are meshes.
        options: what is measured.

    Returns:
        One evaluation per file, by name.

    Raises:
        CaptureError: if there is no truth, no view sees it, or a result cannot be read.
    """
    options = options or EvaluationOptions()
    truth = Truth(capture)
    samples = truth.sample(options.n_samples)
    wanted = _wanted(samples.parts, options) & (truth.count_views(samples.positions) >= 2)
    if not wanted.any():
        raise CaptureError(
            capture.path / "gt", "no two views see the same of the parts asked for", "check poses"
        )
    surface, parts = samples.positions[wanted], samples.parts[wanted]
    return {
        path.name: _evaluate_one(truth, surface, parts, _Result.read(path, options), options)
        for path in results
    }


@dataclass(frozen=True)
class _Result:
    """Samples of a result, with its faces if it is a mesh."""

    points: DoubleArray
    coords: FloatArray
    mesh: tuple[DoubleArray, Any] | None

    @staticmethod
    def read(path: Path, options: EvaluationOptions) -> _Result:
        try:
            vertex, faces = read_properties(path)
        except (ValueError, OSError) as error:
            raise CaptureError(path, str(error), "give a cloud or a mesh in PLY") from None
        if not {"x", "y", "z"} <= vertex.keys():
            raise CaptureError(path, "holds no x y z", "give a cloud or a mesh in PLY")
        points = np.column_stack([vertex[name] for name in "xyz"]).astype(np.float64)
        if not len(points) or not np.isfinite(points).all():
            raise CaptureError(path, "holds no points, or some not finite", "reconstruct it again")
        coords = np.full(points.shape, np.nan, np.float32)
        if {"u", "v", "w"} <= vertex.keys():
            coords = np.column_stack([vertex[name] for name in "uvw"]).astype(np.float32)
        if faces is None or not len(faces):
            return _Result(points, coords, None)
        if faces.min() < 0 or faces.max() >= len(points):
            raise CaptureError(path, "holds a face whose corner is no vertex", "export it again")
        edges = np.diff(points[faces], axis=1)
        if not np.cross(edges[:, 0], edges[:, 1]).any():
            raise CaptureError(path, "holds only faces without area", "reconstruct it again")
        picked, weights = sample_faces(points, faces, options.n_samples, 1)
        corners = faces[picked]
        return _Result(
            np.einsum("nk,nkc->nc", weights, points[corners]),
            np.einsum("nk,nkc->nc", weights, coords[corners]).astype(np.float32),
            (points, faces),
        )

    def distances_from(self, surface: DoubleArray) -> DoubleArray:
        """Distances (N,) from points (N, 3) to the result."""
        if self.mesh is None:
            from scipy.spatial import cKDTree

            return np.asarray(cKDTree(self.points).query(surface)[0])
        scene = mesh_scene([self.mesh])
        return np.asarray(scene.compute_distance(tensor(surface, np.float32)).numpy(), np.float64)


def _evaluate_one(
    truth: Truth, surface: DoubleArray, parts: Any, result: _Result, options: EvaluationOptions
) -> Evaluation:
    unit = UNIT_MM[options.unit]
    complete = result.distances_from(surface) * unit
    distance, nearest = truth.closest(result.points)
    accurate = distance * unit
    asked = _wanted(nearest.parts, options)
    near = np.flatnonzero(asked & (accurate < ON_SURFACE_MM))
    asked[near] = truth.count_views(nearest.positions[near]) >= 2
    counts = (asked | (accurate >= ON_SURFACE_MM)) & ~truth.on_hair(result.points)
    accurate, near_parts = accurate[counts], nearest.parts[counts]
    if not len(accurate):
        accurate, near_parts = np.array([np.inf]), np.array([-1])
    off = np.linalg.norm(result.coords - nearest.coords, axis=1)[asked]
    off = off[np.isfinite(off)]
    by_part = {
        name: (
            _spread(accurate[near_parts == index]),
            _spread(complete[parts == index]),
        )
        for index, name in enumerate(PART_NAMES)
        if name in options.parts
    }
    return Evaluation(
        _spread(accurate),
        _spread(complete),
        tuple(_score(accurate, complete, t) for t in options.thresholds_mm),
        by_part,
        float(np.median(off)) * options.cube_mm if len(off) else float("nan"),
    )


def _wanted(parts: Any, options: EvaluationOptions) -> BoolArray:
    return np.isin(parts, [PART_NAMES.index(name) for name in options.parts])


def _spread(values: DoubleArray) -> Spread:
    if not len(values):
        return Spread(float("nan"), float("nan"), float("nan"), 0)
    if np.isinf(values).any():  # nothing to measure
        return Spread(float("inf"), float("inf"), float("inf"), 0)
    median, high = np.quantile(values, [0.5, 0.9])
    return Spread(float(values.mean()), float(median), float(high), len(values))


def _score(accurate: DoubleArray, complete: DoubleArray, threshold: float) -> Score:
    precision = float((accurate < threshold).mean())
    recall = float((complete < threshold).mean())
    total = precision + recall
    return Score(threshold, precision, recall, 2 * precision * recall / total if total else 0.0)
