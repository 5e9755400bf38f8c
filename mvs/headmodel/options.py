"""How a model is fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mvs.headmodel.observe import ObserveOptions
from mvs.headmodel.solve import SolveOptions


@dataclass(frozen=True)
class FitOptions:
    """Weights and bounds of the energy, the same for one picture, many and a video.

    Attributes:
        bound: residuals of a place this many standard deviations long count half as much as they
            would without a bound in the first stage, and ``final_bound`` in the last.
        final_bound: see ``bound``.
        normals: weight of the network's normals; 0 leaves them out.
        normal_sigma: what the network's normals are wrong by, radians.
        landmarks: independent observations that each of the 68 landmarks is worth, in pictures and
            captures, beside the pixels around it; 0 leaves them out.
        outline: independent observations that a stretch of the head's outline is worth, as long as
            ``observe.reach``, in a single picture, such as 0.3; 0 leaves it out.
        reading: weight of what the shape regressor says, in pictures and videos; 0 leaves it out.
        points: independent observations that each place is worth that the shape regressor sees; 0
            leaves them out, as does a ``reading`` of 0.
        pixels_read: part of their weight that the pixels of a picture keep beside its reading.
        pupils_mm: distance between the pupils when they look far away, mm, which sets the size of a
            head; 0 where it is not known.
        identity_sd: standard deviation of the identity coefficients.
        expression_sd: of expressions that are bounded; free ones have 1.
        joint_sd: of the joints, radians.
        fov_sd: of the logarithm of an unknown focal length.
        views_alike: part of a cube map's error that all views of one head share.
        stages: rounds of judging which places count, each with its own steps.
        observe: which pixels count.
        solve: when a stage stops.
    """

    bound: float = 8.0
    final_bound: float = 3.0
    normals: float = 1.0
    normal_sigma: float = 0.3
    landmarks: float = 0.3
    outline: float = 0.0
    reading: float = 2.0
    points: float = 0.2
    pixels_read: float = 0.3
    pupils_mm: float = 0.0
    identity_sd: float = 1.0
    expression_sd: float = 0.3
    joint_sd: float = 0.2
    fov_sd: float = 0.4
    views_alike: float = 0.3
    stages: int = 4
    observe: ObserveOptions = field(default_factory=ObserveOptions)
    solve: SolveOptions = field(default_factory=lambda: SolveOptions(steps=6))

    def __post_init__(self) -> None:
        for name in ("bound", "final_bound", "normal_sigma", "identity_sd", "expression_sd"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        if not (self.joint_sd > 0 and self.fov_sd > 0):
            raise ValueError(f"joint_sd and fov_sd must be > 0, got {self}")
        for name in ("normals", "landmarks", "outline", "reading", "points", "pixels_read"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}"
                )
        if self.pupils_mm and not 20 <= self.pupils_mm <= 100:
            raise ValueError(f"pupils_mm must be 20 to 100, or 0 for none, got {self.pupils_mm}")
        if self.stages < 1:
            raise ValueError(f"stages must be at least 1, got {self.stages}")
