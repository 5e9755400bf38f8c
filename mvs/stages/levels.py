"""Where refinement starts: the coarse surface's planes in a view, and pictures, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mvs.kernels.patches import pack_pairs, unpack_pairs
from mvs.stages.shots import Shots
from mvs.types import BoolArray, ByteArray, FloatArray, Mesh

# Head's width in pixels at the coarsest level.
COARSEST = 112
_PAD = 8


@dataclass(frozen=True)
class Start:
    """A part of a picture and the surface's planes in it.

    Attributes:
        corner: (row, column) of the part in the picture.
        scale: of the finest level against the picture.
        planes: per level from fine to coarse (H, W, 3) float32.
        masks: per level (H, W).
        known: (H, W) pixels of the finest level that show the surface.
    """

    corner: tuple[int, int]
    scale: float
    planes: list[FloatArray]
    masks: list[BoolArray]
    known: BoolArray

    @staticmethod
    def of(
        surface: Mesh, shots: Shots, view: int, scale: float, grow_px: int, n_least: int
    ) -> Start | None:
        """What a view sees of the surface, and ``grow_px`` around; None if too little.

        There are ``n_least`` levels at least.
        """
        depth = shots.depth(view, scale, surface.vertices.points, surface.faces)
        mask = shots.mask(view, scale)
        covered = np.isfinite(depth) & mask
        if covered.sum() < 4 * COARSEST:
            return None
        rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
        pad = _PAD + grow_px
        step = round(1 / scale) if scale < 1 else 1
        top, left = max(rows[0] - pad, 0), max(columns[0] - pad, 0)
        part = np.s_[top : rows[-1] + 1 + pad, left : columns[-1] + 1 + pad]
        planes, known = _planes(depth[part], covered[part])
        wanted = known
        if grow_px:
            kernel = np.ones((2 * grow_px + 1,) * 2, np.uint8)
            wanted = (cv2.dilate(known.astype(np.uint8), kernel) > 0) & mask[part]
        planes = _fill(planes, known)
        levels = _pyramid(planes, wanted, float(np.sqrt(covered.sum())), n_least)
        return Start((int(top) * step, int(left) * step), scale, *levels, known)


def _planes(depth: FloatArray, covered: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Planes through every pixel and its neighbours of a depth buffer.

    Of the two neighbours on a line, the one nearer in depth counts: the other may lie beyond an
    edge.
    """
    inverse = np.where(covered, 1.0 / np.where(covered, depth, 1.0), np.nan)
    planes = np.full((*depth.shape, 3), np.nan)
    planes[..., 0] = inverse
    for axis in (1, 0):
        ahead = np.diff(inverse, axis=axis, append=np.nan)
        behind = np.diff(inverse, axis=axis, prepend=np.nan)
        nearer = np.where(np.abs(ahead) < np.abs(behind), ahead, behind)
        both = np.abs(ahead - behind) < 0.5 * (np.abs(ahead) + np.abs(behind))
        slope = np.where(both, (ahead + behind) / 2, nearer)
        slope = np.where(np.isnan(ahead), behind, np.where(np.isnan(behind), ahead, slope))
        planes[..., 2 - axis] = slope
    planes = planes.astype(np.float32)
    return planes, np.asarray(np.isfinite(planes).all(axis=2))


def _fill(planes: FloatArray, known: BoolArray) -> FloatArray:
    """Unknown pixels continue the nearest known pixel's depth."""
    from scipy.ndimage import distance_transform_edt

    index = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = planes[tuple(index)]
    filled[~known, 1:] = 0.0
    return np.ascontiguousarray(filled, np.float32)


def _pyramid(
    planes: FloatArray, mask: BoolArray, across: float, n_least: int
) -> tuple[list[FloatArray], list[BoolArray]]:
    """Planes and masks of all levels, fine to coarse."""
    levels, masks = [planes], [mask]
    while len(levels) < n_least or across / 2 ** (len(levels) - 1) > 1.5 * COARSEST:
        planes, mask = _halve(planes, mask)
        levels.append(planes)
        masks.append(mask)
    return levels, masks


def _halve(planes: FloatArray, mask: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Half the resolution; odd last rows and columns are dropped."""
    height, width = (side // 2 * 2 for side in mask.shape)
    quads = planes[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    quads[..., 1:] *= 2
    inside = mask[:height, :width].reshape(height // 2, 2, width // 2, 2).any(axis=(1, 3))
    return np.ascontiguousarray(quads, np.float32), np.asarray(inside)


class Pictures:
    """Brightness of the pictures at several resolutions; only those last asked for are kept."""

    def __init__(self, images: Sequence[ByteArray], scale: float, n_kept: int) -> None:
        self._images, self._scale, self._n_kept = images, scale, n_kept
        self._kept: dict[int, list[npt.NDArray[np.uint32]]] = {}

    def of(self, view: int, level: int) -> npt.NDArray[np.uint32]:
        """(H, W) of ``pack_pairs``; each level has half the resolution of the one before."""
        levels = self._kept.pop(view, None)
        if levels is None:
            gray = cv2.cvtColor(self._images[view].astype(np.float32), cv2.COLOR_RGB2GRAY)
            picture = np.asarray(gray, np.float32) / np.float32(255)
            for _ in range(round(-np.log2(self._scale))):
                picture = halve_picture(picture)
            levels = [pack_pairs(picture)]
        while len(levels) <= level:
            levels.append(pack_pairs(halve_picture(unpack_pairs(levels[-1]))))
        self._kept[view] = levels
        while len(self._kept) > self._n_kept:
            del self._kept[next(iter(self._kept))]
        return levels[level]


def halve_picture(picture: FloatArray) -> FloatArray:
    """Means of 2 x 2 pixels; odd last rows and columns are dropped."""
    height, width = (side // 2 * 2 for side in picture.shape)
    quads = picture[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.ascontiguousarray(quads.mean(axis=(1, 3)), np.float32)


def double(planes: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """Planes at twice the resolution, (height, width) of ``size``, along the coarse planes."""
    height, width = size
    row, column = np.arange(height), np.arange(width)
    above = np.minimum(row // 2, planes.shape[0] - 1)
    left = np.minimum(column // 2, planes.shape[1] - 1)
    parent = planes[above[:, None], left[None]]
    # From the middle of the parent's pixel to this one's, in the parent's pixels.
    dy = ((row + 0.5) / 2 - (above + 0.5)).astype(np.float32)[:, None]
    dx = ((column + 0.5) / 2 - (left + 0.5)).astype(np.float32)[None]
    result = parent.copy()
    result[..., 0] += parent[..., 1] * dx + parent[..., 2] * dy
    result[..., 1:] /= 2
    return np.ascontiguousarray(result)


def to_pixels(planes: FloatArray, stride: int) -> FloatArray:
    """Planes of blocks of pixels as planes of the pixels that stand for them.

    Args:
        planes: (H, W, 3) float32, inverse depths in the blocks' middles, slopes per block.
        stride: pixels from block to block.

    Returns:
        (H, W, 3) float32, inverse depths in the pixels' middles, slopes per pixel; see ``middle``
        in ``mvs/kernels/patches.py``.
    """
    moved = planes * np.array([1, 1 / stride, 1 / stride], np.float32)
    moved[..., 0] += _past_middle(stride) * (moved[..., 1] + moved[..., 2])
    return moved


def from_pixels(planes: FloatArray, stride: int) -> FloatArray:
    """What ``to_pixels`` undoes."""
    moved = planes * np.array([1, stride, stride], np.float32)
    moved[..., 0] -= _past_middle(stride) * (planes[..., 1] + planes[..., 2])
    return moved


def _past_middle(stride: int) -> np.float32:
    """From a block's middle to that of the pixel that stands for it, pixels."""
    return np.float32(stride // 2 + 0.5 - stride / 2)
