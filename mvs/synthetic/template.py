"""The canonical head as a mesh, from what rendered training pictures say of the cube.

Pictures of the mean person from all around give, at each pixel of skin, a place of the cube and a
normal; these and their mirror images are meshed, cut at the neck and simplified. Topology, atlas
and regions are this project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mvs.canonical.parts import region_of
from mvs.canonical.regions import REGIONS
from mvs.canonical.unwrap import unwrap
from mvs.stages.mesh import collapse_edges, largest_pieces
from mvs.stages.meshers import Evidence, mesh_poisson
from mvs.synthetic.capture import sitter
from mvs.synthetic.head import load_head
from mvs.synthetic.render import Shot, look_at, render
from mvs.synthetic.scene import Scene, Studio, build_scene
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray, PointCloud

_OUTSIDE = ("skin", "brow", "eye", "nose", "lip", "ear", "neck", "hair")
_MIN_COSINE = 0.2


@dataclass(frozen=True)
class TemplateOptions:
    """How the canonical head is made.

    Attributes:
        head: the packed morphable head that the training pictures are rendered from.
        n_shots: pictures, spread evenly over the sphere.
        size: of each, pixels.
        depth: of Poisson's octree.
        n_faces: of the result.
        neck: where the neck is cut, v in the cube.
        voxel: edge of a voxel of the cube that keeps one sample.
    """

    head: Path
    n_shots: int = 96
    size: int = 640
    depth: int = 8
    n_faces: int = 16_000
    neck: float = 0.17
    voxel: float = 0.0025


def build_template(
    options: TemplateOptions, progress: Callable[[], None] | None = None
) -> dict[str, np.ndarray]:
    """Make the arrays of ``template.npz``.

    Args:
        options: see ``TemplateOptions``.
        progress: called once per picture.

    Returns:
        ``coords`` (V, 3) float32, ``faces`` (F, 3) int32, ``atlas`` (W, 2) float32, ``atlas_faces``
        (F, 3) int32, and ``region`` (V,) uint8.

    Raises:
        ValueError: if the head model cannot be read, or the surface is no disc.
    """
    coords, normals = _samples(options, progress)
    nothing = np.zeros(len(coords))
    cloud = PointCloud(
        points=coords - 0.5,
        normals=normals.astype(np.float32),
        colors=np.zeros((len(coords), 3), np.uint8),
        coords=coords.astype(np.float32),
        confidence=nothing.astype(np.float32),
        n_views=nothing.astype(np.int32),
    )
    vertices, faces = mesh_poisson(Evidence(cloud, options.voxel, options.depth, ()))
    vertices, faces = clip(vertices + 0.5, faces, options.neck)
    vertices, faces = _used(vertices, largest_pieces(faces, len(vertices), 0.5))
    vertices, faces = _used(*collapse_edges(vertices, faces, options.n_faces))
    found = vertices.astype(np.float32)
    atlas, atlas_faces = unwrap(found, faces)
    return {
        "coords": found,
        "faces": faces,
        "atlas": atlas,
        "atlas_faces": atlas_faces,
        "region": region_of(found),
    }


def clip(vertices: DoubleArray, faces: IntArray, level: float) -> tuple[DoubleArray, IntArray]:
    """The part of a surface above a height, cut straight.

    Args:
        vertices: (V, 3).
        faces: (F, 3) int32.
        level: of the second coordinate.
    """
    above = vertices[:, 1] >= level
    count = above[faces].sum(axis=1)
    added: dict[tuple[int, int], int] = {}
    places: list[DoubleArray] = []

    def crossing(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in added:
            p, q = vertices[key[0]], vertices[key[1]]
            added[key] = len(vertices) + len(places)
            places.append(p + (level - p[1]) / (q[1] - p[1]) * (q - p))
        return added[key]

    kept = [faces[count == 3]]
    for face in faces[(count == 1) | (count == 2)].tolist():
        ring = []
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            if above[a]:
                ring.append(a)
            if above[a] != above[b]:
                ring.append(crossing(a, b))
        kept.append(np.array([[ring[0], ring[i], ring[i + 1]] for i in range(1, len(ring) - 1)]))
    return np.concatenate([vertices, *(p[None] for p in places)]), np.concatenate(kept).astype(
        np.int32
    )


def _samples(
    options: TemplateOptions, progress: Callable[[], None] | None
) -> tuple[DoubleArray, DoubleArray]:
    """Places (N, 3) and normals (N, 3) of the outside of the mean person and the mirror image."""
    studio = Studio(load_head(options.head))
    person = sitter(studio, 0)
    mean = replace(person, identity=np.zeros_like(person.identity), hair=None)
    built = build_scene(studio, mean, ())
    scene = replace(built, layers=built.layers[:1], locks=None)
    coords, normals = [], []
    for shot in _shots(options):
        found = _outside(scene, shot)
        coords.append(found[0])
        normals.append(found[1])
        if progress is not None:
            progress()
    places, directions = np.concatenate(coords), np.concatenate(normals)
    places = np.concatenate([places, places * [-1, 1, 1] + [1, 0, 0]])
    directions = np.concatenate([directions, directions * [-1, 1, 1]])
    cells, first = np.unique(
        np.floor(places / options.voxel).astype(np.int64), axis=0, return_index=True
    )
    del cells
    return places[np.sort(first)], directions[np.sort(first)]


def _shots(options: TemplateOptions) -> Iterator[Shot]:
    """Cameras on a spiral around the head."""
    golden = np.pi * (3 - np.sqrt(5))
    for index in range(options.n_shots):
        height = 1 - 2 * (index + 0.5) / options.n_shots
        shot = look_at(np.array([0.0, 1.0, 0.0]), golden * index, float(np.arcsin(height)), 0, 130)
        center = (options.size / 2, options.size / 2)
        focal = 0.8 * options.size * 130 / 34
        yield replace(shot, focal=focal, center=center, size=(options.size, options.size))


def _outside(scene: Scene, shot: Shot) -> tuple[DoubleArray, DoubleArray]:
    """What one picture shows of the skin, where it faces the camera."""
    photo = render(scene, shot, np.zeros((*shot.size, 3), np.float32), 1, 1)
    wanted: BoolArray = np.isin(photo.region, [REGIONS.index(name) for name in _OUTSIDE])
    back: FloatArray = -shot.R[2].astype(np.float32)
    wanted &= photo.mask & (photo.normals @ back > _MIN_COSINE)
    return photo.coords[wanted].astype(np.float64), photo.normals[wanted].astype(np.float64)


def _used(vertices: DoubleArray, faces: IntArray) -> tuple[DoubleArray, IntArray]:
    """Without vertices that no face has."""
    used, corners = np.unique(faces, return_inverse=True)
    return vertices[used], corners.reshape(-1, 3).astype(np.int32)
