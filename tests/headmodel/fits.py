"""Small heads, and fits of them, of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.scale import Similarity
from mvs.headmodel.ict import load_ict
from mvs.headmodel.types import Fit, Shape

SIZE = 64


class Nodding:
    """A linear head that also turns about a joint below the face, as a jaw or neck would."""

    name, joint_names = "nodding", ("neck",)

    def __init__(self, head):
        self._head = head
        for name in ("unit_m", "topology", "identity_names", "expression_names"):
            setattr(self, name, getattr(head, name))
        self.expression_bounds = head.expression_bounds

    def neutral(self):
        return replace(self._head.neutral(), joints=np.zeros((1, 3)))

    def vertices(self, shape, rows=None):
        still = self._head.vertices(replace(shape, joints=np.zeros((0, 3))), rows)
        share = np.clip((still[:, 1:2] + 6) / 8, 0, 1)
        pivot = np.array([0.0, -6.0, 0.0])
        turned = Rotation.from_rotvec(shape.joints[0]).apply(still - pivot) + pivot
        return share * turned + (1 - share) * still

    def jacobian(self, shape, rows):
        assert not np.any(shape.joints)
        fixed = self._head.jacobian(replace(shape, joints=np.zeros((0, 3))), rows)
        return np.concatenate([fixed, np.full((len(rows), 3, 3), np.nan)], axis=2)


def small_ict(head_file):
    """With texture places, which the file has not."""
    model = load_ict(head_file)
    uv = np.random.default_rng(1).random((len(model.topology.coords), 2), np.float32)
    model.topology = replace(model.topology, uv=uv, face_uv=model.topology.faces[:, ::-1])
    return model


def make_fit(model, n_frames=1, seed=3):
    """A person before one camera, whose frame is the world: y down, z forward, metres."""
    rng = np.random.default_rng(seed)
    n, joints = len(model.expression_names), len(model.joint_names)
    turns = Rotation.from_euler("xyz", [[180.0, 12.0 * t, 3.0] for t in range(n_frames)], True)
    places = tuple(
        Similarity(model.unit_m * 1.02, turn, np.array([0.01 * t, 0.0, 0.9]))
        for t, turn in enumerate(turns.as_matrix())
    )
    camera = Camera("SIMPLE_PINHOLE", SIZE, SIZE, np.array([130.0, 32, 32]), np.eye(3, 4))
    return Fit(
        model,
        rng.normal(0, 1, len(model.identity_names)),
        rng.uniform(0, 1, (n_frames, n)),
        rng.normal(0, 0.2, (n_frames, joints, 3)),
        places,
        ((camera,),) * n_frames,
        tuple((f"{t:06d}.jpg",) for t in range(n_frames)),
        rng.uniform(0, 1, (n_frames, len(model.topology.coords))).astype(np.float32),
        ("a warning",),
    )


def neutral(fit):
    rest = fit.model.neutral()
    return fit.world_from_model[0].points(
        fit.model.vertices(Shape(fit.identity, rest.expression, rest.joints))
    )
