"""Small head models of our own making, in the formats of ICT-FaceKit and FLAME.

Both are the shipped template, thinned, with eyeballs, and with modes that are formulas of the
place on the head, so that heads of both can be fitted to, and what is true is known.
"""

from __future__ import annotations

import json
import pickle
import sys
import types
from functools import cache
from pathlib import Path

import numpy as np
from scipy.sparse import csc_matrix

from mvs.canonical.cube import CUBE_OFFSET, CUBE_SCALE_PER_CM
from mvs.canonical.eyes import PUPILS
from mvs.canonical.landmarks import landmark_positions
from mvs.canonical.template import load_template
from mvs.headmodel.ict_layout import PART_NAMES
from mvs.headmodel.load import load_head_model
from mvs.stages.mesh import collapse_edges
from tests.scenes import unit_ball

EXPRESSIONS = (
    "browInnerUp_L",
    "browInnerUp_R",
    "cheekPuff_L",
    "cheekPuff_R",
    "eyeBlink_L",
    "eyeBlink_R",
    "eyeLookUp_L",
    "eyeLookUp_R",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthPucker",
    "mouthSmile_L",
    "mouthSmile_R",
    "noseSneer_L",
    "noseSneer_R",
)
N_IDENTITIES = 10
N_FLAME_SHAPES, N_FLAME_EXPRESSIONS = 10, 6
JOINTS = ("neck", "jaw", "left_eye", "right_eye")
EYE_RADIUS_CM = 1.5
# Of FLAME's joints, cm on the canonical head: root, neck, jaw, left and right eye.
_JOINTS_CM = ((0.0, -8.0, 0.5), (0.0, -3.0, -0.5), (0.0, 0.5, 3.0))


def cm_from_cube(coords):
    return (np.asarray(coords, np.float64) - CUBE_OFFSET) / CUBE_SCALE_PER_CM


EYES_CM = (cm_from_cube(PUPILS) - [0, 0, 1.5])[::-1]  # left first


@cache
def skin(n_faces):
    """The template with fewer faces, cm."""
    head = load_template()
    return collapse_edges(cm_from_cube(head.coords), head.faces, n_faces)


def balls(radius=EYE_RADIUS_CM):
    """Left and right eyeball, cm."""
    unit, faces = unit_ball(10, 14)
    return [(unit * radius + center, faces) for center in EYES_CM]


def bump(points, center, width):
    return np.exp(-0.5 * (((points - center) / width) ** 2).sum(axis=1))[:, None]


def identity_modes(points):
    """(K, V, 3) cm, smooth and mirror images of themselves."""
    x, y, z = points.T
    zero = np.zeros_like(x)
    side = np.sign(x)[:, None] * np.minimum(np.abs(x), 1)[:, None]
    jaw = np.exp(-0.5 * ((y + 5) / 3) ** 2) * np.exp(-0.5 * ((z - 6) / 5) ** 2)
    modes = [
        np.stack([0.05 * x, zero, zero], 1),
        np.stack([zero, 0.04 * (y - 2), zero], 1),
        np.stack([zero, zero, 0.05 * z], 1),
        np.stack([0.08 * x * jaw, zero, zero], 1),
        bump(points, (0, 0.5, 12.5), (1.8, 2.5, 2.5)) * [0, 0, 0.4],
        bump(points, (0, 6, 10.5), (5, 1.5, 3)) * [0, 0, 0.3],
        bump(points, (0, -7, 10), (2.5, 2, 3)) * [0, -0.2, 0.3],
        bump(np.abs(points), (5, 0.5, 8), (2.5, 2.5, 3)) * (side * [0.3, 0, 0] + [0, 0, 0.2]),
        bump(points, (0, 12, 2), (7, 4, 7)) * [0, 0.4, 0],
        bump(points, (0, -3, 11), (3, 1.5, 3)) * [0, 0.1, 0.25],
    ]
    return np.stack(modes)


def expression_mode(name, points, eye_of):
    """(V, 3) cm of one of ``EXPRESSIONS``; ``eye_of`` is 1 on the left eyeball, -1 on the right."""
    side = {"L": 1.0, "R": -1.0}.get(name[-1], 0.0) if "_" in name else 0.0
    there = points * [side or 1, 1, 1]
    what = name.partition("_")[0]
    lower = 1 / (1 + np.exp((points[:, 1] + 3.2) / 0.5)) * np.exp(-(((points[:, 2] - 9) / 5) ** 2))
    lower = (lower * np.exp(-(((points[:, 1] + 6) / 5) ** 2)))[:, None]
    skin_only = (eye_of == 0)[:, None]
    if what == "eyeLookUp":
        up = np.zeros_like(points)
        ball = eye_of == side
        center = points[ball].mean(axis=0) if ball.any() else 0
        off = points[ball] - center
        up[ball] = np.stack([0 * off[:, 0], 0.35 * off[:, 2], -0.35 * off[:, 1]], 1)
        return up
    moves = {
        "browInnerUp": bump(there, (1.8, 6, 10.5), (1.5, 1.2, 3)) * [0, 0.7, 0.1],
        "cheekPuff": bump(there, (4.5, -2.5, 8.5), (1.8, 1.8, 3)) * [side * 0.6, 0, 0.6],
        "eyeBlink": bump(there, (3.2, 4.3, 9.5), (1.4, 0.5, 2)) * [0, -0.8, 0.1],
        "jawLeft": lower * [0.9, 0, 0],
        "jawRight": lower * [-0.9, 0, 0],
        "jawOpen": lower * [0, -1.8, -0.5],
        "mouthPucker": bump(points, (0, -3.3, 11), (2.2, 1.2, 3))
        * (points * [-0.2, 0, 0] + [0, 0, 0.5]),
        "mouthSmile": bump(there, (2.6, -3.2, 10), (1.2, 1.3, 3)) * [side * 0.6, 0.7, -0.3],
        "noseSneer": bump(there, (1.2, 1, 11), (0.9, 1, 2)) * [0, 0.4, 0.1],
    }
    return moves[what] * skin_only


def ict_arrays(n_faces=3000):
    """Vertices, polygons, texture places, modes, parts and landmarks of the small ICT."""
    points, faces = skin(n_faces)
    is_face = (points[:, 2] > 3) & (points[:, 1] > -7.5)
    order = np.argsort(~is_face, kind="stable")
    place = np.empty(len(points), int)
    place[order] = np.arange(len(points))
    points, faces = points[order], place[faces]
    n_face = int(is_face.sum())
    corner = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.5
    box = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    lash = np.array([[-1, 0, 0], [1, 0, 0], [1, 0, 1], [-1, 0, 1]]) * 0.8
    pieces = {
        "Face": (points[:n_face], faces.tolist()),
        "Head and Neck": (points[n_face:], []),
        "Teeth": (corner + np.array([0, -3.3, 9]), box),
        "Eyeball left": (balls()[0][0], balls()[0][1].tolist()),
        "Eyeball right": (balls()[1][0], balls()[1][1].tolist()),
        "Eyelashes left": (lash + EYES_CM[0] + [0, 0.3, 1.5], [[0, 1, 2, 3]]),
        "Eyelashes right": (lash + EYES_CM[1] + [0, 0.3, 1.5], [[0, 1, 2, 3]]),
    }
    vertices, polygons, ranges, eye_of = [], [], [], []
    for name in PART_NAMES:
        piece, faces = pieces.get(name, (np.zeros((0, 3)), []))
        start = sum(map(len, vertices))
        # The face's polygons reach into the part behind it, those of others do not.
        polygons += [[start + corner for corner in polygon] for polygon in faces]
        vertices.append(piece)
        ranges.append([start, start + len(piece)])
        eye = {"Eyeball left": 1, "Eyeball right": -1}.get(name, 0)
        eye_of.append(np.full(len(piece), eye))
    vertices, eye_of = np.concatenate(vertices), np.concatenate(eye_of)
    marks = cm_from_cube(landmark_positions())
    near = np.linalg.norm(vertices[: len(points), None] - marks, axis=2).argmin(axis=0)
    return {
        "vertices": vertices,
        "polygons": polygons,
        # Backwards, so that rows of places and of vertices differ.
        "uv": (vertices[::-1, :2] + 25) / 50,
        "identity": identity_modes(vertices),
        "expression": np.stack([expression_mode(name, vertices, eye_of) for name in EXPRESSIONS]),
        "names": EXPRESSIONS,
        "parts": list(zip(PART_NAMES, ranges, strict=True)),
        "landmarks": near.tolist(),
    }


def write_ict_folder(folder, n_faces=3000):
    """The small ICT as a folder of OBJ files; its layout is beside them, as it is not ICT's own."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = ict_arrays(n_faces)
    head = arrays["vertices"]
    shapes = {f"identity{k:03d}": head + mode for k, mode in enumerate(arrays["identity"])}
    shapes |= {
        name: head + mode for name, mode in zip(EXPRESSIONS, arrays["expression"], strict=True)
    }
    _write_obj(folder / "generic_neutral_mesh.obj", head, arrays)
    for name, vertices in shapes.items():
        _write_obj(folder / f"{name}.obj", vertices, arrays)
    parts = [{"name": name, "vertices": span} for name, span in arrays["parts"]]
    layout = {"parts": parts, "landmarks": arrays["landmarks"]}
    (folder / "layout.json").write_text(json.dumps(layout))
    return folder


def _write_obj(path, vertices, arrays):
    n = len(vertices)
    lines = ["mtllib some.mtl"]
    lines += ["v {:.15f} {:.15f} {:.15f}".format(*row) for row in vertices.tolist()]
    lines += ["vt {:.6f} {:.6f}".format(*row) for row in arrays["uv"].tolist()]
    lines += ["g head", "usemtl skin"]
    for polygon in arrays["polygons"]:
        lines.append("f " + " ".join(f"{v + 1}/{n - v}" for v in polygon))
    path.write_text("\n".join(lines) + "\n")


def write_ict_npz(path, n_faces=3000):
    """The small ICT, packed; its modes are rounded as the packed file's are."""
    arrays = ict_arrays(n_faces)
    n = len(arrays["vertices"])
    fans = [[p[0], p[k], p[k + 1]] for p in arrays["polygons"] for k in range(1, len(p) - 1)]
    faces = np.array(fans, np.int32)
    quantised = {}
    for key, modes in (("id", arrays["identity"]), ("ex", arrays["expression"])):
        scale = (np.abs(modes).max(axis=(1, 2)) / 32767).astype(np.float32)
        quantised[f"{key}_scale"] = scale
        quantised[f"{key}_delta_q"] = np.rint(modes / scale[:, None, None]).astype(np.int16)
    np.savez(
        path,
        vertices=arrays["vertices"].astype(np.float32),
        faces=faces,
        uv=arrays["uv"].astype(np.float32),
        face_uv=n - 1 - faces,
        ex_names=np.array(EXPRESSIONS),
        landmarks68=np.array(arrays["landmarks"], np.int32),
        part_names=np.array(PART_NAMES),
        part_vertex_range=np.array([span for _, span in arrays["parts"]], np.int32),
        **quantised,
    )
    return Path(path)


@cache
def small_ict(n_faces=3000):
    """The small ICT as a model."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load_head_model(write_ict_npz(Path(folder) / "ict.npz", n_faces))


def warp_cm(points):
    """What the small FLAME's template differs by from the canonical head, cm: up to 5 mm."""
    x, y, z = points.T
    return np.stack(
        [
            0.03 * x + 0.1 * np.sin(0.25 * y) * x / 8,
            0.25 * np.sin(0.2 * z) - 0.02 * y,
            0.25 * np.cos(0.22 * y) + 0.03 * z,
        ],
        axis=1,
    )


def flame_arrays(n_faces=3600):
    """Arrays of the small FLAME by their names in the file, in metres; and the true coordinates.

    Returns:
        The file's arrays, and (V, 3) canonical places in cm.
    """
    points, faces = skin(n_faces)
    pieces = [(points, faces), *balls()]
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    true = np.concatenate([vertices for vertices, _ in pieces])
    faces = np.concatenate([f + s for (_, f), s in zip(pieces, starts, strict=False)])
    eye_of = np.repeat([0, 1, -1], np.diff(starts))
    # A FLAME of its own shape, origin and unit.
    template = 0.01 * (true + warp_cm(true) - [0.0, 2.0, 4.0])
    rng = np.random.default_rng(5)
    joints = np.concatenate([_JOINTS_CM, EYES_CM])
    joints = 0.01 * (joints + warp_cm(joints) - [0.0, 2.0, 4.0])
    names = ("jawLeft", "mouthPucker", "mouthSmile_L", "mouthSmile_R", "browInnerUp_L")
    shapes = [*identity_modes(true)]
    shapes += [expression_mode(name, true, eye_of) for name in (*names, "browInnerUp_R")]
    waves = np.sin(true @ rng.normal(0, 0.15, (3, 36)) + rng.uniform(0, 6, 36))
    posedirs = 0.001 * waves[:, None, :] * rng.normal(0, 1, (3, 36)) * (eye_of == 0)[:, None, None]
    arrays = {
        "v_template": template,
        "f": faces.astype(np.uint32),
        "shapedirs": 0.01 * np.stack(shapes, axis=-1),
        "posedirs": posedirs,
        "J_regressor": _regressor(template, joints, eye_of),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.uint32),
        "weights": _weights(true, eye_of),
        "n_shape": N_FLAME_SHAPES,
    }
    return arrays, true


def _regressor(vertices, joints, eye_of):
    """(5, V) weights of few vertices, adding up to one, that give the joints."""
    rows = np.zeros((len(joints), len(vertices)))
    for row, joint, side in zip(rows, joints, (0, 0, 0, 1, -1), strict=True):
        usable = np.flatnonzero(eye_of == side)
        near = usable[np.argsort(np.linalg.norm(vertices[usable] - joint, axis=1))[:60]]
        system = np.concatenate([vertices[near].T, np.ones((1, len(near)))])
        row[near] = np.linalg.lstsq(system, np.append(joint, 1.0), rcond=None)[0]
    return rows


def _weights(true, eye_of):
    x, y, z = true.T
    # The neck's end falls towards the front, below the chin.
    head = 1 / (1 + np.exp(-(y + 6 + 0.4 * np.clip(z, 0, 11)) / 0.8))
    lower = 1 / (1 + np.exp((y + 3.2) / 0.5)) / (1 + np.exp(-(z - 5) / 1.0))
    jaw = head * lower
    weights = np.stack([1 - head, head - jaw, jaw, 0 * x, 0 * x], axis=1)
    weights[eye_of == 1] = [0, 0, 0, 1, 0]
    weights[eye_of == -1] = [0, 0, 0, 0, 1]
    return weights


def write_flame_npz(path, n_faces=3600):
    """The small FLAME, as npz."""
    np.savez(path, **flame_arrays(n_faces)[0])
    return Path(path)


def write_flame_pickle(path, n_faces=3600, with_chumpy=True):
    """The small FLAME as the 2020 pickle (sparse matrix, chumpy) or the 2023 one (without)."""
    arrays = dict(flame_arrays(n_faces)[0])
    arrays |= {"bs_style": "lbs", "bs_type": "lrotmin"}
    arrays["J_regressor"] = csc_matrix(arrays["J_regressor"])
    if with_chumpy:
        for name in ("shapedirs", "v_template"):
            arrays[name] = chumpy_class("Ch")(x=arrays[name])
    Path(path).write_bytes(pickle_of_chumpy(arrays))
    return Path(path)


@cache
def chumpy_class(name):
    """A class that pickles as chumpy's do, by its name there."""
    module = {"Ch": "chumpy.ch"}.get(name, "chumpy.reordering")

    def begin(self, **terms):
        self.__dict__.update(terms, _dirty_vars=set(), _itr=None, _depends_on_deps={})

    return type(name, (), {"__module__": module, "__init__": begin})


def pickle_of_chumpy(value):
    """Protocol 2, as Python 2 wrote it, of objects of ``chumpy_class``."""
    found = {"chumpy.ch": {}, "chumpy.reordering": {}}

    def gather(item):
        if type(item).__module__ in found:
            found[type(item).__module__][type(item).__name__] = type(item)
            gather(vars(item))
        elif isinstance(item, dict):
            for part in item.values():
                gather(part)

    gather(value)
    # One class per name, as pickle looks names up.
    modules = {"chumpy": types.ModuleType("chumpy")}
    for name, classes in found.items():
        modules[name] = types.ModuleType(name)
        modules[name].__dict__.update(classes)
    sys.modules.update(modules)
    try:
        return pickle.dumps(value, protocol=2)
    finally:
        for name in modules:
            del sys.modules[name]


@cache
def small_flame(n_faces=3600):
    """The small FLAME as a model."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load_head_model(write_flame_npz(Path(folder) / "flame.npz", n_faces))
