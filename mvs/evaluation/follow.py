"""Points followed from one view to another by the cube maps alone.

The coordinate that one view's map has at a point's pixel is looked up in the other view's map; the
distance from there to the point's own pixel is the end-point error. Pixels are the picture's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from calib.capture import Capture
from mvs.kernels.nearest import nearest
from mvs.kernels.subpixel import locate
from mvs.stages.embed import EmbeddedViews, embed_views
from mvs.stages.views import MatchView, map_from_image, prepare_view, sample_coords
from mvs.types import BoolArray, DoubleArray, Embedder, FloatArray

# Longest edge, in the cube, of a cell of four pixels that is interpolated.
MAX_EDGE = 8.0 / 512.0
# How far, in pixels of the map, the sub-pixel place may be from the nearest pixel.
MAX_SHIFT = 4.0


@dataclass(frozen=True)
class Look:
    """One view: its map made ready, and what the map says at every point's pixel.

    Attributes:
        view: for matching.
        image_from_map: (2, 3) float64 affine from map pixels to picture pixels.
        pixels: (N, 2) true pixels of the points in the picture.
        coords: (N, 3) the map's coordinates there.
        confidence: (N,) the map's confidence there.
        has: (N,) bool, whether the map knows the pixel.
    """

    view: MatchView
    image_from_map: DoubleArray
    pixels: DoubleArray
    coords: FloatArray
    confidence: FloatArray
    has: BoolArray

    @staticmethod
    def at(embedded: EmbeddedViews, index: int, positions: DoubleArray) -> Look:
        """Look at world positions (N, 3) in one of the views."""
        cube_map, camera = embedded.cube_maps[index], embedded.cameras[index]
        view = prepare_view(cube_map, camera, 0.0, MAX_EDGE)
        projected, depth = camera.project(positions)
        behind = ~(depth > 0) | ~np.isfinite(projected).all(axis=1)
        pixels = np.where(behind[:, None], -1e6, projected)
        to_map = map_from_image(cube_map)
        on_map = pixels @ to_map[:, :2].T + to_map[:, 2]
        height, width = cube_map.mask.shape
        column, row = np.floor(on_map).astype(np.int64).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
        return Look(
            view,
            cube_map.image_from_map,
            pixels,
            sample_coords(view.coords, on_map),
            cube_map.confidence[row, column],
            np.asarray(inside & cube_map.mask[row, column]),
        )


def embed_unmasked(
    capture: Capture, embedder: Embedder, progress: Callable[[], None] | None = None
) -> EmbeddedViews:
    """Embed a capture's views without showing the embedder their masks.

    Args:
        capture: the views.
        embedder: gives pixels their coordinates.
        progress: called twice per view.

    Raises:
        CaptureError: if a picture cannot be read.
        ReconstructionError: if fewer than two views show a head.
    """
    return embed_views([view.without_mask() for view in capture.views], embedder, None, progress)


def follow(a: Look, b: Look, rows: BoolArray) -> DoubleArray:
    """End-point errors of points followed from one view to another.

    Args:
        a: view whose map is read at the points' pixels.
        b: view in which the coordinates are found.
        rows: (N,) bool, which points; M of them.

    Returns:
        (M,) pixels of the second view's picture; infinite where one of the maps says nothing.
    """
    error = np.full(int(rows.sum()), np.inf)
    has = a.has[rows]
    if not has.any() or not len(b.view.pixels):
        return error
    targets = np.ascontiguousarray(a.coords[rows][has])
    start = nearest(b.view.grid, targets).index
    place, distance = locate(
        b.view.coords, b.view.cells, targets, b.view.pixels[start], max_shift=MAX_SHIFT
    )
    centers = b.view.centers(b.view.pixels[start])
    place = np.where(np.isfinite(distance)[:, None], place, centers)
    affine = b.image_from_map
    found = place @ affine[:, :2].T + affine[:, 2]
    error[has] = np.linalg.norm(found - b.pixels[rows][has], axis=1)
    return error


def view_angles(embedded: EmbeddedViews) -> DoubleArray:
    """(V, V) degrees between the views' rays to the middle of the head."""
    towards = np.stack([embedded.head.center - camera.center for camera in embedded.cameras])
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    angles: DoubleArray = np.rad2deg(np.arccos(np.clip(towards @ towards.T, -1, 1)))
    return angles


def pairs_by_angle(
    embedded: EmbeddedViews, upper_ends: Sequence[float]
) -> list[list[tuple[int, int]]]:
    """Ordered pairs of views, one list per class of angle; larger angles are left out.

    Args:
        embedded: the views.
        upper_ends: of the classes, degrees, ascending.
    """
    angles = view_angles(embedded)
    classes: list[list[tuple[int, int]]] = [[] for _ in upper_ends]
    for a, b in permutations(range(len(angles)), 2):
        group = int(np.searchsorted(upper_ends, angles[a, b]))
        if group < len(classes):
            classes[group].append((a, b))
    return classes


def longer_side(pixels: DoubleArray) -> float:
    """The longer side of the box around pixels (N, 2), N > 0."""
    return float(np.ptp(pixels, axis=0).max())
