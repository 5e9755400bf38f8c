"""What a head model is, in words and in pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mvs.canonical.draw import stack_columns, stack_rows, with_title
from mvs.headmodel.types import HeadModel, Shape
from mvs.kernels.raster import rasterise, vertex_normals
from mvs.types import BoolArray, ByteArray, DoubleArray

_PAPER, _SKIN, _MARK = (248, 248, 246), (205, 190, 178), (200, 30, 30)
_LIGHT = np.array([0.25, 0.35, 0.9]) / np.linalg.norm([0.25, 0.35, 0.9])
# Degrees that the head is turned to its right.
_SIDES = {"front": 0.0, "left side": 90.0, "back": 180.0}
_DEVIATIONS, _JOINT_RAD = 2.5, 0.35
_N_IDENTITIES, _COLUMNS = 3, 6
# Expressions that show well; of models without such names the first ones.
_SHOWN = ("jawOpen", "mouthSmile_L", "mouthPucker", "browInnerUp_L", "eyeBlink_L", "noseSneer_R")
_SEEN_THROUGH = 0.01


def describe(model: HeadModel) -> dict[str, str]:
    """Facts about a model, by name, in order."""
    topology = model.topology
    counts = np.bincount(topology.parts, minlength=len(topology.part_names))
    parts = zip(topology.part_names, counts.tolist(), strict=True)
    points = model.vertices(model.neutral())[used_vertices(model)]
    size = np.ptp(points, axis=0) * model.unit_m * 100
    return {
        "model": model.name,
        "unit": f"{model.unit_m:g} m",
        "size": " x ".join(f"{k:.1f}" for k in size) + " cm",
        "vertices": f"{len(topology.coords)}, {len(points)} of them in faces",
        "faces": f"{len(topology.faces)}",
        "in the cube": f"{int(np.isfinite(topology.coords).all(axis=1).sum())} vertices",
        "identity": f"{len(model.identity_names)} modes",
        "expression": f"{len(model.expression_names)} modes: {_some(model.expression_names)}",
        "joints": " ".join(model.joint_names) or "none",
        "parts": ", ".join(f"{name} {count}" for name, count in parts if count),
        "texture": "places for all faces" if topology.is_textured else "none",
        "landmarks": f"{len(topology.landmarks)}",
    }


def used_vertices(model: HeadModel) -> BoolArray:
    """(V,) bool, vertices that faces have."""
    used = np.zeros(len(model.topology.coords), np.bool_)
    used[model.topology.faces] = True
    return used


def draw_model(model: HeadModel, size: int = 360) -> ByteArray:
    """The mean head with its landmarks from three sides, and below it some of its modes.

    Args:
        model: any.
        size: of one head, pixels.

    Returns:
        (H, W, 3) uint8.
    """
    neutral = model.vertices(model.neutral())
    frame = _frame(model, neutral)
    marks = model.topology.landmarks_on(neutral)
    heads = [
        with_title(_draw(model, neutral, frame, size, yaw, marks), title)
        for title, yaw in _SIDES.items()
    ]
    shapes = list(_examples(model))
    rows = [stack_columns(heads)]
    small = size // 2
    for first in range(0, len(shapes), _COLUMNS):
        drawn = [
            with_title(_draw(model, model.vertices(shape), frame, small), title)
            for title, shape in shapes[first : first + _COLUMNS]
        ]
        rows.append(stack_columns(drawn))
    return stack_rows(_padded(rows))


def _examples(model: HeadModel) -> Iterator[tuple[str, Shape]]:
    """Titles and shapes worth seeing."""
    rest = model.neutral()
    for k, name in enumerate(model.identity_names[:_N_IDENTITIES]):
        for sign in (-1, 1):
            identity = np.zeros_like(rest.identity)
            identity[k] = sign * _DEVIATIONS
            yield f"{name} {sign * _DEVIATIONS:+g}", replace(rest, identity=identity)
    names = [name for name in _SHOWN if name in model.expression_names]
    for name in names or model.expression_names[: len(_SHOWN)]:
        expression = np.zeros_like(rest.expression)
        k = model.expression_names.index(name)
        expression[k] = min(_DEVIATIONS, model.expression_bounds[k, 1])
        yield name, replace(rest, expression=expression)
    for k, name in enumerate(model.joint_names):
        joints = np.zeros_like(rest.joints)
        joints[k, 0 if name in ("neck", "jaw") else 1] = _JOINT_RAD
        yield f"{name} {np.rad2deg(_JOINT_RAD):.0f} degrees", replace(rest, joints=joints)


def _frame(model: HeadModel, vertices: DoubleArray) -> tuple[DoubleArray, float]:
    """Middle (3,) and size of what is shown."""
    points = vertices[used_vertices(model)]
    low, high = points.min(axis=0), points.max(axis=0)
    return 0.5 * (low + high), float((high - low).max()) * 1.08


def _draw(
    model: HeadModel,
    vertices: DoubleArray,
    frame: tuple[DoubleArray, float],
    size: int,
    yaw_deg: float = 0.0,
    marks: DoubleArray | None = None,
) -> ByteArray:
    """A head seen in parallel, shaded, with the landmarks that are in sight."""
    import cv2

    (middle, extent), yaw = frame, np.deg2rad(yaw_deg)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])

    def project(points: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        place = (points - middle) @ turn.T / extent
        return place[:, :2] * [size, -size] + size / 2, 2.0 - place[:, 2]

    pixels, depth = project(vertices)
    faces = model.topology.faces
    seen = rasterise(pixels, depth, faces, (size, size), True, True)
    on = seen.face >= 0
    normals = vertex_normals(vertices, faces)[faces[seen.face[on]]]
    across = np.einsum("nk,nkc->nc", seen.barycentric[on], normals)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    shade = 0.4 + 0.6 * np.clip(across @ turn.T @ _LIGHT, 0, 1)
    drawn = np.empty((size, size, 3), np.uint8)
    drawn[:] = _PAPER
    drawn[on] = np.clip(np.array(_SKIN) * shade[:, None], 0, 255).astype(np.uint8)
    for (x, y), z in zip(*project(marks), strict=True) if marks is not None else ():
        column, row = (int(np.clip(k, 0, size - 1)) for k in (x, y))
        if z <= seen.depth[row, column] + _SEEN_THROUGH:
            at = (round((x - 0.5) * 16), round((y - 0.5) * 16))
            cv2.circle(drawn, at, 32, _MARK, -1, cv2.LINE_AA, 4)
    return drawn


def _padded(rows: list[ByteArray]) -> list[ByteArray]:
    """Rows of one width."""
    width = max(row.shape[1] for row in rows)
    padded = []
    for row in rows:
        wide = np.empty((len(row), width, 3), np.uint8)
        wide[:] = _PAPER
        wide[:, : row.shape[1]] = row
        padded.append(wide)
    return padded


def _some(names: tuple[str, ...], n: int = 6) -> str:
    return " ".join(names[:n]) + (" ..." if len(names) > n else "")
