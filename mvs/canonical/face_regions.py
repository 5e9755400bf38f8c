"""Regions of a head's outside for measuring, by canonical place."""

from __future__ import annotations

import numpy as np

from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.types import ByteArray, DoubleArray, FloatArray

FACE = ("forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin")
FACE_REGIONS = (*FACE, "ears", "neck", "scalp")
# What the shipped volume of regions calls them.
_NAMED = {"brow": "brows", "eye": "eyes", "nose": "nose", "lip": "mouth", "mouth": "mouth"}
_NAMED |= {"ear": "ears", "neck": "neck", "hair": "scalp"}
# Skin is parted by its place in the cube: height v, distance from the middle plane, depth w.
_BROW_HEIGHT, _ORBIT, _LIPS, _BEHIND = 0.70, 0.63, 0.455, 0.52
_UNDER_CHIN = (0.35, 0.68)
_ORBIT_SIDES, _MOUTH_WIDTH, _MOUTH_TOP, _CHIN_WIDTH = (0.03, 0.16), 0.08, 0.53, 0.1


def face_region_of(coords: DoubleArray | FloatArray) -> ByteArray:
    """Regions of places of the cube.

    Brows, lids, nose, lips, ears, neck and what lies below the hair are those of
    ``mvs.canonical.parts``. Of the skin, what is higher than the brows' middle is forehead; around
    the lids eyes; around the lips mouth; below them chin; what is farther back than the ears' front
    scalp; the rest is cheeks.

    Args:
        coords: (N, 3).

    Returns:
        (N,) uint8 index into ``FACE_REGIONS``; 255 where a coordinate is no number.
    """
    labels = region_of(np.asarray(coords, np.float32))
    u, v, w = np.nan_to_num(np.asarray(coords, np.float64)).T
    aside = np.abs(u - 0.5)
    found = np.full(len(labels), FACE_REGIONS.index("cheeks"), np.uint8)
    # Later ones are drawn over earlier ones.
    for name, inside in (
        ("mouth", (aside < _MOUTH_WIDTH) & (v < _MOUTH_TOP)),
        ("chin", (aside < _CHIN_WIDTH) & (v < _LIPS)),
        ("eyes", (v > _ORBIT) & (aside > _ORBIT_SIDES[0]) & (aside < _ORBIT_SIDES[1])),
        ("forehead", v > _BROW_HEIGHT),
        ("scalp", w < _BEHIND),
    ):
        found[inside] = FACE_REGIONS.index(name)
    for label, name in _NAMED.items():
        found[labels == REGIONS.index(label)] = FACE_REGIONS.index(name)
    # The chin's lower side, which that calls neck.
    under = (aside < _CHIN_WIDTH) & (v > _UNDER_CHIN[0]) & (v < _LIPS) & (w > _UNDER_CHIN[1])
    found[under & (found == FACE_REGIONS.index("neck"))] = FACE_REGIONS.index("chin")
    found[~np.isfinite(coords).all(axis=1)] = 255
    return found
