"""The outline of a head: where a picture shows that it ends, and what of a model ends there.

The network's mask is right to about a pixel where the cube coordinates beside it may be wrong by
millimetres. It counts only where what ends is the model's own skin: the cheeks and the jaw, the
ears, a bald head, the nose seen from the side; not hair, clothes or the picture's border.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, minimum_filter
from scipy.spatial import cKDTree

from calib.camera import Camera
from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.canonical.scan import mesh_normals
from mvs.headmodel.model_faces import outer_faces
from mvs.headmodel.observe import MOVING, Observation, ObserveOptions
from mvs.headmodel.places import Places
from mvs.headmodel.state import State
from mvs.headmodel.types import HeadModel
from mvs.kernels.raster import rasterise
from mvs.stages.views import cube_per_pixel
from mvs.types import BoolArray, CubeMap, DoubleArray

# The mask is smoothed by so many pixels to find its border to a part of a pixel.
_SMOOTH = 1.5
# Skin must reach so many pixels inwards, and background as many outwards.
_MARGIN = 3
# What the mask's border is wrong by, cube units: 0.9 mm.
_SIGMA = 0.0025
# A place of the model is the one seen only if nearer than this on the picture (as cube units),
# nearer than this in the cube, and its outline turned by less than this.
_GATE_PICTURE, _GATE_CUBE, _GATE_TURN = 0.05, 0.1, 0.5
# The model must not go on so far beyond a place of its contour, cube units, or it is a fold such as
# a nostril. That is looked up on a drawing of so many pixels per cube unit at most.
_BEYOND, _DRAWN = 0.012, 250.0


@dataclass(frozen=True, eq=False)
class Outline:
    """N points of a head's outline in one picture.

    Attributes:
        camera: pinhole, of the picture.
        pixels: (N, 2) in the picture.
        across: (N, 2) unit vectors outwards, across the outline.
        coords: (N, 3) cube coordinates just inside.
        confidence: (N,) the map's, there.
        weight: (N,) how many independent observations each is worth.
        pixels_per_cube: of the picture, about.
    """

    camera: Camera
    pixels: DoubleArray
    across: DoubleArray
    coords: DoubleArray
    confidence: DoubleArray
    weight: DoubleArray
    pixels_per_cube: float

    def __len__(self) -> int:
        return len(self.pixels)


def find_outline(
    cube_map: CubeMap, camera: Camera, weight: float, options: ObserveOptions | None = None
) -> Outline:
    """Where a map's mask ends beside skin.

    Args:
        cube_map: of a picture.
        camera: pinhole, of the picture.
        weight: independent observations that a stretch as long as ``options.reach`` is worth.
        options: see ``ObserveOptions``.

    Returns:
        The outline, empty where none is seen.
    """
    options = options or ObserveOptions()
    smooth = gaussian_filter(cube_map.mask.astype(np.float64), _SMOOTH)
    down, right = np.gradient(smooth)
    y, x = np.nonzero(_is_border(cube_map))
    slope = np.column_stack([right[y, x], down[y, x]])
    steep = np.linalg.norm(slope, axis=1, keepdims=True)
    outwards = -slope / np.maximum(steep, 1e-12)
    border = np.column_stack([x, y]) + 0.5
    border = border + outwards * ((smooth[y, x] - 0.5)[:, None] / np.maximum(steep, 1e-12))
    affine = cube_map.image_from_map
    across = outwards @ np.linalg.inv(affine[:, :2])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    beyond = (border + _MARGIN * outwards) @ affine[:, :2].T + affine[:, 2]
    inside = (beyond >= 0).all(axis=1) & (beyond < [camera.width, camera.height]).all(axis=1)
    kept = inside & (steep[:, 0] > 0.1)
    x, y = x[kept], y[kept]
    step = cube_per_pixel(cube_map) if len(x) else 1.0
    zoom = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    return Outline(
        camera,
        border[kept] @ affine[:, :2].T + affine[:, 2],
        across[kept],
        cube_map.coords[y, x].astype(np.float64),
        np.clip(cube_map.confidence[y, x].astype(np.float64), 1e-3, 1.0),
        np.full(len(x), weight * min(step / options.reach, 1.0)),
        zoom / step,
    )


def _is_border(cube_map: CubeMap) -> BoolArray:
    """(H, W) last pixels of the mask, where skin is all that the mask has around them."""
    mask = cube_map.mask
    ends = mask & ~np.asarray(minimum_filter(mask, size=3), np.bool_)
    near = slice(_MARGIN + 1, -_MARGIN - 1)
    framed = np.zeros_like(mask)
    framed[near, near] = True
    other = [REGIONS.index(name) for name in (*MOVING, "neck")]
    finite = np.asarray(np.isfinite(cube_map.coords).all(axis=2))
    coords = np.where(finite[..., None], cube_map.coords, 0.0).astype(np.float32)
    region = region_of(coords.reshape(-1, 3)).reshape(mask.shape)
    skin = finite & (cube_map.confidence > 0) & ~np.isin(region, other)
    alone = np.asarray(minimum_filter(skin | ~mask, size=2 * _MARGIN + 1), np.bool_)
    return np.asarray(ends & framed & alone)


class Contour:
    """Finds the places where a model turns away from a camera."""

    def __init__(self, model: HeadModel) -> None:
        self._model = model
        self._faces = outer_faces(model)
        known = np.asarray(np.isfinite(model.topology.coords).all(axis=1))
        faces = self._faces[known[self._faces].all(axis=1)]
        edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        self._edges = np.unique(edges, axis=0)

    def places(self, state: State, camera: Camera) -> tuple[Places, DoubleArray]:
        """Places on edges from a vertex that faces the camera to one that does not.

        Args:
            state: of the head.
            camera: pinhole.

        Returns:
            The places, and (N, 3) unit normals of the surface there, in the camera's axes.
        """
        similarity = state.world_from_model
        vertices = self._model.vertices(state.shape)
        normals = mesh_normals(vertices, self._faces)
        center = -camera.rotation.T @ camera.translation
        eye = similarity.inverse().points(center[None])[0]
        facing = ((eye - vertices) * normals).sum(axis=1)
        first, second = self._edges.T
        turns = (facing[first] > 0) != (facing[second] > 0)
        first, second = first[turns], second[turns]
        share = facing[first] / (facing[first] - facing[second])
        corners = np.column_stack([first, second, second]).astype(np.int32)
        shares = np.column_stack([1 - share, share, np.zeros(len(share))])
        mean = (1 - share)[:, None] * normals[first] + share[:, None] * normals[second]
        mean = mean @ (camera.rotation @ similarity.rotation).T
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        return Places(self._model, corners, shares), mean / np.maximum(length, 1e-12)

    def meet(self, outline: Outline, state: State) -> tuple[Observation, DoubleArray]:
        """The places of the model that a picture's outline shows.

        A place on the contour that is held fixed on the surface moves, across the outline, as the
        contour does, as the surface there runs along the line of sight. So the errors of its
        pixels, multiplied by the roots, need no further derivatives.

        Args:
            outline: of one picture.
            state: where the head is taken to be.

        Returns:
            The places with the pixels of the outline, and (N, 2, 2) roots as ``reprojection``
            takes them: the first row across the outline, in standard deviations; the second 0.
        """
        places, normals = self.places(state, outline.camera)
        rows, columns = self._pairs(outline, state, places, normals)
        sigma = _SIGMA * outline.pixels_per_cube
        roots = np.zeros((len(rows), 2, 2))
        roots[:, 0] = outline.across[rows] / sigma
        seen = Observation(
            outline.camera,
            Places(self._model, places.corners[columns], places.shares[columns]),
            outline.pixels[rows],
            outline.coords[rows],
            np.full(len(rows), _SIGMA),
            outline.weight[rows],
            outline.confidence[rows],
            None,
        )
        return seen, roots

    def _pairs(
        self, outline: Outline, state: State, places: Places, normals: DoubleArray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the outline, and which place each shows."""
        if not (len(outline) and len(places)):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        camera = outline.camera
        pixels, _ = _project(places.points(state.shape), state, camera)
        # The plane through the eye that touches the surface cuts the picture across this.
        across = normals[:, :2] / [camera.K[0, 0], camera.K[1, 1]]
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        own = self._model.topology.coords[places.corners].astype(np.float64)
        coords = np.einsum("nk,nkc->nc", places.shares, own)
        gates = (_GATE_PICTURE * outline.pixels_per_cube, _GATE_CUBE, _GATE_TURN)

        def features(*parts: DoubleArray) -> DoubleArray:
            return np.hstack([part / gate for part, gate in zip(parts, gates, strict=True)])

        ends = np.flatnonzero(self._ends(outline, state, pixels, across))
        if not len(ends):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        tree = cKDTree(features(pixels[ends], coords[ends], across[ends]))
        sought = features(outline.pixels, outline.coords, outline.across)
        distance, near = tree.query(sought, distance_upper_bound=1.0)
        rows = np.flatnonzero(np.isfinite(distance))
        return rows, ends[near[rows]]

    def _ends(
        self, outline: Outline, state: State, pixels: DoubleArray, across: DoubleArray
    ) -> BoolArray:
        """Beyond which places of the contour (N, 2) there is no more of the model."""
        camera = outline.camera
        small = min(1.0, _DRAWN / outline.pixels_per_cube)
        size = (int(np.ceil(small * camera.height)), int(np.ceil(small * camera.width)))
        seen, depth = _project(self._model.vertices(state.shape), state, camera)
        drawn = rasterise(small * seen, depth, self._faces, size, cull_back=False).face >= 0
        beyond = small * (pixels + _BEYOND * outline.pixels_per_cube * across)
        x, y = np.floor(beyond).astype(np.int64).T
        within = (x >= 0) & (y >= 0) & (x < size[1]) & (y < size[0])
        within[within] = drawn[y[within], x[within]]
        return np.asarray(~within)


def _project(points: DoubleArray, state: State, camera: Camera) -> tuple[DoubleArray, DoubleArray]:
    """Pixels (N, 2) and depths (N,) of points of the model (N, 3)."""
    world = state.world_from_model.points(points)
    local = world @ camera.rotation.T + camera.translation
    focal = np.array([camera.K[0, 0], camera.K[1, 1]]) * np.exp(state.zoom)
    return local[:, :2] / np.maximum(local[:, 2:], 1e-9) * focal + camera.K[:2, 2], local[:, 2]
