"""Portraits for the shape regressor: faces upright and centred, with the coefficients behind them.

A portrait is what a camera turned to the face would have seen: the mean head, laid over the person
(rotation, place and size), has its face in the middle, upright and of a known size. So the picture
tells nothing of how large the head is; no single picture can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calib.scale import Similarity, umeyama
from mvs.headmodel.portrait import (
    FACE_CENTER_CM,
    PITCH_MEAN,
    PITCH_SD,
    PIXELS_PER_CM,
    YAW_SD,
)
from mvs.synthetic.degrade import develop, expose
from mvs.synthetic.head import FACE, Head
from mvs.synthetic.occluders import occlude
from mvs.synthetic.people import often_bareheaded, random_expression, random_person
from mvs.synthetic.render import Shot, look_at, render
from mvs.synthetic.sample import HAIR_LEVELS
from mvs.synthetic.scene import Person, Studio, build_scene
from mvs.synthetic.scenery import random_scenery
from mvs.synthetic.shards import ShardKind, ShardOptions, load_studio, save_shard, tiled
from mvs.types import ByteArray, DoubleArray, FloatArray

SIZE = 224
_STREAM = 272_603_513


def record_type(head: Head) -> np.dtype[np.void]:
    """What a shard holds of each portrait.

    The picture, the coefficients of the head model, how the neck is bent and the (3, 4) projection
    of the head's frame, cm, to pixels.
    """
    return np.dtype(
        [
            ("image", "u1", (SIZE, SIZE, 3)),
            ("identity", "f4", (len(head.identity_modes),)),
            ("expression", "f4", (len(head.expression_names),)),
            ("neck", "f4", (3,)),
            ("camera", "f4", (3, 4)),
        ]
    )


@dataclass(frozen=True)
class PortraitOptions(ShardOptions):
    """What is rendered: one portrait of each person."""

    people_per_shard: int = 1024


def portrait_path(folder: Path, number: int) -> Path:
    """Where shard ``number`` lies."""
    return folder / f"portraits_{number:05d}.npy"


def random_portrait(studio: Studio, rng: np.random.Generator) -> np.ndarray:
    """One portrait of a random person, as one record.

    Args:
        studio: the head model.
        rng: source of randomness.
    """
    person = random_subject(studio.head, rng)
    scene = build_scene(studio, person, HAIR_LEVELS)
    shot = portrait_shot(laid_over(studio.head, scene.head), rng)
    photo = render(scene, shot, random_scenery(shot.size, rng), 2, 2)
    color = expose(photo.color, photo.mask, rng)
    if rng.random() < 0.1:
        color, _ = occlude(color, photo.mask, rng)
    record = np.zeros((), record_type(studio.head))
    record["image"] = develop(color, rng)
    record["identity"], record["expression"] = person.identity, person.expression
    record["neck"], record["camera"] = person.neck, projection(shot)
    return record


def projection(shot: Shot) -> DoubleArray:
    """(3, 4) from the head's frame to pixels times depth."""
    x, y = shot.center
    K = np.array([[shot.focal, 0, x], [0, shot.focal, y], [0, 0, 1]])
    return np.asarray(K @ np.column_stack([shot.R, shot.t]))


def random_subject(head: Head, rng: np.random.Generator) -> Person:
    """Draw a person as the model says that people are, most bare-headed, few at rest.

    Args:
        head: the model whose modes are drawn.
        rng: source of randomness.
    """
    person = often_bareheaded(random_person(head, rng), rng)
    identity = rng.normal(0, 1, len(person.identity)).astype(np.float32)
    return replace(person, identity=identity, expression=random_activations(head, rng))


def random_activations(head: Head, rng: np.random.Generator) -> FloatArray:
    """Draw (57,) activations of a portrait: many lively ones, few at rest."""
    kind = rng.random()
    expression = np.zeros(len(head.expression_names), np.float32)
    if kind > 0.65:
        return _lively_expression(head, rng)
    if kind > 0.12:
        while not expression.any():
            expression = random_expression(head, rng)
    return expression


def laid_over(head: Head, posed: FloatArray) -> Similarity:
    """Where the mean head lies on a person: by its face, head's frame, cm.

    Args:
        head: the model.
        posed: (V, 3) the person's vertices.
    """
    face = head.vertex_part == FACE
    return umeyama(head.template[face].astype(np.float64), posed[face].astype(np.float64))


def portrait_shot(place: Similarity, rng: np.random.Generator) -> Shot:
    """Draw a camera that looks at a face, from about the front.

    Args:
        place: of the mean head, see ``laid_over``.
        rng: source of randomness.
    """
    yaw = float(np.clip(rng.normal(0, YAW_SD), -1.25, 1.25))
    pitch = float(np.clip(rng.normal(PITCH_MEAN, PITCH_SD), -0.6, 0.6))
    distance = float(np.exp(rng.uniform(np.log(35), np.log(200))))
    shot = look_at(np.array(FACE_CENTER_CM), yaw, pitch, 0.0, distance)
    focal = PIXELS_PER_CM * distance
    turned = shot.R @ place.rotation.T
    t = place.scale * shot.t - turned @ place.translation
    return Shot(turned, t, focal, (SIZE / 2, SIZE / 2), (SIZE, SIZE))


def _lively_expression(head: Head, rng: np.random.Generator) -> FloatArray:
    """Activations of many muscles, of eyes and lids above all, left and right mostly alike."""
    names = head.expression_names
    expression = np.zeros(len(names), np.float32)
    sides = [name for name in names if name.endswith("_L")]
    single = [name for name in names if name[-2:] not in ("_L", "_R")]

    def put(name: str, amount: float) -> None:
        if name.endswith("_L"):
            even = rng.random() < 0.7
            for side in "LR":
                share = rng.uniform(0.8, 1.0) if even else rng.uniform(0, 1)
                expression[names.index(name[:-1] + side)] = amount * share
        else:
            expression[names.index(name)] = amount

    known = sides + single
    for name in rng.choice(known, min(int(rng.integers(1, 8)), len(known)), replace=False):
        put(str(name), rng.uniform(0, 1))
    if rng.random() < 0.4:
        put("eyeBlink_L", rng.uniform(0.1, 1))
    if rng.random() < 0.4:
        put("jawOpen", rng.uniform(0, 1) ** 1.5)
    if rng.random() < 0.3:
        put("mouthSmile_L", rng.uniform(0.1, 1))
    _look_aside(expression, names, rng)
    return expression


def _look_aside(expression: FloatArray, names: tuple[str, ...], rng: np.random.Generator) -> None:
    """Turn both eyes the same way, in half of all draws."""
    gaze = [index for index, name in enumerate(names) if name.startswith("eyeLook")]
    expression[gaze] = 0.0
    if rng.random() < 0.5 or not gaze:
        return
    across, up = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8)
    # The left eye looks out where the right one looks in.
    for side, out in (("L", across), ("R", -across)):
        expression[names.index(f"eyeLookOut_{side}")] = max(out, 0.0)
        expression[names.index(f"eyeLookIn_{side}")] = max(-out, 0.0)
        expression[names.index(f"eyeLookUp_{side}")] = max(up, 0.0)
        expression[names.index(f"eyeLookDown_{side}")] = max(-up, 0.0)


def contact_sheet(records: np.ndarray, columns: int) -> ByteArray:
    """Portraits side by side, (H, W, 3) uint8 RGB."""
    return tiled(list(records["image"][:, ::2, ::2]), columns)


def _write_shard(options: PortraitOptions, number: int) -> Path:
    studio = load_studio(options.head)
    records = np.zeros(options.people_per_shard, record_type(studio.head))
    for person in range(options.people_per_shard):
        rng = np.random.default_rng((_STREAM, options.seed, number, person))
        records[person] = random_portrait(studio, rng)
    return save_shard(portrait_path(options.output, number), records)


PORTRAITS = ShardKind(portrait_path, _write_shard)
