"""The template's atlas as a picture: where in the cube each texel lies, and the way back."""

from __future__ import annotations

from functools import cache

import numpy as np

from mvs.canonical.template import load_template
from mvs.kernels.grid import PointGrid, build_grid
from mvs.kernels.nearest import nearest
from mvs.kernels.raster import rasterise, vertex_normals
from mvs.kernels.subpixel import locate, usable_cells
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

# Texels to a side of the picture that places are looked up in.
_SIZE = 512
_MAX_EDGE = 0.02
_MAX_SHIFT = 3.0


@cache
def atlas_coords(size: int) -> FloatArray:
    """The atlas as a picture of cube coordinates.

    Row 0 is the upper end of the atlas (y = 1), the crown; the face is in the middle, the subject's
    left on the right.

    Args:
        size: texels to a side.

    Returns:
        (size, size, 3) float32; read only.

    Raises:
        ValueError: if ``size`` is less than 2.
    """
    return _picture(load_template().coords, size)


@cache
def atlas_normals(size: int) -> FloatArray:
    """(size, size, 3) float32 unit normals of the template, outwards, as ``atlas_coords``."""
    head = load_template()
    normals = _picture(vertex_normals(head.coords, head.faces), size).copy()
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
    normals.setflags(write=False)
    return np.asarray(normals, np.float32)


def atlas_places(coords: FloatArray) -> tuple[DoubleArray, FloatArray]:
    """Where in the atlas the places of the template nearest to places of the cube lie.

    Args:
        coords: (N, 3) cube coordinates.

    Returns:
        (N, 2) float64 x to the right and y down in [0, 1], NaN where a coordinate is no number, and
        (N,) float32 height above the template along its normal, negative below.
    """
    # Copies: kernels would be compiled anew for arrays that are read only.
    coords = np.array(coords, np.float32, order="C")
    picture, cells, grid = _lookup()
    start = nearest(grid, coords).index
    known = start >= 0
    place = np.full((len(coords), 2), np.nan)
    found, distance = locate(picture, cells, coords[known], start[known], _MAX_SHIFT)
    centers = np.column_stack([start[known] % _SIZE, start[known] // _SIZE]) + 0.5
    place[known] = np.where(np.isfinite(distance)[:, None], found, centers)
    height = np.full(len(coords), np.nan, np.float32)
    normals = atlas_normals(_SIZE).reshape(-1, 3)[start[known]]
    offset = coords[known] - picture.reshape(-1, 3)[start[known]]
    height[known] = (offset * normals).sum(axis=1)
    return place / _SIZE, height


@cache
def _lookup() -> tuple[FloatArray, BoolArray, PointGrid]:
    picture = atlas_coords(_SIZE).copy()
    cells = usable_cells(picture, np.ones((_SIZE, _SIZE), np.bool_), _MAX_EDGE)
    return picture, cells, build_grid(np.ascontiguousarray(picture.reshape(-1, 3)))


def _picture(values: FloatArray, size: int) -> FloatArray:
    """Values (V, 3) of the template's vertices over the atlas."""
    if size < 2:
        raise ValueError(f"size must be at least 2, got {size}")
    head = load_template()
    faces, weights = _texels(size)
    drawn = np.einsum("hwk,hwkc->hwc", weights, values[head.faces[faces]], dtype=np.float64)
    result: FloatArray = drawn.astype(np.float32)
    result.setflags(write=False)
    return result


@cache
def _texels(size: int) -> tuple[IntArray, FloatArray]:
    """Face and weights of its corners at each texel's centre; the nearest face's at the rim."""
    from scipy.ndimage import distance_transform_edt

    head = load_template()
    places = head.atlas.astype(np.float64) * [size, -size] + [0, size]
    depth = np.ones(len(places))
    seen = rasterise(places, depth, head.atlas_faces, (size, size), False, True)
    inside = distance_transform_edt(seen.face < 0, return_distances=False, return_indices=True)
    at = tuple(inside)
    return np.asarray(seen.face[at]), np.asarray(seen.barycentric[at])
