"""Cube positions of a model's vertices: its template laid onto the canonical head.

The template is brought near the canonical head by its unit, its eyeballs and iterated closest
points, and is then bent onto it from coarse to fine. Where it comes to lie is its place in the
cube; the eyeballs go to the canonical eyeballs by direction from their middles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calib.scale import Similarity, umeyama
from mvs.canonical.bend import Bender, Pulls
from mvs.canonical.cube import CUBE_SCALE_PER_CM
from mvs.canonical.eyes import PUPILS
from mvs.canonical.scan import mesh_normals
from mvs.canonical.surface import Surface, blend, find_pieces
from mvs.canonical.template import load_template
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

# ICT-FaceKit's eyeballs: the pupils lie a radius in front of the middles, which are 1.5 cm.
_EYE_RADIUS = 1.5 * CUBE_SCALE_PER_CM
_EYES: DoubleArray = PUPILS.astype(np.float64) - [0.0, 0.0, _EYE_RADIUS]
# A piece is an eyeball if all its vertices are this near to a sphere, in radii, of such a radius,
# in centimetres.
_ROUND = 0.25
_EYE_CM = (0.9, 2.0)
_ICP_ROUNDS = 30
# Lengths that the template is bent over, and how far it looks for the head, in the cube.
_LENGTHS = (0.3, 0.15, 0.08, 0.05, 0.03, 0.02)
_REACHES = (0.06, 0.05, 0.04, 0.03, 0.02, 0.015)
_ROUNDS_PER_LENGTH = 4
_MIN_COSINE = 0.4
# Pull of a known landmark, against that of the surface.
_MARK_PULL = 20.0
# Nearer than this to the head in the end, a vertex lies on it.
_ON_HEAD = 0.008


@dataclass(frozen=True)
class Marks:
    """Places of a template whose cube positions are known.

    Attributes:
        corners: (M, 3) int32 vertices of the triangle that each is on.
        weights: (M, 3) float64 barycentric weights.
        coords: (M, 3) float64 cube positions.
    """

    corners: IntArray
    weights: DoubleArray
    coords: DoubleArray


def find_eyeballs(vertices: DoubleArray, pieces: IntArray, unit_m: float) -> list[BoolArray]:
    """Vertices (V,) of the right and the left eyeball; empty where there are not two balls."""
    balls = []
    for piece in range(1, int(pieces.max()) + 1):
        inside = pieces == piece
        center, radius, off = _sphere(vertices[inside])
        if _EYE_CM[0] < radius * unit_m * 100 < _EYE_CM[1] and off < _ROUND:
            balls.append((float(center[0]), inside))
    if len(balls) != 2:
        return []
    return [inside for _, inside in sorted(balls, key=lambda ball: ball[0])]


def place_template(
    vertices: DoubleArray, faces: IntArray, unit_m: float, marks: Marks | None = None
) -> FloatArray:
    """Cube positions of a template's vertices.

    Args:
        vertices: (V, 3) at rest, y up, the face towards +z.
        faces: (F, 3) int32.
        unit_m: their unit in metres.
        marks: places that are known, if any.

    Returns:
        (V, 3) float32; NaN for pieces that are neither the skin nor an eyeball. The same for the
        same input.

    Raises:
        ValueError: if the template is no head.
    """
    pieces = find_pieces(faces, len(vertices))
    skin = np.flatnonzero(pieces == 0).astype(np.int32)
    eyes = find_eyeballs(vertices, pieces, unit_m)
    row_of = np.full(len(vertices), -1, np.int32)
    row_of[skin] = np.arange(len(skin))
    skin_faces = row_of[faces[(pieces[faces] == 0).all(axis=1)]]
    head = load_template()
    target = _Head(head.coords.astype(np.float64), head.faces)
    start = _guess(vertices, skin, eyes, unit_m)
    cube_from_model = target.align(vertices[skin], skin_faces, start)
    rest = cube_from_model.points(vertices[skin])
    pulls = None if marks is None else _mark_pulls(marks, row_of, rest)
    coords = np.full((len(vertices), 3), np.nan)
    coords[skin] = target.lay(rest, skin_faces, pulls)
    for ball, center in zip(eyes, _EYES, strict=False):
        middle, radius, _ = _sphere(vertices[ball])
        coords[ball] = center + (vertices[ball] - middle) * _EYE_RADIUS / radius
    return coords.astype(np.float32)


class _Head:
    """The canonical head as a surface to lie on."""

    def __init__(self, coords: DoubleArray, faces: IntArray) -> None:
        self.surface = Surface(coords, faces)
        self.normals = mesh_normals(coords, faces)

    def nearest(
        self, points: DoubleArray, normals: DoubleArray, reach: float
    ) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Weights (N,), 0 where none faces alike within reach, places and normals (N, 3)."""
        face, weights, places = self.surface.closest(points)
        across = blend(self.normals, self.surface.faces, face, weights)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        near = np.linalg.norm(places - points, axis=1) < reach
        cosine = (across * normals).sum(axis=1)
        weight = np.clip((cosine - _MIN_COSINE) / (1 - _MIN_COSINE), 0, 1)
        kept = near & ~self.surface.at_border(face, weights)
        return np.where(kept, weight, 0.0), places, across

    def align(self, vertices: DoubleArray, faces: IntArray, start: Similarity) -> Similarity:
        """The similarity that brings a template nearest to the head, from a guess."""
        normals, moved = mesh_normals(vertices, faces), start
        for step in range(_ICP_ROUNDS):
            reach = _REACHES[0] * 2 ** (1 - 2 * step / (_ICP_ROUNDS - 1))
            points = moved.points(vertices)
            weight, places, _ = self.nearest(points, normals @ moved.rotation.T, reach)
            if (weight > 0).sum() < 0.2 * len(points):
                raise ValueError("the template does not look like a head with y up, facing +z")
            off = np.linalg.norm(places - points, axis=1)
            scale = 2 * float(np.median(off[weight > 0])) + 1e-6
            moved = umeyama(vertices, places, weight / (1 + (off / scale) ** 2))
        return moved

    def lay(
        self, rest: DoubleArray, faces: IntArray, known: tuple[DoubleArray, DoubleArray] | None
    ) -> DoubleArray:
        """A template (V, 3), bent so that it lies on the head where the head has such a place."""
        bender, shape = Bender(rest, faces), rest
        ones, nothing = np.ones(len(rest)), np.zeros(len(rest))
        point_weight, points = (nothing, rest) if known is None else known
        for length, reach in zip(_LENGTHS, _REACHES, strict=True):
            system = None
            for _ in range(_ROUNDS_PER_LENGTH):
                weight, places, across = self.nearest(shape, mesh_normals(shape, faces), reach)
                pulls = Pulls(point_weight, points, weight, places, across)
                system = system or bender.system(length, ones, pulls)
                shape = system.solve(shape, pulls)
        weight, places, _ = self.nearest(shape, mesh_normals(shape, faces), _ON_HEAD)
        return np.where(weight[:, None] > 0, places, shape)


def _guess(
    vertices: DoubleArray, skin: IntArray, eyes: Sequence[BoolArray], unit_m: float
) -> Similarity:
    """Where an upright template that looks along +z is in the cube, roughly."""
    scale = 100 * unit_m * CUBE_SCALE_PER_CM
    if len(eyes):
        middle = np.mean([_sphere(vertices[eye])[0] for eye in eyes], axis=0)
        return Similarity(scale, np.eye(3), _EYES.mean(axis=0) - scale * middle)
    head = load_template().coords
    points, ends = vertices[skin], (head.min(axis=0), head.max(axis=0))
    shift = ends[1] - scale * points.max(axis=0)
    shift[0] = 0.5 * (ends[0][0] + ends[1][0]) - scale * 0.5 * (
        points[:, 0].min() + points[:, 0].max()
    )
    return Similarity(scale, np.eye(3), shift)


def _mark_pulls(
    marks: Marks, row_of: IntArray, rest: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Weights (V,) of the skin's pulls to known places, and the places (V, 3)."""
    weight, points = np.zeros(len(rest)), rest.copy()
    rows = row_of[marks.corners]
    known = (rows >= 0).all(axis=1)
    found = np.einsum("mk,mkc->mc", marks.weights[known], rest[rows[known]])
    for corners, weights, move in zip(
        rows[known], marks.weights[known], marks.coords[known] - found, strict=True
    ):
        nearest = corners[int(np.argmax(weights))]
        weight[nearest], points[nearest] = _MARK_PULL, rest[nearest] + move
    return weight, points


def _sphere(points: DoubleArray) -> tuple[DoubleArray, float, float]:
    """Middle and radius of the sphere nearest to points, and the farthest off it, in radii."""
    if len(points) < 4:
        return points.mean(axis=0), 0.0, np.inf
    middle = points.mean(axis=0)
    off = points - middle
    system = np.column_stack([2 * off, np.ones(len(points))])
    found = np.linalg.lstsq(system, (off**2).sum(axis=1), rcond=None)[0]
    radius = float(np.sqrt(max(found[3] + found[:3] @ found[:3], 0.0)))
    away = np.abs(np.linalg.norm(off - found[:3], axis=1) - radius)
    return middle + found[:3], radius, float(away.max() / max(radius, 1e-12))
