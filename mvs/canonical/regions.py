"""Names and colours of the regions of a picture of a head, as labels are numbered everywhere."""

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
# RGB, one per region.
REGION_COLORS = (
    *((40, 40, 44), (230, 180, 150), (120, 70, 30), (80, 170, 255), (255, 140, 60)),
    *((230, 60, 90), (130, 20, 50), (190, 120, 230), (90, 80, 60), (150, 200, 120)),
    *((90, 110, 140), (60, 140, 140), (250, 230, 80)),
)
# Of which a head has one on each side.
PAIRED = ("brow", "eye", "ear")
