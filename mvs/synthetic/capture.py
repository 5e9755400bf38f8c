"""A rendered capture with exact ground truth, in the layout that ``mvs.evaluation`` reads.

World: metres, z up, the face looks to -y, +x is the subject's left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.colmap import write_model
from calib.files import replacing, write_json
from mvs.canonical.cube import CUBE_OFFSET, CUBE_SCALE_PER_CM, cube_from_cm
from mvs.kernels.raster import rasterise
from mvs.stages.ply import write_properties
from mvs.synthetic.backgrounds import clouds
from mvs.synthetic.degrade import expose
from mvs.synthetic.drawing import COVER, FRAME, HAIR, LENS, SKIN, STRAND
from mvs.synthetic.head import Head, load_head
from mvs.synthetic.lights import Lights
from mvs.synthetic.look import random_look
from mvs.synthetic.people import random_person
from mvs.synthetic.render import Rendering, Shot, look_at, render
from mvs.synthetic.scene import Person, Scene, Studio, build_scene
from mvs.synthetic.scenery import random_scenery
from mvs.synthetic.shells import HairStyle
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray

WORLD_FROM_HEAD = 0.01 * np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
HEAD_CENTER = (0.0, 1.0, 0.5)
HEAD_HEIGHT_CM = 24.0
HAIR_LEVELS = (0.0, 0.3, 0.6, 0.9)
_N_SPARSE = 500
# What lies before the skin and is in none of the surfaces that hide it.
_THIN = (STRAND, FRAME, LENS)
# Seeds of people are apart from the training set's by this number.
_STREAM = 620_113_947


@dataclass(frozen=True)
class CaptureOptions:
    """What is rendered.

    Attributes:
        head: packed ICT-FaceKit file.
        output: folder of the capture.
        n_views: cameras, on an arc around the face.
        size: width and height of the pictures.
        arc_deg: angle between the outermost cameras.
        seed: of the person, and of all that is drawn with them.
        person: ``studio``, bare and softly lit before a wall; or ``any``, drawn as for training
            but apart from it: any hair, hat, glasses, skin, expression and light, and in every
            picture another background, exposure and white balance.
        supersampling: samples per pixel along each axis.
    """

    head: Path
    output: Path
    n_views: int = 12
    size: int = 512
    arc_deg: float = 170.0
    seed: int = 7
    person: Literal["studio", "any"] = "studio"
    supersampling: int = 3

    def __post_init__(self) -> None:
        if self.n_views < 2 or self.size < 32 or self.supersampling < 1:
            raise ValueError("n_views must be at least 2, size 32, supersampling 1")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 < self.arc_deg <= 360:
            raise ValueError(f"arc_deg must be in (0, 360], got {self.arc_deg}")
        if self.person not in ("studio", "any"):
            raise ValueError(f"person must be studio or any, got {self.person}")


def write_capture(options: CaptureOptions, progress: Callable[[], None] | None = None) -> None:
    """Render a capture of a random person.

    Writes images, masks, a COLMAP model with sparse points, and under ``gt`` the head's mesh with
    ``u v w`` and ``part``, the clothes that hide it, the coverage by hair and glasses, the 68
    landmarks, and ``info.json``.

    Args:
        options: what to render.
        progress: called once per view.

    Raises:
        ValueError: if the head model cannot be read.
    """
    studio = Studio(load_head(options.head))
    anyone = options.person == "any"
    draw = np.random.default_rng((_STREAM, options.seed))
    person = random_person(studio.head, draw) if anyone else sitter(studio, options.seed)
    scene = build_scene(studio, person, HAIR_LEVELS)
    shots = [studio_shot(options, index) for index in range(options.n_views)]
    names = [f"{index:02d}.jpg" for index in range(options.n_views)]
    rng = np.random.default_rng((options.seed, 1))
    for folder in ("images", "masks", "gt/hair"):
        (options.output / folder).mkdir(parents=True, exist_ok=True)
    hidden: list[BoolArray] = []
    for name, shot in zip(names, shots, strict=True):
        if anyone:
            behind = random_scenery((options.size, options.size), draw)
            photo = render(scene, shot, behind, options.supersampling, options.supersampling)
            photo = replace(photo, color=expose(photo.color, photo.mask, draw))
        else:
            behind = backdrop(options.size, rng)
            photo = render(scene, shot, behind, options.supersampling, 1)
        write_view(options.output, name, photo, rng)
        hidden.append(thin_cover(photo))
        if progress is not None:
            progress()
    cameras = [world_camera(shot) for shot in shots]
    points, seen = sparse_points(scene, shots, hidden)
    write_model(options.output / "sparse" / "0", names, cameras, points, seen)
    _write_truth(options, studio, scene, person)
    landmarks = landmark_truth(studio, scene, names, shots, hidden)
    write_json(options.output / "gt" / "landmarks.json", landmarks, indent=None)


def sitter(studio: Studio, seed: int) -> Person:
    """A person as they would come to a studio: no hat, glasses, dyes or grimaces; soft light."""
    rng = np.random.default_rng((seed, 0))
    look = random_look(rng)
    n_modes = len(studio.head.identity_modes)
    identity = rng.normal(0, rng.uniform(0.5, 1.25), n_modes).astype(np.float32)
    for name, low, high in (
        ("freckles", 0.0, 0.3),
        ("moles", 0.0, 0.5),
        ("lip_amount", 0.4, 0.7),
        ("brow", 0.95, 1.0),
        ("liner", 0.3, 0.6),
        ("pores", 0.8, 1.0),
        ("blotches", 0.7, 1.0),
        ("oil", 0.3, 0.6),
        ("sparse", 0.0, 0.0),
        ("hair_gray", 0.0, 0.0),
    ):
        look[name] = np.clip(look[name], low, high)
    look["skin"] = (0.52, 0.32, 0.23)
    look["lips"] = (0.40, 0.17, 0.15)
    look["shadow_amount"], look["beard"], look["stripes"] = 0.0, 0.0, 0.0
    look["hair"], look["gloss"], look["curl"] = (0.045, 0.026, 0.016), 0.6, 0.1
    look["strand"], look["cloth"] = 4.0, (0.08, 0.13, 0.2)
    look["gaze"] = (0.0, 0.0, 1.0)
    identity = np.clip(identity, -1.8, 1.8) * 0.75
    hair = HairStyle(1.6, 0.45, 0.25, 2.2, 0.0, 0.3, 0.0)
    return Person(
        identity=identity.astype(np.float32),
        expression=np.zeros(len(studio.head.expression_names), np.float32),
        neck=np.zeros(3, np.float32),
        hair=hair,
        locks=None,
        bun=None,
        hat=None,
        collar=(-10.0, 0.4),
        glasses=None,
        dark_lenses=False,
        look=look,
        lights=_studio_lights(),
    )


def _studio_lights() -> Lights:
    ambient = np.zeros((9, 3), np.float32)
    ambient[0] = (0.42, 0.42, 0.43)
    ambient[1] = 0.12
    ambient[2] = 0.06
    directions = np.array([[0.55, 0.55, 0.65], [-0.75, 0.25, 0.6], [0.1, 0.5, -0.85]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    colors = np.array([[0.62, 0.59, 0.55], [0.25, 0.26, 0.28], [0.22, 0.22, 0.22]])
    return Lights(ambient, directions.astype(np.float32), colors.astype(np.float32), 1.0)


def studio_shot(options: CaptureOptions, index: int) -> Shot:
    """Cameras from right to left, in three rows: level, from above, from below."""
    arc = np.deg2rad(options.arc_deg)
    yaw = arc * (index / (options.n_views - 1) - 0.5) if options.arc_deg < 360 else 0.0
    if options.arc_deg == 360:
        yaw = arc * index / options.n_views
    pitch = (0.05, 0.42, -0.22)[index % 3]
    distance = 100.0 + 6.0 * (index % 4)
    shot = look_at(np.array(HEAD_CENTER), yaw, pitch, 0.02 * (index % 5 - 2), distance)
    focal = 0.66 * options.size * distance / HEAD_HEIGHT_CM
    middle = options.size / 2
    center = (middle + 3.0 * (index % 3 - 1), middle - 2.0 * (index % 2))
    return replace(shot, focal=focal, center=center, size=(options.size, options.size))


def world_camera(shot: Shot) -> Camera:
    """The camera of a shot in the world, metres."""
    height, width = shot.size
    R = shot.R @ (100 * WORLD_FROM_HEAD).T
    pose = np.column_stack([R, 0.01 * shot.t])
    params = np.array([shot.focal, shot.focal, *shot.center])
    return Camera("PINHOLE", width, height, params, pose)


def backdrop(size: int, rng: np.random.Generator) -> FloatArray:
    """A studio's wall (size, size, 3), linear RGB."""
    y, x = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    shade_of = 0.26 - 0.08 * np.hypot(x, y) + 0.004 * clouds((size, size), rng, 1.2)
    return np.asarray(shade_of[..., None] * np.array([0.95, 1.0, 1.05]), np.float32)


def write_view(output: Path, name: str, photo: Rendering, rng: np.random.Generator) -> None:
    """Write a picture, its mask and the coverage by hair and glasses; their folders exist."""
    picture = develop(photo.color, rng)
    hair = np.where(np.isin(photo.material, (HAIR, *_THIN)), 255, 0).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 96]
    write_picture(output / "images" / name, picture[..., ::-1], quality)
    write_picture(output / "masks" / f"{name}.png", photo.mask.astype(np.uint8) * 255, [])
    write_picture(output / "gt" / "hair" / f"{Path(name).stem}.png", hair, [])


def thin_cover(photo: Rendering) -> BoolArray:
    """(H, W) where locks of hair or glasses lie before what ``see_points`` takes to be seen."""
    return np.isin(photo.material, _THIN)


def develop(color: FloatArray, rng: np.random.Generator) -> ByteArray:
    """A picture (H, W, 3) uint8 with a sensor's noise, of linear RGB."""
    noise = rng.normal(0, 1, color.shape) * (0.004 * np.sqrt(np.maximum(color, 0)))
    light = np.clip((color + noise) * 1.25, 0, None)
    tone = np.clip(light * (1 + light / 9) / (1 + light * 0.45), 0, 1) ** (1 / 2.2)
    return np.clip(tone * 255 + 0.5, 0, 255).astype(np.uint8)


def write_picture(path: Path, picture: ByteArray, options: list[int]) -> None:
    """Write (H, W, 3) uint8 BGR or (H, W) in the format of the name's ending, for OpenCV."""
    _, data = cv2.imencode(path.suffix, picture, options)
    with replacing(path) as stream:
        stream.write(np.asarray(data, np.uint8).tobytes())


def sparse_points(
    scene: Scene, shots: list[Shot], hidden: list[BoolArray]
) -> tuple[DoubleArray, list[npt.NDArray[np.int64]]]:
    """Skin vertices and which views see them, as structure from motion would have found them.

    ``hidden`` is each view's ``thin_cover``.
    """
    body = scene.layers[0]
    skin = np.unique(body.faces[body.materials == SKIN])
    picked = skin[:: max(1, len(skin) // _N_SPARSE)]
    positions = body.positions[picked]
    views = zip(shots, hidden, strict=True)
    seen = np.stack([see_points(scene, shot, cover, positions)[1] for shot, cover in views])
    kept = seen.sum(axis=0) >= 2
    points = positions[kept].astype(np.float64) @ WORLD_FROM_HEAD.T
    return points, [np.flatnonzero(row) for row in seen[:, kept]]


def see_points(
    scene: Scene, shot: Shot, hidden: BoolArray, positions: FloatArray
) -> tuple[DoubleArray, BoolArray]:
    """Pixels (N, 2) of positions (N, 3) in the head's frame, and which of them nothing hides."""
    nearest = np.full(shot.size, np.inf, np.float32)
    for layer in scene.layers[:3]:
        local = layer.positions.astype(np.float64) @ shot.R.T + shot.t
        pixels = local[:, :2] / local[:, 2:] * shot.focal + shot.center
        buffers = rasterise(pixels, local[:, 2], layer.faces, shot.size, cull_back=False)
        nearest = np.minimum(nearest, buffers.depth)
    local = positions.astype(np.float64) @ shot.R.T + shot.t
    pixels = local[:, :2] / local[:, 2:] * shot.focal + shot.center
    x, y = pixels.T
    seen = (x >= 0) & (x < shot.size[1]) & (y >= 0) & (y < shot.size[0])
    row, column = y[seen].astype(int), x[seen].astype(int)
    seen[seen] = (local[seen, 2] < nearest[row, column] + 0.15) & ~hidden[row, column]
    return pixels, seen


def landmark_truth(
    studio: Studio, scene: Scene, names: list[str], shots: list[Shot], hidden: list[BoolArray]
) -> dict[str, object]:
    """The 68 landmarks in the world and in every picture, for JSON; see ``sparse_points``."""
    vertices = studio.head.landmarks
    positions = scene.head[vertices]
    views = {}
    for name, shot, cover in zip(names, shots, hidden, strict=True):
        pixels, seen = see_points(scene, shot, cover, positions)
        views[name] = {"uv": pixels.round(4).tolist(), "visible": seen.astype(int).tolist()}
    world = positions.astype(np.float64) @ WORLD_FROM_HEAD.T
    return {
        "names": "Multi-PIE 68, ICT-FaceKit order",
        "vertex": vertices.tolist(),
        "xyz": world.round(7).tolist(),
        "canonical": cube_from_cm(studio.head.template[vertices]).astype(float).round(7).tolist(),
        "views": views,
    }


def _write_truth(options: CaptureOptions, studio: Studio, scene: Scene, person: Person) -> None:
    world = scene.head.astype(np.float64) @ WORLD_FROM_HEAD.T
    write_head(options.output / "gt" / "mesh.ply", studio.head, world)
    worn = scene.layers[1]
    cloth = worn.faces[(worn.features[worn.faces, COVER] > 0).all(axis=1)]
    positions = worn.positions.astype(np.float64) @ WORLD_FROM_HEAD.T
    torso = {name: positions[:, k].astype(np.float32) for k, name in enumerate("xyz")}
    _write_mesh(options.output / "gt" / "torso.ply", torso, cloth)
    info = {
        "seed": options.seed,
        "person": options.person,
        "unit": "metre",
        "cube": {"scale_per_cm": CUBE_SCALE_PER_CM, "offset": CUBE_OFFSET},
        "identity": [round(float(value), 6) for value in person.identity],
        "model": "ICT-FaceKit (MIT licence)",
    }
    write_json(options.output / "gt" / "info.json", info)


def write_head(path: Path, head: Head, world: DoubleArray) -> None:
    """Write a head, its vertices (V, 3) in the world, as ``mvs.evaluation.truth`` reads it."""
    uvw = cube_from_cm(head.template)
    vertex: dict[str, npt.NDArray[np.generic]]
    vertex = {name: world[:, k].astype(np.float32) for k, name in enumerate("xyz")}
    vertex |= {name: uvw[:, k] for k, name in enumerate("uvw")}
    vertex["part"] = head.vertex_part.astype(np.uint8)
    _write_mesh(path, vertex, head.faces)


def _write_mesh(
    path: Path, vertex: Mapping[str, npt.NDArray[np.generic]], faces: npt.NDArray[np.int32]
) -> None:
    with replacing(path) as stream:
        write_properties(stream, vertex, faces)
