"""Metric scale from places that a person marked in the pictures.

The file of marks is JSON. Pairs have a known distance, points a known position; a place is a list
of marks, pixels (the centre of the first is (0.5, 0.5)) in two or more pictures as photographed, or
its three coordinates in the capture's world::

    {"unit": "mm",
     "pairs": [{"distance": 100.0, "first": [{"image": "00.jpg", "x": 812.5, "y": 440.0}, ...],
                                   "second": [{"image": "00.jpg", "x": 990.0, "y": 446.5}, ...]}],
     "points": [{"position": [0.0, 0.0, 0.0], "at": [{"image": ..., "x": ..., "y": ...}, ...]}]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.calibration import UNITS, DamagedError, number, numbers, read_text
from calib.capture import Capture, CaptureError
from calib.rays import intersect_rays, reprojection_errors
from calib.scale import Similarity, robust_similarity

DoubleArray = npt.NDArray[np.float64]

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, DamagedError)


@dataclass(frozen=True)
class Place:
    """A place that was marked.

    Attributes:
        name: as messages call it, such as ``pair 2, first``.
        marks: image name and pixel, each; empty where the position is known.
        position: (x, y, z) in the capture's world, None where marks say.
    """

    name: str
    marks: tuple[tuple[str, float, float], ...] = ()
    position: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Marks:
    """What a file of marks says.

    Attributes:
        unit: of distances and targets, one of ``UNITS``.
        pairs: distance, and the two places that are so far apart.
        points: position in the wanted world, and the place that has it.
    """

    unit: str
    pairs: tuple[tuple[float, Place, Place], ...] = ()
    points: tuple[tuple[tuple[float, float, float], Place], ...] = ()


@dataclass(frozen=True, eq=False)
class KnownLengths:
    """A similarity from known lengths or positions, and how well they agree.

    Attributes:
        similarity: to the new world.
        names: of the pairs or points.
        residuals: (N,) of each length, in parts of it; of points, distances in the new unit.
        is_relative: whether the residuals are parts and not distances.
        warnings: what a user should know, one line each.
    """

    similarity: Similarity
    names: tuple[str, ...]
    residuals: DoubleArray
    is_relative: bool = True
    warnings: tuple[str, ...] = ()


def read_marks(path: Path) -> Marks:
    """Read a file of marks.

    Raises:
        CaptureError: if it is absent or makes no sense.
    """
    try:
        document = json.loads(read_text(path))
        marks = _marks(document)
    except OSError as error:
        raise CaptureError(path, f"cannot be read ({error.strerror})", "check --marks") from None
    except _UNREADABLE as error:
        reason = f"not a file of marks ({str(error).partition(chr(10))[0][:200]})"
        raise CaptureError(path, reason, 'it is {"unit": "mm", "pairs": [...]}') from None
    return marks


def scale_from_marks(capture: Capture, marks: Marks, max_error_px: float = 3.0) -> KnownLengths:
    """The similarity that marked places ask for; a pure scale where they are pairs.

    Args:
        capture: that the marks are of.
        marks: pairs, whose scale is that of least squares on the lengths; or three or more points,
            whose similarity is that of ``robust_similarity``.
        max_error_px: how far a mark may be from where its place appears.

    Returns:
        From the capture's world to the marks' unit.

    Raises:
        ValueError: if a mark is of no picture of the capture or off by more than ``max_error_px``,
            a place has fewer than two marks, or places coincide or do not determine a similarity.
    """
    if marks.points:
        ends = _positions(capture, [place for _, place in marks.points], max_error_px)
        fit = robust_similarity(ends, np.array([target for target, _ in marks.points]))
        names = tuple(place.name for _, place in marks.points)
        odd = [name for name, fits in zip(names, fit.inliers, strict=True) if not fits]
        warnings = (f"left out, as the others contradict: {', '.join(odd)}",) if odd else ()
        return KnownLengths(fit.similarity, names, fit.errors, False, warnings)
    first = _positions(capture, [pair[1] for pair in marks.pairs], max_error_px)
    second = _positions(capture, [pair[2] for pair in marks.pairs], max_error_px)
    lengths = np.array([pair[0] for pair in marks.pairs])
    names = tuple(pair[1].name.partition(",")[0] for pair in marks.pairs)
    return _fit_lengths(np.linalg.norm(first - second, axis=1), lengths, names)


def scale_from_distance(between: Sequence[float], distance: float) -> Similarity:
    """The scale at which two places are a distance apart.

    Args:
        between: x y z x y z in the capture's world.
        distance: in the new unit.

    Raises:
        ValueError: if the distance is not positive, or the places are the same.
    """
    ends = np.array(numbers(between, 6, "between")).reshape(2, 3)
    measured = np.linalg.norm(ends[:1] - ends[1:], axis=1)
    return _fit_lengths(measured, np.array([distance]), ["the pair"]).similarity


def _fit_lengths(measured: DoubleArray, lengths: DoubleArray, names: Sequence[str]) -> KnownLengths:
    """The scale of least squares between lengths of two units."""
    for name, length, known in zip(names, measured, lengths, strict=True):
        if not (known > 0 and np.isfinite(known)):
            raise ValueError(f"{name}: the distance must be positive, got {known}")
        if not length > 0:
            raise ValueError(f"{name}: its two places are the same")
    scale = float(lengths @ measured) / float(measured @ measured)
    residuals = scale * measured / lengths - 1
    return KnownLengths(Similarity.of_scale(scale), tuple(names), residuals)


def _positions(capture: Capture, places: Sequence[Place], max_error_px: float) -> DoubleArray:
    return np.array([_position(capture, place, max_error_px) for place in places])


def _position(capture: Capture, place: Place, max_error_px: float) -> DoubleArray:
    """Where a place is in the capture's world."""
    if place.position is not None:
        return np.array(place.position)
    cameras = {view.name: view.camera for view in capture.views}
    names = [name for name, _, _ in place.marks]
    unknown = [name for name in names if name not in cameras]
    if unknown:
        raise ValueError(f"{place.name}: no view {unknown[0]!r} in {capture.path}")
    if len(set(names)) < len(names) or len(names) < 2:
        raise ValueError(f"{place.name}: must be marked in two or more pictures, once in each")
    chosen = [cameras[name] for name in names]
    pixels = np.array([[(x, y) for _, x, y in place.marks]])
    point = intersect_rays(chosen, pixels)
    if not np.isfinite(point).all():
        raise ValueError(f"{place.name}: its rays are parallel; mark it in views farther apart")
    errors = reprojection_errors(chosen, point, pixels)[0]
    worst = int(np.argmax(errors))
    if errors[worst] > max_error_px:
        raise ValueError(
            f"{place.name}: the mark in {names[worst]} is {errors[worst]:.1f} pixels from where "
            f"the marks together put it, more than {max_error_px:g}; check it and the others"
        )
    return np.asarray(point[0])


def _marks(document: Any) -> Marks:
    unknown = set(document) - {"unit", "pairs", "points"}
    if unknown:
        raise DamagedError(f"unknown key {sorted(unknown)[0]!r}")
    if document["unit"] not in UNITS:
        raise DamagedError(f"the unit must be one of {', '.join(UNITS)}")
    pairs = tuple(
        (
            number(pair["distance"], f"the distance of pair {index}"),
            _place(f"pair {index}, first", pair["first"]),
            _place(f"pair {index}, second", pair["second"]),
        )
        for index, pair in enumerate(document.get("pairs", ()), 1)
    )
    points = tuple(
        (_triple(point["position"], f"point {index}"), _place(f"point {index}", point["at"]))
        for index, point in enumerate(document.get("points", ()), 1)
    )
    if bool(pairs) == bool(points):
        raise DamagedError("it must hold pairs or points, and not both")
    return Marks(document["unit"], pairs, points)


def _place(name: str, said: Any) -> Place:
    if said and all(isinstance(value, (int, float)) for value in said):
        return Place(name, position=_triple(said, name))
    marks = tuple(
        (str(mark["image"]), number(mark["x"], f"x of {name}"), number(mark["y"], f"y of {name}"))
        for mark in said
    )
    return Place(name, marks)


def _triple(values: Any, what: str) -> tuple[float, float, float]:
    x, y, z = numbers(values, 3, what).tolist()
    return x, y, z
