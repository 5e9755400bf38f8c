"""A set to measure fits of head models by: rendered people, posed and neutral truth.

Every person is a capture of its own, in the layout that ``mvs.synthetic.capture`` writes, beside
``gt/neutral.ply``, the same head without expression. All have one picture, ``images/00.jpg``, to be
fitted alone; the first few also have further views of the same instant.

People are held out from training by their random numbers: those of training pictures come from
seeds (seed, shard, person), those of this set from (``_STREAM``, seed, person), which are the same
only for a training set made with ``--seed`` of that very number.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calib.capture import CaptureError
from calib.colmap import write_model
from calib.files import write_json
from mvs.synthetic.capture import (
    HAIR_LEVELS,
    HEAD_CENTER,
    HEAD_HEIGHT_CM,
    WORLD_FROM_HEAD,
    landmark_truth,
    sparse_points,
    thin_cover,
    world_camera,
    write_head,
    write_view,
)
from mvs.synthetic.degrade import expose
from mvs.synthetic.head import EYEBALL_RANGES, Head, load_head
from mvs.synthetic.people import random_expression, random_person
from mvs.synthetic.render import Shot, look_at, render
from mvs.synthetic.scene import Person, Studio, build_scene
from mvs.synthetic.scenery import random_scenery
from mvs.types import BoolArray, DoubleArray, FloatArray

_STREAM = 815_471_108
# Radians from the front; a single picture within, further views on both sides up to.
_YAW, _MOST_YAW, _WIDEST = 0.4, 0.9, 1.3


@dataclass(frozen=True)
class FitSetOptions:
    """What is rendered.

    Attributes:
        head: packed ICT-FaceKit file.
        output: folder of the set.
        people: how many; each has one picture to be fitted alone.
        multi: of the first so many people there are more views.
        views: of those, the single picture being the first.
        size: width and height of the pictures.
        seed: of the whole set.
        supersampling: samples per pixel along each axis.
    """

    head: Path
    output: Path
    people: int = 20
    multi: int = 4
    views: int = 6
    size: int = 512
    seed: int = 1
    supersampling: int = 2

    def __post_init__(self) -> None:
        if self.people < 1 or not 0 <= self.multi <= self.people or self.views < 2:
            raise ValueError("people must be positive, multi in 0..people, views at least 2")
        if self.size < 32 or self.supersampling < 1 or self.seed < 0:
            raise ValueError("size must be at least 32, supersampling 1, seed 0")


def write_fit_set(options: FitSetOptions, progress: Callable[[], None] | None = None) -> None:
    """Render the set: ``000``, ``001`` and so on, each whole or not at all, and ``fits.json``.

    Args:
        options: what to render.
        progress: called once per person.

    Raises:
        ValueError: if the head model cannot be read.
        CaptureError: if the output holds a folder of such a name that is no person of a set.
    """
    studio = Studio(load_head(options.head))
    names = [f"{number:03d}" for number in range(options.people)]
    for old in (options.output / name for name in names):
        if old.exists() and not (old / "gt" / "info.json").is_file():
            raise CaptureError(
                old, "not of a set of fits, would be lost", "choose another --output"
            )
    items = []
    for number, name in enumerate(names):
        with tempfile.TemporaryDirectory(dir=options.output, prefix=f".{name}.") as folder:
            made = Path(folder) / name
            _write_person(options, studio, number, made)
            shutil.rmtree(options.output / name, ignore_errors=True)
            made.replace(options.output / name)
        items.append({"name": name, "views": _n_views(options, number)})
        if progress is not None:
            progress()
    write_json(options.output / "fits.json", {"seed": options.seed, "items": items})


def sitter(studio: Studio, rng: np.random.Generator) -> Person:
    """A person with an expression, as the model says that people are; nothing hides the face.

    Glasses are kept, hats and hoods are not.
    """
    person = random_person(studio.head, rng)
    while not person.expression.any():
        person = replace(person, expression=random_expression(studio.head, rng))
    identity = rng.normal(0, 1, len(person.identity)).astype(np.float32)
    bare = replace(person, identity=identity, hat=None, visor=0.0, hood=None)
    return bare if not person.dark_lenses else replace(bare, glasses=None, dark_lenses=False)


def _n_views(options: FitSetOptions, number: int) -> int:
    return options.views if number < options.multi else 1


def _write_person(options: FitSetOptions, studio: Studio, number: int, output: Path) -> None:
    rng = np.random.default_rng((_STREAM, options.seed, number))
    person = sitter(studio, rng)
    scene = build_scene(studio, person, HAIR_LEVELS)
    for folder in ("images", "masks", "gt/hair"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    size = (options.size, options.size)
    backdrop = random_scenery(size, rng)
    shots = _shots(_n_views(options, number), options.size, rng)
    names = [f"{view:02d}.jpg" for view in range(len(shots))]
    hidden: list[BoolArray] = []
    for name, shot in zip(names, shots, strict=True):
        photo = render(scene, shot, backdrop, options.supersampling, options.supersampling)
        exposed = expose(photo.color, photo.mask, rng)
        write_view(output, name, replace(photo, color=exposed), rng)
        hidden.append(thin_cover(photo))
    cameras = [world_camera(shot) for shot in shots]
    points, seen = sparse_points(scene, shots, hidden)
    write_model(output / "sparse" / "0", names, cameras, points, seen)
    write_head(output / "gt" / "mesh.ply", studio.head, _in_world(scene.head))
    rest = np.zeros_like(person.expression)
    neutral = studio.head.pose(person.identity, rest)
    write_head(output / "gt" / "neutral.ply", studio.head, _in_world(neutral))
    landmarks = landmark_truth(studio, scene, names, shots, hidden)
    write_json(output / "gt" / "landmarks.json", landmarks)
    info = _info(options, studio, person, shots) | {"pupils_mm": _pupils_mm(studio.head, neutral)}
    write_json(output / "gt" / "info.json", info)
    write_json(output / "capture.json", {"unit": "m"})


def _in_world(posed: FloatArray) -> DoubleArray:
    """(V, 3) metres, of vertices in the head's own frame, cm."""
    return np.asarray(posed.astype(np.float64) @ WORLD_FROM_HEAD.T)


def _pupils_mm(head: Head, neutral: FloatArray) -> float:
    """Distance between the centres of the eyeballs, to a tenth of a millimetre."""
    eyes = [neutral[slice(*head.ranges[k])].astype(np.float64) for k in EYEBALL_RANGES]
    return round(10 * float(np.linalg.norm(eyes[0].mean(axis=0) - eyes[1].mean(axis=0))), 1)


def _info(
    options: FitSetOptions, studio: Studio, person: Person, shots: list[Shot]
) -> dict[str, object]:
    names = studio.head.expression_names
    moved = zip(names, person.expression.tolist(), strict=True)
    return {
        "seed": options.seed,
        "unit": "metre",
        "focal_px": [round(float(shot.focal), 4) for shot in shots],
        "identity": [round(float(value), 6) for value in person.identity],
        "expression": {name: round(value, 6) for name, value in moved if value},
        "model": "ICT-FaceKit (MIT licence)",
    }


def _shots(n: int, size: int, rng: np.random.Generator) -> list[Shot]:
    """A picture from about the front, and further ones spread from side to side."""
    first = float(np.clip(rng.normal(0, _YAW), -_MOST_YAW, _MOST_YAW))
    yaws = [first, *(np.linspace(-_WIDEST, _WIDEST, n - 1) if n > 1 else [])]
    return [_shot(float(yaw), size, rng) for yaw in yaws]


def _shot(yaw: float, size: int, rng: np.random.Generator) -> Shot:
    pitch = float(np.clip(rng.normal(0.05, 0.15), -0.4, 0.5))
    distance = float(np.exp(rng.uniform(np.log(40), np.log(150))))
    shot = look_at(np.array(HEAD_CENTER), yaw, pitch, rng.normal(0, 0.08), distance)
    focal = rng.uniform(0.5, 0.75) * size * distance / HEAD_HEIGHT_CM
    center = (size / 2, size / 2)
    # The head is off the middle, the principal point is not.
    aside = rng.normal(0, 0.03, 2) * HEAD_HEIGHT_CM
    moved = replace(shot, t=shot.t + np.array([*aside, 0.0]))
    return replace(moved, focal=focal, center=center, size=(size, size))
