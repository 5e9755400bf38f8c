"""A head brought onto another: by landmarks, then by iterated closest places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calib.scale import Similarity, umeyama
from mvs.canonical.scan import mesh_normals
from mvs.canonical.surface import Surface, blend
from mvs.types import DoubleArray, IntArray

# Of the 68: corners of the eyes, below the nose, corners of the mouth; those of NoW.
SEVEN = (36, 39, 42, 45, 33, 48, 54)
_STEPS, _SETTLED = 30, 1e-6


@dataclass(frozen=True, eq=False)
class Head:
    """A mesh that is measured, or aligned.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int32.
        landmarks: (68, 3) float64.
    """

    vertices: DoubleArray
    faces: IntArray
    landmarks: DoubleArray

    @cached_property
    def surface(self) -> Surface:
        """To look up nearest places on."""
        return Surface(self.vertices, self.faces)

    @cached_property
    def normals(self) -> DoubleArray:
        """(V, 3) float64 of the vertices."""
        return mesh_normals(self.vertices, self.faces)


def by_landmarks(source: DoubleArray, target: DoubleArray, scaled: bool = False) -> Similarity:
    """Least squares between landmarks (N, 3); rigid unless ``scaled``.

    Source:
        Umeyama (1991), equations 38 to 43; the rotation does not depend on the scale.
    """
    found = umeyama(source, target)
    if scaled:
        return found
    shift = target.mean(axis=0) - found.rotation @ source.mean(axis=0)
    return Similarity(1.0, found.rotation, shift)


def by_closest_places(
    head: Head, samples: DoubleArray, start: Similarity, scaled: bool = False
) -> Similarity:
    """Go on from an alignment to the least squares of distances from a scan to the head.

    Each step takes the nearest places on the head and minimises the distances along its normals
    there.

    Args:
        head: that is moved.
        samples: (N, 3) of the scan, which stands still.
        start: scan from head.
        scaled: whether its scale may change.

    Returns:
        Scan from head.

    Source:
        Chen and Medioni (1992), with the rotation linearised.
    """
    to = start
    size = float(np.ptp(samples, axis=0).max())
    for _ in range(_STEPS):
        points = to.inverse().points(samples)
        face, weights, places = head.surface.closest(points)
        across = blend(head.normals, head.faces, face, weights)
        middle = points.mean(axis=0)
        arms = points - middle
        columns = [np.cross(arms, across), across]
        columns += [np.einsum("nk,nk->n", arms, across)[:, None]] if scaled else []
        gaps = np.einsum("nk,nk->n", places - points, across)
        step = np.linalg.lstsq(np.hstack(columns), gaps, rcond=None)[0]
        moved = _step(step, middle)
        to = to.compose(moved.inverse())
        turned = np.delete(step, slice(3, 6))  # and grown
        if np.abs(step[3:6]).max() * to.scale < _SETTLED * size and np.abs(turned).max() < _SETTLED:
            break
    return to


def _step(step: DoubleArray, middle: DoubleArray) -> Similarity:
    """Turn (3), shift (3) and perhaps growth about a place."""
    from scipy.spatial.transform import Rotation

    scale = 1.0 + float(step[6]) if len(step) > 6 else 1.0
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    return Similarity(scale, turn, middle + step[3:6] - scale * turn @ middle)
