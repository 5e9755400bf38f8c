"""The ICT-FaceKit morphable head, packed in one npz file the user names.

Only this package's renders are made from it; the file itself is never shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mvs.headmodel.ict_files import read_packed
from mvs.types import FloatArray, IntArray

FACE, HEAD_NECK, EYE, MOUTH = 0, 1, 2, 3
_PART_OF_RANGE = (FACE, HEAD_NECK, MOUTH, EYE, EYE, MOUTH, MOUTH, EYE, EYE)
TEETH_RANGE, EYEBALL_RANGES = 6, (7, 8)


@dataclass(frozen=True)
class Head:
    """A morphable head: template, linear modes, topology (centimetres, y up, face to +z).

    Attributes:
        template: (V, 3) float32 neutral mean head.
        identity_modes: (100, V * 3) float32 displacement at one unit.
        expression_modes: (57, V * 3) float32 displacement at full activation.
        expression_names: ARKit-like names of the expression modes.
        faces: (F, 3) int32, counter-clockwise seen from outside; overlay shells are left out.
        landmarks: (68,) int32 vertex of each Multi-PIE landmark.
        ranges: (17, 2) int32 vertex range of each named part of the file.
    """

    template: FloatArray
    identity_modes: FloatArray
    expression_modes: FloatArray
    expression_names: tuple[str, ...]
    faces: IntArray
    landmarks: IntArray
    ranges: IntArray

    @cached_property
    def vertex_part(self) -> IntArray:
        """(V,) int32 part of each vertex: FACE, HEAD_NECK, EYE or MOUTH."""
        part = np.zeros(len(self.template), np.int32)
        for value, (start, stop) in zip(_PART_OF_RANGE, self.ranges, strict=False):
            part[start:stop] = value
        return part

    @cached_property
    def eye_centers(self) -> FloatArray:
        """(2, 3) float32 centres of the left and right eyeball in the template."""
        spans = (self.ranges[i] for i in EYEBALL_RANGES)
        boxes = [self.template[a:b] for a, b in spans]
        return np.array([[*box.mean(0)[:2], box.min(0)[2] + 1.5] for box in boxes], np.float32)

    def pose(self, identity: FloatArray, expression: FloatArray) -> FloatArray:
        """Vertices of one person with one expression.

        Args:
            identity: (K,) mode weights, K <= 100, standard deviations.
            expression: (57,) activations in [0, 1].

        Returns:
            (V, 3) float32 in centimetres.
        """
        shape = identity.astype(np.float32) @ self.identity_modes[: len(identity)]
        active = np.flatnonzero(expression)
        shape += expression[active].astype(np.float32) @ self.expression_modes[active]
        return self.template + shape.reshape(-1, 3)


def load_head(path: Path) -> Head:
    """Read the packed ICT-FaceKit file.

    Args:
        path: npz with vertices, faces, quantised modes, landmarks and part ranges.

    Returns:
        The head; faces of lacrimal fluid, eye blend, occlusion and lash shells are dropped.

    Raises:
        ValueError: if the file is missing or is not such a file.

    Source:
        ICT-FaceKit (Li et al., 2020), MIT licence.
    """
    try:
        head = read_packed(path)
    except ValueError as error:
        raise ValueError(f"{error}; give the npz file with --head") from None
    return Head(
        template=head.vertices,
        identity_modes=head.identity.reshape(len(head.identity), -1),
        expression_modes=head.expression.reshape(len(head.expression), -1),
        expression_names=head.expression_names,
        faces=np.ascontiguousarray(head.faces[head.shown]),
        landmarks=head.landmarks,
        ranges=head.part_ranges,
    )
