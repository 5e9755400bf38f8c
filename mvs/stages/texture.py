"""A texture for a mesh from the views' pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calib.capture import PinholeView
from mvs.kernels.raster import vertex_normals
from mvs.kernels.spread import spread
from mvs.kernels.texture import Choice, Stack, Surface, blend
from mvs.stages.decimate import decimated
from mvs.stages.exposure import balance
from mvs.stages.mesh import MIN_FACES
from mvs.stages.model import Texture
from mvs.stages.normal_map import bake_normals
from mvs.stages.project import Target, one_view, stack_views
from mvs.stages.texels import strips, with_gutter
from mvs.stages.unwrap import unwrap
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray, Mesh

SIZES = (64, 16384)
_PROBES = 20000
_EXPOSURE_ROUNDS = 30
# How well the best view must see a texel for its colour to be the views' alone.
_SURE = 0.15


@dataclass(frozen=True)
class TextureOptions:
    """How pictures colour a surface.

    Lengths are parts of the diagonal of the box around the mesh.

    Attributes:
        size: width and height of the texture, texels.
        max_faces: the mesh is simplified to so many; 0 leaves it as it is.
        max_error: if above 0, the mesh is simplified instead as far as all but a thousandth of its
            vertices stay this close to it.
        normal_map: whether what simplifying takes away is kept as a normal map.
        normal_size: width and height of that, texels.
        bands: widths over which colours are averaged to split a picture into bands, ascending.
        powers: of the views' scores in each band's mean, from the finest; higher takes more from
            the best view and less from the rest.
        feather: band inside outlines, of surface and masks, where a view gives way to others.
        min_cosine: between normal and ray; flatter views of a place do not colour it.
        slack: how far behind what a view sees a place may lie and still count as seen.
        is_balanced: whether exposures are brought together.
        gutter: texels around charts that repeat the nearest colour.
    """

    size: int = 4096
    max_faces: int = 30000
    max_error: float = 0.0
    normal_map: bool = False
    normal_size: int = 2048
    bands: tuple[float, ...] = (0.004, 0.016)
    powers: tuple[float, ...] = (32.0, 12.0, 3.0)
    feather: float = 0.01
    min_cosine: float = 0.1
    slack: float = 0.002
    is_balanced: bool = True
    gutter: int = 16

    def __post_init__(self) -> None:
        for name, size in (("size", self.size), ("normal_size", self.normal_size)):
            if not SIZES[0] <= size <= SIZES[1]:
                raise ValueError(f"{name} must be in {SIZES[0]}..{SIZES[1]}, got {size}")
        if not self.max_error >= 0:
            raise ValueError(f"max_error must not be negative, got {self.max_error}")
        if self.max_faces < 0 or 0 < self.max_faces < MIN_FACES:
            raise ValueError(f"max_faces must be 0 or at least {MIN_FACES}, got {self.max_faces}")
        if len(self.powers) != len(self.bands) + 1 or not all(p > 0 for p in self.powers):
            raise ValueError(
                f"powers must be {len(self.bands) + 1} positive numbers, got {self.powers}"
            )
        steps = np.diff([0.0, *self.bands])
        if not (steps > 0).all():
            raise ValueError(f"bands must ascend from above 0, got {self.bands}")
        if not 0 < self.min_cosine < 1:
            raise ValueError(f"min_cosine must be between 0 and 1, got {self.min_cosine}")
        if not (self.feather >= 0 and self.slack >= 0 and self.gutter >= 0):
            raise ValueError("feather, slack and gutter must not be negative")


def project_texture(
    mesh: Mesh,
    uv: FloatArray,
    uv_faces: IntArray,
    views: Sequence[PinholeView],
    options: TextureOptions | None = None,
) -> tuple[ByteArray, ByteArray]:
    """Colour a mesh's texture with the views' pictures.

    Every texel takes its finest detail from the view that sees it best, by pixels per area, and
    lower frequencies from more of the views that see it (by depth buffers, inside masks and away
    from outlines). What no view sees takes the colour of what is around it on the mesh.

    Args:
        mesh: in the frame of the cameras.
        uv: (W, 2) places in the texture, [0, 1]^2, y up.
        uv_faces: (F, 3) rows of ``uv`` of each face's corners.
        views: undistorted pictures with masks.
        options: see ``TextureOptions``; the mesh is not simplified.

    Returns:
        (size, size, 3) uint8 colours, the first row at the top; and (size, size) uint8 share of
        them that views saw, 0 where none did, and outside the charts.

    Raises:
        ValueError: if shapes do not fit, or no view sees the mesh.
    """
    options = options or TextureOptions()
    _check(mesh, uv, uv_faces)
    size = options.size
    surface = _surface(mesh)
    target = _target(surface, uv, uv_faces, options)
    stack = stack_views(views, target)
    choice = Choice(
        np.array(options.powers, np.float64), options.min_cosine, options.slack * target.size
    )
    if options.is_balanced:
        stack = stack._replace(gains=_gains(surface, stack, choice))
    colors = _vertex_colors(mesh, surface, stack, choice)
    texture = np.zeros((size, size, 3), np.uint8)
    coverage = np.zeros((size, size), np.uint8)
    charted = np.zeros((size, size), np.bool_)
    for rows, face, weights, inside in strips(uv, uv_faces, size):
        seen, how_well = blend(face, weights, surface, stack, choice)
        around = np.einsum("nk,nkc->nc", weights, colors[mesh.faces[face]])
        share = np.minimum(how_well / _SURE, 1.0)[:, None]
        texture[rows][inside] = np.rint(around + share * (seen - around))
        coverage[rows][inside] = np.ceil(255 * share[:, 0])
        charted[rows] = inside
    return with_gutter(texture, charted, options.gutter), coverage


def texture(
    surface: Mesh,
    views: Sequence[PinholeView],
    options: TextureOptions | None = None,
) -> tuple[Mesh, Texture]:
    """Simplify a mesh, lay it flat and colour it.

    Args:
        surface: in the frame of the cameras.
        views: undistorted pictures with masks.
        options: see ``TextureOptions``.

    Returns:
        The mesh and the texture.

    Raises:
        ValueError: if an option is out of range, or no view sees the mesh.
        ReconstructionError: if the mesh cannot be laid flat.
    """
    options = options or TextureOptions()
    dense = surface
    surface = decimated(dense, options.max_faces, options.max_error)
    uv, uv_faces = unwrap(surface, options.size)
    color, _ = project_texture(surface, uv, uv_faces, views, options)
    picture = Texture(uv, uv_faces, color)
    if options.normal_map:
        normal = bake_normals(dense, surface, picture, options.normal_size, options.gutter)
        picture = replace(picture, normal=normal)
    return surface, picture


def _check(mesh: Mesh, uv: FloatArray, uv_faces: IntArray) -> None:
    if not len(mesh.faces):
        raise ValueError("the mesh has no faces")
    if uv.ndim != 2 or uv.shape[1] != 2 or not np.isfinite(uv).all():
        raise ValueError(f"uv must be (W, 2) and finite, got {uv.shape}")
    if uv_faces.shape != mesh.faces.shape:
        raise ValueError(f"uv_faces must be {mesh.faces.shape}, as the faces, got {uv_faces.shape}")
    if uv_faces.min() < 0 or uv_faces.max() >= len(uv):
        raise ValueError(f"uv_faces must be rows of uv (0..{len(uv) - 1})")


def _surface(mesh: Mesh) -> Surface:
    points = np.ascontiguousarray(mesh.vertices.points, np.float64)
    # Normals by differences from the middle: the kernel computes in float32.
    normals = vertex_normals(points - points.mean(axis=0), mesh.faces).astype(np.float64)
    return Surface(points, normals, np.ascontiguousarray(mesh.faces, np.int32))


def _target(
    surface: Surface, uv: FloatArray, uv_faces: IntArray, options: TextureOptions
) -> Target:
    corners = surface.vertices[surface.faces]
    sides = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(*sides), axis=1).sum()
    flat = uv[uv_faces].astype(np.float64)
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    texels = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() * options.size**2
    diagonal = float(np.linalg.norm(np.ptp(surface.vertices, axis=0)))
    return Target(
        surface.vertices,
        surface.faces,
        float(np.sqrt(area / max(texels, 1e-300))),
        options.feather * diagonal,
        tuple(band * diagonal for band in options.bands),
    )


def _gains(surface: Surface, stack: Stack, choice: Choice) -> DoubleArray:
    """(V, 3) factors that bring the views' exposures together."""
    face, weights = spread(surface.vertices, surface.faces, _PROBES)
    alone = choice._replace(powers=choice.powers[:1])
    seen, samples, shares = [], [], []
    for view in range(len(stack.focal)):
        found = blend(face, weights.astype(np.float32), surface, one_view(stack, view), alone)
        sees = found[1] > 0
        seen.append(sees)
        samples.append(found[0][sees])
        shares.append(found[1][sees])
    return balance(seen, samples, shares, _EXPOSURE_ROUNDS).astype(np.float64)


def _vertex_colors(mesh: Mesh, surface: Surface, stack: Stack, choice: Choice) -> FloatArray:
    """(V, 3) colours of the vertices; what no view sees well takes its neighbours'."""
    n, faces = len(surface.vertices), surface.faces
    face, corner = np.zeros(n, np.int32), np.zeros(n, np.int64)
    for k in range(3):
        face[faces[:, k]] = np.arange(len(faces))
        corner[faces[:, k]] = k
    colors, how_well = blend(face, np.eye(3, dtype=np.float32)[corner], surface, stack, choice)
    # Vertices at outlines are seen badly; the faces around them may be seen well.
    probe, weights = spread(surface.vertices, faces, _PROBES)
    around, sure = blend(probe, weights.astype(np.float32), surface, stack, choice)
    share = (weights * (sure >= _SURE)[:, None]).ravel()
    rows = faces[probe].ravel()
    total = np.bincount(rows, share, n)
    mean = [np.bincount(rows, share * c, n) for c in np.repeat(around, 3, axis=0).T]
    known, near = how_well >= _SURE, total > 0
    mixed = np.stack(mean, axis=1) / np.maximum(total, 1e-12)[:, None]
    colors = np.where(known[:, None], colors, mixed).astype(np.float32)
    return _filled(colors, known | near, mesh)


def _filled(colors: FloatArray, known: BoolArray, mesh: Mesh) -> FloatArray:
    """Colours that are harmonic where they are not known: each the mean of its neighbours'.

    Pieces of the mesh that nothing is known of keep the mesh's own colours.
    """
    from scipy.sparse import coo_array, csr_array, diags_array
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import splu

    n = len(colors)
    ends = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).T
    links = csr_array(coo_array((np.ones(ends.shape[1]), ends), shape=(n, n)))
    links = links + links.T
    piece = connected_components(links, directed=False)[1]
    lost = np.bincount(piece, known)[piece] == 0
    colors = np.where(lost[:, None], mesh.vertices.colors, colors).astype(np.float32)
    asked = np.flatnonzero(~known & ~lost)
    if not len(asked):
        return colors
    given = np.flatnonzero(known | lost)
    matrix = diags_array(links[asked].sum(axis=1)) - links[asked][:, asked]
    right = links[asked][:, given] @ colors[given].astype(np.float64)
    colors[asked] = splu(matrix.tocsc()).solve(right)
    return colors
