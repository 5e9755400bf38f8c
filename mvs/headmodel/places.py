"""Places on a model's surface, with what moves them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from mvs.headmodel.types import HeadModel, Shape
from mvs.types import BoolArray, DoubleArray, IntArray


@dataclass(frozen=True, eq=False)
class Places:
    """N places on faces of a model.

    Attributes:
        model: whose.
        corners: (N, 3) int32 vertices of the face.
        shares: (N, 3) float64 weights of the corners, adding up to 1.
    """

    model: HeadModel
    corners: IntArray
    shares: DoubleArray
    _kept: dict[str, DoubleArray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.corners)

    def rows(self, chosen: BoolArray | slice) -> Places:
        """Some of the places, by a mask or by rows."""
        return Places(self.model, self.corners[chosen], self.shares[chosen])

    def forget(self) -> None:
        """Let go of the derivatives that were kept; they are made again where asked for."""
        self._kept.clear()

    def points(self, shape: Shape) -> DoubleArray:
        """(N, 3) in the model's space."""
        if not len(self.model.joint_names):
            return self._linear_points(shape)
        return self._points(shape)

    def _linear_points(self, shape: Shape) -> DoubleArray:
        if "neutral" not in self._kept:
            self._kept["neutral"] = self._points(self.model.neutral())
        values = np.concatenate([shape.identity, shape.expression])
        moved = np.einsum("ncp,p->nc", self.jacobian(shape), values)
        return np.asarray(self._kept["neutral"] + moved)

    def _points(self, shape: Shape) -> DoubleArray:
        used, index = np.unique(self.corners, return_inverse=True)
        vertices = self.model.vertices(shape, used.astype(np.int32))
        return np.asarray(np.einsum("nk,nkc->nc", self.shares, vertices[index.reshape(-1, 3)]))

    def jacobian(self, shape: Shape) -> DoubleArray:
        """(N, 3, K + E + 3 J) derivatives of ``points``.

        A model without joints is linear in its coefficients: its derivatives are kept.
        """
        if "jacobian" not in self._kept:
            used, index = np.unique(self.corners, return_inverse=True)
            found = self.model.jacobian(shape, used.astype(np.int32))
            n, width = len(self.corners), found.shape[2]
            ends = np.arange(0, 3 * n + 1, 3)
            mix = csr_array((self.shares.ravel(), index.ravel(), ends), shape=(n, len(used)))
            jacobian = (mix @ found.reshape(len(used), 3 * width)).reshape(n, 3, width)
            if len(self.model.joint_names):
                return np.asarray(jacobian)
            self._kept["jacobian"] = jacobian
        return self._kept["jacobian"]

    def normals(self, shape: Shape) -> tuple[DoubleArray, DoubleArray]:
        """Unit normals (N, 3) of the faces, in the model's space, and the corners (N, 3, 3)."""
        used, index = np.unique(self.corners, return_inverse=True)
        corners = self.model.vertices(shape, used.astype(np.int32))[index.reshape(-1, 3)]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(across, axis=1, keepdims=True)
        return across / np.maximum(length, 1e-300), corners

    def corner_jacobian(self, shape: Shape) -> DoubleArray:
        """(N, 3 corners, 3, K + E + 3 J) derivatives of the corners."""
        if "corners" not in self._kept:
            used, index = np.unique(self.corners, return_inverse=True)
            found = self.model.jacobian(shape, used.astype(np.int32))[index.reshape(-1, 3)]
            if len(self.model.joint_names):
                return np.asarray(found)
            self._kept["corners"] = found
        return self._kept["corners"]
