"""What tracks are wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

# The arrays' fixed sizes: side of a crop, of its mask, and the most points a pair can hold.
CROP_SIZE = 256
MASK_SIZE = CROP_SIZE // 2
MOST_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class TracksOptions:
    """Where matched points come from and which are kept.

    Pixels are those of the crops of 256 x 256 that are written, whatever the source's resolution.
    80 and 400 points are DenseMarks' numbers.

    Attributes:
        output: folder of the shards.
        min_points: pairs with fewer matched points are dropped.
        max_points: at most so many points of a pair are written, drawn at random.
        pairs_per_picture: at most so many pairs end in each picture.
        max_gap: of a video, the most frames (after --every) between the pictures of a pair.
        every: of a video, use every so many-th frame.
        spacing: of a video, points start on a grid of so many pixels.
        max_step_error: of a video, points are lost that a step there and back moves by more pixels.
        max_error: points are dropped that the whole way there and back (a capture: reprojection)
            moves by more pixels.
        min_texture: of a video, points start where the smaller eigenvalue of the brightness'
            structure tensor (squared grey levels per pixel) is at least this.
        rim: points keep so many pixels away from the edge of the head mask.
        seed: of what is drawn at random.
    """

    output: Path
    min_points: int = 80
    max_points: int = MOST_POINTS
    pairs_per_picture: int = 2
    max_gap: int = 24
    every: int = 1
    spacing: int = 6
    max_step_error: float = 0.5
    max_error: float = 1.0
    min_texture: float = 0.0
    rim: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"pairs_per_picture": 1, "max_gap": 1, "every": 1, "rim": 0, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not 2 <= self.min_points <= self.max_points <= MOST_POINTS:
            raise ValueError(
                f"2 <= min_points <= max_points <= {MOST_POINTS} must hold, "
                f"got {self.min_points} and {self.max_points}"
            )
        if not 1 <= self.spacing <= CROP_SIZE:
            raise ValueError(f"spacing must be in 1..{CROP_SIZE}, got {self.spacing}")
        for name in ("max_step_error", "max_error"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not (self.min_texture >= 0 and math.isfinite(self.min_texture)):
            raise ValueError(f"min_texture must not be negative, got {self.min_texture}")
