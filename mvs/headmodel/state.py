"""The unknowns of a fit, and how a step changes them.

Columns of every Jacobian: identity, expression, joints (as ``HeadModel.jacobian`` has them), then
rotation, translation, logarithm of the scale, and zoom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.scale import Similarity
from mvs.headmodel.turns import turn_matrices
from mvs.headmodel.types import HeadModel, Shape
from mvs.types import DoubleArray

# After the shape: rotation 3, translation 3, scale, zoom.
N_POSE = 8


@dataclass(frozen=True, eq=False)
class State:
    """One head in the world, and the focal length.

    Attributes:
        shape: coefficients.
        world_from_model: where the head is.
        zoom: logarithm of the focal length over that of the cameras; 0 where they are known.
    """

    shape: Shape
    world_from_model: Similarity
    zoom: float = 0.0

    @property
    def n_shape(self) -> int:
        """Columns of the shape."""
        return self.shape.identity.size + self.shape.expression.size + self.shape.joints.size

    @property
    def size(self) -> int:
        """Columns in all."""
        return self.n_shape + N_POSE

    def vector(self) -> DoubleArray:
        """(K + E + 3 J,) the shape's coefficients in the order of the columns."""
        shape = self.shape
        return np.concatenate([shape.identity, shape.expression, shape.joints.ravel()])

    def moved(self, step: DoubleArray) -> State:
        """The state after a step (size,).

        Rotation turns about the model's origin, in the axes of the world.
        """
        values = self.vector() + step[: self.n_shape]
        pose = step[self.n_shape :]
        before = self.world_from_model
        place = Similarity(
            before.scale * float(np.exp(pose[6])),
            _orthonormal(rotation_of(pose[:3]) @ before.rotation),
            before.translation + pose[3:6],
        )
        return State(self._shaped(values), place, self.zoom + float(pose[7]))

    def with_vector(self, values: DoubleArray) -> State:
        """The state with other coefficients (K + E + 3 J,)."""
        return State(self._shaped(values), self.world_from_model, self.zoom)

    def clipped(self, low: DoubleArray, high: DoubleArray) -> State:
        """The state with its coefficients within bounds (K + E + 3 J,)."""
        return self.with_vector(np.clip(self.vector(), low, high))

    def _shaped(self, values: DoubleArray) -> Shape:
        k, e = self.shape.identity.size, self.shape.expression.size
        joints = values[k + e :].reshape(self.shape.joints.shape)
        return Shape(values[:k].copy(), values[k : k + e].copy(), joints.copy())


def columns(model: HeadModel) -> dict[str, slice]:
    """Columns of each group of unknowns."""
    k, e, j = len(model.identity_names), len(model.expression_names), len(model.joint_names)
    n = k + e + 3 * j
    return {
        "identity": slice(0, k),
        "expression": slice(k, k + e),
        "joints": slice(k + e, n),
        "rotation": slice(n, n + 3),
        "translation": slice(n + 3, n + 6),
        "scale": slice(n + 6, n + 7),
        "zoom": slice(n + 7, n + 8),
    }


def rotation_of(vector: DoubleArray) -> DoubleArray:
    """(3, 3) rotation by a vector (3,), radians."""
    return np.asarray(turn_matrices(vector)[0][0])


def vector_of(rotation: DoubleArray) -> DoubleArray:
    """(3,) vector of a rotation (3, 3), of less than half a turn."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(rotation).as_rotvec())


def cross_matrix(vector: DoubleArray) -> DoubleArray:
    """The matrix (3, 3) by which the cross product with a vector multiplies."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _orthonormal(matrix: DoubleArray) -> DoubleArray:
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)
