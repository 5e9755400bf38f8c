"""The ICT-FaceKit morphable head, packed in one npz file the user names.

Only this package's renders are made from it; the file itself is never shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mvs.types import FloatArray, IntArray

# Cube of the shipped network: uvw = template position in cm * scale + offset, a 5 % margin.
CUBE_SCALE_PER_CM = 0.026616902916325333
CUBE_OFFSET = (0.5, 0.563929808269576, 0.4486820788392664)

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


def cube_from_cm(points: FloatArray) -> FloatArray:
    """Cube coordinates (N, 3) of canonical positions (N, 3) in centimetres."""
    offset = np.array(CUBE_OFFSET, np.float32)
    return (points * np.float32(CUBE_SCALE_PER_CM) + offset).astype(np.float32)


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
        with np.load(path, allow_pickle=False) as data:
            ranges = data["part_vertex_range"].astype(np.int32)
            faces = data["faces"].astype(np.int32)
            keep = (faces < ranges[EYEBALL_RANGES[-1]][1]).all(axis=1)
            return Head(
                template=data["vertices"].astype(np.float32),
                identity_modes=_dequantise(data["id_delta_q"], data["id_scale"]),
                expression_modes=_dequantise(data["ex_delta_q"], data["ex_scale"]),
                expression_names=tuple(str(name) for name in data["ex_names"]),
                faces=np.ascontiguousarray(faces[keep]),
                landmarks=data["landmarks68"].astype(np.int32),
                ranges=ranges,
            )
    except (OSError, EOFError, KeyError, BadZipFile, ValueError) as error:
        raise ValueError(
            f"{path}: not a packed ICT-FaceKit head ({error}); give the npz file with --head"
        ) from error


def _dequantise(deltas: np.ndarray, scale: np.ndarray) -> FloatArray:
    modes: FloatArray = deltas.reshape(len(deltas), -1).astype(np.float32)
    modes *= scale.astype(np.float32)[:, None]
    return modes
