"""A fit as GLB: the person at rest, expressions as morph targets, a video as animation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from calib.scale import Similarity
from mvs.canonical.scan import mesh_normals
from mvs.headmodel.curves import arkit_name, arkit_parts
from mvs.headmodel.fit_files import neutral_shape
from mvs.headmodel.types import Fit
from mvs.stages.glb import Motion, write_glb
from mvs.stages.model import Model, Texture
from mvs.types import ByteArray, DoubleArray, FloatArray

# Painted over by whoever has a texture.
_GREY: ByteArray = np.full((8, 8, 3), 200, np.uint8)
# How exactly is told what joints do, metres.
_EXACT_M = 2e-6


def write_fit_glb(path: Path, fit: Fit, posed: Model, to: Similarity, rate: float) -> None:
    """Write a fit as GLB.

    The mesh is the person at rest in the model's own frame, in metres; the node places it. Morph
    targets have ARKit's names where the model has the same expression. Where ARKit moves two sides
    at once and the model each for itself, there is also a target with ARKit's name, of weight zero.
    Joints are no skin: what they do is written as further targets ``joints_0`` and so on, the
    principal displacements of all frames, as many as it takes to be exact to micrometres. Cube
    coordinates are -1 where a vertex has none.

    Args:
        path: the file.
        fit: of T frames.
        posed: the head of the first frame, in the file's axes and unit.
        to: the file's world from the fit's.
        rate: frames a second.
    """
    unit = fit.model.unit_m
    rest = unit * fit.model.vertices(neutral_shape(fit))
    topology = fit.model.topology
    cloud = replace(
        posed.vertices,
        points=rest,
        normals=mesh_normals(rest, topology.faces).astype(np.float32),
        coords=np.nan_to_num(topology.coords, nan=-1.0),
        confidence=fit.confidence.max(axis=0),
    )
    texture = Texture(topology.uv, topology.face_uv, _GREY) if topology.is_textured else None
    head = Model(cloud, topology.faces, texture, posed.unit, posed.up, "png")
    metres = Similarity.of_scale(1 / unit)
    places = tuple(to.compose(place.compose(metres)) for place in fit.world_from_model)
    names, targets, weights = _targets(fit, rest)
    write_glb(path, head, Motion(names, targets, weights, places, rate))


def _targets(fit: Fit, rest: DoubleArray) -> tuple[tuple[str, ...], FloatArray, DoubleArray]:
    """Names, displacements (M, V, 3) in metres and weights (T, M)."""
    model, own = fit.model, fit.model.expression_names
    # At rest, displacements are linear in the expression and the same for every identity.
    shape = replace(model.neutral(), identity=np.zeros(0))
    moves = model.jacobian(shape, np.arange(len(rest), dtype=np.int32))[..., : len(own)]
    targets = (model.unit_m * np.moveaxis(moves, 2, 0)).astype(np.float32)
    names, weights = [arkit_name(name) for name in own], fit.expressions
    if fit.joints.size:
        more, shares = _joint_targets(fit, rest, targets)
        names += [f"joints_{index}" for index in range(len(more))]
        targets, weights = np.concatenate([targets, more]), np.hstack([weights, shares])
    both = {name: rows for name, rows in arkit_parts(own).items() if len(rows) > 1}
    sums = [targets[list(rows)].sum(axis=0)[None] for rows in both.values()]
    nothing = np.zeros((len(weights), len(both)))
    return (*names, *both), np.concatenate([targets, *sums]), np.hstack([weights, nothing])


def _joint_targets(
    fit: Fit, rest: DoubleArray, targets: FloatArray
) -> tuple[FloatArray, DoubleArray]:
    """Displacements (C, V, 3) and weights (T, C) of what expressions leave over."""
    left = np.stack(
        [
            fit.model.unit_m * fit.model.vertices(fit.shape(t))
            - rest
            - np.tensordot(fit.expressions[t], targets.astype(np.float64), 1)
            for t in range(len(fit.expressions))
        ]
    ).reshape(len(fit.expressions), -1)
    weights, sizes, directions = np.linalg.svd(left, full_matrices=False)
    weights = weights * sizes
    n = 0
    while n < len(sizes) and np.abs(left - weights[:, :n] @ directions[:n]).max() > _EXACT_M:
        n += 1
    scale = np.abs(weights[:, :n]).max(axis=0, initial=0.0)
    shown = scale[:, None] * directions[:n]
    return shown.reshape(n, *rest.shape).astype(np.float32), weights[:, :n] / scale
