"""What is exported: points or a mesh with what is known of it, in a frame and unit that say so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from calib.scale import Similarity
from mvs.types import ByteArray, DoubleArray, FloatArray, IntArray, PointCloud

Unit = Literal["m", "cm", "mm"]
Axis = Literal["x", "y", "z", "-x", "-y", "-z"]

UNITS: tuple[Unit, ...] = ("m", "cm", "mm")
METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Cube coordinates that are all but one place say nothing about the head's frame.
_MIN_SPREAD = 1e-3


@dataclass(frozen=True)
class Texture:
    """A picture on a mesh.

    Attributes:
        uv: (W, 2) float32 places in the picture, [0, 1]^2, y up.
        uv_faces: (F, 3) int32 rows of ``uv`` of each face's corners.
        color: (H, W, 3) uint8 RGB, the first row at the top.
        normal: (h, w, 3) uint8 normals in the tangent space of ``mvs.stages.tangents``, 255 for 1
            and 0 for -1, green up as OpenGL has it; None without.
    """

    uv: FloatArray
    uv_faces: IntArray
    color: ByteArray
    normal: ByteArray | None = None


@dataclass(frozen=True)
class Model:
    """What an exporter writes.

    Attributes:
        vertices: with their attributes.
        faces: (F, 3) int32; None for points.
        texture: None without.
        unit: of the world; None where nobody said.
        up: the world's axis that points up; None where nobody said.
        picture: format of the texture's file; None for the exporter's own.
    """

    vertices: PointCloud
    faces: IntArray | None = None
    texture: Texture | None = None
    unit: Unit | None = None
    up: Axis | None = None
    picture: Literal["png", "jpg"] | None = None


@dataclass(frozen=True)
class Corners:
    """Vertices split where the texture is cut, one place in the picture each.

    Attributes:
        rows: (N,) vertices.
        uv: (N, 2) float32.
        faces: (F, 3) int32 rows of these.
    """

    rows: IntArray
    uv: FloatArray
    faces: IntArray


def known_unit(unit: str | None) -> Unit | None:
    """A capture's unit, None where nobody said."""
    return next((known for known in UNITS if known == unit), None)


def placement(model: Model, up: Axis | None, unit: Unit | None) -> Similarity:
    """What turns a model so that another axis points up, and takes it to another unit.

    Args:
        model: whose ``up`` and ``unit`` are known as far as they are to change.
        up: axis that shall point up; None leaves the frame alone.
        unit: None leaves it alone.

    Raises:
        ValueError: if the model's own axis or unit is not known.
    """
    if up is not None and model.up is None:
        raise ValueError("which way is up is not known: say --source-up")
    if unit is not None and model.unit is None:
        raise ValueError("the unit is not known: say --source-unit")
    rotation = np.eye(3)
    if up is not None and model.up is not None:
        rotation = _turn(_vector(model.up), _vector(up))
    scale = 1.0
    if unit is not None and model.unit is not None:
        scale = METRES[model.unit] / METRES[unit]
    return Similarity(scale, rotation, np.zeros(3))


def placed(model: Model, up: Axis | None, unit: Unit | None) -> Model:
    """A model turned so that another axis points up, and in another unit; see ``placement``."""
    to = placement(model, up, unit)
    if to.scale == 1.0 and (to.rotation == np.eye(3)).all():
        return model
    moved = replace(
        model.vertices,
        points=to.points(model.vertices.points),
        normals=(model.vertices.normals @ to.rotation.T).astype(np.float32),
    )
    return replace(model, vertices=moved, up=up or model.up, unit=unit or model.unit)


def find_up(cloud: PointCloud) -> Axis | None:
    """The world's axis nearest to the head's up, by the cube coordinates; None without those."""
    rotation = rotation_from_cube(cloud)
    if rotation is None:
        return None
    axis = int(np.abs(rotation[:, 1]).argmax())
    names: tuple[tuple[Axis, Axis], ...] = (("x", "-x"), ("y", "-y"), ("z", "-z"))
    return names[axis][0 if rotation[axis, 1] > 0 else 1]


def rotation_from_cube(cloud: PointCloud) -> DoubleArray | None:
    """(3, 3) the head's axes (its left, up, front) in the world; None without cube coordinates.

    Source:
        Umeyama (1991), the rotation between two sets of points.
    """
    if len(cloud) < 3:
        return None
    coords = cloud.coords.astype(np.float64)
    coords = coords - coords.mean(axis=0)
    if not coords.std(axis=0).min() > _MIN_SPREAD:
        return None
    u, _, vt = np.linalg.svd((cloud.points - cloud.points.mean(axis=0)).T @ coords)
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt)


def split_corners(faces: IntArray, texture: Texture) -> Corners:
    """Vertices for formats that give each a single place in the picture."""
    pairs = np.stack([faces.ravel(), texture.uv_faces.ravel()], axis=1)
    unique, rows = np.unique(pairs, axis=0, return_inverse=True)
    return Corners(
        unique[:, 0].astype(np.int32),
        texture.uv[unique[:, 1]],
        rows.reshape(-1, 3).astype(np.int32),
    )


def encode_picture(color: ByteArray, kind: str) -> bytes:
    """A picture (H, W, 3) RGB as the bytes of a PNG or JPEG (quality 95) file."""
    import cv2

    how = [cv2.IMWRITE_JPEG_QUALITY, 95] if kind == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 4]
    return cv2.imencode(f".{kind}", color[..., ::-1], how)[1].tobytes()


def linear_colors(colors: ByteArray) -> DoubleArray:
    """Colours (N, 3) of 0 to 1 in linear light from sRGB's bytes (IEC 61966-2-1)."""
    value = colors / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _vector(axis: Axis) -> DoubleArray:
    vector = np.zeros(3)
    vector["xyz".index(axis[-1])] = -1.0 if axis[0] == "-" else 1.0
    return vector


def _turn(source: DoubleArray, target: DoubleArray) -> DoubleArray:
    """The quarter or half turn that takes one axis to another."""
    if (source == target).all():
        return np.eye(3)
    around = np.cross(source, target)
    if not around.any():
        # Half a turn about the next axis.
        around = np.roll(np.abs(source), 1)
        return 2.0 * np.outer(around, around) - np.eye(3)
    return np.outer(target, source) - np.outer(source, target) + np.outer(around, around)
