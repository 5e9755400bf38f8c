"""A capture's colours over the template's atlas: the same texel is the same place of anyone.

Without geometry each texel's place is looked up in every view's cube map; with a mesh, the mesh is
laid over the atlas by its own cube coordinates, and each texel is projected from it into the views
that see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.camera import Camera
from calib.capture import Capture, CaptureError
from mvs.canonical.atlas import atlas_coords, atlas_places
from mvs.canonical.draw import write_picture
from mvs.canonical.meshes import CubeMesh, read_cube_mesh
from mvs.canonical.surface import neighbor_means
from mvs.canonical.warp import WarpOptions, warp_flow
from mvs.errors import ReconstructionError
from mvs.kernels.raster import rasterise, vertex_normals
from mvs.stages.exposure import balance
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray

# Texels to a side of the picture that is looked up in a view; finer ones lie between.
_LOOK_UP = 320
# Rounds in which a mesh's coordinates are averaged over neighbours.
_SMOOTH_ROUNDS = 3
# Longest edge of a face in the atlas, in parts of it: longer ones cross the cut at the back.
_MAX_EDGE = 0.08
# A texel is hidden where the surface is nearer by this many of the mesh's edges, and doubtful where
# the depth changes by as many around it.
_HIDDEN_EDGES = 2.0
_RIM_EDGES = 8.0
_ROUNDS = 3
# Exposure is compared at texels of more weight.
_SEEN = 0.05
# Hair stands this far above the template, in the cube, at most.
_MAX_GAP = 0.06


@dataclass(frozen=True)
class GatherOptions:
    """How colours become a texture.

    Attributes:
        size: texels to a side.
        sharpness: power of a view's share of the best view's pixels per texel; more takes the best
            view alone, less averages.
        wild: difference from the mean, in levels of 255, at which a colour counts a quarter.
        balance: bring the views' exposures together.
    """

    size: int = 1024
    sharpness: float = 3.0
    wild: float = 24.0
    balance: bool = True

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 8192:
            raise ValueError(f"size must be in [16, 8192], got {self.size}")
        if not (self.sharpness >= 0 and self.wild > 0):
            raise ValueError(f"sharpness must be >= 0 and wild > 0, got {self}")


@dataclass(frozen=True)
class Texture:
    """A texture over the template's atlas.

    Attributes:
        colors: (S, S, 3) uint8 RGB; 0 where nothing was seen.
        coverage: (S, S) float32 in [0, 1], how surely each texel was seen; 0 not at all.
        n_views: (S, S) uint8 views that gave a colour.
    """

    colors: ByteArray
    coverage: FloatArray
    n_views: ByteArray


@dataclass(frozen=True)
class Layer:
    """What one view shows over the atlas.

    Attributes:
        colors: (S, S, 3) uint8.
        confidence: (S, S) float32, 0 where the view does not show a texel.
        detail: (S, S) float32 pixels of the view per texel.
    """

    colors: ByteArray
    confidence: FloatArray
    detail: FloatArray


def layer_of_map(image: ByteArray, cube_map: CubeMap, size: int) -> Layer:
    """What a picture shows over the atlas, by its cube map alone.

    Args:
        image: (H, W, 3) uint8.
        cube_map: of it.
        size: texels to a side.
    """
    coarse = min(_LOOK_UP, size)
    texel = np.array([[size / coarse, 0, 0], [0, size / coarse, 0]])
    ones = np.ones((coarse, coarse), np.float32)
    asked = CubeMap(atlas_coords(coarse), ones, ones > 0, texel)
    flow = warp_flow(cube_map, asked, WarpOptions(max_gap=_MAX_GAP)).at_picture(size, size)
    # Turned round: seen from inside, so not the surface itself. The atlas runs as the picture does.
    area = _areas(flow.pixels)
    seen = flow.valid & (area > 0)
    colors = _sample(image, flow.pixels)
    confidence = np.where(seen, flow.confidence, 0).astype(np.float32)
    return Layer(colors, confidence, np.where(seen, area, 0).astype(np.float32))


@dataclass(frozen=True)
class AtlasMesh:
    """A mesh laid over the atlas.

    Attributes:
        points: (S, S, 3) float64 in the mesh's frame; NaN where it has no place.
        normals: (S, S, 3) float32.
        colors: (S, S, 3) uint8 of its vertices.
        mesh: itself.
        edge: median length of its edges.
    """

    points: DoubleArray
    normals: FloatArray
    colors: ByteArray
    mesh: CubeMesh
    edge: float

    @staticmethod
    def of(mesh: CubeMesh, size: int) -> AtlasMesh:
        """Lay a mesh over an atlas of ``size`` texels to a side; what is nearest the head wins."""
        places, height = atlas_places(_smooth_coords(mesh))
        corners = places[mesh.faces]
        with np.errstate(invalid="ignore"):
            kept = np.asarray((np.ptp(corners, axis=1) < _MAX_EDGE).all(axis=1))
        faces = mesh.faces[kept]
        depth = 1 + np.abs(np.nan_to_num(height)).astype(np.float64)
        seen = rasterise(np.nan_to_num(places) * size, depth, faces, (size, size), False, True)
        found = seen.face >= 0
        weights = seen.barycentric.astype(np.float64)

        def spread(values: DoubleArray | FloatArray | ByteArray) -> DoubleArray:
            rows = values[faces[np.maximum(seen.face, 0)]] if len(faces) else np.zeros((1, 1, 1, 3))
            drawn = np.einsum("hwk,hwkc->hwc", weights, rows)
            return np.asarray(np.where(found[..., None], drawn, np.nan))

        normals = spread(vertex_normals(mesh.vertices, mesh.faces))
        ends = mesh.vertices[mesh.faces[:, 0]] - mesh.vertices[mesh.faces[:, 1]]
        edge = float(np.median(np.linalg.norm(ends, axis=1)))
        colors = np.rint(np.nan_to_num(spread(mesh.colors))).astype(np.uint8)
        points = spread(mesh.vertices)
        return AtlasMesh(points, normals.astype(np.float32), colors, mesh, edge)

    def own_layer(self) -> Layer:
        """The mesh's own colours."""
        found = np.isfinite(self.points[..., 0]).astype(np.float32)
        return Layer(self.colors, found, found)

    def layer(self, image: ByteArray, mask: BoolArray, camera: Camera) -> Layer:
        """What a view shows of the mesh.

        Args:
            image: (H, W, 3) uint8, undistorted.
            mask: (H, W) bool, its pixels that count.
            camera: pinhole.
        """
        size = self.points.shape[:2]
        found = np.isfinite(self.points[..., 0])
        points = self.points[found]
        pixels, depth = camera.project(points)
        rays = points - camera.center
        facing = -(rays * self.normals[found]).sum(axis=1)
        facing /= np.maximum(np.linalg.norm(rays, axis=1), 1e-12)
        inside = (pixels >= 0) & (pixels < [camera.width, camera.height])
        seen = np.asarray(inside.all(axis=1) & (facing > 0.05))
        column, row = np.where(seen[:, None], pixels, 0).astype(np.int64).T
        nearest, rim = self._depth(camera)
        seen &= mask[row, column] & ~rim[row, column]
        seen &= depth <= nearest[row, column] + _HIDDEN_EDGES * self.edge
        detail, confidence = np.zeros(size, np.float32), np.zeros(size, np.float32)
        confidence[found] = np.where(seen, np.clip(2 * facing, 0, 1), 0)
        detail[found] = np.where(seen, facing * (camera.K[0, 0] / np.maximum(depth, 1e-9)) ** 2, 0)
        where = np.full((*size, 2), np.nan, np.float32)
        where[found] = np.where(seen[:, None], pixels, np.nan)
        return Layer(_sample(image, where), confidence, detail)

    def _depth(self, camera: Camera) -> tuple[FloatArray, BoolArray]:
        """Depth of the mesh in a view (H, W), and where it jumps."""
        import cv2

        pixels, depth = camera.project(self.mesh.vertices)
        behind = ~np.isfinite(pixels).all(axis=1)
        depth = np.where(behind, -1.0, depth)
        size = (camera.height, camera.width)
        drawn = rasterise(np.nan_to_num(pixels), depth, self.mesh.faces, size, False).depth
        kernel = np.ones((3, 3), np.uint8)
        far = np.nan_to_num(drawn, posinf=float(np.abs(depth).max()) * 2).astype(np.float32)
        jump = np.asarray(cv2.dilate(far, kernel)) - np.asarray(cv2.erode(far, kernel))
        return drawn, np.asarray(jump > _RIM_EDGES * self.edge)


def gather(layers: Iterable[Layer], options: GatherOptions | None = None) -> Texture:
    """Make one texture of what all views show.

    Each view counts by its confidence and by how many pixels it has for a texel, of those the best
    view has; exposures are brought together; colours far from the mean count less.

    Args:
        layers: one or more, of the options' size.
        options: see ``GatherOptions``.

    Raises:
        ValueError: if there is no layer.

    Source:
        Geman and McClure (1985), the robust weights.
    """
    options = options or GatherOptions()
    kept = list(layers)
    if not kept:
        raise ValueError("a texture needs at least one view")
    best = np.maximum.reduce([layer.detail for layer in kept])
    weights = [
        layer.confidence * (layer.detail / np.maximum(best, 1e-20)) ** options.sharpness
        for layer in kept
    ]
    gains = np.ones((len(kept), 3))
    if options.balance and len(kept) > 1:
        gains = _gains(kept, weights)
    mean = _mean(kept, weights, gains)
    for _ in range(_ROUNDS if len(kept) > 1 else 0):
        off = [
            np.linalg.norm(_bright(layer, g) - mean, axis=2)
            for layer, g in zip(kept, gains, strict=True)
        ]
        trusted = [
            w / (1 + (o / options.wild) ** 2) ** 2 for w, o in zip(weights, off, strict=True)
        ]
        mean = _mean(kept, trusted, gains)
    total = np.add.reduce(weights)
    seen = total > 1e-4
    colors = np.where(seen[..., None], np.clip(np.rint(mean), 0, 255), 0).astype(np.uint8)
    coverage = np.where(seen, np.maximum.reduce([layer.confidence for layer in kept]), 0)
    counts = np.add.reduce([(layer.confidence > 0).astype(np.int32) for layer in kept])
    return Texture(colors, coverage.astype(np.float32), np.minimum(counts, 255).astype(np.uint8))


def texture_of_pictures(
    pictures: Iterable[tuple[ByteArray, CubeMap]], options: GatherOptions | None = None
) -> Texture:
    """The texture of pictures with their cube maps, see ``gather``.

    Raises:
        ReconstructionError: if none shows a head.
    """
    options = options or GatherOptions()
    heads = [layer_of_map(i, c, options.size) for i, c in pictures if c.mask.any()]
    if not heads:
        raise ReconstructionError("no picture shows a head", "give pictures of one")
    return gather(heads, options)


def texture_of_views(
    capture: Capture,
    mesh_path: Path,
    options: GatherOptions | None = None,
    progress: Callable[[], None] | None = None,
) -> Texture:
    """The texture of a capture's views, by its mesh, see ``gather``.

    Args:
        capture: its views.
        mesh_path: PLY with u v w, in the capture's frame.
        options: see ``GatherOptions``.
        progress: called once per view.

    Raises:
        CaptureError: if the mesh or a picture cannot be used, or no view sees the mesh.
    """
    options = options or GatherOptions()
    laid = AtlasMesh.of(read_cube_mesh(mesh_path), options.size)
    layers = []
    for view in capture.views:
        seen = view.load_pinhole()
        layers.append(laid.layer(seen.image, seen.mask, seen.camera))
        if progress is not None:
            progress()
    if not any(layer.confidence.any() for layer in layers):
        remedy = "give the mesh that was made of this capture"
        raise CaptureError(mesh_path, "no view of the capture sees the mesh", remedy)
    return gather(layers, options)


def texture_of_mesh(path: Path, options: GatherOptions | None = None) -> Texture:
    """The texture of a mesh's own colours.

    Raises:
        CaptureError: if the file is no mesh with u v w.
    """
    options = options or GatherOptions()
    return gather([AtlasMesh.of(read_cube_mesh(path), options.size).own_layer()], options)


def write_texture(folder: Path, texture: Texture) -> None:
    """Write ``texture.png``, clear where nothing was seen, and ``coverage.png``, 255 for sure."""
    seen = np.where(texture.coverage > 0, 255, 0).astype(np.uint8)
    write_picture(folder / "texture.png", np.dstack([texture.colors, seen]))
    levels = np.clip(np.rint(texture.coverage * 255), 0, 255).astype(np.uint8)
    write_picture(folder / "coverage.png", levels)


def _gains(layers: Sequence[Layer], weights: Sequence[FloatArray]) -> DoubleArray:
    """(V, 3) factors that bring the views' exposures together."""
    seen = [np.asarray(weight > _SEEN) for weight in weights]
    samples = [layer.colors[s].astype(np.float32) for layer, s in zip(layers, seen, strict=True)]
    shares = [weight[s] for weight, s in zip(weights, seen, strict=True)]
    return balance([s.ravel() for s in seen], samples, shares, _ROUNDS).astype(np.float64)


def _mean(layers: Sequence[Layer], weights: Sequence[FloatArray], gains: DoubleArray) -> FloatArray:
    total = np.zeros(weights[0].shape, np.float32)
    colors = np.zeros(layers[0].colors.shape, np.float32)
    for layer, weight, gain in zip(layers, weights, gains, strict=True):
        total += weight
        colors += weight[..., None] * _bright(layer, gain)
    return np.asarray(colors / np.maximum(total, 1e-12)[..., None], np.float32)


def _bright(layer: Layer, gain: DoubleArray) -> FloatArray:
    return np.asarray(layer.colors * gain, np.float32)


def _areas(pixels: FloatArray) -> FloatArray:
    """(S, S) signed area of the view that each texel covers."""
    across = np.gradient(pixels, axis=1)
    down = np.gradient(pixels, axis=0)
    area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    return np.asarray(np.nan_to_num(area), np.float32)


def _sample(image: ByteArray, pixels: FloatArray) -> ByteArray:
    """(S, S, 3) colours of a picture at pixels (S, S, 2)."""
    import cv2

    at = np.nan_to_num(pixels - np.float32(0.5), nan=-10.0)
    border = cv2.BORDER_REPLICATE
    sampled = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(sampled, np.uint8)


def _smooth_coords(mesh: CubeMesh) -> FloatArray:
    """A mesh's coordinates averaged over neighbours, so that it does not fold in the atlas."""
    average = neighbor_means(mesh.faces, len(mesh.coords), with_own=False)
    known = np.asarray(np.isfinite(mesh.coords).all(axis=1))
    coords = np.where(known[:, None], mesh.coords, 0).astype(np.float64)
    weight = known.astype(np.float64)
    for _ in range(_SMOOTH_ROUNDS):
        coords, weight = (0.5 * v + 0.5 * (average @ v) for v in (coords, weight))
    result = coords / np.maximum(weight, 1e-9)[:, None]
    result[~known] = np.nan
    return result.astype(np.float32)
