"""Regions of any head by canonical place: skin, eyes, lips, hair and so on, looked up in the cube.

The package ships a small volume of labels, ``regions.npz``, voted for by rendered people whose
regions are known pixel by pixel. Left and right are told by u, so they share a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mvs.canonical.regions import REGIONS
from mvs.types import ByteArray, CubeMap, FloatArray, IntArray

VOLUME_SIZE = 128
_SHIPPED = Path(__file__).parent / "regions.npz"
# No place of a head is a hat's: below one are hair and skin.
_NOT_HEAD = ("background", "cloth", "hat")
# What only some people wear counts less than what it lies on: it wins where three in four have it.
_WORN = {"glasses": 1 / 3}
_MIN_VOTES = 4
# Voxels, over which votes are shared: borders follow the head and not the lattice.
_BLUR = 0.7


def region_of(coords: FloatArray) -> ByteArray:
    """Regions of places of the cube.

    Args:
        coords: (N, 3) float; places outside the cube count as its nearest face's.

    Returns:
        (N,) uint8 index into ``mvs.canonical.regions.REGIONS``; 0 where a coordinate is no number.

    Raises:
        ValueError: if ``coords`` is not (N, 3).
    """
    if coords.ndim != 2 or coords.shape[1] != 3:
        raise ValueError(f"coords must be (N, 3), got {coords.shape}")
    return look_up(region_volume(), coords)


def segment(cube_map: CubeMap) -> ByteArray:
    """Regions of a map's pixels: (H, W) uint8 index into ``REGIONS``, 0 off the mask."""
    labels = np.zeros(cube_map.mask.shape, np.uint8)
    labels[cube_map.mask] = region_of(cube_map.coords[cube_map.mask])
    return labels


def look_up(volume: ByteArray, coords: FloatArray) -> ByteArray:
    """Labels (N,) of a volume (S, S, S), indexed by u, v, w, at places (N, 3) of the cube."""
    known = np.asarray(np.isfinite(coords).all(axis=1))
    u, v, w = _voxels(np.where(known[:, None], coords, 0.0), len(volume)).T
    return np.where(known, volume[u, v, w], 0).astype(np.uint8)


def build_region_volume(
    samples: Iterable[tuple[FloatArray, ByteArray]], size: int = VOLUME_SIZE
) -> ByteArray:
    """Let pixels of known region vote for the label of each voxel of the cube.

    Each pixel votes for its voxel and for that voxel's mirror image. Glasses count a third;
    background, cloth and hats have no vote. Votes are shared with the neighbouring voxels, and
    voxels with few votes take the nearest voted label.

    Args:
        samples: pairs of (N, 3) cube coordinates and (N,) uint8 regions of the same pixels, such
            as the head's pixels of rendered training pictures.
        size: voxels along each side.

    Returns:
        (size, size, size) uint8, indexed by u, v, w.

    Raises:
        ValueError: if a region has no name, or no voxel gets enough votes.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    votes = np.zeros(size**3 * len(REGIONS), np.int64)
    for coords, regions in samples:
        if len(regions) and int(regions.max()) >= len(REGIONS):
            raise ValueError(f"regions must be below {len(REGIONS)}, got {int(regions.max())}")
        known = np.flatnonzero(np.isfinite(coords).all(axis=1))
        voxels = _voxels(coords[known], size).astype(np.int64)
        labels = regions[known].astype(np.int64)
        for u in (voxels[:, 0], size - 1 - voxels[:, 0]):
            cell = (u * size + voxels[:, 1]) * size + voxels[:, 2]
            np.add.at(votes, cell * len(REGIONS) + labels, 1)
    return _elect(votes.reshape(size, size, size, len(REGIONS)))


def write_region_volume(path: Path, volume: ByteArray) -> None:
    """Write a volume as ``region_of`` reads it."""
    np.savez_compressed(path, labels=volume, regions=np.array(REGIONS))


def _elect(votes: npt.NDArray[np.int64]) -> ByteArray:
    """The label with most weight per voxel, and the nearest voted label elsewhere."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    weight = np.array([0.0 if r in _NOT_HEAD else _WORN.get(r, 1.0) for r in REGIONS])
    voted = (votes * (weight > 0)).sum(axis=3) >= _MIN_VOTES
    weighted = gaussian_filter(votes * weight, (_BLUR, _BLUR, _BLUR, 0))
    if not voted.any():
        raise ValueError(f"samples must give some voxel {_MIN_VOTES} votes of a head's region")
    labels = weighted.argmax(axis=3).astype(np.uint8)
    nearest = distance_transform_edt(~voted, return_distances=False, return_indices=True)
    return np.ascontiguousarray(labels[tuple(nearest)])


def _voxels(coords: npt.NDArray[np.floating], size: int) -> IntArray:
    """Voxels (N, 3) of places of the cube."""
    return np.asarray(np.clip(np.floor(coords * size), 0, size - 1), np.int32)


@cache
def region_volume() -> ByteArray:
    """The shipped volume."""
    with np.load(_SHIPPED, allow_pickle=False) as data:
        if tuple(data["regions"].tolist()) != REGIONS:
            raise ValueError(f"{_SHIPPED}: made for other regions; make it again")
        return np.asarray(data["labels"], np.uint8)
