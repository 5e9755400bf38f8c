"""What a morphable head model is to the fit, and what a fit is to those who use it.

A model's space is its own: its unit (``HeadModel.unit_m`` metres long), y up, the face towards +z,
x to the subject's left. ``world_from_model`` takes it to the world of the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calib.camera import Camera
from calib.scale import Similarity
from mvs.types import DoubleArray, FloatArray, IntArray


@dataclass(frozen=True)
class Topology:
    """What all heads of one model share.

    Attributes:
        faces: (F, 3) int32, counter-clockwise seen from outside.
        uv: (T, 2) float32 texture coordinates, origin at the bottom left; (0, 2) without.
        face_uv: (F, 3) int32 rows of ``uv``; (0, 3) without.
        coords: (V, 3) float32 position of each vertex in the canonical cube; NaN where it has none.
        parts: (V,) int32 index into ``part_names``.
        part_names: names of the parts, such as ``face``, ``neck``, ``left_eye``, ``teeth``.
        landmarks: (68, 3) int32 vertices of the triangle that holds each iBUG-68 landmark.
        landmark_weights: (68, 3) float64 its barycentric weights there.
    """

    faces: IntArray
    uv: FloatArray
    face_uv: IntArray
    coords: FloatArray
    parts: IntArray
    part_names: tuple[str, ...]
    landmarks: IntArray
    landmark_weights: DoubleArray

    @property
    def is_textured(self) -> bool:
        """Whether faces have places in a texture."""
        return len(self.uv) > 0

    def landmarks_on(self, vertices: DoubleArray) -> DoubleArray:
        """(68, 3) iBUG landmarks of a head with vertices (V, 3)."""
        corners = vertices[self.landmarks]
        return np.asarray(np.einsum("nk,nkc->nc", self.landmark_weights, corners))


@dataclass(frozen=True)
class Shape:
    """One head: coefficients of a model.

    Attributes:
        identity: (K,) standard deviations along the identity modes.
        expression: (E,) activations of the expression modes (ICT: in [0, 1]; FLAME: deviations).
        joints: (J, 3) rotation vectors of the joints, radians; (0, 3) for models without joints.
    """

    identity: DoubleArray
    expression: DoubleArray
    joints: DoubleArray


class HeadModel(Protocol):
    """A parametric head.

    Attributes:
        name: ``ict`` or ``flame``, ...
        unit_m: length of the model's unit in metres.
        topology: what does not change.
        identity_names, expression_names, joint_names: of the coefficients; their lengths are K, E
            and J.
        expression_bounds: (E, 2) float64 least and largest activation; infinite where free.
    """

    name: str
    unit_m: float
    topology: Topology
    identity_names: tuple[str, ...]
    expression_names: tuple[str, ...]
    joint_names: tuple[str, ...]
    expression_bounds: DoubleArray

    def neutral(self) -> Shape:
        """The mean head at rest: zeros of the right lengths."""

    def vertices(self, shape: Shape, rows: IntArray | None = None) -> DoubleArray:
        """(N, 3) positions of all vertices, or of those of ``rows``, in the model's space."""

    def jacobian(self, shape: Shape, rows: IntArray) -> DoubleArray:
        """(N, 3, K + E + 3 J) derivatives of ``vertices(shape, rows)``.

        Columns: identity, expression, joints (row by row). A shape with fewer than K identity
        modes has as many columns fewer.
        """


@dataclass(frozen=True)
class Fit:
    """Heads of one person found in pictures or in a capture: one identity, a pose per frame.

    Attributes:
        model: what was fitted.
        identity: (K,) shared by all frames.
        expressions: (T, E) per frame.
        joints: (T, J, 3) per frame.
        world_from_model: T similarities; of a single picture or video the world is the camera's
            frame, in metres.
        cameras: those of frame t are ``cameras[t]``: of a capture all views', of a picture one.
        names: names of the pictures, arranged like ``cameras``.
        confidence: (T, V) float32 in [0, 1]: how well each vertex is borne out by what was seen;
            0 where only the model's prior speaks.
        warnings: what the user should know, one line each.
        unit: of the world; None where nobody said.
    """

    model: HeadModel
    identity: DoubleArray
    expressions: DoubleArray
    joints: DoubleArray
    world_from_model: tuple[Similarity, ...]
    cameras: tuple[tuple[Camera, ...], ...]
    names: tuple[tuple[str, ...], ...]
    confidence: FloatArray
    warnings: tuple[str, ...] = ()
    unit: str | None = "m"

    def shape(self, frame: int = 0) -> Shape:
        """Coefficients of one frame."""
        return Shape(self.identity, self.expressions[frame], self.joints[frame])

    def vertices(self, frame: int = 0) -> DoubleArray:
        """(V, 3) posed vertices of one frame, in the world."""
        return self.world_from_model[frame].points(self.model.vertices(self.shape(frame)))
