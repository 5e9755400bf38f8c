"""The pupils of any head, by their places in the cube, and the distance between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from calib.camera import Camera
from calib.rays import intersect_rays, reprojection_errors
from mvs.canonical.landmarks import find_landmarks
from mvs.errors import ReconstructionError
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray

# In front of the eyeballs' centres of ICT-FaceKit's neutral head, by their radius of 1.5 cm.
PUPILS: FloatArray = np.array(
    [[0.4165328, 0.6599453, 0.7020239], [0.5834672, 0.6599453, 0.7020239]], np.float32
)
_SPREAD = 2.5 * 1.4826
_LEAST_PX = 0.5
_MAX_PAIRS = 1000


@dataclass(frozen=True, eq=False)
class Pupils:
    """The pupils in space.

    Attributes:
        positions: (2, 3) world, the right one first.
        n_views: views that each was intersected from.
        error_px: their median reprojection error.
    """

    positions: DoubleArray
    n_views: tuple[int, int]
    error_px: float

    @property
    def distance(self) -> float:
        """Between the two, world."""
        return float(np.linalg.norm(self.positions[0] - self.positions[1]))


def find_pupils(cameras: Sequence[Camera], cube_maps: Sequence[CubeMap]) -> Pupils:
    """Intersect the rays of the views that see the pupils' places in the cube.

    It is the network's idea of where they are, closed lids or not: a few per cent of the distance
    between them, more on faces unlike those it learnt from.

    Args:
        cameras: of the pictures that the maps are of.
        cube_maps: one per view.

    Raises:
        ReconstructionError: if one of them is seen in fewer than two views.
    """
    found = [find_landmarks(cube_map, PUPILS) for cube_map in cube_maps]
    positions, errors, counts = [], [], []
    for eye in range(2):
        visible = np.array([marks.visible[eye] for marks in found], np.bool_)
        pixels = np.array([marks.pixels[eye] for marks in found])
        position, error = _intersect(cameras, pixels, visible)
        positions.append(position)
        errors.append(error)
        counts.append(len(error))
    return Pupils(
        np.stack(positions), (counts[0], counts[1]), float(np.median(np.concatenate(errors)))
    )


def _intersect(
    cameras: Sequence[Camera], pixels: DoubleArray, visible: BoolArray
) -> tuple[DoubleArray, DoubleArray]:
    """A place seen by the views that agree on it, and their errors: least median of squares."""
    rows = np.flatnonzero(visible).tolist()
    pairs = np.array(list(combinations(range(len(rows)), 2)), np.int64).reshape(-1, 2)
    pairs = pairs[:: 1 + len(pairs) // _MAX_PAIRS]
    chosen, seen = [cameras[row] for row in rows], pixels[None, rows]
    points = np.empty((0, 3))
    if len(pairs):
        in_pair = (np.arange(len(rows)) == pairs[:, :, None]).any(axis=1)
        points = intersect_rays(chosen, np.where(in_pair[..., None], seen, np.nan))
        points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        raise ReconstructionError(
            f"the eyes are seen in {len(rows)} views, from directions that hardly differ",
            "add views from the front, or take the scale from marks or markers",
        )
    errors = reprojection_errors(chosen, points, np.repeat(seen, len(points), axis=0))
    middle = np.median(errors, axis=1)
    best = int(np.argmin(middle))
    agree = errors[best] <= max(_SPREAD * float(middle[best]), _LEAST_PX)
    kept = np.where(agree[:, None], seen, np.nan)
    point = intersect_rays(chosen, kept)
    return point[0], reprojection_errors(chosen, point, kept)[0, agree]
