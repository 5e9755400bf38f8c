"""Metric scale from printed markers (ArUco, AprilTag) of a known size in the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError
from calib.rays import intersect_rays, reprojection_errors
from calib.scale import Similarity, robust_mean

DoubleArray = npt.NDArray[np.float64]

_MAX_ERROR_PX = 3.0


@dataclass(frozen=True, eq=False)
class Marker:
    """A marker in space.

    Attributes:
        number: of the dictionary.
        corners: (4, 3) world.
        n_views: that see it.
        error_px: median reprojection error of its corners.
    """

    number: int
    corners: DoubleArray
    n_views: int
    error_px: float

    @property
    def sides(self) -> DoubleArray:
        """(4,) lengths, world."""
        return np.asarray(np.linalg.norm(self.corners - np.roll(self.corners, 1, axis=0), axis=1))


@dataclass(frozen=True, eq=False)
class MarkerScale:
    """A scale from markers.

    Attributes:
        similarity: to the new unit.
        markers: that were triangulated, by number.
        residuals: (M,) of each marker's mean side, in parts of the true one.
        warnings: what a user should know, one line each.
    """

    similarity: Similarity
    markers: tuple[Marker, ...]
    residuals: DoubleArray
    warnings: tuple[str, ...]


def marker_dictionaries() -> dict[str, int]:
    """OpenCV's dictionaries by name, such as ``4X4_50`` and ``APRILTAG_36H11``."""
    import cv2

    names = [name for name in dir(cv2.aruco) if name.startswith("DICT_") and name.isupper()]
    return {name.removeprefix("DICT_"): int(getattr(cv2.aruco, name)) for name in names}


def scale_from_markers(
    capture: Capture, dictionary: str, side: float, progress: Callable[[], None] | None = None
) -> MarkerScale:
    """The scale at which markers have their true size.

    Corners are found to a part of a pixel in the pictures as photographed and intersected over all
    views; the scale is the robust mean over all sides of all markers.

    Args:
        capture: whose pictures show them.
        dictionary: a key of ``marker_dictionaries``, without regard to case.
        side: of the black square, in the new unit.
        progress: called once per view.

    Raises:
        ValueError: if the dictionary is unknown or the side not positive.
        CaptureError: if a picture cannot be read, or no marker is seen well in two views.
    """
    if not (side > 0 and np.isfinite(side)):
        raise ValueError(f"--side must be positive, got {side}")
    seen, repeated = _find(capture, dictionary, progress)
    markers, warnings = [], []
    if repeated:
        shown = ", ".join(map(str, sorted(repeated)))
        warnings.append(f"left out where a picture shows it twice: marker {shown}")
    for number in sorted(seen):
        marker = _intersect(capture, number, seen[number])
        if isinstance(marker, str):
            warnings.append(marker)
        else:
            markers.append(marker)
    if not markers:
        found = f": {'; '.join(warnings)}" if warnings else ""
        raise CaptureError(
            capture.path,
            f"no marker of {dictionary} is seen well in two views{found}",
            "check --aruco, and that the markers lie flat and still",
        )
    scale = side / robust_mean(np.concatenate([marker.sides for marker in markers]))[0]
    residuals = np.array([scale * marker.sides.mean() / side - 1 for marker in markers])
    return MarkerScale(Similarity.of_scale(scale), tuple(markers), residuals, tuple(warnings))


def _find(
    capture: Capture, dictionary: str, progress: Callable[[], None] | None
) -> tuple[dict[int, dict[int, DoubleArray]], set[int]]:
    """Corners (4, 2) by marker and view, and the markers that a picture shows twice."""
    import cv2

    known = marker_dictionaries()
    if dictionary.upper() not in known:
        raise ValueError(f"--aruco must be one of {', '.join(sorted(known))}, got {dictionary}")
    how = cv2.aruco.DetectorParameters()
    how.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_APRILTAG
    chosen = cv2.aruco.getPredefinedDictionary(known[dictionary.upper()])
    detector = cv2.aruco.ArucoDetector(chosen, how)
    seen: dict[int, dict[int, DoubleArray]] = {}
    repeated = set()
    for index, view in enumerate(capture.views):
        gray = cv2.cvtColor(view.load_image(), cv2.COLOR_RGB2GRAY)
        corners, numbers, _ = detector.detectMarkers(gray)
        found = [] if numbers is None else [int(n) for n in np.asarray(numbers).ravel()]
        for number, at in zip(found, corners, strict=True):
            if found.count(number) > 1:
                repeated.add(number)
            else:
                # Fitted to edges, unlike OpenCV's other ways, and counted from the first pixel's
                # upper left: to a tenth of a pixel, where sub-pixel corners lie a fifth inwards.
                seen.setdefault(number, {})[index] = np.asarray(at, np.float64).reshape(4, 2)
        if progress is not None:
            progress()
    return seen, repeated


def _intersect(capture: Capture, number: int, seen: dict[int, DoubleArray]) -> Marker | str:
    """A marker in space, or why not; while a corner is off, the worst view is left out."""
    rows = sorted(seen)
    while len(rows) >= 2:
        cameras = [capture.views[row].camera for row in rows]
        pixels = np.stack([seen[row] for row in rows], axis=1)
        corners = intersect_rays(cameras, pixels)
        errors = reprojection_errors(cameras, corners, pixels)
        if np.isfinite(corners).all() and errors.max() <= _MAX_ERROR_PX:
            return Marker(number, corners, len(rows), float(np.median(errors)))
        del rows[int(np.argmax(errors.max(axis=0)))]
    reason = (
        "is seen in one view only" if len(seen) < 2 else "is in no place that two views confirm"
    )
    return f"marker {number} {reason}"
