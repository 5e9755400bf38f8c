"""What a picture's cube map says of a model: places on its surface, and where they are seen.

Every pixel of the map is an address on the head: the nearest place of the model's template in the
cube is the one that the pixel sees. So the model's fit needs no search while it moves, and every
sure pixel counts, not only those nearest to a vertex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.camera import Camera
from mvs.canonical.landmarks import find_landmarks, landmark_positions
from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.canonical.surface import Surface
from mvs.headmodel.model_faces import outer_faces
from mvs.headmodel.places import Places
from mvs.headmodel.reading_term import FaceReading
from mvs.headmodel.types import HeadModel
from mvs.stages.views import cube_per_pixel
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray

# The standard deviation at which a network's confidence is a half, see ``NetworkEmbedder``.
_SURE = 0.01
# Hair lies off the skin that its coordinates name, clothes and mouths move by themselves.
MOVING = ("background", "mouth", "hair", "cloth", "hat", "glasses")
# Pixels of a block must be this near to each other, in steps from pixel to pixel.
_MAX_SPREAD = 8.0


@dataclass(frozen=True)
class ObserveOptions:
    """Which pixels count, and how much.

    Attributes:
        blocks: pixels are averaged over blocks so wide that about so many are left, at most twice
            as many.
        max_gap: pixels farther than this from the template, in the cube, are left out.
        floor: what the map's coordinates are wrong by at best, cube units.
        reach: errors of places nearer than this, in the cube, are alike: together they count as
            one observation.
        neck: what counts less, as the neck turns by itself: its weight.
    """

    blocks: int = 1500
    max_gap: float = 0.03
    floor: float = 0.004
    reach: float = 0.08
    neck: float = 0.05

    def __post_init__(self) -> None:
        if self.blocks < 1 or not (self.max_gap > 0 and self.floor > 0 and self.reach > 0):
            raise ValueError("blocks, max_gap, floor and reach must be positive")
        if not 0 <= self.neck <= 1:
            raise ValueError(f"neck must be in [0, 1], got {self.neck}")


@dataclass(frozen=True, eq=False)
class Observation:
    """N places of a model seen in one picture.

    Attributes:
        camera: pinhole, of the picture.
        places: on the model.
        pixels: (N, 2) in the picture.
        coords: (N, 3) cube coordinates.
        sigma: (N,) what they are wrong by, cube units.
        weight: (N,) how many independent observations each is worth.
        confidence: (N,) the map's.
        normals: (N, 3) float32 in the head's frame, None where the embedder has none.
        reading: what the shape regressor says of the picture, None where it was not asked.
    """

    camera: Camera
    places: Places
    pixels: DoubleArray
    coords: DoubleArray
    sigma: DoubleArray
    weight: DoubleArray
    confidence: DoubleArray
    normals: FloatArray | None
    reading: FaceReading | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, chosen: BoolArray | slice) -> Observation:
        """Some of the places."""
        return Observation(
            self.camera,
            self.places.rows(chosen),
            self.pixels[chosen],
            self.coords[chosen],
            self.sigma[chosen],
            self.weight[chosen],
            self.confidence[chosen],
            None if self.normals is None else self.normals[chosen],
            self.reading,
        )


class Observer:
    """Looks up cube maps on the template of a model."""

    def __init__(self, model: HeadModel, options: ObserveOptions | None = None) -> None:
        self._model = model
        self._options = options or ObserveOptions()
        coords = model.topology.coords.astype(np.float64)
        self._surface = Surface(coords, outer_faces(model))

    def observe(self, cube_map: CubeMap, camera: Camera) -> Observation:
        """What a map says; empty where no head is seen.

        Args:
            cube_map: of a picture.
            camera: pinhole, of the picture.
        """
        options = self._options
        width = max(1, round(float(np.sqrt(cube_map.mask.sum() / options.blocks))))
        blocks = _average(cube_map, width)
        region = region_of(blocks.coords.astype(np.float32))
        kept = ~np.isin(region, [REGIONS.index(name) for name in MOVING])
        blocks, region = blocks.rows(kept), region[kept]
        face, shares, nearest = self._look_up(blocks.coords)
        kept = np.linalg.norm(nearest - blocks.coords, axis=1) <= options.max_gap
        blocks, region = blocks.rows(kept), region[kept]
        corners = self._surface.faces[face[kept]]
        step = cube_per_pixel(cube_map) * width if len(corners) else 0.0
        weight = np.full(len(corners), min((step / options.reach) ** 2, 1.0))
        weight[region == REGIONS.index("neck")] *= options.neck
        sure = np.clip(blocks.confidence, 1e-3, 1.0)
        sigma = np.sqrt(_SURE**2 * (1 / sure - 1) + options.floor**2)
        affine = cube_map.image_from_map
        return Observation(
            camera,
            Places(self._model, corners, shares[kept]),
            blocks.pixels @ affine[:, :2].T + affine[:, 2],
            blocks.coords,
            sigma,
            weight,
            sure,
            blocks.normals,
        )

    def observe_landmarks(self, cube_map: CubeMap, camera: Camera, weight: float) -> Observation:
        """The 68 landmarks that a map shows, beside what all its pixels say.

        Args:
            cube_map: of a picture.
            camera: pinhole, of the picture.
            weight: independent observations that each is worth.
        """
        topology = self._model.topology
        found = find_landmarks(cube_map, landmark_positions())
        rows = found.visible & (topology.landmark_weights.sum(axis=1) > 0)
        sure = np.clip(found.confidence[rows].astype(np.float64), 1e-3, 1.0)
        return Observation(
            camera,
            Places(self._model, topology.landmarks[rows], topology.landmark_weights[rows]),
            found.pixels[rows],
            landmark_positions()[rows].astype(np.float64),
            np.sqrt(_SURE**2 * (1 / sure - 1) + self._options.floor**2),
            np.full(int(rows.sum()), weight),
            sure,
            None,
        )

    def _look_up(self, coords: DoubleArray) -> tuple[np.ndarray, DoubleArray, DoubleArray]:
        if not len(coords):
            return np.zeros(0, np.int32), np.zeros((0, 3)), np.zeros((0, 3))
        return self._surface.closest(coords)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Means over blocks of pixels."""

    pixels: DoubleArray
    coords: DoubleArray
    confidence: DoubleArray
    normals: FloatArray | None

    def rows(self, chosen: BoolArray) -> _Blocks:
        normals = None if self.normals is None else self.normals[chosen]
        return _Blocks(self.pixels[chosen], self.coords[chosen], self.confidence[chosen], normals)


def _average(cube_map: CubeMap, width: int) -> _Blocks:
    """Means over the blocks of width x width pixels that lie on the head and hang together."""
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(cube_map.coords.sum(axis=2) + cube_map.confidence)
    valid = _blocked(cube_map.mask & finite & (cube_map.confidence > 0), width).all(axis=2)
    coords = _blocked(cube_map.coords, width)[valid].astype(np.float64)
    spread = np.ptp(coords, axis=1).max(axis=1)
    step = cube_per_pixel(cube_map) if len(coords) else 1.0
    close = spread <= _MAX_SPREAD * step * width
    y, x = np.nonzero(valid)
    pixels = (np.column_stack([x, y])[close] + 0.5) * width
    sure = _blocked(cube_map.confidence, width)[valid][close].astype(np.float64).mean(axis=1)
    normals = None
    if cube_map.normals is not None:
        total = _blocked(cube_map.normals, width)[valid][close].mean(axis=1)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        normals = (total / np.maximum(length, 1e-6)).astype(np.float32)
    return _Blocks(pixels, coords[close].mean(axis=1), sure, normals)


def _blocked(values: np.ndarray, width: int) -> np.ndarray:
    """(H, W, ...) to (H / width, W / width, width^2, ...)."""
    rows, columns = values.shape[0] // width, values.shape[1] // width
    cut = values[: rows * width, : columns * width]
    parts = cut.reshape(rows, width, columns, width, *values.shape[2:]).swapaxes(1, 2)
    return parts.reshape(rows, columns, width * width, *values.shape[2:])
