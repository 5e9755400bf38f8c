"""Points followed through a video by chained optical flow, and the pairs of frames they join."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mvs.tracks.flow import Flow, flow_between, step_forward, texture
from mvs.tracks.head import Head, square_around
from mvs.tracks.options import CROP_SIZE, TracksOptions
from mvs.tracks.pairs import MatchedPair
from mvs.types import BoolArray, ByteArray, DoubleArray

KeyArray = npt.NDArray[np.int64]


class Points(NamedTuple):
    """Points alive in one frame.

    Attributes:
        keys: (n,) ascending, the same for the same point in every frame.
        pixels: (n, 2) float64 picture pixels.
    """

    keys: KeyArray
    pixels: DoubleArray


@dataclass(frozen=True)
class _Frame:
    head: Head
    points: Points
    # To the frame before; None for the first.
    back: Flow | None


class PointTracker:
    """Follows points on a head from frame to frame, and joins frames by them.

    A point lives while each step there and back returns to it and it stays on the head; new points
    start in the cells of a grid that hold none. Two frames are joined by the points that live from
    one to the other and come back from the later to the earlier along the whole chain.
    """

    def __init__(self, options: TracksOptions) -> None:
        self._options = options
        self._window: deque[_Frame] = deque(maxlen=options.max_gap + 1)
        self._image: ByteArray | None = None
        self._n_keys = 0
        self.most_points = 0

    def advance(self, image: ByteArray, head: Head | None) -> None:
        """Take the next frame.

        Args:
            image: (H, W, 3) uint8 RGB, of the size of the frame before.
            head: in the frame; without one all points end.
        """
        if head is None:
            self._window.clear()
            return
        points, back = Points(np.zeros(0, np.int64), np.zeros((0, 2))), None
        if self._window and self._image is not None:
            before = self._window[-1]
            square = square_around(before.head.square, head.square)
            flows = flow_between(self._image, image, square)
            moved, errors = step_forward(flows, before.points.pixels)
            # NaN compares false.
            keep = (errors <= self._options.max_step_error * head.scale) & head.holds(moved)
            points, back = Points(before.points.keys[keep], moved[keep]), flows.back
        self._window.append(_Frame(head, self._seed(head, points), back))
        self._image = image

    def pairs(self) -> Iterator[MatchedPair]:
        """Pairs of an earlier frame and the last, nearest first, with enough points."""
        if not self._window:
            return
        frames = list(self._window)
        last = frames[-1]
        keys, returned = last.points
        for later, earlier in zip(frames[:0:-1], frames[-2::-1], strict=True):
            if later.back is None:
                return
            found, rows = _rows_of(keys, earlier.points.keys)
            keys, returned = keys[found], later.back.move(returned[found])
            start = earlier.points.pixels[rows]
            errors = np.linalg.norm(returned - start, axis=1) / earlier.head.scale
            good = errors <= self._options.max_error
            n = int(good.sum())
            self.most_points = max(self.most_points, n)
            if len(keys) < self._options.min_points:
                return
            if n >= self._options.min_points:
                end = last.points.pixels[_rows_of(keys[good], last.points.keys)[1]]
                ends = [earlier.head.to_crop(start[good]), last.head.to_crop(end)]
                yield MatchedPair(earlier.head, last.head, np.stack(ends, axis=1), errors[good])

    def _seed(self, head: Head, points: Points) -> Points:
        """The points and new ones in the middle of grid cells without any."""
        spacing = self._options.spacing
        n = -(-CROP_SIZE // spacing)
        free = np.ones((n, n), np.bool_)
        column, row = np.floor(head.to_crop(points.pixels) / spacing).astype(np.intp).T
        free[row, column] = False
        if self._options.min_texture > 0:
            free &= self._textured(head, n)
        crop = np.asarray((np.argwhere(free)[:, ::-1] + 0.5) * spacing, np.float64)
        fresh = head.to_picture(crop)
        fresh = fresh[head.holds(fresh)]
        keys = np.arange(self._n_keys, self._n_keys + len(fresh))
        self._n_keys += len(fresh)
        return Points(np.append(points.keys, keys), np.vstack([points.pixels, fresh]))

    def _textured(self, head: Head, n: int) -> BoolArray:
        middle = ((np.arange(n) + 0.5) * self._options.spacing).astype(np.intp)
        middle = np.minimum(middle, CROP_SIZE - 1)
        return np.asarray(texture(head.crop)[np.ix_(middle, middle)] >= self._options.min_texture)


def _rows_of(wanted: KeyArray, keys: KeyArray) -> tuple[BoolArray, npt.NDArray[np.intp]]:
    """Which of the wanted keys are among ascending keys, and where those are."""
    rows = np.searchsorted(keys, wanted)
    found = np.zeros(len(wanted), np.bool_)
    inside = rows < len(keys)
    found[inside] = keys[rows[inside]] == wanted[inside]
    return found, rows[found]
