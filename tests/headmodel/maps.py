"""Exact cube maps of posed models: what a network that is never wrong would say."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.scale import Similarity
from mvs.kernels.raster import rasterise, vertex_normals
from mvs.types import CubeMap

DOWN = np.diag([1.0, -1.0, -1.0])


def camera_at(azimuth_deg=0.0, size=64, focal=127.0, distance=0.55, center=(0.0, 0.0, 0.0)):
    """A pinhole camera that looks at a head whose world is metres, y up, face to +z."""
    turn = Rotation.from_euler("y", azimuth_deg, degrees=True).as_matrix()
    rotation = DOWN @ turn.T
    translation = np.array([0, 0, distance]) - rotation @ center
    params = np.array([focal, focal, size / 2 + 1.5, size / 2 - 2.0])
    return Camera("PINHOLE", size, size, params, np.column_stack([rotation, translation]))


def person(model, seed=0, expression=0.5, joints=0.0):
    """A random shape within the model's bounds."""
    rng = np.random.default_rng(seed)
    rest = model.neutral()
    low, high = np.clip(model.expression_bounds, -1, 1).T
    amount = rng.uniform(low, high) * (rng.random(len(low)) < 0.5) * expression
    for index, name in enumerate(model.expression_names):
        # Nothing in a map tells which way an eye looks.
        if name.startswith("eyeLook"):
            amount[index] = 0.0
    turns = joints * rng.normal(0, 1, rest.joints.shape)
    return type(rest)(rng.normal(0, 0.8, len(rest.identity)), amount, turns)


def place(model, azimuth_deg=0.0, scale=1.0, translation=(0.0, 0.0, 0.0)):
    turn = Rotation.from_euler("yx", [azimuth_deg, 3.0], degrees=True).as_matrix()
    return Similarity(model.unit_m * scale, turn, np.asarray(translation, np.float64))


def map_of(model, shape, world_from_model, camera):
    """The cube map of a head at the picture's own resolution."""
    topology = model.topology
    vertices = model.vertices(shape)
    pixels, depth = camera.project(world_from_model.points(vertices))
    size = (camera.height, camera.width)
    buffers = rasterise(pixels, depth, topology.faces, size)
    mask = buffers.face >= 0
    corners = topology.faces[buffers.face]
    weights = buffers.barycentric.astype(np.float64)
    coords = np.einsum("hwk,hwkc->hwc", weights, topology.coords[corners])
    a, b, c = (vertices[corners[..., k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    mask &= np.isfinite(coords).all(axis=-1)
    return CubeMap(
        np.where(mask[..., None], coords, 0.0).astype(np.float32),
        mask.astype(np.float32),
        mask,
        np.eye(2, 3),
        normals.astype(np.float32),
    )


def spoiled(cube_map, share, seed=0):
    """A map with some of its pixels anywhere on the head."""
    rng = np.random.default_rng(seed)
    coords = cube_map.coords.copy()
    y, x = np.nonzero(cube_map.mask)
    bad = rng.random(len(y)) < share
    other = rng.permutation(len(y))[: bad.sum()]
    coords[y[bad], x[bad]] = cube_map.coords[y[other], x[other]]
    return CubeMap(coords, cube_map.confidence, cube_map.mask, cube_map.image_from_map)


def half_hidden(cube_map):
    """A map of which the right half is hidden."""
    mask = cube_map.mask.copy()
    mask[:, mask.shape[1] // 2 :] = False
    return CubeMap(
        cube_map.coords, cube_map.confidence, mask, cube_map.image_from_map, cube_map.normals
    )


def mesh_normals(vertices, faces):
    return vertex_normals(vertices.astype(np.float32), faces)


class MapEmbedder:
    """Gives pictures the maps that are theirs: the red value of the first pixel is the number."""

    name, wants_distorted = "maps", False

    def __init__(self, maps):
        self.maps = maps

    def find_head(self, image, name=None):
        from mvs.types import Square

        return Square((image.shape[1] / 2, image.shape[0] / 2), float(image.shape[0]))

    def embed(self, image, region=None, name=None):
        return self.maps[int(image[0, 0, 0])]


def picture(number, size=64):
    image = np.zeros((size, size, 3), np.uint8)
    image[0, 0, 0] = number
    return image


def pupils_mm(model, shape):
    """Distance between the centres of a head's eyeballs, eyes straight ahead."""
    still = replace(shape, expression=0 * shape.expression, joints=0 * shape.joints)
    vertices, topology = model.vertices(still), model.topology
    left, right = (
        vertices[topology.parts == topology.part_names.index(name)].mean(axis=0)
        for name in ("left_eye", "right_eye")
    )
    return 1000 * model.unit_m * float(np.linalg.norm(left - right))
