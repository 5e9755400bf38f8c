"""Names of the regions of a picture of a head, as labels are numbered everywhere."""

from __future__ import annotations

REGIONS = (
    "background",
    "skin",
    "brow",
    "eye",
    "nose",
    "lip",
    "mouth",
    "ear",
    "hair",
    "neck",
    "cloth",
    "hat",
    "glasses",
)
