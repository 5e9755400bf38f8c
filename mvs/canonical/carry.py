"""Places from correspondences between the cube and a picture or the world, seen or not.

The functions take values of any dimension: pixels of a picture, or positions in the world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.types import DoubleArray, FloatArray

# Correspondences that are fitted to, at most and at least, and their spread along the direction in
# which they spread least, in the cube.
_MAX_SAMPLES = 2000
_MIN_SAMPLES = 50
_MIN_SPREAD = 0.01
_ROUNDS = 8
_ROBUST_SCALE = 1.4826
_BATCH = 512
# Confidence falls with the distance from what is seen, in the cube.
_REACH = 0.15
# A correspondence is doubtful beside those this near.
_BESIDE = 0.03
# Pull of a neighbourhood's affine map towards that of the whole, in parts of its samples' spread.
_RIDGE = 1e-3


@dataclass(frozen=True)
class Correspondences:
    """Places of the cube with their values.

    Attributes:
        coords: (N, 3) cube coordinates.
        values: (N, D) pixels or positions.
        weight: (N,) >= 0.
    """

    coords: DoubleArray
    values: DoubleArray
    weight: DoubleArray

    def thinned(self) -> Correspondences:
        """Evenly picked rows, at most 2,000."""
        rows = slice(None, None, max(1, -(-len(self.values) // _MAX_SAMPLES)))
        return Correspondences(self.coords[rows], self.values[rows], self.weight[rows])

    def spreads(self) -> bool:
        """Whether there are enough, and in all directions, to fit an affine map to."""
        if len(self.coords) < _MIN_SAMPLES or not self.weight.sum() > 0:
            return False
        middle = np.average(self.coords, axis=0, weights=self.weight)
        spread = (self.coords - middle) * np.sqrt(self.weight / self.weight.sum())[:, None]
        return bool(np.linalg.svd(spread, compute_uv=False)[2] >= _MIN_SPREAD)


def fit_affine(seen: Correspondences) -> tuple[DoubleArray, DoubleArray]:
    """Affine map that most correspondences agree on.

    Args:
        seen: correspondences that spread.

    Returns:
        (4, D) for ``apply_affine``, and (N,) weights in (0, 1], small for those that do not agree.
    """
    basis, robust = _affine(seen.coords), np.ones(len(seen.coords))
    for _ in range(_ROUNDS):
        fit = _solve(basis, seen.values, seen.weight * robust)
        robust = _robust(np.linalg.norm(seen.values - basis @ fit, axis=1))
    return fit, robust


def apply_affine(fit: DoubleArray, places: DoubleArray) -> DoubleArray:
    """Values (K, D) of places (K, 3); each the same bits whatever the others are."""
    x, y, z = (places[:, k : k + 1] - 0.5 for k in range(3))
    return np.asarray(fit[0] + x * fit[1] + y * fit[2] + z * fit[3])


def carry(seen: Correspondences, places: DoubleArray, radius: float) -> DoubleArray:
    """Carry values on to places on the surface that is not seen.

    The affine map that fits all, moved by what it is wrong by near the place.

    Args:
        seen: correspondences.
        places: (K, 3) in the cube.
        radius: width of the neighbourhood that the affine map's error is taken from, in the cube.

    Returns:
        (K, D); NaN where too little is seen, or all of it lies on a plane.
    """
    seen = seen.thinned()
    if not seen.spreads():
        return np.full((len(places), seen.values.shape[1]), np.nan)
    fit, robust = fit_affine(seen)
    error = seen.values - apply_affine(fit, seen.coords)
    moved = np.empty((len(places), seen.values.shape[1]))
    for first in range(0, len(places), _BATCH):
        rows = slice(first, first + _BATCH)
        squared = _squared(seen.coords, places[rows])
        nearest = squared.min(axis=1, keepdims=True)
        near = np.exp(-0.5 * (squared - nearest) / radius**2) * (seen.weight * robust)
        moved[rows] = near @ error / near.sum(axis=1, keepdims=True)
    return apply_affine(fit, places) + moved


def map_locally(
    seen: Correspondences, places: DoubleArray, radius: float
) -> tuple[DoubleArray, FloatArray]:
    """Values of any places, on the surface, inside or hidden, by an affine map fitted around each.

    What the correspondences are wrong by varies from place to place, and the head's shape much
    slower: a wide neighbourhood averages the one and keeps the other. A place farther from all than
    the radius takes a neighbourhood as wide as it is far, so that teeth move with the jaw's skin as
    a whole and not with the nearest crease. Source of moving least squares: Lancaster and
    Salkauskas (1981).

    Args:
        seen: correspondences; weight 1 counts as sure.
        places: (K, 3) in the cube.
        radius: width of the neighbourhood, in the cube.

    Returns:
        (K, D), NaN where too little is seen, and confidence (K,) in [0, 1]; of each place the same
        bits whatever the others are.
    """
    found = np.full((len(places), seen.values.shape[1]), np.nan)
    confidence = np.zeros(len(places), np.float32)
    seen = seen.thinned()
    if not seen.spreads():
        return found, confidence
    fit, _ = fit_affine(seen)
    error = seen.values - apply_affine(fit, seen.coords)
    weight = seen.weight * _agreeing(seen, error)
    basis = _affine(seen.coords)
    products = basis[:, :, None] * np.concatenate([basis, error], axis=1)[:, None]
    for row in np.flatnonzero(np.isfinite(places).all(axis=1)):
        squared = ((seen.coords - places[row]) ** 2).sum(axis=1)
        away = float(np.sqrt(squared.min()))
        near = np.exp(-0.5 * squared / max(radius, away) ** 2) * weight
        sums = (near @ products.reshape(len(near), -1)).reshape(products.shape[1:])
        found[row] = _local_error(sums, places[row])
        sure = float(near @ seen.weight) / float(near.sum())
        confidence[row] = min(sure, 1.0) * np.exp(-0.5 * (away / _REACH) ** 2)
    return found + apply_affine(fit, places), confidence


def _local_error(sums: DoubleArray, place: DoubleArray) -> DoubleArray:
    """Weighted affine fit (D,) of errors, at a place.

    Args:
        sums: (4, 4 + D) of the weighted products of the affine basis with itself and the errors.
        place: (3,).
    """
    # Moved to the place: offsets are c - p, and the constant term is the answer.
    move = np.eye(4)
    move[1:, 0] = -(place - 0.5)
    normal, right = move @ sums[:, :4] @ move.T, move @ sums[:, 4:]
    slope = np.trace(normal[1:, 1:]) / 3
    normal[[1, 2, 3], [1, 2, 3]] += _RIDGE * slope + 1e-12 * normal[0, 0]
    return np.asarray(np.linalg.solve(normal, right)[0])


def _agreeing(seen: Correspondences, error: DoubleArray) -> DoubleArray:
    """Weights (N,) of correspondences by how their error agrees with those beside them."""
    near = np.exp(-0.5 * _squared(seen.coords, seen.coords) / _BESIDE**2) * seen.weight
    off = np.linalg.norm(error - near @ error / near.sum(axis=1, keepdims=True), axis=1)
    return _robust(off)


def _squared(coords: DoubleArray, places: DoubleArray) -> DoubleArray:
    """(K, N) squared distances."""
    total = (places**2).sum(axis=1)[:, None] - 2 * places @ coords.T + (coords**2).sum(axis=1)
    return np.asarray(np.maximum(total, 0.0))


def _affine(coords: DoubleArray) -> DoubleArray:
    return np.column_stack([np.ones(len(coords)), coords - 0.5])


def _robust(off: DoubleArray) -> DoubleArray:
    """Weights (N,) of residuals."""
    scale = 3.0 * _ROBUST_SCALE * float(np.median(off)) + 1e-12
    return np.asarray(1.0 / (1.0 + (off / scale) ** 2) ** 2)


def _solve(basis: DoubleArray, values: DoubleArray, weight: DoubleArray) -> DoubleArray:
    """Weighted least squares; a trace of ridge keeps a deficient fit finite."""
    weighted = basis * weight[:, None]
    normal = weighted.T @ basis
    normal += 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
    return np.asarray(np.linalg.solve(normal, weighted.T @ values))
