"""Matched points from a COLMAP capture: the observations of its sparse points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError, View
from mvs.tracks.head import Head
from mvs.tracks.pairs import MatchedPair
from mvs.types import BoolArray, DoubleArray


@dataclass(frozen=True)
class Observations:
    """Where one picture sees sparse points.

    Attributes:
        points: (n,) int64 rows of the capture's points, ascending.
        pixels: (n, 2) float64 as observed, in the picture as it was taken.
        errors: (n,) float64 pixels to the point's projection.
    """

    points: npt.NDArray[np.int64]
    pixels: DoubleArray
    errors: DoubleArray

    def on(self, head: Head, max_error: float) -> Observations:
        """Those on a head whose error is at most ``max_error`` crop pixels."""
        keep = head.holds(self.pixels) & (self.errors <= max_error * head.scale)
        return Observations(self.points[keep], self.pixels[keep], self.errors[keep])

    def within(self, mask: BoolArray) -> Observations:
        """Those where a mask (H, W) of the picture is set."""
        height, width = mask.shape
        inside = np.asarray(((self.pixels >= 0) & (self.pixels < [width, height])).all(axis=1))
        x, y = np.where(inside[:, None], self.pixels, 0).astype(np.intp).T
        keep = inside & mask[y, x]
        return Observations(self.points[keep], self.pixels[keep], self.errors[keep])


def read_observations(capture: Capture) -> dict[str, Observations]:
    """What each view of a capture observes, by its name.

    Raises:
        CaptureError: if the model has no sparse points, or cannot be read.
    """
    if not len(capture.points) or any(view.observed is None for view in capture.views):
        remedy = "triangulate points (colmap point_triangulator), or give its images as frames"
        where = capture.source or capture.path
        raise CaptureError(where, "the model has no sparse points, so no tracks", remedy)
    return {view.name: _observations(view, capture.points) for view in capture.views}


def capture_pairs(
    heads: Sequence[Head | None],
    observations: Sequence[Observations],
    last: int,
) -> Iterator[MatchedPair]:
    """Pairs of an earlier picture and picture ``last`` that share points on the head, few or many.

    Args:
        heads: in each picture.
        observations: of each picture, those on its head.
        last: index of the later picture.

    Yields:
        Pairs with at least one point.
    """
    second = heads[last]
    if second is None:
        return
    for first, seen in zip(heads[:last], observations[:last], strict=True):
        if first is None:
            continue
        _, a, b = np.intersect1d(
            seen.points, observations[last].points, assume_unique=True, return_indices=True
        )
        if not len(a):
            continue
        ends = [first.to_crop(seen.pixels[a]), second.to_crop(observations[last].pixels[b])]
        errors = np.maximum(
            seen.errors[a] / first.scale, observations[last].errors[b] / second.scale
        )
        yield MatchedPair(first, second, np.stack(ends, axis=1), errors)


def _observations(view: View, positions: DoubleArray) -> Observations:
    pixels = np.zeros((0, 2)) if view.observed is None else view.observed
    seen = view.camera.project(positions[view.point_ids])[0]
    return Observations(view.point_ids, pixels, np.linalg.norm(seen - pixels, axis=1))
