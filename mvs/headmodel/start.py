"""Where a fit begins: the mean head, placed by the cube's correspondences."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from calib.camera import Camera
from calib.scale import Similarity, umeyama
from mvs.canonical.carry import Correspondences, apply_affine, fit_affine
from mvs.errors import ReconstructionError
from mvs.headmodel.observe import Observation
from mvs.headmodel.state import cross_matrix
from mvs.headmodel.types import HeadModel
from mvs.types import DoubleArray

_known: WeakKeyDictionary[HeadModel, Similarity] = WeakKeyDictionary()
_LOOK_CLOSER = "give a picture with the face in it, large and sharp"


def cube_from_model(model: HeadModel) -> Similarity:
    """Where the model lies in the cube, by the neutral head; found once for each model."""
    if model not in _known:
        _known[model] = _cube_from_model(model)
    return _known[model]


def _cube_from_model(model: HeadModel) -> Similarity:
    coords = model.topology.coords.astype(np.float64)
    known = np.isfinite(coords).all(axis=1)
    return umeyama(model.vertices(model.neutral())[known], coords[known])


def shows_head(seen: Observation) -> bool:
    """Whether enough is seen, and in all directions, to tell where the head is."""
    return _pairs(seen).spreads()


def place_in_view(seen: Observation, scale: float) -> Similarity:
    """A head of known size in the world, by what one picture shows of it.

    Args:
        seen: places with their pixels.
        scale: of the world per unit of the model.

    Returns:
        ``world_from_model``, by a scaled orthographic camera: near enough to begin with.

    Raises:
        ReconstructionError: if the picture shows too little of a head.
    """
    pairs = _pairs(seen)
    if not pairs.spreads():
        raise ReconstructionError(f"{len(seen)} places of a head are seen", _LOOK_CLOSER)
    fit, _ = fit_affine(pairs)
    cube = cube_from_model(seen.places.model)
    rotation, pixels_per_cube = _nearest_rotation(fit[1:].T)
    camera = seen.camera
    middle = apply_affine(fit, np.full((1, 3), 0.5))[0]
    depth = camera.K[0, 0] * scale / (pixels_per_cube * cube.scale)
    plane = (middle - camera.K[:2, 2]) / [camera.K[0, 0], camera.K[1, 1]]
    local = np.append(plane, 1.0) * depth
    turned = camera.rotation.T @ _tilted(rotation, local) @ cube.rotation
    centre = cube.inverse().points(np.full((1, 3), 0.5))[0]
    place = camera.rotation.T @ (local - camera.translation)
    return Similarity(scale, turned, place - scale * turned @ centre)


def _pairs(seen: Observation) -> Correspondences:
    return Correspondences(seen.coords, seen.pixels, seen.confidence).thinned()


def _tilted(rotation: DoubleArray, ray: DoubleArray) -> DoubleArray:
    """The rotation as it is off the picture's middle, where the orthographic axis is the ray."""
    ray = ray / np.linalg.norm(ray)
    cross = cross_matrix(np.cross([0.0, 0.0, 1.0], ray))
    return np.asarray((np.eye(3) + cross + cross @ cross / (1 + ray[2])) @ rotation)


def _nearest_rotation(linear: DoubleArray) -> tuple[DoubleArray, float]:
    """Rotation and scale of a scaled orthographic camera (2, 3)."""
    left, strength, right = np.linalg.svd(linear, full_matrices=False)
    rows = left @ right
    return np.vstack([rows, np.cross(rows[0], rows[1])]), float(strength.mean())


def place_by_views(
    model: HeadModel, coords: DoubleArray, positions: DoubleArray, scale: float | None
) -> Similarity:
    """The mean head where triangulated places of the cube lie.

    Args:
        model: the head.
        coords: (N, 3) cube coordinates.
        positions: (N, 3) in the world; NaN where unknown.
        scale: of the world per unit of the model, None where that is not known.
    """
    from mvs.canonical.pose import head_pose

    pose = head_pose(coords, positions)
    found = Similarity(pose.scale, pose.rotation, pose.translation).compose(cube_from_model(model))
    if scale is None:
        return found
    middle = model.vertices(model.neutral()).mean(axis=0)
    kept = found.points(middle[None])[0] - scale * found.rotation @ middle
    return Similarity(scale, found.rotation, kept)


def best_view(seen: Sequence[Observation]) -> Observation:
    """The view that shows most."""
    return max(seen, key=lambda view: float(view.weight.sum()))


def simple_camera(width: int, height: int, focal_px: float) -> Camera:
    """A camera at the origin whose principal point is the picture's middle."""
    params = np.array([focal_px, width / 2, height / 2])
    return Camera("SIMPLE_PINHOLE", width, height, params, np.eye(3, 4))
