"""Linear blend skinning as the papers write it, one vertex and one joint at a time."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def skin(arrays, shape, expression, joints):
    """Vertices (V, 3) of FLAME's arrays; ``joints`` (4, 3) are neck, jaw, left and right eye."""
    coefficients = np.concatenate([shape, expression])
    n_shape = int(arrays["n_shape"])
    modes = np.concatenate(
        [
            arrays["shapedirs"][..., : len(shape)],
            arrays["shapedirs"][..., n_shape:],
        ],
        axis=2,
    )
    shaped = arrays["v_template"].astype(float).copy()
    for coefficient, mode in zip(coefficients, np.moveaxis(modes, 2, 0), strict=True):
        shaped += coefficient * mode
    places = [row @ shaped for row in arrays["J_regressor"]]
    turns = [np.eye(3), *(Rotation.from_rotvec(vector).as_matrix() for vector in joints)]
    feature = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    rest = shaped + sum(
        k * direction
        for k, direction in zip(feature, np.moveaxis(arrays["posedirs"], 2, 0), strict=True)
    )
    parents = arrays["kintree_table"][0].astype(int)
    world = []
    for joint, turn in enumerate(turns):
        local = np.eye(4)
        local[:3, :3] = turn
        before = 0 if joint == 0 else places[parents[joint]]
        local[:3, 3] = places[joint] - before
        world.append(local if joint == 0 else world[parents[joint]] @ local)
    posed = np.zeros_like(rest)
    for vertex, (place, weights) in enumerate(zip(rest, arrays["weights"], strict=True)):
        for joint, weight in enumerate(weights):
            from_joint = world[joint] @ np.append(place - places[joint], 1.0)
            posed[vertex] += weight * from_joint[:3]
    return posed
