"""A reconstruction as evidence: how far the model's surface is from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.canonical.mesh_places import SurfaceMesh
from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.canonical.surface import Surface, blend
from mvs.headmodel.places import Places
from mvs.headmodel.state import State
from mvs.headmodel.types import HeadModel
from mvs.kernels.raster import vertex_normals
from mvs.types import DoubleArray

# Hair and clothes lie off the model's skin.
_SKIN = ("skin", "brow", "nose", "lip", "ear")
_SAME_SIDE = 0.7


@dataclass(frozen=True)
class SurfaceOptions:
    """How a reconstruction counts.

    Attributes:
        places: of the model that are compared with it, at most.
        sigma_mm: what the reconstruction is wrong by.
        reach_mm: errors of places nearer than this are alike.
        gate_mm: places farther from the model than this are not compared, at first; it shrinks as
            ``FitOptions.bound`` does.
        cube_gate: nor are those whose cube coordinates differ by more.
        hair_gate: nor are those that lie farther than this outside of the model's skin in the
            cube: the coordinates of hair do.
    """

    places: int = 2000
    sigma_mm: float = 0.5
    reach_mm: float = 6.0
    gate_mm: float = 16.0
    cube_gate: float = 0.04
    hair_gate: float = 0.005

    def __post_init__(self) -> None:
        if self.places < 1:
            raise ValueError(f"places must be at least 1, got {self.places}")
        if not min(self.sigma_mm, self.reach_mm, self.gate_mm, self.cube_gate, self.hair_gate) > 0:
            raise ValueError(f"sigma, reach and gates must be positive, got {self}")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Places of the model with those of the reconstruction next to them.

    Attributes:
        places: N places of the model.
        targets: (N, 3) on the reconstruction, world.
        normals: (N, 3) its unit normals there.
        weight: (N,) independent observations that each is worth.
        confidence: (N,) of the reconstruction there.
    """

    places: Places
    targets: DoubleArray
    normals: DoubleArray
    weight: DoubleArray
    confidence: DoubleArray


class Reconstruction:
    """A mesh with cube coordinates, to fit a model to."""

    def __init__(
        self, mesh: SurfaceMesh, model: HeadModel, options: SurfaceOptions | None = None
    ) -> None:
        self.options = options or SurfaceOptions()
        self._mesh = mesh
        self._surface = Surface(mesh.points, mesh.faces)
        normals = vertex_normals(mesh.points.astype(np.float32), mesh.faces)
        self._normals = normals.astype(np.float64)
        self._places, self._coords, self._outwards, self._area = _sample(model, self.options.places)

    def __len__(self) -> int:
        """Places of the model that are compared with it."""
        return len(self._places)

    def pair(self, state: State, gate_mm: float, unit_mm: float) -> Pairs:
        """The places of the reconstruction nearest to those of the model.

        Args:
            state: of the head.
            gate_mm: see ``SurfaceOptions``.
            unit_mm: length of the world's unit.
        """
        points = state.world_from_model.points(self._places.points(state.shape))
        face, shares, nearest = self._surface.closest(points)
        faces = self._mesh.faces
        normals = blend(self._normals, faces, face, shares)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        coords = blend(self._mesh.coords, faces, face, shares)
        own = self._places.normals(state.shape)[0] @ state.world_from_model.rotation.T
        good = (own * normals).sum(axis=1) > _SAME_SIDE
        good &= np.linalg.norm(nearest - points, axis=1) * unit_mm <= gate_mm
        away = coords - self._coords
        good &= np.linalg.norm(away, axis=1) <= self.options.cube_gate
        good &= (away * self._outwards).sum(axis=1) <= self.options.hair_gate
        good &= ~self._surface.at_border(face, shares)
        per_mm2 = (state.world_from_model.scale * unit_mm) ** 2
        weight = np.minimum(self._area[good] * per_mm2 / self.options.reach_mm**2, 1.0)
        sure = blend(self._mesh.confidence, faces, face, shares)[good]
        return Pairs(self._places.rows(good), nearest[good], normals[good], weight, sure)


def _sample(model: HeadModel, n: int) -> tuple[Places, DoubleArray, DoubleArray, DoubleArray]:
    """Middles of the model's faces on skin, their cube coordinates, outward directions and areas.

    Faces are chosen evenly by area, always the same.
    """
    topology = model.topology
    coords = topology.coords.astype(np.float64)
    middle = coords[topology.faces].mean(axis=1)
    skin = [REGIONS.index(name) for name in _SKIN]
    outer = [
        i for i, name in enumerate(topology.part_names) if name in ("face", "head", "head_neck")
    ]
    kept = np.isin(region_of(middle.astype(np.float32)), skin)
    kept &= np.isin(topology.parts, outer)[topology.faces].all(axis=1)
    faces = topology.faces[kept]
    corners = model.vertices(model.neutral())[faces]
    area = 0.5 * np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    ends = np.cumsum(area)
    steps = (np.arange(n) + 0.5) / n * ends[-1]
    chosen, count = np.unique(np.searchsorted(ends, steps), return_counts=True)
    shares = np.full((len(chosen), 3), 1 / 3)
    a, b, c = coords[faces[chosen]].transpose(1, 0, 2)
    outwards = np.cross(b - a, c - a)
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-12)
    places = Places(model, faces[chosen], shares)
    return places, middle[kept][chosen], outwards, count * ends[-1] / n
