"""From the distorted picture to the pinhole picture of the same K and size.

Of a fisheye of a wide field the pinhole picture shows the part around the axis: what lies at 90
degrees and beyond has no place in it, and what lies nearer only where it falls inside the picture.
Its middle keeps the resolution of the distorted picture's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.camera import MODEL_PARAMS, Camera

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_BROWN = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")


def brown_coefficients(camera: Camera) -> npt.NDArray[np.float64] | None:
    """k1 k2 p1 p2 k3 k4 k5 k6, (8,) in OpenCV's order; None where the lens is of another kind.

    Source: https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html
    """
    if camera.model not in _BROWN:
        return None
    named = dict(zip(MODEL_PARAMS[camera.model], camera.params.tolist(), strict=True))
    named.setdefault("k1", named.get("k", 0.0))
    names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    return np.array([named.get(name, 0.0) for name in names])


# Pixels computed at a time: what stays in a processor's cache.
_BLOCK = 1 << 16
# Side in pixels of the cells in which folds of a lens are looked for first.
_CELL = 8
# Directions and steps in which the first fold around the axis is looked for.
_DIRECTIONS, _STEPS = 360, 400
# Of the grid in which a lens's field is compared with the pinhole picture's, a side.
_SAMPLES = 32


def undistortion_map(camera: Camera) -> FloatArray:
    """Where each pixel of the pinhole picture lies in the distorted one.

    Exact for every pixel; whether the lens folds over is asked once per cell of 8 x 8 pixels, and
    per pixel only near the fold.

    Args:
        camera: as calibrated.

    Returns:
        (H, W, 2) float32 pixel positions; NaN where the lens does not reach, has folded over, or
        the distorted picture ends.
    """
    mapping = np.empty((camera.height, camera.width, 2), np.float32)
    camera = camera.with_pose(np.eye(3, 4))
    if not camera.is_pinhole:
        pinhole, reach = camera.as_pinhole(), _reach(camera)
        cells = _unfolded_cells(camera, reach)
    for rows in _blocks(camera.height, camera.width):
        pixels = _centers(camera.width, rows)
        if not camera.is_pinhole:
            rays = pinhole.unproject(pixels)
            known = np.repeat(cells[np.arange(rows.start, rows.stop) // _CELL], _CELL, axis=1)
            pixels = _distort(camera, reach, rays, known[:, : camera.width].ravel())
        mapping[rows] = pixels.reshape(-1, camera.width, 2)
    return mapping


class KeptMaps:
    """Undistortion maps of cameras that stay as they are, made once; call it with a camera.

    Those that come first are kept, up to a limit; the others are made anew every time.
    """

    def __init__(self, limit_mb: float) -> None:
        """Keep maps of up to ``limit_mb`` megabytes together."""
        self._left = limit_mb * 1e6
        self._maps: dict[tuple[str, int, int, bytes], FloatArray] = {}

    def __call__(self, camera: Camera) -> FloatArray:
        """The map of a camera, as ``undistortion_map`` gives it; not to be written to."""
        key = (camera.model, camera.width, camera.height, camera.params.tobytes())
        mapping = self._maps.get(key)
        if mapping is None:
            mapping = undistortion_map(camera)
            if mapping.nbytes <= self._left:
                self._left -= mapping.nbytes
                self._maps[key] = mapping
        return mapping


def distortion_map(camera: Camera) -> FloatArray:
    """Where each pixel of the distorted picture lies in the pinhole one.

    Args:
        camera: as calibrated.

    Returns:
        (H, W, 2) float32 pixel positions; NaN where the lens model ends.
    """
    mapping = np.empty((camera.height, camera.width, 2), np.float32)
    camera = camera.with_pose(np.eye(3, 4))
    pinhole = camera.as_pinhole()
    for rows in _blocks(camera.height, camera.width):
        pixels = _centers(camera.width, rows)
        if not camera.is_pinhole:
            pixels = pinhole.project(camera.unproject(pixels))[0]
        mapping[rows] = pixels.reshape(-1, camera.width, 2)
    return mapping


def shown_share(camera: Camera) -> float:
    """The share of the distorted picture that the pinhole picture shows, of a grid of samples."""
    if camera.is_pinhole:
        return 1.0
    size = np.array([camera.width, camera.height])
    shares = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    camera = camera.with_pose(np.eye(3, 4))
    straight = camera.as_pinhole().project(camera.unproject(_grid(shares, shares) * size))[0]
    return float(((straight >= 0) & (straight <= size)).all(axis=1).mean())


def valid_mask(mapping: FloatArray) -> BoolArray:
    """(H, W) bool: where a map of ``undistortion_map`` has a source."""
    return np.asarray(np.isfinite(mapping[..., 0]) & np.isfinite(mapping[..., 1]))


def warp_image(image: ByteArray, mapping: FloatArray) -> ByteArray:
    """Resample a picture bilinearly.

    Args:
        image: (H, W) or (H, W, C) uint8, distorted.
        mapping: (H, W, 2) of ``undistortion_map``.

    Returns:
        Picture of the map's size; 0 where there is no source.
    """
    import cv2

    warped = np.empty((*mapping.shape[:2], *image.shape[2:]), np.uint8)
    for rows in _blocks(*mapping.shape[:2]):
        source = np.nan_to_num(mapping[rows] - np.float32(0.5), nan=-10.0)
        warped[rows] = cv2.remap(
            image, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        warped[rows][~valid_mask(mapping[rows])] = 0
    return warped


def warp_mask(mask: BoolArray, mapping: FloatArray) -> BoolArray:
    """Resample a mask by its nearest pixel.

    Args:
        mask: (H, W) bool, distorted.
        mapping: (H, W, 2) of ``undistortion_map``.

    Returns:
        Mask of the map's size; False where there is no source.
    """
    warped = np.empty(mapping.shape[:2], np.bool_)
    for rows in _blocks(*mapping.shape[:2]):
        valid = valid_mask(mapping[rows])
        column, row = np.floor(np.nan_to_num(mapping[rows])).astype(np.intp).transpose(2, 0, 1)
        column = np.clip(column, 0, mask.shape[1] - 1)
        row = np.clip(row, 0, mask.shape[0] - 1)
        warped[rows] = mask[row, column] & valid
    return warped


def _blocks(height: int, width: int) -> Iterator[slice]:
    """Rows of a picture, some at a time."""
    n_rows = max(1, _BLOCK // width)
    for start in range(0, height, n_rows):
        yield slice(start, min(start + n_rows, height))


def _centers(width: int, rows: slice) -> DoubleArray:
    """(N, 2) centres of the pixels of some rows."""
    return _grid(np.arange(width) + 0.5, np.arange(rows.start, rows.stop) + 0.5)


def _grid(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> DoubleArray:
    """(N, 2) points of a grid, row by row."""
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _distort(
    camera: Camera, reach: DoubleArray, rays: DoubleArray, unfolded: BoolArray
) -> DoubleArray:
    """(N, 2) distorted pixels of rays, NaN where there are none.

    Args:
        camera: at the origin.
        reach: of its lens, see ``_reach``.
        rays: (N, 3).
        unfolded: (N,) rays that need not be looked at.
    """
    distorted = camera.project(rays)[0]
    x, y = distorted.T
    inside = (x >= 0) & (x <= camera.width) & (y >= 0) & (y <= camera.height)
    unsure = np.flatnonzero(inside & ~unfolded)
    inside[unsure] = _returns(camera, reach, distorted[unsure], rays[unsure])
    distorted[~inside] = np.nan
    return distorted


def _unfolded_cells(camera: Camera, reach: DoubleArray) -> BoolArray:
    """Cells of the pinhole picture, (H, W) / 8 rounded up, that no fold of the lens is near.

    There the corners of the cell and of those around it belong to the pixels they project to.
    """
    rows, columns = -(-camera.height // _CELL), -(-camera.width // _CELL)
    x, y = (np.arange(-1.0, n + 2) * _CELL + 0.5 for n in (columns, rows))
    rays = camera.as_pinhole().unproject(_grid(x, y))
    returns = _returns(camera, reach, camera.project(rays)[0], rays)
    returns = returns.reshape(rows + 3, columns + 3)
    around = [returns[i : i + rows, j : j + columns] for i in range(4) for j in range(4)]
    return np.asarray(np.logical_and.reduce(around))


def _returns(
    camera: Camera, reach: DoubleArray, distorted: DoubleArray, rays: DoubleArray
) -> BoolArray:
    """Whether distorted pixels belong to these rays and not to a folded-over part of the model."""
    back = np.full_like(rays, np.nan)
    known = np.isfinite(distorted[:, 0])
    back[known] = camera.unproject(distorted[known])
    returns = (back * rays).sum(axis=1) > 1 - 1e-6
    radius = np.hypot(rays[:, 0], rays[:, 1]) / rays[:, 2]
    turn = np.arctan2(rays[:, 1], rays[:, 0]) * (_DIRECTIONS / (2 * np.pi))
    return np.asarray(
        returns & (radius < np.interp(turn, np.arange(_DIRECTIONS), reach, period=_DIRECTIONS))
    )


def _reach(camera: Camera) -> DoubleArray:
    """How far from the axis a lens model first folds over, in even directions.

    Beyond that a polynomial may rise again, and reach pixels that it has no business with.

    Args:
        camera: at the origin.

    Returns:
        (360,) radius at z = 1; above what the pinhole picture shows where there is no fold in it.
    """
    turn = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    direction = np.column_stack([np.cos(turn), np.sin(turn)])
    corners = _grid(np.array([0.0, camera.width]), np.array([0.0, camera.height]))
    rays = camera.as_pinhole().unproject(corners)
    farthest = 1.1 * float(np.max(np.hypot(rays[:, 0], rays[:, 1]) / rays[:, 2]))
    radii = np.linspace(0, farthest, _STEPS + 1)[1:]
    plane = direction[:, None] * radii[:, None]
    upright = _is_upright(camera, plane.reshape(-1, 2)).reshape(_DIRECTIONS, _STEPS)
    first = upright.argmin(axis=1)
    folds = ~upright[np.arange(_DIRECTIONS), first]
    low, high = radii[first] - radii[0], radii[first]
    for _ in range(30):
        middle = 0.5 * (low + high)
        upright = _is_upright(camera, direction * middle[:, None])
        low, high = np.where(upright, middle, low), np.where(upright, high, middle)
    return np.where(folds, low, 2 * farthest)


def _is_upright(camera: Camera, plane: DoubleArray) -> BoolArray:
    """Whether a lens keeps the orientation around (N, 2) places at z = 1: det J > 0."""
    step = 1e-5 * (1 + np.abs(plane).max(axis=1))
    columns = []
    for axis in np.eye(2):
        ends = [plane + sign * step[:, None] * axis for sign in (1, -1)]
        after, before = (camera.project(np.column_stack([p, np.ones(len(p))]))[0] for p in ends)
        columns.append(after - before)
    (a, b), (c, d) = columns[0].T, columns[1].T
    return np.asarray(a * d - b * c > 0)


def distort(camera: Camera, pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where places of the pinhole picture lie in the distorted one.

    Args:
        camera: as calibrated.
        pixels: (N, 2) in the pinhole picture.

    Returns:
        (N, 2), NaN where the lens does not reach.
    """
    if camera.is_pinhole:
        return np.array(pixels, np.float64)
    at_origin = camera.with_pose(np.eye(3, 4))
    return at_origin.project(at_origin.as_pinhole().unproject(pixels))[0]
