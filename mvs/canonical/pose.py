"""Where a head stands in the world, by the cube coordinates of its points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.types import DoubleArray

_ROUNDS = 10


@dataclass(frozen=True, eq=False)
class HeadPose:
    """A similarity: world = scale * rotation @ cube + translation.

    Attributes:
        rotation: (3, 3) float64 world from head.
        scale: of the world per unit of the cube.
        translation: (3,) float64.
    """

    rotation: DoubleArray
    scale: float
    translation: DoubleArray

    def to_world(self, coords: DoubleArray) -> DoubleArray:
        """World positions (N, 3) of cube coordinates (N, 3)."""
        return np.asarray(self.scale * coords @ self.rotation.T + self.translation)

    def to_cube(self, positions: DoubleArray) -> DoubleArray:
        """Cube coordinates (N, 3) of world positions (N, 3)."""
        return np.asarray((positions - self.translation) @ self.rotation / self.scale)

    def direction(self, position: DoubleArray) -> DoubleArray:
        """Unit vector (3,) from the cube's middle to a world position, in the head's frame."""
        towards = (position - self.to_world(np.full(3, 0.5))) @ self.rotation
        return np.asarray(towards / np.linalg.norm(towards))


def head_pose(coords: DoubleArray, positions: DoubleArray) -> HeadPose:
    """The similarity from the cube to the world that most points of a head agree on.

    Faces differ from the neutral mean by shape and expression; points that differ most count
    least (iteratively reweighted, Cauchy weights).

    Args:
        coords: (N, 3) cube coordinates; rows that are not finite are left out.
        positions: (N, 3) world positions of the same points.

    Raises:
        ValueError: if fewer than three points are given, or all on one line.

    Source:
        Umeyama (1991), equations 38 to 43.
    """
    known = np.isfinite(coords).all(axis=1) & np.isfinite(positions).all(axis=1)
    source = np.asarray(coords[known], np.float64)
    target = np.asarray(positions[known], np.float64)
    if len(source) < 3:
        raise ValueError(f"coords must hold at least 3 known points, got {len(source)}")
    weight = np.ones(len(source))
    for _ in range(_ROUNDS):
        pose = _similarity(source, target, weight / weight.sum())
        off = np.linalg.norm(target - pose.to_world(source), axis=1)
        spread = 2.0 * float(np.median(off)) + 1e-12 * pose.scale
        weight = 1.0 / (1.0 + (off / spread) ** 2)
    return pose


def _similarity(source: DoubleArray, target: DoubleArray, weight: DoubleArray) -> HeadPose:
    """Weighted least-squares similarity; the weights add up to one."""
    # NumPy's own sums: those of a BLAS may depend on the number of threads.
    source_middle, target_middle = ((weight[:, None] * p).sum(axis=0) for p in (source, target))
    centred, moved = source - source_middle, target - target_middle
    left, strength, right = np.linalg.svd(np.einsum("n,na,nb->ab", weight, moved, centred))
    if strength[1] <= 1e-12 * strength[0]:
        raise ValueError("coords must not all lie on one line")
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * sign) @ right
    scale = float(strength @ sign) / float((weight * (centred**2).sum(axis=1)).sum())
    return HeadPose(rotation, scale, target_middle - scale * rotation @ source_middle)
