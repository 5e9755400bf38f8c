"""A sequence of one topology against its truth: error a frame, and flicker from frame to frame.

Flicker is what acceleration the result has and the truth has not: the second difference in time of
each vertex, less that of the true place with the vertex' cube coordinates. Motion at even speed
gives none, whatever its speed, and neither does a constant error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvs.canonical.surface import blend
from mvs.canonical.wrapped import spread
from mvs.evaluation.registration import CanonicalTruth
from mvs.types import BoolArray, DoubleArray


@dataclass(frozen=True)
class SequenceEvaluation:
    """How good a sequence is, millimetres.

    Attributes:
        frames: by name: distances of the vertices that count to the true surface (``surface``) and
            to their true places (``place``), mean, median and 90 % quantile.
        flicker: length of the second difference in time that the truth does not have, per vertex
            and frame.
        own: the same of the result alone, and ``true`` of the truth alone.
        jitter: mean over the vertices of the root mean square in time of ``flicker``.
        n_vertices: that count: of the face, with a true place.
        n_triples: of consecutive frames, that flicker is measured in.
    """

    frames: dict[str, dict[str, dict[str, float]]]
    flicker: dict[str, float]
    own: dict[str, float]
    true: dict[str, float]
    jitter: float
    n_vertices: int
    n_triples: int


def evaluate_sequence(
    numbers: Sequence[int],
    points: DoubleArray,
    coords: DoubleArray,
    chosen: BoolArray,
    truth: Sequence[Path],
    mm: float,
) -> SequenceEvaluation:
    """Compare a sequence with the truth.

    Args:
        numbers: of the frames, ascending.
        points: (T, V, 3) vertices of one topology, world.
        coords: (V, 3) their cube coordinates.
        chosen: (V,) which of them count.
        truth: the frames' true meshes, of one topology, as ``gt/mesh.ply`` of a capture.
        mm: millimetres per unit.

    Raises:
        ValueError: if a true mesh cannot be read, they differ in topology, or nothing counts.
    """
    true, known = _true_places(truth, coords)
    counts = chosen & known
    if not counts.any():
        raise ValueError("no vertex has a place on the truth")
    points, true = points[:, counts] * mm, true[:, counts] * mm
    frames = {}
    for number, found, place, path in zip(numbers, points, true, truth, strict=True):
        surface = CanonicalTruth(path).surface.closest(found / mm)[2] * mm
        frames[f"{number:06d}"] = {
            "surface": spread(np.linalg.norm(found - surface, axis=1)),
            "place": spread(np.linalg.norm(found - place, axis=1)),
        }
    own, given = second_differences(numbers, points), second_differences(numbers, true)
    off = np.linalg.norm(own - given, axis=2)
    jitter = float(np.sqrt((off**2).mean(axis=0)).mean()) if len(off) else float("nan")
    return SequenceEvaluation(
        frames,
        spread(off.ravel()),
        spread(np.linalg.norm(own, axis=2).ravel()),
        spread(np.linalg.norm(given, axis=2).ravel()),
        jitter,
        int(counts.sum()),
        len(off),
    )


def second_differences(numbers: Sequence[int], values: DoubleArray) -> DoubleArray:
    """Second differences (N, V, 3) in time of (T, V, 3), of the N triples of consecutive frames."""
    index = np.asarray(numbers)
    middle = 1 + np.flatnonzero((np.diff(index)[:-1] == 1) & (np.diff(index)[1:] == 1))
    return np.asarray(values[middle - 1] - 2 * values[middle] + values[middle + 1])


def _true_places(truth: Sequence[Path], coords: DoubleArray) -> tuple[DoubleArray, BoolArray]:
    """(T, V, 3) true positions of cube coordinates, and which are places of the truth (V,)."""
    first = CanonicalTruth(truth[0])
    face, weights, known = first.find(coords)
    places = []
    for path in truth:
        other = CanonicalTruth(path)
        if len(other.points) != len(first.points):
            raise ValueError(f"{path}: not the topology of {truth[0]}")
        places.append(blend(other.points, first.skin_faces, face, weights))
    return np.stack(places), known
