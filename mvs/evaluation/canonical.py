"""How well landmarks in space and tracked points agree with the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calib.capture import Capture, CaptureError
from calib.scale import UNIT_MM
from mvs.canonical.landmarks3d import Landmarks3dOptions, find_landmarks_3d
from mvs.canonical.layouts import Layout, load_layout
from mvs.canonical.mesh_places import SurfaceMesh, find_on_mesh
from mvs.canonical.pictures import MappedPicture
from mvs.canonical.query import query_places
from mvs.canonical.track import TrackOptions, track_places
from mvs.evaluation.landmarks import read_landmark_truth
from mvs.types import BoolArray, CubeMap, DoubleArray


@dataclass(frozen=True)
class SpaceFigures:
    """The 68 landmarks in space, from some of a capture's views.

    Attributes:
        views: names; none where the landmarks were looked up on a mesh.
        mean_mm: mean distance to the truth, over all 68.
        median_mm: median.
        largest_mm: largest.
    """

    views: tuple[str, ...]
    mean_mm: float
    median_mm: float
    largest_mm: float


@dataclass(frozen=True)
class TrackFigures:
    """Points followed through a rendered sequence, in per cent of the eyes' distance.

    The eyes' distance is that between their outer corners in the frame in which it is widest.

    Attributes:
        n_points: points followed.
        visible: mean error where the truth says visible.
        hidden: mean error where it says hidden; NaN if never.
        seen_as_visible: share of points and frames whose visibility is told right.
        jitter: mean length of the second difference in time of what is wrong.
    """

    n_points: int
    visible: float
    hidden: float
    seen_as_visible: float
    jitter: float


def evaluate_space(
    capture: Capture,
    pictures: Sequence[MappedPicture],
    rows: Sequence[int],
    options: Landmarks3dOptions | None = None,
) -> SpaceFigures:
    """Landmarks in space against ``gt/landmarks.json``.

    Args:
        capture: with that truth.
        pictures: one per view.
        rows: views that are used.
        options: how places are located.

    Raises:
        CaptureError: if the truth cannot be used.
        ReconstructionError: if the views see too little together.
    """
    true, _ = read_landmark_truth(capture.path / "gt" / "landmarks.json")
    chosen = [pictures[row] for row in rows]
    cameras = [p.camera for p in chosen if p.camera is not None]
    found = find_landmarks_3d([p.cube_map for p in chosen], cameras, load_layout("68"), options)
    return _figures(tuple(p.name for p in chosen), found.points - true, capture)


def evaluate_mesh(capture: Capture, mesh: SurfaceMesh) -> SpaceFigures:
    """Landmarks looked up on a mesh with cube coordinates against ``gt/landmarks.json``.

    Args:
        capture: with that truth.
        mesh: of its head, in its frame and unit: a reconstruction, what was registered to it or a
            fit.

    Raises:
        CaptureError: if the truth cannot be used.
    """
    true, _ = read_landmark_truth(capture.path / "gt" / "landmarks.json")
    found = find_on_mesh(mesh, load_layout("68"))
    return _figures((), found.points - true, capture)


def _figures(names: tuple[str, ...], off: DoubleArray, capture: Capture) -> SpaceFigures:
    # A capture that does not say its unit is taken to be in metres.
    length = np.linalg.norm(off, axis=1) * UNIT_MM.get(capture.unit or "m", 1000.0)
    return SpaceFigures(names, float(length.mean()), float(np.median(length)), float(length.max()))


@dataclass(frozen=True)
class SequenceTruth:
    """What ``mvs synthesize sequence`` says of its points; T frames, K points.

    Attributes:
        names: of the frames.
        layout: the points.
        pixels: (T, K, 2).
        visible: (T, K).
        eyes: rows of the eyes' outer corners.
    """

    names: tuple[str, ...]
    layout: Layout
    pixels: DoubleArray
    visible: BoolArray
    eyes: tuple[int, int]


def read_sequence_truth(path: Path) -> SequenceTruth:
    """Read ``truth.json`` of a sequence.

    Raises:
        CaptureError: if it is none.
    """
    try:
        truth: Any = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(sorted(truth["frames"]))
        frames = [truth["frames"][name] for name in names]
        pixels = np.array([frame["uv"] for frame in frames], np.float64)
        visible = np.array([frame["visible"] for frame in frames], np.int64) > 0
        places = np.array(truth["uvw"], np.float32)
        points = tuple(str(name) for name in truth["names"])
        right, left = (int(row) for row in truth["eyes"])
        if pixels.shape != (len(names), len(points), 2) or places.shape != (len(points), 3):
            raise ValueError("frames and points do not fit")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"not the truth of a sequence ({error!r})"
        raise CaptureError(path, reason, "render it again with mvs synthesize sequence") from None
    layout = Layout("sequence", points, places, np.zeros(len(points), np.bool_))
    return SequenceTruth(names, layout, pixels, np.asarray(visible), (right, left))


def evaluate_tracks(
    truth: SequenceTruth,
    cube_maps: Sequence[CubeMap],
    options: TrackOptions | None = None,
    clicked: bool = True,
) -> TrackFigures:
    """Follow a sequence's points and compare with the truth.

    Args:
        truth: of the sequence.
        cube_maps: one per frame.
        options: how points are followed.
        clicked: follow what the first frame shows at the true pixels, of the points it sees,
            and not the points' true places in the cube.
    """
    rows = np.flatnonzero(truth.visible[0]) if clicked else np.arange(len(truth.layout))
    places = truth.layout.positions[rows]
    if clicked:
        places = query_places(cube_maps[0], truth.pixels[0, rows])[0]
    known = np.isfinite(places).all(axis=1)
    rows, places = rows[known], places[known]
    names = tuple(truth.layout.names[row] for row in rows)
    layout = Layout("clicked", names, places, np.zeros(len(rows), np.bool_))
    found = track_places(cube_maps, layout, options)
    error, seen = found.pixels - truth.pixels[:, rows], truth.visible[:, rows]
    right, left = (truth.pixels[:, row] for row in truth.eyes)
    scale = 100.0 / float(np.linalg.norm(left - right, axis=1).max())
    off = scale * np.linalg.norm(error, axis=2)
    shake = scale * np.linalg.norm(np.diff(error, n=2, axis=0), axis=2)
    hidden = float(off[~seen].mean()) if (~seen).any() else float("nan")
    agree = float((found.visible == seen).mean())
    return TrackFigures(len(rows), float(off[seen].mean()), hidden, agree, float(shake.mean()))
