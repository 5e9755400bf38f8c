"""The terms of a fit's energy: residuals with their derivatives, one function per term.

Every term gives ``Rows``: residuals that belong together share a weight and a robust bound. The
energy of rows is the sum over n of weight[n] rho(|residual[n]|^2), where
rho(s) = s bound^2 / (bound^2 + s) (Geman and McClure), or s without a bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calib.camera import Camera
from mvs.headmodel.places import Places
from mvs.headmodel.state import State, cross_matrix, vector_of
from mvs.kernels.gram import normal_equations
from mvs.types import DoubleArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Residuals of one term.

    Attributes:
        residual: (N, D).
        jacobian: (N, D, P) derivatives by all unknowns, see ``mvs.headmodel.state``; None where
            only the energy was asked for.
        weight: (N,).
        bound: of robust residuals; infinite for plain squares.
    """

    residual: DoubleArray
    jacobian: DoubleArray | None
    weight: DoubleArray
    bound: float = np.inf

    def energy(self) -> float:
        """The rows' part of the energy."""
        squared = (self.residual**2).sum(axis=1)
        if np.isfinite(self.bound):
            squared = squared / (1 + squared / self.bound**2)
        return float((self.weight * squared).sum())

    def of_columns(self, columns: IntArray) -> Rows:
        """The rows with the derivatives by some of the unknowns."""
        if self.jacobian is None:
            raise ValueError("these rows have no derivatives")
        return replace(self, jacobian=np.ascontiguousarray(self.jacobian[:, :, columns]))

    def influence(self) -> DoubleArray:
        """(N,) how much each row still counts, in [0, 1]."""
        if not np.isfinite(self.bound):
            return np.ones(len(self.residual))
        squared = (self.residual**2).sum(axis=1)
        return np.asarray(1 / (1 + squared / self.bound**2) ** 2)

    def normal_equations(self) -> tuple[DoubleArray, DoubleArray]:
        """(P, P) and (P,): half the Gauss-Newton Hessian and half the gradient of the energy."""
        if self.jacobian is None:
            raise ValueError("these rows have no derivatives")
        n, d, width = self.jacobian.shape
        weight = np.repeat(self.weight * self.influence(), d)
        flat = self.jacobian.reshape(n * d, width)
        return normal_equations(flat, self.residual.reshape(-1), weight)


def reprojection(
    places: Places,
    state: State,
    camera: Camera,
    pixels: DoubleArray,
    roots: DoubleArray | None = None,
    derive: bool = True,
) -> tuple[DoubleArray, DoubleArray | None]:
    """Where places appear, less where they were seen.

    Args:
        places: N places.
        state: of the head.
        camera: pinhole; its focal length counts ``exp(state.zoom)`` times.
        pixels: (N, 2) where the places were seen.
        roots: (N, 2, 2) that the errors are multiplied by, such as square roots of the
            information; the unit matrix if None.
        derive: whether derivatives are wanted.

    Returns:
        (N, 2) residuals and (N, 2, P) derivatives. Places behind the camera have neither.
    """
    similarity = state.world_from_model
    points = places.points(state.shape)
    turned = similarity.scale * points @ similarity.rotation.T
    local = (turned + similarity.translation) @ camera.rotation.T + camera.translation
    depth = local[:, 2]
    ahead = depth > 1e-9
    depth = np.where(ahead, depth, 1.0)
    focal = np.array([camera.K[0, 0], camera.K[1, 1]]) * np.exp(state.zoom)
    plane = local[:, :2] / depth[:, None] * focal
    error = np.where(ahead[:, None], plane + camera.K[:2, 2] - pixels, 0.0)
    if roots is not None:
        error_out = np.einsum("nab,nb->na", roots, error)
    else:
        error_out = error
    if not derive:
        return error_out, None
    by_local = np.zeros((len(points), 2, 3))
    by_local[:, 0, 0], by_local[:, 1, 1] = focal[0] / depth, focal[1] / depth
    by_local[:, :, 2] = -plane / depth[:, None]
    by_local[~ahead] = 0.0
    plane = np.where(ahead[:, None], plane, 0.0)
    if roots is not None:
        by_local, plane = roots @ by_local, np.einsum("nab,nb->na", roots, plane)
    by_world = by_local @ camera.rotation
    jacobian = np.concatenate(
        [_by_state(by_world, places, turned, state), plane[..., None]], axis=2
    )
    return error_out, jacobian


def to_planes(
    places: Places,
    state: State,
    targets: DoubleArray,
    normals: DoubleArray,
    derive: bool = True,
) -> tuple[DoubleArray, DoubleArray | None]:
    """Distance of places from planes, in the unit of the world.

    Args:
        places: N places.
        state: of the head.
        targets: (N, 3) points of the planes, world.
        normals: (N, 3) their unit normals.
        derive: whether derivatives are wanted.

    Returns:
        (N, 1) residuals and (N, 1, P) derivatives.
    """
    similarity = state.world_from_model
    turned = similarity.scale * places.points(state.shape) @ similarity.rotation.T
    off = turned + similarity.translation - targets
    error = (off * normals).sum(axis=1)[:, None]
    if not derive:
        return error, None
    zoom = np.zeros((len(places), 1, 1))
    return error, np.concatenate([_by_state(normals[:, None], places, turned, state), zoom], axis=2)


def normal_errors(
    places: Places, state: State, seen: FloatArray, derive: bool = True
) -> tuple[DoubleArray, DoubleArray | None]:
    """Normals of the model's faces less those seen, both in the head's own frame.

    The head's frame is the model's, whose axes are the cube's, so neither pose nor camera counts.

    Args:
        places: N places, one in each face.
        state: of the head.
        seen: (N, 3) unit normals.
        derive: whether derivatives are wanted.

    Returns:
        (N, 3) residuals and (N, 3, P) derivatives.
    """
    normals, corners = places.normals(state.shape)
    error = normals - seen
    if not derive:
        return error, None
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(np.cross(first, second), axis=1)
    flat = np.eye(3) - normals[:, :, None] * normals[:, None]
    flat /= np.maximum(length, 1e-300)[:, None, None]
    # d(e1 x e2) = e1 x de2 - e2 x de1
    by_second, by_first = flat @ _cross(first), -flat @ _cross(second)
    by_corner = (-by_first - by_second, by_first, by_second)
    moves = places.corner_jacobian(state.shape)
    jacobian = np.zeros((len(places), 3, state.size))
    for corner, by in enumerate(by_corner):
        jacobian[:, :, : state.n_shape] += by @ moves[:, corner]
    return error, jacobian


def prior(
    state: State, deviations: DoubleArray, means: DoubleArray, derive: bool = True
) -> tuple[DoubleArray, DoubleArray | None]:
    """Coefficients less their means, in standard deviations.

    Args:
        state: of the head.
        deviations: (K + E + 3 J + 1,) standard deviations, of the zoom last.
        means: (K + E + 3 J + 1,).
        derive: whether derivatives are wanted.

    Returns:
        (K + E + 3 J + 1, 1) residuals and their derivatives.
    """
    values = np.append(state.vector(), state.zoom)
    error = ((values - means) / deviations)[:, None]
    if not derive:
        return error, None
    jacobian = np.zeros((len(values), 1, state.size))
    rows = np.arange(len(values))
    jacobian[rows, 0, np.append(rows[:-1], state.size - 1)] = 1 / deviations
    return error, jacobian


def change(
    state: State, other: State, deviations: tuple[float, float, float, float], derive: bool = True
) -> tuple[DoubleArray, DoubleArray | None]:
    """What changed from another frame to this one, in standard deviations.

    Args:
        state: of the head in this frame.
        other: in a frame beside it.
        deviations: of an expression's change, a joint's (radians), the head's rotation (radians)
            and its translation (the world's unit).
        derive: whether derivatives are wanted.

    Returns:
        (E + 3 J + 6, 1) residuals and their derivatives by ``state``.
    """
    e, j = state.shape.expression.size, state.shape.joints.size
    first = state.shape.identity.size
    spread = np.repeat(deviations, [e, j, 3, 3])
    place, before = state.world_from_model, other.world_from_model
    turn = vector_of(place.rotation @ before.rotation.T)
    moved = np.concatenate(
        [
            (state.vector() - other.vector())[first:],
            turn,
            place.translation - before.translation,
        ]
    )
    error = (moved / spread)[:, None]
    if not derive:
        return error, None
    jacobian = np.zeros((len(moved), 1, state.size))
    rows = np.arange(len(moved))
    jacobian[rows, 0, first + rows] = 1.0
    jacobian[e + j : e + j + 3, 0, first + e + j : first + e + j + 3] = _log_derivative(turn)
    return error, jacobian / spread[:, None, None]


def _log_derivative(turn: DoubleArray) -> DoubleArray:
    """Derivative (3, 3) of the rotation vector of exp(w) R by w at 0, where R turns by ``turn``.

    Source:
        Inverse of the left Jacobian of SO(3); Barfoot, "State estimation for robotics"
        (2017), equation 7.37.
    """
    angle = float(np.linalg.norm(turn))
    cross = cross_matrix(turn)
    if angle < 1e-4:
        return np.asarray(np.eye(3) - 0.5 * cross + cross @ cross / 12)
    factor = 1 / angle**2 - (1 + np.cos(angle)) / (2 * angle * np.sin(angle))
    return np.asarray(np.eye(3) - 0.5 * cross + factor * cross @ cross)


def _by_state(
    by_world: DoubleArray, places: Places, turned: DoubleArray, state: State
) -> DoubleArray:
    """Derivatives (N, D, P - 1) by all but the zoom of what changes by_world (N, D, 3) with X."""
    similarity = state.world_from_model
    shape = (by_world @ (similarity.scale * similarity.rotation)) @ places.jacobian(state.shape)
    # d(w x p)/dw = -[p]x
    rotation = -by_world @ _cross(turned)
    scale = by_world @ turned[..., None]
    return np.concatenate([shape, rotation, by_world, scale], axis=2)


def _cross(vectors: DoubleArray) -> DoubleArray:
    """(N, 3, 3) matrices of the cross products with vectors (N, 3)."""
    matrices = np.zeros((len(vectors), 3, 3))
    x, y, z = vectors.T
    matrices[:, 0, 1], matrices[:, 0, 2], matrices[:, 1, 2] = -z, y, -x
    matrices[:, 1, 0], matrices[:, 2, 0], matrices[:, 2, 1] = z, -y, x
    return matrices
