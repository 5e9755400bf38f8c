"""How much of a head was seen: by how many views every vertex, and which parts of a template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calib.camera import Camera
from mvs.canonical.regions import REGIONS
from mvs.canonical.template import Template, load_template
from mvs.kernels.raster import rasterise
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray, Mesh

# Depth buffers are this wide; the surface hides what lies behind it by so many radii.
_ACROSS = 256
_HIDDEN_BY = 0.03
# Flatter views of a place say little about it.
_MIN_COSINE = 0.15
# A place of the template is there if the surface comes this near, in the cube.
_NEAR = 0.02
PARTS = ("face", "ears", "scalp and back", "neck")


@dataclass(frozen=True)
class PartCoverage:
    """How much of a part of the template was seen; shares are of its area.

    Attributes:
        name: of the part.
        reconstructed: share that the surface holds.
        by_two: share that two views or more see.
        by_three: share that three views or more see.
        confidence: mean over what is reconstructed, NaN where nothing is.
    """

    name: str
    reconstructed: float
    by_two: float
    by_three: float
    confidence: float


@dataclass(frozen=True)
class TemplateCoverage:
    """What the surface says of each vertex of the template.

    Attributes:
        views: (T,) float32 views that see it; NaN where the surface does not hold it.
        confidence: (T,) float32, likewise.
        parts: by part, and of the whole.
    """

    views: FloatArray
    confidence: FloatArray
    parts: tuple[PartCoverage, ...]


def count_views(
    surface: Mesh, cameras: Sequence[Camera], masks: Sequence[ByteArray | None], radius: float
) -> IntArray:
    """How many views see each vertex: it is in the picture, unmasked, and nothing hides it.

    Args:
        surface: a mesh; of points without faces, nothing hides any.
        cameras: of the views, with their lenses.
        masks: (h, w) bool of any resolution; None where a view has none.
        radius: of the head, world units.

    Returns:
        (V,) int32.
    """
    seen = np.zeros(len(surface.vertices), np.int32)
    for camera, mask in zip(cameras, masks, strict=True):
        seen += _sees(surface, camera, mask, radius)
    return seen


def _sees(surface: Mesh, camera: Camera, mask: ByteArray | None, radius: float) -> BoolArray:
    points = surface.vertices.points
    scale = _ACROSS / max(camera.width, camera.height)
    size = max(int(camera.height * scale), 1), max(int(camera.width * scale), 1)
    pixels, depth = camera.project(points)
    pixels = np.nan_to_num(pixels * scale, nan=-1e6)
    depth = np.where(pixels[:, 0] > -1e6, depth, -1.0)
    inside = (depth > 0) & (pixels >= 0).all(axis=1) & (pixels < size[::-1]).all(axis=1)
    towards = camera.center - points
    cosine = (surface.vertices.normals * towards).sum(axis=1) / np.linalg.norm(towards, axis=1)
    seen = inside & (cosine > _MIN_COSINE)
    column, row = np.where(seen[:, None], pixels, 0).astype(np.int64).T
    if len(surface.faces):
        buffer = rasterise(pixels, depth, surface.faces, size).depth
        seen &= depth <= buffer[row, column] + _HIDDEN_BY * radius
    if mask is not None:
        at = row * len(mask) // size[0], column * mask.shape[1] // size[1]
        seen &= mask[at] > 0
    return np.asarray(seen)


def cover_template(surface: Mesh, seen: IntArray) -> TemplateCoverage:
    """Bring what is known of the vertices to the template, by their cube coordinates.

    Args:
        surface: whose vertices have cube coordinates.
        seen: (V,) views that see each.
    """
    from scipy.spatial import cKDTree

    head = load_template()
    coords = surface.vertices.coords.astype(np.float64)
    values = np.column_stack([seen, surface.vertices.confidence]).astype(np.float64)
    found = np.full((len(head.coords), 2), np.nan)
    row = cKDTree(head.coords).query(coords)[1]
    count = np.bincount(row, minlength=len(found))
    held = count > 0
    for column in (0, 1):
        total = np.bincount(row, values[:, column], len(found))
        found[held, column] = total[held] / count[held]
    # What no vertex is nearest to takes those of the nearest vertex, if that is near.
    distance, nearest = cKDTree(coords).query(head.coords[~held])
    lent = values[nearest]
    lent[distance > _NEAR] = np.nan
    found[~held] = lent
    views, confidence = found.astype(np.float32).T
    return TemplateCoverage(views, confidence, _parts(head, views, confidence))


def _parts(head: Template, views: FloatArray, confidence: FloatArray) -> tuple[PartCoverage, ...]:
    area, part = _areas(head), _part_of(head)
    chosen = [(name, part == index) for index, name in enumerate(PARTS)]
    rows = []
    for name, on in (*chosen, ("whole head", np.ones(len(part), np.bool_))):
        weight, n = area[on], np.nan_to_num(views[on])
        known = np.isfinite(confidence[on])
        sure = float("nan")
        if known.any():
            sure = float(np.average(confidence[on][known], weights=weight[known]))
        held, two, three = (
            float((weight * b).sum() / weight.sum()) for b in (known, n > 1.5, n > 2.5)
        )
        rows.append(PartCoverage(name, held, two, three, sure))
    return tuple(rows)


def _part_of(head: Template) -> ByteArray:
    """(T,) index into ``PARTS``; the face lies before the ears and below the hairline."""
    region, (_, v, w) = head.region, head.coords.T
    ear, neck, lip, brow = (region == REGIONS.index(n) for n in ("ear", "neck", "lip", "brow"))
    hairline = v[brow].mean() + 0.6 * (v[brow].mean() - v[lip].mean())
    part = np.full(len(v), PARTS.index("scalp and back"), np.uint8)
    part[(w > w[ear].mean()) & (v < hairline)] = PARTS.index("face")
    part[ear], part[neck] = PARTS.index("ears"), PARTS.index("neck")
    return part


def _areas(head: Template) -> DoubleArray:
    """(T,) a third of the faces around each vertex."""
    a, b, c = (head.coords[head.faces[:, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.asarray(sum(np.bincount(head.faces[:, k], area, len(head.coords)) for k in range(3)))


def draw_on_atlas(values: FloatArray, size: int) -> FloatArray:
    """Values (T,) of the template's vertices over its atlas: (size, size), NaN outside it.

    Each texel takes the value of the nearest corner of its face; row 0 is the crown, the face in
    the middle, the subject's left on the right.
    """
    head = load_template()
    places = head.atlas.astype(np.float64) * [size, -size] + [0, size]
    seen = rasterise(places, np.ones(len(places)), head.atlas_faces, (size, size), False, True)
    corner = seen.barycentric.argmax(axis=2)[..., None]
    vertex = np.take_along_axis(head.faces[seen.face], corner, axis=2)[..., 0]
    return np.where(seen.face >= 0, values[vertex], np.nan).astype(np.float32)
