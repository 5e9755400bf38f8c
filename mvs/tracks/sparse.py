"""Matched points from a COLMAP capture: the observations of its sparse points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.capture import Capture, CaptureError, View
from calib.colmap import find_model
from mvs.tracks.head import Head
from mvs.tracks.pairs import MatchedPair
from mvs.types import BoolArray, DoubleArray


@dataclass(frozen=True)
class Observations:
    """Where one picture sees sparse points.

    Attributes:
        points: (n,) int64 COLMAP's ids, ascending.
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
    import pycolmap

    folder, _ = find_model(capture.path)
    if not len(capture.points):
        remedy = "triangulate points (colmap point_triangulator), or give its images as frames"
        raise CaptureError(folder, "the model has no sparse points, so no tracks", remedy)
    try:
        model = pycolmap.Reconstruction(str(folder))
    except (ValueError, RuntimeError, IndexError, KeyError) as error:
        reason = f"damaged model: {str(error).strip().splitlines()[-1]}"
        raise CaptureError(folder, reason, "export the model again") from None
    positions = {key: point.xyz for key, point in model.points3D.items()}
    views = {view.name: view for view in capture.views}
    images = {image.name.replace("\\", "/"): image for image in model.images.values()}
    return {name: _observations(views[name], images[name].points2D, positions) for name in views}


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


def _observations(
    view: View, points2d: Sequence[object], positions: dict[int, DoubleArray]
) -> Observations:
    rows = [
        (int(point.point3D_id), *point.xy)  # type: ignore[attr-defined]
        for point in points2d
        if point.has_point3D() and point.point3D_id in positions  # type: ignore[attr-defined]
    ]
    table = np.array(rows, np.float64).reshape(-1, 3)
    # A picture may observe a point twice: the first observation is taken.
    points, first = np.unique(table[:, 0].astype(np.int64), return_index=True)
    pixels = table[first, 1:]
    xyz = np.array([positions[key] for key in points.tolist()]).reshape(-1, 3)
    errors = np.linalg.norm(view.camera.project(xyz)[0] - pixels, axis=1)
    return Observations(points, pixels, errors)
