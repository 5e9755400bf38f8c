"""Labels of pictures and meshes by regions of the cube, with clean borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.canonical.segments import Regions
from mvs.canonical.surface import neighbor_means
from mvs.canonical.warp import smooth_map
from mvs.stages.views import map_from_image
from mvs.types import BoolArray, ByteArray, CubeMap, FloatArray, IntArray


@dataclass(frozen=True)
class SegmentOptions:
    """How pixels get their labels.

    Attributes:
        min_confidence: pixels of less confidence are left out: hands, and what else is no head.
        smooth_px: width over which coordinates and borders are made smooth, pixels of the map.
        min_island: islands of a label smaller than this share of the head go to what is around.
        opacity: of the colours over the picture.
    """

    min_confidence: float = 0.02
    smooth_px: float = 1.0
    min_island: float = 0.0008
    opacity: float = 0.55

    def __post_init__(self) -> None:
        if not (0 <= self.min_confidence <= 1 and 0 <= self.opacity <= 1):
            raise ValueError(f"min_confidence and opacity must be in [0, 1], got {self}")
        if not 0 < self.smooth_px <= 20:
            raise ValueError(f"smooth_px must be in (0, 20], got {self.smooth_px}")
        if not 0 <= self.min_island < 1:
            raise ValueError(f"min_island must be in [0, 1), got {self.min_island}")


def segment_map(
    cube_map: CubeMap, regions: Regions, options: SegmentOptions | None = None
) -> ByteArray:
    """Labels (H, W) uint8 of a map's pixels, see ``segment_picture``."""
    still = CubeMap(cube_map.coords, cube_map.confidence, cube_map.mask, np.eye(2, 3))
    return segment_picture(still, cube_map.mask.shape, regions, options)


def segment_picture(
    cube_map: CubeMap,
    size: tuple[int, ...],
    regions: Regions,
    options: SegmentOptions | None = None,
) -> ByteArray:
    """Label each pixel of a picture.

    How much each pixel of the map is of each region is averaged over its neighbours by their
    confidence, and brought to the picture's pixels before the most likely is taken, so that borders
    are smooth lines at any resolution.

    Args:
        cube_map: of the picture, at any resolution.
        size: rows and columns of the picture.
        regions: what to tell apart.
        options: see ``SegmentOptions``.

    Returns:
        (rows, columns) uint8 labels of ``regions``; 0 is none.
    """
    import cv2

    options = options or SegmentOptions()
    smooth = smooth_map(cube_map, options.smooth_px)
    mask = smooth.mask & (smooth.confidence >= options.min_confidence)
    height, width = size[:2]
    if not mask.any():
        return np.zeros((height, width), np.uint8)
    told = regions.scores(smooth.coords[mask])
    weight = np.where(mask, np.clip(smooth.confidence, 0.05, 1), 0).astype(np.float32)
    share = cv2.GaussianBlur(weight, (0, 0), options.smooth_px)
    affine = map_from_image(cube_map)
    # OpenCV's first pixel has its centre at 0.
    affine = np.column_stack([affine[:, :2], affine @ [0.5, 0.5, 1.0] - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    on_head = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), options.smooth_px)
    on_head = cv2.warpAffine(on_head, affine, (width, height), flags=flags)
    best = np.zeros((height, width), np.float32)
    labels = np.zeros((height, width), np.uint8)
    for index in np.flatnonzero(told.max(axis=0) > 0):
        layer = np.zeros(mask.shape, np.float32)
        layer[mask] = told[:, index] * weight[mask]
        layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), options.smooth_px))
        layer = (layer / np.maximum(share, 1e-6)).astype(np.float32)
        drawn = np.asarray(cv2.warpAffine(layer, affine, (width, height), flags=flags))
        labels[drawn > best] = index
        best = np.maximum(best, drawn)
    head = np.asarray(on_head >= 0.5)
    labels[~head] = 0
    return _without_islands(labels, head, len(regions.names), options.min_island)


def overlay(image: ByteArray, labels: ByteArray, regions: Regions, opacity: float) -> ByteArray:
    """A picture (H, W, 3) with its labels (H, W) as colours over it, and the borders between."""
    import cv2

    colors = regions.colors[labels].astype(np.float32)
    share = np.where(labels > 0, opacity, 0).astype(np.float32)[..., None]
    drawn = image * (1 - share) + colors * share
    cross = np.ones((3, 3), np.uint8)
    border = np.asarray(cv2.dilate(labels, cross) != cv2.erode(labels, cross))
    drawn[border] = 0.5 * drawn[border] + 127 * np.float32(opacity > 0)
    return np.asarray(np.clip(np.rint(drawn), 0, 255), np.uint8)


def segment_vertices(
    coords: FloatArray,
    faces: IntArray,
    regions: Regions,
    options: SegmentOptions | None = None,
) -> ByteArray:
    """Label each vertex of a mesh that carries cube coordinates.

    Args:
        coords: (V, 3) cube coordinates of the vertices; NaN for none.
        faces: (F, 3) int32.
        regions: what to tell apart.
        options: see ``SegmentOptions``; two rounds of averaging over neighbours.

    Returns:
        (V,) uint8 labels.
    """
    options = options or SegmentOptions()
    scores = regions.scores(coords)
    neighbors = neighbor_means(faces, len(coords), with_own=False)
    known = np.asarray(np.isfinite(coords).all(axis=1))
    for _ in range(2):
        scores = 0.5 * scores + 0.5 * (neighbors @ scores)
    labels = np.where(known, scores.argmax(axis=1), 0).astype(np.uint8)
    return _without_mesh_islands(labels, faces, known, options.min_island)


def _without_islands(labels: ByteArray, head: BoolArray, n: int, share: float) -> ByteArray:
    """Small pieces of a label become what is nearest beside them."""
    import cv2
    from scipy.ndimage import distance_transform_edt

    least = share * float(head.sum())
    small = np.zeros(labels.shape, np.bool_)
    for index in range(n):
        piece = ((labels == index) & head).astype(np.uint8)
        if piece.any():
            _, number, stats, _ = cv2.connectedComponentsWithStats(piece, connectivity=4)
            few = np.asarray(stats[:, cv2.CC_STAT_AREA] < least)
            few[0] = False
            small |= few[number]
    if not small.any() or (head & ~small).sum() == 0:
        return labels
    lost = small | ~head
    nearest = distance_transform_edt(lost, return_distances=False, return_indices=True)
    return np.where(small, labels[tuple(nearest)], labels).astype(np.uint8)


def _without_mesh_islands(
    labels: ByteArray, faces: IntArray, known: BoolArray, share: float
) -> ByteArray:
    """Small connected pieces of a label take the label of most of their neighbours."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    same = labels[ends[:, 0]] == labels[ends[:, 1]]
    within = ends[same]
    graph = coo_matrix((np.ones(len(within)), within.T), (len(labels),) * 2)
    _, piece = connected_components(graph, directed=False)
    small = (np.bincount(piece) < share * known.sum())[piece] & known
    neighbors = neighbor_means(faces, len(labels), with_own=False)
    result = labels.copy()
    for _ in range(1000):
        # The rim of what is left takes what most of its kept neighbours have.
        votes = neighbors @ (np.eye(int(labels.max()) + 1)[result] * ~small[:, None])
        rim = small & (votes.max(axis=1, initial=0) > 0)
        if not rim.any():
            break
        result[rim] = votes[rim].argmax(axis=1)
        small = small & ~rim
    return result
