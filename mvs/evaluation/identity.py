"""How well the maps of two people agree: points followed from one person's head to the other's.

A point of the first person's true surface is looked up in the map of a picture of that person, and
the coordinate found there in the map of a picture of the second; the truth is where the second
person's surface has the first point's true coordinate. Pixels are counted in pictures 512 wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from calib.capture import CaptureError
from mvs.canonical.pose import HeadPose, head_pose
from mvs.evaluation.truth import PART_NAMES, SurfacePoints, Truth, mesh_scene, tensor
from mvs.kernels.nearest import nearest
from mvs.kernels.subpixel import locate
from mvs.stages.embed import EmbeddedViews
from mvs.stages.ply import read_properties
from mvs.stages.views import MatchView, map_from_image, prepare_view, sample_coords
from mvs.types import BoolArray, CubeMap, DoubleArray, FloatArray

_PICTURE = 512.0
_MAX_EDGE = 8.0 / 512.0
_MAX_SHIFT = 4.0


@dataclass(frozen=True)
class IdentityOptions:
    """What is measured.

    Attributes:
        parts: names of the truth's parts that points are taken from.
        n_points: on the first person's surface.
        max_angle_deg: between the directions two pictures are taken from, each in its own head's
            frame.
        pck: shares of the head's size within which a point counts as found.
        max_gap: farthest that the second person's surface may be from a coordinate, in the cube.
    """

    parts: tuple[str, ...] = ("face", "head_neck")
    n_points: int = 5000
    max_angle_deg: float = 30.0
    pck: tuple[float, ...] = (0.01, 0.02, 0.05)
    max_gap: float = 0.002

    def __post_init__(self) -> None:
        if not self.parts or not set(self.parts) <= set(PART_NAMES):
            raise ValueError(f"parts must be of {', '.join(PART_NAMES)}, got {self.parts}")
        if self.n_points < 1:
            raise ValueError(f"n_points must be at least 1, got {self.n_points}")
        if not (0 < self.max_angle_deg <= 180 and self.max_gap > 0):
            raise ValueError(f"max_angle_deg must be in (0, 180] and max_gap > 0, got {self}")


@dataclass(frozen=True)
class IdentityFigures:
    """Points of one part followed from person to person.

    Attributes:
        part: of the head.
        n_pairs: pairs of pictures.
        n: points followed, over all pairs.
        found: share of them that had a coordinate in the first picture and a place in the second.
        epe_median: median end-point error, pixels of a picture 512 wide.
        pck: share within each of the options' shares of the head's size; not found is not within.
    """

    part: str
    n_pairs: int
    n: int
    found: float
    epe_median: float
    pck: tuple[float, ...]


def cross_identity(
    first: tuple[Truth, EmbeddedViews],
    second: tuple[Truth, EmbeddedViews],
    options: IdentityOptions | None = None,
) -> tuple[IdentityFigures, ...]:
    """Follow points of the first person into pictures of the second, by the maps alone.

    Args:
        first: the first person's truth, and the views of its capture with their maps.
        second: the same of the second.
        options: what is measured.

    Returns:
        Figures by part, in the options' order; parts without a point are left out.

    Raises:
        CaptureError: if a truth holds no cube coordinates.
    """
    options = options or IdentityOptions()
    points = first[0].sample(options.n_points)
    wanted = np.isin(points.parts, [PART_NAMES.index(name) for name in options.parts])
    points = SurfacePoints(points.positions[wanted], points.coords[wanted], points.parts[wanted])
    positions, same = _counterparts(second[0], points.coords, options)
    starts, ends = _looks(*first, points.positions), _looks(*second, positions)
    errors: dict[str, list[tuple[DoubleArray, float]]] = {name: [] for name in options.parts}
    for start in starts:
        for end in ends:
            both = start.seen & end.seen & same
            if start.direction @ end.direction < np.cos(np.deg2rad(options.max_angle_deg)):
                continue
            error = _follow(start, end, both)
            for name in options.parts:
                chosen = error[points.parts[both] == PART_NAMES.index(name)]
                if len(chosen):
                    errors[name].append((chosen, end.head_size))
    return tuple(_figures(name, pairs, options.pck) for name, pairs in errors.items() if pairs)


@dataclass(frozen=True, eq=False)
class _Look:
    """One picture of one person.

    Attributes:
        cube_map: of the picture.
        view: the map made ready for queries.
        direction: (3,) unit vector to the camera in the head's frame.
        pixels: (N, 2) true pixels of the points.
        seen: (N,) bool, which of them the picture shows.
        unit: pixels of a picture 512 wide per pixel of this one.
        head_size: of the head in the picture, pixels of a picture 512 wide.
    """

    cube_map: CubeMap
    view: MatchView
    direction: DoubleArray
    pixels: DoubleArray
    seen: BoolArray
    unit: float
    head_size: float


def _looks(truth: Truth, embedded: EmbeddedViews, positions: DoubleArray) -> list[_Look]:
    """All pictures of one person with the points (N, 3), NaN for none; those without a map not."""
    pose = _pose(truth)
    known = np.isfinite(positions).all(axis=1)
    looks = []
    for view, camera, cube_map in zip(
        truth.capture.views, embedded.cameras, embedded.cube_maps, strict=True
    ):
        seen = np.zeros(len(positions), np.bool_)
        seen[known] = truth.visible(view, positions[known])
        ready = prepare_view(cube_map, camera, 0.0, _MAX_EDGE)
        if not seen.any() or not len(ready.pixels):
            continue
        unit = _PICTURE / camera.width
        pixels = np.nan_to_num(camera.project(positions)[0], nan=-1e6)
        size = float(np.ptp(pixels[seen], axis=0).max()) * unit
        direction = pose.direction(camera.center)
        looks.append(_Look(cube_map, ready, direction, pixels, seen, unit, size))
    return looks


def _pose(truth: Truth) -> HeadPose:
    coords, _ = _surface(truth)
    return head_pose(coords.astype(np.float64), truth.vertices)


def _surface(truth: Truth) -> tuple[FloatArray, Any]:
    """(V, 3) cube coordinates of the truth's vertices, and their parts (V,)."""
    path = truth.capture.path / "gt" / "mesh.ply"
    vertex, _ = read_properties(path)
    if "u" not in vertex:
        raise CaptureError(path, "holds no cube coordinates", "write u v w at its vertices")
    parts = vertex.get("part", np.zeros(len(vertex["u"]), np.int32))
    return np.column_stack([vertex[name] for name in "uvw"]).astype(np.float32), parts


def _counterparts(
    truth: Truth, coords: FloatArray, options: IdentityOptions
) -> tuple[DoubleArray, BoolArray]:
    """Where a person's surface has coordinates (N, 3): positions, and whether it has them."""
    at_vertex, parts = _surface(truth)
    allowed = np.isin(parts, [PART_NAMES.index(name) for name in options.parts])
    faces = truth.faces[allowed[truth.faces].all(axis=1)]
    positions = np.full((len(coords), 3), np.nan)
    if not len(faces):
        return positions, np.zeros(len(coords), np.bool_)
    scene = mesh_scene([(at_vertex.astype(np.float64), faces)])
    found = scene.compute_closest_points(tensor(coords, np.float32))
    corners = faces[found["primitive_ids"].numpy().astype(np.int64)]
    uv = found["primitive_uvs"].numpy().astype(np.float64)
    weights = np.column_stack([1 - uv.sum(axis=1), uv])
    gap = np.linalg.norm(found["points"].numpy() - coords, axis=1)
    same = gap <= options.max_gap
    positions[same] = np.einsum("nk,nkc->nc", weights, truth.vertices[corners])[same]
    return positions, np.asarray(same)


def _follow(start: _Look, end: _Look, rows: BoolArray) -> DoubleArray:
    """End-point errors of points, pixels of a picture 512 wide; infinite where not found."""
    error = np.full(int(rows.sum()), np.inf)
    to_map = map_from_image(start.cube_map)
    on_map = start.pixels[rows] @ to_map[:, :2].T + to_map[:, 2]
    height, width = start.view.valid.shape
    column, row = np.floor(on_map).astype(np.int64).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    has = inside & start.view.valid[row, column]
    if not has.any():
        return error
    targets = sample_coords(start.view.coords, on_map[has])
    near = nearest(end.view.grid, targets).index
    pixels = end.view.pixels[near]
    place, distance = locate(end.view.coords, end.view.cells, targets, pixels, _MAX_SHIFT)
    place = np.where(np.isfinite(distance)[:, None], place, end.view.centers(pixels))
    affine = end.cube_map.image_from_map
    found = place @ affine[:, :2].T + affine[:, 2]
    error[has] = np.linalg.norm(found - end.pixels[rows][has], axis=1) * end.unit
    return error


def _figures(
    name: str, pairs: list[tuple[DoubleArray, float]], bounds: tuple[float, ...]
) -> IdentityFigures:
    errors = np.concatenate([error for error, _ in pairs])
    shares = np.concatenate([error / size for error, size in pairs])
    found = np.isfinite(errors)
    return IdentityFigures(
        name,
        len(pairs),
        len(errors),
        float(found.mean()),
        float(np.median(errors[found])) if found.any() else float("nan"),
        tuple(float((shares <= bound).mean()) for bound in bounds),
    )
