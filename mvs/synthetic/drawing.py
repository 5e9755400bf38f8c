"""What is drawn, on what, and with what: surfaces, light and film as the kernels read them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mvs.types import ByteArray, FloatArray, IntArray

SKIN, EYE, MOUTH, TEETH, CLOTH, HAT, FRAME, LENS, HAIR, STRAND = range(10)
N_FEATURES = 8
# Columns of a skin vertex's features; hair uses _COVER and _LEVEL instead of the first two.
LIP, LID, BROW, BEARD, BLUSH, HEIGHT, OCCLUSION, SCALP = range(N_FEATURES)
COVER, LEVEL = LIP, LID
# Columns of a lock, besides COVER, LEVEL (here along it) and OCCLUSION: TANGENT is three columns.
TANGENT, TINT, SIDE = 2, 5, 7


class Surface(NamedTuple):
    """Triangles with what shading needs at their vertices.

    Attributes:
        positions: (V, 3) float32, head frame, cm.
        canonical: (V, 3) float32, template frame, cm.
        normals: (V, 3) float32 unit vectors.
        features: (V, 8) float32, see the column names above.
        faces: (F, 3) int32.
        materials: (F,) uint8.
        regions: (V,) uint8 index into ``REGIONS``.
    """

    positions: FloatArray
    canonical: FloatArray
    normals: FloatArray
    features: FloatArray
    faces: IntArray
    materials: ByteArray
    regions: ByteArray


class Lighting(NamedTuple):
    """Light in the form the kernel reads; see ``lights.Lights`` and ``lights.ShadowMap``."""

    ambient: FloatArray
    directions: FloatArray
    colors: FloatArray
    shadow_depth: FloatArray
    shadow_map: FloatArray
    softness: float


class Film(NamedTuple):
    """The picture being drawn.

    Attributes:
        color: (H, W, 3) float32 linear RGB, the background before the first layer.
        canonical: (H, W, 3) float32, cm.
        normals: (H, W, 3) float32 of the smooth surface, about of unit length, head frame.
        regions: (H, W) uint8 index into ``REGIONS``.
        material: (H, W) int8, -1 where the background shows.
        depth: (H, W) float32, cm along z.
    """

    color: FloatArray
    canonical: FloatArray
    normals: FloatArray
    regions: ByteArray
    material: npt.NDArray[np.int8]
    depth: FloatArray


class Constants(NamedTuple):
    """What stays the same over a picture.

    Attributes:
        look: (1,) array of ``look.LOOK``.
        eyes: (2, 3) float32 template centres of the eyeballs, cm.
        camera: (3,) float32 its centre in the head's frame, cm.
        pixel_cm: distance between shaded samples on the head.
        rate: side of the blocks of samples that share one shading.
        volume: the noise.
    """

    look: npt.NDArray[np.void]
    eyes: FloatArray
    camera: FloatArray
    pixel_cm: float
    rate: int
    volume: FloatArray
