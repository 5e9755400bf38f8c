"""The data that flows between the stages: frozen dataclasses of arrays, and the embedder protocol.

Pixels are COLMAP's (the centre of the first pixel is (0.5, 0.5)); see ``calib.camera`` for every
convention. Cube coordinates are called ``coords`` in code and ``u v w`` in files.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Square:
    """An axis-aligned square region of a picture, in pixels; may reach beyond the picture.

    Attributes:
        center: (x, y) of the middle.
        side: length of a side, > 0.
    """

    center: tuple[float, float]
    side: float


@dataclass(frozen=True)
class CubeMap:
    """Where in the canonical cube each pixel of one view lies.

    Attributes:
        coords: (H, W, 3) float32 in [0, 1]; arbitrary where ``mask`` is False.
        confidence: (H, W) float32, 1 sure, 0 not.
        mask: (H, W) bool, True on the head.
        image_from_map: (2, 3) float64 affine from map pixels to picture pixels.
        normals: (H, W, 3) float32 unit normals of the surface in the head's own frame, whose axes
            are the cube's; arbitrary where ``mask`` is False, None where the embedder has none.
    """

    coords: FloatArray
    confidence: FloatArray
    mask: BoolArray
    image_from_map: DoubleArray
    normals: FloatArray | None = None

    def channels(self) -> FloatArray:
        """(H, W, 4) or, with normals, (H, W, 7): coordinates, confidence, normals."""
        layers = [self.coords, self.confidence[..., None]]
        return np.concatenate(layers + ([] if self.normals is None else [self.normals]), axis=2)

    @staticmethod
    def from_channels(values: FloatArray, mask: BoolArray, image_from_map: DoubleArray) -> CubeMap:
        """The map whose ``channels`` these are; normals are brought back to unit length."""
        normals = None
        if values.shape[2] > 4:
            length = np.linalg.norm(values[..., 4:], axis=2, keepdims=True)
            normals = (values[..., 4:] / np.maximum(length, 1e-6)).astype(np.float32)
        coords, confidence = values[..., :3].copy(), values[..., 3].copy()
        return CubeMap(coords, confidence, mask, image_from_map, normals)


@dataclass(frozen=True)
class Matches:
    """Correspondences from one reference view to one source view.

    Attributes:
        reference: index of the reference view.
        source: index of the source view.
        reference_index: (M,) int32, flat index into the reference ``CubeMap`` (row * W + column).
        source_pixels: (M, 2) float32 sub-pixel positions in the source picture.
        cube_distance: (M,) float32 distance in the cube between the two ends.
    """

    reference: int
    source: int
    reference_index: IntArray
    source_pixels: FloatArray
    cube_distance: FloatArray


@dataclass(frozen=True)
class PointCloud:
    """Points with everything known about them; all arrays have N rows.

    Attributes:
        points: (N, 3) float64 positions, frame and unit of the input calibration.
        normals: (N, 3) float32 unit vectors, outwards.
        colors: (N, 3) uint8 RGB.
        coords: (N, 3) float32 cube coordinates.
        confidence: (N,) float32 in [0, 1].
        n_views: (N,) int32, how many views agree on the point.
    """

    points: DoubleArray
    normals: FloatArray
    colors: ByteArray
    coords: FloatArray
    confidence: FloatArray
    n_views: IntArray

    def __len__(self) -> int:
        return len(self.points)

    def rows(self, chosen: BoolArray | IntArray) -> PointCloud:
        """Some of the points, by a mask or by their rows."""
        return PointCloud(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh whose vertices carry what a ``PointCloud``'s points carry.

    Attributes:
        vertices: the vertices with their attributes.
        faces: (F, 3) int32 vertex indices, counter-clockwise seen from outside.
    """

    vertices: PointCloud
    faces: IntArray


class Embedder(Protocol):
    """Gives every pixel of a picture its place in the canonical cube.

    Attributes:
        name: of the embedder.
        wants_distorted: whether pictures are handed over as they were taken; if not, undistorted.
    """

    name: str
    wants_distorted: bool

    def find_head(self, image: ByteArray, name: str | None = None) -> Square | None:
        """Square around the head in a picture (H, W, 3) RGB, or None where no head is seen."""

    def embed(
        self, image: ByteArray, region: Square | None = None, name: str | None = None
    ) -> CubeMap:
        """Cube map of a picture (H, W, 3) RGB.

        With ``region``, the network sees that square only and the map has the network's own
        resolution; without, the head is found first and the map has the picture's resolution.
        ``name`` is the image's name in its capture (what precomputed maps are found by).
        """


@runtime_checkable
class KnownEmbedder(Embedder, Protocol):
    """An embedder whose answers may be kept: it says what they hang on beside the picture."""

    def identity(self, name: str) -> str | None:
        """What the answers to the picture of this name hang on, such as the hash of the weights.

        None where that is not known.
        """
