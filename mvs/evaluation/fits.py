"""How well a fitted head agrees with the true one.

The truth is sampled evenly over its skin; for each sample the nearest place on the fitted mesh is
found (scan to mesh), in millimetres of the truth. The fit is first aligned with the truth by seven
landmarks (corners of the eyes and of the mouth, below the nose): rotation and translation, no
scale. Three further alignments are reported beside: with scale, and both refined by ICP over the
samples of the face. The figures are those of the face: skin from the chin to the hairline, without
ears, neck and scalp, which are reported by region. Eyeballs and the inside of the mouth are no part
of the truth that is sampled; the fitted mesh is taken whole.

Sources: Giebenhain et al., Pixel3DMM (2026), single-view protocol on NeRSemble: L1, L2, normal
cosine, recall at 2.5 mm; Sanyal et al., NoW (2019): the seven landmarks, scan to mesh, ICP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from calib.capture import CaptureError
from calib.scale import UNIT_MM, Similarity, umeyama
from mvs.canonical.face_regions import FACE, FACE_REGIONS, face_region_of
from mvs.canonical.layouts import load_layout
from mvs.canonical.scan import mesh_normals
from mvs.canonical.surface import Surface, blend, sample_faces
from mvs.evaluation.align_heads import SEVEN, Head, by_closest_places, by_landmarks
from mvs.evaluation.truth import PART_NAMES
from mvs.stages.ply import Column, read_properties, read_unit
from mvs.types import BoolArray, ByteArray, DoubleArray, IntArray

ALIGNMENTS = ("landmarks", "landmarks_scale", "icp", "icp_scale", "none")
GEOMETRIES = {"posed": "mesh.ply", "neutral": "neutral.ply"}
_SKIN = ("face", "head_neck")
# A fit whose landmarks are so much larger or smaller than the true ones has another unit.
_MOST_SCALE = 1.6
_ICP_SAMPLES = 3000
# Vertices around a sample whose faces are looked at.
_N_NEAR = 12


@dataclass(frozen=True)
class FitEvaluationOptions:
    """What is measured.

    Attributes:
        alignments: of the fit with the truth; ``none`` where both are in one world.
        recall_mm: samples nearer than this are recalled.
        truth_unit: of the truth.
        unit: of the fit, if not what its file says.
        samples: on the truth's skin.
    """

    alignments: tuple[str, ...] = ALIGNMENTS[:4]
    recall_mm: float = 2.5
    truth_unit: str = "m"
    unit: str | None = None
    samples: int = 20_000

    def __post_init__(self) -> None:
        unknown = sorted(set(self.alignments) - set(ALIGNMENTS))
        if unknown or not self.alignments:
            known = ", ".join(ALIGNMENTS)
            raise ValueError(f"alignments must be of {known}, got {self.alignments}")
        for name in {self.truth_unit, self.unit or "m"} - set(UNIT_MM):
            raise ValueError(f"unit must be one of {', '.join(UNIT_MM)}, got {name}")
        if not self.recall_mm > 0 or self.samples < 1:
            raise ValueError("recall_mm and samples must be positive")


@dataclass(frozen=True)
class Figures:
    """Distances from the true face to the fitted one, millimetres.

    Attributes:
        l1: mean.
        l2: root of the mean square.
        median: of them.
        normal_cosine: mean, between the normals at a sample and at its nearest place.
        recall: share of samples nearer than ``recall_mm``.
        n: samples.
    """

    l1: float
    l2: float
    median: float
    normal_cosine: float
    recall: float
    n: int


@dataclass(frozen=True)
class GeometryEvaluation:
    """One geometry under one alignment.

    Attributes:
        face: over the whole face.
        regions: by ``FACE_REGIONS``.
        scale: of the alignment.
        landmarks_mm: mean distance of the seven landmarks.
    """

    face: Figures
    regions: dict[str, Figures]
    scale: float
    landmarks_mm: float


_NOTHING = Figures(*(float("nan"),) * 5, 0)
# Geometry, then alignment.
FitEvaluation = dict[str, dict[str, GeometryEvaluation]]


@dataclass(frozen=True, eq=False)
class TrueHead:
    """A true head, sampled.

    Attributes:
        samples: (N, 3) float64 on its skin, millimetres.
        normals: (N, 3) float64 there.
        region: (N,) uint8 index into ``FACE_REGIONS``.
        landmarks: (68, 3) float64, millimetres.
    """

    samples: DoubleArray
    normals: DoubleArray
    region: ByteArray
    landmarks: DoubleArray

    @cached_property
    def on_face(self) -> BoolArray:
        """(N,) which samples are of the face."""
        return np.isin(self.region, [FACE_REGIONS.index(name) for name in FACE])


def read_true_head(path: Path, unit: str, n: int) -> TrueHead:
    """Sample a true head.

    Args:
        path: PLY with faces and ``u v w``; with ``part``, the skin alone is sampled.
        unit: of the file.
        n: samples.

    Raises:
        CaptureError: if the file is none.
    """
    vertex, faces, coords = _read_mesh(path)
    vertices = UNIT_MM[unit] * _columns(vertex, "xyz")
    marks = _landmarks(vertices, faces, coords)
    skin = faces
    if "part" in vertex:
        known = np.isin(vertex["part"], [PART_NAMES.index(name) for name in _SKIN])
        skin = faces[known[faces].all(axis=1)]
    if not len(skin):
        raise CaptureError(path, "holds no skin (part 0 or 1)", "give gt/mesh.ply of a capture")
    picked, weights = sample_faces(vertices, skin, n, 0)
    normals = blend(mesh_normals(vertices, faces), skin, picked.astype(np.int32), weights)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    places = blend(coords, skin, picked.astype(np.int32), weights)
    points = blend(vertices, skin, picked.astype(np.int32), weights)
    return TrueHead(points, normals, face_region_of(places), marks)


def read_fitted(path: Path, unit: str | None) -> Head:
    """A fitted head, in millimetres; its landmarks are looked up by their places in the cube.

    Args:
        path: PLY with faces and ``u v w``, as ``mvs fit`` writes it.
        unit: of the file; None takes what it says.

    Raises:
        CaptureError: if there is no such mesh, or nobody says its unit.
    """
    vertex, faces, coords = _read_mesh(path)
    known = unit or read_unit(path)
    if known is None or known not in UNIT_MM:
        raise CaptureError(path, "does not say its unit", "say it with --unit")
    vertices = UNIT_MM[known] * _columns(vertex, "xyz")
    return Head(vertices, faces, _landmarks(vertices, faces, coords))


def evaluate_fit(
    fit: Path, truth: Path, options: FitEvaluationOptions | None = None
) -> FitEvaluation:
    """Measure a fit.

    Args:
        fit: folder of ``mvs fit`` with ``posed.ply`` and ``neutral.ply``, or one PLY, which counts
            as posed.
        truth: folder with ``gt/mesh.ply`` (posed) and perhaps ``gt/neutral.ply``, or one PLY, which
            counts as posed.
        options: what is measured.

    Returns:
        By geometry, then by alignment; a geometry that either side has not is left out.

    Raises:
        CaptureError: if a mesh cannot be read, there is nothing to compare, or units differ.
    """
    options = options or FitEvaluationOptions()
    found: FitEvaluation = {}
    for geometry, name in GEOMETRIES.items():
        ours = fit / f"{geometry}.ply" if fit.is_dir() else fit
        theirs = truth / "gt" / name if truth.is_dir() else truth
        if geometry != "posed" and not (
            fit.is_dir() and truth.is_dir() and ours.is_file() and theirs.is_file()
        ):
            continue
        true = read_true_head(theirs, options.truth_unit, options.samples)
        head = read_fitted(ours, options.unit)
        _check_size(ours, head, true)
        found[geometry] = {
            alignment: _measure(head, true, _align(head, true, alignment), options.recall_mm)
            for alignment in options.alignments
        }
    return found


def evaluate_fits(
    fits: Path,
    truths: Path,
    options: FitEvaluationOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> tuple[dict[str, FitEvaluation], list[str]]:
    """Measure the fits of a set.

    Args:
        fits: folder with a folder per item.
        truths: of the same names, as ``mvs synthesize fits`` writes them.
        options: what is measured.
        progress: called once per item.

    Returns:
        The evaluations by item, and the names of items that have no fit.

    Raises:
        CaptureError: if no item has a fit, or one cannot be measured.
    """
    names = sorted(path.parent.parent.name for path in truths.glob("*/gt/mesh.ply"))
    fitted = [name for name in names if (fits / name / "posed.ply").is_file()]
    if not fitted:
        reason = f"no fit of any of the {len(names)} items of {truths}"
        raise CaptureError(fits, reason, "give a folder of fits named like the items")
    found = {}
    for name in names:
        if name in fitted:
            found[name] = evaluate_fit(fits / name, truths / name, options)
        if progress is not None:
            progress()
    return found, [name for name in names if name not in fitted]


def mean_evaluation(found: Sequence[FitEvaluation]) -> FitEvaluation:
    """Means over items, each counting the same; of what an item has not, over the others."""
    means: FitEvaluation = {}
    for geometry in GEOMETRIES:
        items = [item[geometry] for item in found if geometry in item]
        if not items:
            continue
        means[geometry] = {
            alignment: _mean_of([item[alignment] for item in items]) for alignment in items[0]
        }
    return means


def _mean_of(items: list[GeometryEvaluation]) -> GeometryEvaluation:
    return GeometryEvaluation(
        _mean_figures([item.face for item in items]),
        {name: _mean_figures([item.regions[name] for item in items]) for name in FACE_REGIONS},
        float(np.mean([item.scale for item in items])),
        float(np.mean([item.landmarks_mm for item in items])),
    )


def _mean_figures(figures: list[Figures]) -> Figures:
    seen = [one for one in figures if one.n]
    if not seen:
        return _NOTHING
    names = ("l1", "l2", "median", "normal_cosine", "recall")
    l1, l2, median, cosine, recall = (
        float(np.mean([getattr(one, name) for one in seen])) for name in names
    )
    return Figures(l1, l2, median, cosine, recall, sum(one.n for one in seen))


def _align(head: Head, true: TrueHead, alignment: str) -> Similarity:
    """Truth from fit."""
    if alignment == "none":
        return Similarity.of_scale(1.0)
    scaled = alignment.endswith("scale")
    to = by_landmarks(head.landmarks[list(SEVEN)], true.landmarks[list(SEVEN)], scaled)
    if alignment.startswith("landmarks"):
        return to
    face = true.samples[true.on_face]
    step = max(len(face) // _ICP_SAMPLES, 1)
    return by_closest_places(head, face[::step], to, scaled)


def _measure(head: Head, true: TrueHead, to: Similarity, recall_mm: float) -> GeometryEvaluation:
    back = to.inverse()
    points = back.points(true.samples)
    face, weights, places = head.surface.closest(points, _N_NEAR)
    distance = to.scale * np.linalg.norm(places - points, axis=1)
    across = blend(head.normals, head.faces, face, weights) @ to.rotation.T
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    cosine = np.einsum("nk,nk->n", across, true.normals)

    def figures(chosen: BoolArray) -> Figures:
        return _figures(distance[chosen], cosine[chosen], recall_mm)

    regions = {name: figures(true.region == k) for k, name in enumerate(FACE_REGIONS)}
    rows = list(SEVEN)
    off = np.linalg.norm(to.points(head.landmarks[rows]) - true.landmarks[rows], axis=1)
    return GeometryEvaluation(figures(true.on_face), regions, to.scale, float(off.mean()))


def _figures(distance: DoubleArray, cosine: DoubleArray, recall_mm: float) -> Figures:
    if not len(distance):
        return _NOTHING
    return Figures(
        float(distance.mean()),
        float(np.sqrt((distance**2).mean())),
        float(np.median(distance)),
        float(cosine.mean()),
        float((distance < recall_mm).mean()),
        len(distance),
    )


def _check_size(path: Path, head: Head, true: TrueHead) -> None:
    rows = list(SEVEN)
    scale = umeyama(head.landmarks[rows], true.landmarks[rows]).scale
    if not 1 / _MOST_SCALE < scale < _MOST_SCALE:
        raise CaptureError(
            path,
            f"by its unit the head is {1 / scale:.3g} times as large as the true one",
            "say the units with --unit and --truth-unit",
        )


def _read_mesh(path: Path) -> tuple[dict[str, Column], IntArray, DoubleArray]:
    """Columns, faces and cube coordinates (V, 3)."""
    try:
        vertex, faces = read_properties(path)
    except ValueError as error:
        raise CaptureError(path, str(error), "give a mesh in PLY") from None
    if faces is None or not len(faces) or not set("xyzuvw") <= vertex.keys():
        raise CaptureError(path, "holds no faces, or no u v w", "give posed.ply of mvs fit")
    if faces.min() < 0 or faces.max() >= len(vertex["x"]):
        raise CaptureError(path, "holds a face whose corner is no vertex", "write it again")
    if not np.isfinite(_columns(vertex, "xyz")[np.unique(faces)]).all():
        raise CaptureError(path, "some vertices are not finite", "fit again")
    return vertex, faces, _columns(vertex, "uvw")


def _columns(vertex: dict[str, Column], names: str) -> DoubleArray:
    return np.column_stack([vertex[name] for name in names]).astype(np.float64)


def _landmarks(vertices: DoubleArray, faces: IntArray, coords: DoubleArray) -> DoubleArray:
    """(68, 3) places of a mesh nearest, in the cube, to those of the landmarks."""
    places = load_layout("68").positions.astype(np.float64)
    face, weights, _ = Surface(coords, faces).closest(places)
    return np.asarray(blend(vertices, faces, face, weights))
