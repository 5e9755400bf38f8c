"""For every vertex of one reconstructed head, its place on another: of one person or two.

Either the cube coordinates of both, smoothed along the meshes, say where, or the template, wrapped
onto both, hands places on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.canonical.register import RegisterOptions, register
from mvs.canonical.scan import Scan, smoothed_coords
from mvs.canonical.surface import Surface, blend
from mvs.canonical.template import Template
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

# A place on the border of the other mesh stands for what lies beyond it, if so far away.
_AT_BORDER = 0.002
# Ends so far apart in the cube have less than two thirds of their confidence.
_UNSURE = 0.01


@dataclass(frozen=True)
class CorrespondOptions:
    """How places are found.

    Attributes:
        smooth: rounds of smoothing cube coordinates over a vertex and its neighbours.
        max_distance: places farther away than this, in the cube, are none.
    """

    smooth: int = 40
    max_distance: float = 0.015

    def __post_init__(self) -> None:
        if self.smooth < 0 or not self.max_distance > 0:
            raise ValueError(
                "smooth must not be negative and max_distance must be positive, got "
                f"{self.smooth} and {self.max_distance}"
            )


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Where the N vertices of one mesh lie on another.

    Attributes:
        face: (N,) int32 of the other mesh, -1 where it has no such place.
        weights: (N, 3) float32 of the face's corners.
        position: (N, 3) float64 in the other's frame, NaN where there is none.
        confidence: (N,) float32 in [0, 1], 0 where there is none.
        distance: (N,) float32 between the cube coordinates of both ends, NaN where there is none.
    """

    face: IntArray
    weights: FloatArray
    position: DoubleArray
    confidence: FloatArray
    distance: FloatArray


def correspond(
    first: Scan, second: Scan, options: CorrespondOptions | None = None
) -> Correspondence:
    """Places by cube coordinates.

    Args:
        first: the mesh whose vertices are asked for.
        second: the mesh they are found on.
        options: see ``CorrespondOptions``.

    Raises:
        ValueError: if either is no mesh, or no head.
    """
    options = options or CorrespondOptions()
    asked, coords = (smoothed_coords(scan, options.smooth) for scan in (first, second))
    known = np.flatnonzero(np.isfinite(asked).all(axis=1))
    found = _Places.on(Surface(coords, second.surface.faces), asked[known], 1.0)
    across = blend(second.normals, second.surface.faces, found.face, found.weights)
    turned = first.normals[known] @ first.pose().rotation
    good = found.good(options) & ((across @ second.pose().rotation * turned).sum(axis=1) > 0)
    return _correspondence(first, second, known[good], found.rows(good), found.distance[good])


def correspond_through(
    first: Scan,
    second: Scan,
    template: Template | None = None,
    options: CorrespondOptions | None = None,
    register_options: RegisterOptions | None = None,
) -> Correspondence:
    """Places that a template hands on which is wrapped onto both meshes.

    Args:
        first: the mesh whose vertices are asked for.
        second: the mesh they are found on.
        template: the shipped one if None.
        options: see ``CorrespondOptions``.
        register_options: how the template is wrapped.

    Raises:
        ValueError: if either is no mesh, or no head.
    """
    options = options or CorrespondOptions()
    asked, coords = (smoothed_coords(scan, options.smooth) for scan in (first, second))
    here, there = (register(scan, template, register_options) for scan in (first, second))
    faces = here.template.faces
    known = np.flatnonzero(np.isfinite(asked).all(axis=1))
    handed = _Places.on(Surface(here.vertices, faces), first.points[known], here.pose.scale)
    places = blend(there.vertices, faces, handed.face, handed.weights)
    found = _Places.on(
        Surface(np.where(np.isfinite(coords), second.points, np.nan), second.surface.faces),
        places,
        there.pose.scale,
    )
    seen = (here.visible & there.visible)[faces[handed.face]].any(axis=1)
    good = seen & handed.good(options) & found.good(options)
    ends = blend(coords, second.surface.faces, found.face, found.weights)
    gap = np.linalg.norm(ends - asked[known], axis=1)
    return _correspondence(first, second, known[good], found.rows(good), gap[good])


def write_correspondence(path: Path, found: Correspondence) -> None:
    """Write places as ``.npz`` with the arrays of ``Correspondence``.

    Raises:
        OSError: if the file cannot be written; an older one is then left as it was.
    """
    with replacing(path) as stream:
        np.savez_compressed(stream, **vars(found))


@dataclass(frozen=True, eq=False)
class _Places:
    """Nearest places on a surface, how far away, and whether on its border."""

    face: IntArray
    weights: DoubleArray
    distance: DoubleArray
    at_border: BoolArray

    @staticmethod
    def on(surface: Surface, points: DoubleArray, unit: float) -> _Places:
        face, weights, places = surface.closest(points)
        distance = np.linalg.norm(places - points, axis=1) / unit
        return _Places(face, weights, distance, surface.at_border(face, weights))

    def good(self, options: CorrespondOptions) -> BoolArray:
        beyond = self.at_border & (self.distance > _AT_BORDER)
        return (self.distance < options.max_distance) & ~beyond

    def rows(self, chosen: BoolArray) -> _Places:
        return _Places(*(values[chosen] for values in vars(self).values()))


def _correspondence(
    first: Scan, second: Scan, rows: npt.NDArray[np.int64], found: _Places, gap: DoubleArray
) -> Correspondence:
    """The answers for some of the first mesh's vertices, among all."""
    n, faces = len(first), second.surface.faces
    result = Correspondence(
        np.full(n, -1, np.int32),
        np.zeros((n, 3), np.float32),
        np.full((n, 3), np.nan),
        np.zeros(n, np.float32),
        np.full(n, np.nan, np.float32),
    )
    result.face[rows], result.weights[rows] = found.face, found.weights
    result.position[rows] = blend(second.points, faces, found.face, found.weights)
    sure = blend(second.confidence, faces, found.face, found.weights)
    fits = np.exp(-0.5 * (gap / _UNSURE) ** 2)
    result.confidence[rows] = np.minimum(first.confidence[rows], sure) * fits
    result.distance[rows] = gap
    return result
