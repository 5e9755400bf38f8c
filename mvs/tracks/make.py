"""From a source to shards of pairs: the one function behind ``mvs tracks``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calib.capture import Capture, CaptureError
from calib.formats import has_cameras, read_capture
from mvs.tracks.choose import choose_pairs
from mvs.tracks.head import Head, HeadFollower, find_head
from mvs.tracks.options import TracksOptions
from mvs.tracks.pairs import MatchedPair, writing_pairs
from mvs.tracks.pictures import Picture, estimate_length, read_pictures
from mvs.tracks.sparse import Observations, capture_pairs, read_observations
from mvs.tracks.video import PointTracker
from mvs.types import DoubleArray, Embedder

Progress = Callable[[], None]


@dataclass
class TracksReport:
    """What came of a source; ``tracks.json`` holds the same.

    Attributes:
        kind: "video", "frames" or "capture".
        n_pictures: pictures read.
        n_heads: of them with a head.
        most_points: most points that any two pictures share, kept or not.
        names: of the pictures of each pair.
        squares: x, y, side in picture pixels of the crops of each pair.
        n_points: of each pair.
        motions: of each pair, how far its points moved in the crops, pixels.
        errors: of each point, crop pixels.
    """

    kind: str
    n_pictures: int = 0
    n_heads: int = 0
    most_points: int = 0
    names: list[tuple[str, str]] = field(default_factory=list)
    squares: list[tuple[list[float], list[float]]] = field(default_factory=list)
    n_points: list[int] = field(default_factory=list)
    motions: list[float] = field(default_factory=list)
    errors: list[DoubleArray] = field(default_factory=list)

    def add(self, pair: MatchedPair) -> None:
        """Count a pair that is written."""
        self.names.append((pair.first.name, pair.second.name))
        first, second = ([*h.square.center, h.square.side] for h in (pair.first, pair.second))
        self.squares.append((first, second))
        self.n_points.append(len(pair.points))
        self.motions.append(pair.motion)
        self.errors.append(pair.errors)

    def summary(self) -> dict[str, Any]:
        """Counts and medians."""
        return {
            "n_pictures": self.n_pictures,
            "n_heads": self.n_heads,
            "n_pairs": len(self.n_points),
            "n_points": sum(self.n_points),
            "median_points_per_pair": float(np.median(self.n_points)),
            "median_motion_px": round(float(np.median(self.motions)), 4),
            self.error_name: round(float(np.median(np.concatenate(self.errors))), 4),
        }

    @property
    def error_name(self) -> str:
        """What the errors are."""
        what = "reprojection" if self.kind == "capture" else "forward_backward"
        return f"median_{what}_px"


def write_tracks(
    source: Path, embedder: Embedder, options: TracksOptions, progress: Progress | None = None
) -> TracksReport:
    """Write the pairs of a video, of a folder of frames, or of a COLMAP capture.

    Args:
        source: video file, folder of numbered frames, or folder with images/ and a COLMAP model.
        embedder: finds the head and its mask.
        options: which points and pairs, and where to.
        progress: called once per picture.

    Returns:
        What came of it.

    Raises:
        CaptureError: if the source cannot be read or has no sparse points.
        ValueError: if no head is seen, or no pair has enough points.
    """
    report = TracksReport(_kind(source))
    if report.kind == "capture":
        pairs = _from_capture(read_capture(source), embedder, options, report)
    else:
        pictures = read_pictures(source, options.every)
        pairs = _from_video(source, pictures, embedder, options, report)
    description = _describe(source, options, report)
    with writing_pairs(options.output, description) as writer:
        for found in pairs:
            for pair in found:
                writer.add(pair)
                report.add(pair)
            if progress is not None:
                progress()
        _check(source, report, options)
        description |= {**report.summary(), "pairs": _list_pairs(report)}
    return report


def count_pictures(source: Path, every: int) -> int:
    """About how many pictures a source has, for a progress bar.

    Raises:
        CaptureError: if the source is not usable.
    """
    if _kind(source) == "capture":
        return len(read_capture(source).views)
    return estimate_length(source, every)


def _kind(source: Path) -> str:
    if not source.is_dir():
        return "video"
    return "capture" if has_cameras(source) else "frames"


def _from_video(
    source: Path,
    pictures: Iterator[Picture],
    embedder: Embedder,
    options: TracksOptions,
    report: TracksReport,
) -> Iterator[list[MatchedPair]]:
    """The pairs that end in each picture, picture by picture."""
    follow, tracker = HeadFollower(embedder, options.rim), PointTracker(options)
    for number, (name, image) in enumerate(pictures):
        head = follow(name, image)
        tracker.advance(image, head)
        report.n_pictures += 1
        report.n_heads += head is not None
        candidates = list(tracker.pairs())
        report.most_points = tracker.most_points
        yield choose_pairs(candidates, number, options)
    if report.n_pictures < 2:
        reason = f"has {report.n_pictures} frame(s)"
        raise CaptureError(source, reason, "two are needed; lower --every or give a longer video")


def _from_capture(
    capture: Capture, embedder: Embedder, options: TracksOptions, report: TracksReport
) -> Iterator[list[MatchedPair]]:
    """The pairs that end in each picture, picture by picture."""
    observed = read_observations(capture)
    heads: list[Head | None] = []
    on_head: list[Observations] = []
    for number, view in enumerate(capture.views):
        head = find_head(view.name, view.load_image(), embedder, options.rim)
        mask = view.load_mask()
        seen = observed[view.name].within(mask) if mask is not None else observed[view.name]
        heads.append(head)
        on_head.append(seen if head is None else seen.on(head, options.max_error))
        report.n_pictures += 1
        report.n_heads += head is not None
        pairs = list(capture_pairs(heads, on_head, number))
        report.most_points = max([report.most_points, *(len(pair.points) for pair in pairs)])
        enough = [pair for pair in pairs if len(pair.points) >= options.min_points]
        yield choose_pairs(enough, number, options)


def _check(source: Path, report: TracksReport, options: TracksOptions) -> None:
    if not report.n_heads:
        raise ValueError(
            f"{source}: no head is seen in any of {report.n_pictures} pictures; "
            "give pictures in which a head is at least a twentieth of the width"
        )
    if not report.n_points:
        relax = "--max-error" if report.kind == "capture" else "--max-error and --max-step-error"
        raise ValueError(
            f"{source}: no two pictures share {options.min_points} points on the head, "
            f"{report.most_points} at most (heads in {report.n_heads} of {report.n_pictures} "
            f"pictures); lower --min-points or raise {relax}"
        )


def _describe(source: Path, options: TracksOptions, report: TracksReport) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(TracksOptions) if f.name != "output"]
    used = {name: getattr(options, name) for name in names}
    return {"source": str(source), "kind": report.kind, "options": used}


def _list_pairs(report: TracksReport) -> list[dict[str, Any]]:
    rows = zip(report.names, report.squares, report.n_points, strict=True)
    return [{"pictures": names, "squares": squares, "n_points": n} for names, squares, n in rows]
