"""What the shape regressor reads off a portrait, as terms of a fit's energy.

A reading is what to expect of coefficients given the portrait, and their variance; without it their
mean is 0 and their variance 1. So it is worth a measurement of mean / (1 - variance) with the
variance 1 / (1 / variance - 1). Points at which places are seen are measurements as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calib.camera import Camera
from mvs.canonical.surface import Surface
from mvs.headmodel.model_faces import outer_faces
from mvs.headmodel.places import Places
from mvs.headmodel.state import State
from mvs.headmodel.terms import Rows, reprojection
from mvs.headmodel.types import HeadModel, Shape
from mvs.types import DoubleArray

if TYPE_CHECKING:
    from mvs.network.regressor import Reading, RegressorNetwork

_CM_PER_M = 100.0
# Corners around an anchor whose faces are looked at.
_N_NEAR = 12
_MOST_VARIANCE = 0.999


class FaceBasis:
    """The regressor's coefficients of a model's heads.

    Attributes:
        n_identity: coefficients of the head at rest; those of the expression follow.
        places: of the basis, on the model.
    """

    def __init__(self, model: HeadModel, network: RegressorNetwork) -> None:
        self._model = model
        surface = Surface(model.topology.coords.astype(np.float64), outer_faces(model))
        face, shares, _ = surface.closest(network.anchors.double().numpy(), _N_NEAR)
        self.places = Places(model, surface.faces[face], shares)
        analysis = network.analysis.double().flatten(1).numpy()
        self._analysis = analysis * (_CM_PER_M * model.unit_m)
        self._offset = network.offset.double().numpy()
        self.n_identity = network.config.n_identity
        self._linear = None if len(model.joint_names) else self._derivative(model.neutral())

    def at(self, shape: Shape, derive: bool) -> tuple[DoubleArray, DoubleArray | None]:
        """Coefficients (K,) of a head, and their derivatives (K, P) by the shape's columns."""
        if self._linear is not None:
            values = np.concatenate([shape.identity, shape.expression])
            return np.einsum("kp,p->k", self._linear, values) - self._offset, self._linear
        n = self.n_identity
        at_rest = self.places.points(self._rest(shape))
        moved = [at_rest - self.places.points(self._model.neutral())]
        moved.append(self.places.points(shape) - at_rest)
        parts = (self._analysis[:n], moved[0]), (self._analysis[n:], moved[1])
        value = np.concatenate([_times(a, d.reshape(-1, 1))[:, 0] for a, d in parts])
        return value - self._offset, self._derivative(shape) if derive else None

    def _derivative(self, shape: Shape) -> DoubleArray:
        n, k = self.n_identity, shape.identity.size
        by_all = self._flat(shape)
        by_identity = np.zeros_like(by_all)
        by_identity[:, :k] = self._flat(self._rest(shape))[:, :k]
        return np.concatenate(
            [
                _times(self._analysis[:n], by_identity),
                _times(self._analysis[n:], by_all - by_identity),
            ]
        )

    def _flat(self, shape: Shape) -> DoubleArray:
        jacobian = self.places.jacobian(shape)
        return np.asarray(jacobian.reshape(-1, jacobian.shape[2]))

    def _rest(self, shape: Shape) -> Shape:
        return Shape(shape.identity, np.zeros_like(shape.expression), np.zeros_like(shape.joints))


def _times(left: DoubleArray, right: DoubleArray) -> DoubleArray:
    """Product of two matrices, the same bits whatever the number of threads."""
    import torch

    from mvs.network.one_thread import one_thread

    with one_thread():
        product = torch.from_numpy(left) @ torch.from_numpy(np.ascontiguousarray(right))
    return np.asarray(product.numpy())


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """Where N places of a model are seen in one picture, hidden ones by guess.

    Attributes:
        places: on the model.
        camera: pinhole, of the picture.
        pixels: (N, 2) in the picture.
        roots: (N, 2, 2) square roots of the information of the pixels.
        weight: (N,) how many independent observations each is worth.
    """

    places: Places
    camera: Camera
    pixels: DoubleArray
    roots: DoubleArray
    weight: DoubleArray

    def rows(self, state: State, derive: bool, bound: float) -> Rows:
        """Residuals, at most about ``bound`` long where they count in full."""
        found = reprojection(self.places, state, self.camera, self.pixels, self.roots, derive)
        return Rows(*found, self.weight, bound)


@dataclass(frozen=True, eq=False)
class FaceReading:
    """A reading of one picture.

    Attributes:
        basis: of the model.
        reading: what was read.
        points: where it sees the basis' places.
        weight: how much the coefficients count.
        pixels: part of their weight that the picture's pixels keep beside it.
    """

    basis: FaceBasis
    reading: Reading
    points: SeenPoints
    weight: float = 1.0
    pixels: float = 1.0

    def errors(
        self, state: State, derive: bool, n_frames: int = 1
    ) -> tuple[DoubleArray, DoubleArray | None, DoubleArray]:
        """Residuals (K, 1), their derivatives (K, 1, P) and weights (K,).

        Readings of one person in several frames are wrong alike: of identity they count once.
        """
        variance = np.minimum(self.reading.variance, _MOST_VARIANCE)
        value, by_shape = self.basis.at(state.shape, derive)
        error = (value - self.reading.mean / (1 - variance))[:, None]
        weight = self.weight * (1 / variance - 1)
        weight[: self.basis.n_identity] /= n_frames
        if by_shape is None or not derive:
            return error, None, weight
        jacobian = np.zeros((len(error), 1, state.size))
        jacobian[:, 0, : state.n_shape] = by_shape
        return error, jacobian, weight
