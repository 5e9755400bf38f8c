"""Training pictures: a random person seen by random cameras, as a crop of a photograph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from mvs.synthetic.degrade import develop, expose
from mvs.synthetic.head import Head
from mvs.synthetic.occluders import occlude
from mvs.synthetic.people import covered_person, random_person, shown_person
from mvs.synthetic.render import Rendering, Shot, look_at, render
from mvs.synthetic.scene import Person, Studio, build_scene
from mvs.synthetic.scenery import random_scenery
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray

_HEAD_CENTER = (0.0, 2.0, 0.5)
_HEAD_HEIGHT_CM = 24.0
HAIR_LEVELS = (0.0, 0.9)

Subjects = Literal["any", "faces", "covered"]
SUBJECTS: tuple[Subjects, ...] = get_args(Subjects)


@dataclass(frozen=True)
class Sample:
    """A picture and its truth.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        coords: (S, S, 3) float32 cube coordinates, 0 off the head.
        mask: (S, S) bool, True on the head.
        normals: (S, S, 3) float32 unit vectors in the head's frame, 0 off the head.
        region: (S, S) uint8 index into ``REGIONS``; what hides the head is background.
    """

    image: ByteArray
    coords: FloatArray
    mask: BoolArray
    normals: FloatArray
    region: ByteArray


def random_samples(
    studio: Studio, seed: tuple[int, ...], n_views: int, size: int, subjects: Subjects = "any"
) -> list[Sample]:
    """Pictures of one random person.

    Args:
        studio: the head model.
        seed: numbers that determine everything.
        n_views: how many pictures.
        size: side of a picture, pixels.
        subjects: whom they show: anyone from anywhere; ``faces`` from about the front, near; or
            ``covered`` ones, in hoods and falling hair, half of the pictures from about the front.

    Returns:
        ``n_views`` samples.
    """
    rng = np.random.default_rng(seed)
    draws = _DRAWS[subjects]
    scene = build_scene(studio, draws.person(studio.head, rng), HAIR_LEVELS)
    samples = []
    for _ in range(n_views):
        if _happens(draws.nobody, rng):
            samples.append(_nobody(size, rng))
            continue
        background = random_scenery((size, size), rng)
        draw_shot = frontal_shot if _happens(draws.frontal, rng) else random_shot
        shot = draw_shot(size, rng)
        photo = render(scene, shot, background, 2, 2)
        samples.append(_finish(photo, rng))
    return samples


def random_shot(size: int, rng: np.random.Generator) -> Shot:
    """Draw a camera around a head.

    Most crops hold the head well; one in seven shows it small, as a whole photograph would, and
    one in eleven only part of it.
    """
    yaw = rng.normal(0, 0.7) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    pitch = float(np.clip(rng.normal(0.05, 0.3), -0.8, 0.8))
    roll = rng.normal(0, 0.14) if rng.random() < 0.85 else rng.uniform(-0.55, 0.55)
    distance = np.exp(rng.uniform(np.log(30), np.log(300)))
    shot = look_at(np.array(_HEAD_CENTER), yaw, pitch, roll, distance)
    if rng.random() < 0.14:
        share = rng.uniform(0.12, 0.42)
        center = rng.uniform(0.15, 0.85, 2)
    elif rng.random() < 0.1:
        share, center = rng.uniform(0.95, 1.8), 0.5 + rng.normal(0, 0.22, 2)
    else:
        share = rng.uniform(0.42, 0.95)
        spread = 0.07 if rng.random() < 0.75 else 0.25
        center = 0.5 + rng.normal(0, spread, 2)
    return _framed(shot, distance, share, center, size)


def frontal_shot(size: int, rng: np.random.Generator) -> Shot:
    """Draw a camera before a face that fills half of the picture or more."""
    yaw, pitch = rng.normal(0, 0.5), rng.normal(0.05, 0.2)
    distance = np.exp(rng.uniform(np.log(35), np.log(200)))
    shot = look_at(
        np.array(_HEAD_CENTER),
        float(np.clip(yaw, -1.1, 1.1)),
        float(np.clip(pitch, -0.6, 0.6)),
        rng.normal(0, 0.12),
        distance,
    )
    return _framed(shot, distance, rng.uniform(0.5, 0.9), 0.5 + rng.normal(0, 0.05, 2), size)


def _framed(shot: Shot, distance: float, share: float, center: DoubleArray, size: int) -> Shot:
    """A shot whose picture shows the head with a share of its height, and where."""
    focal = share * size * distance / _HEAD_HEIGHT_CM
    middle = (float(center[0] * size), float(center[1] * size))
    return replace(shot, focal=focal, center=middle, size=(size, size))


class _Draws(NamedTuple):
    """How subjects are drawn: the person, and shares of the pictures."""

    person: Callable[[Head, np.random.Generator], Person]
    frontal: float
    nobody: float


_DRAWS: dict[Subjects, _Draws] = {
    "any": _Draws(random_person, 0.0, 0.02),
    "faces": _Draws(shown_person, 1.0, 0.0),
    "covered": _Draws(covered_person, 0.5, 0.0),
}


def _happens(share: float, rng: np.random.Generator) -> bool:
    """Draws by chance, and nothing where there is none: a set's stream has only its own draws."""
    return share > 0 and rng.random() < share


def _finish(photo: Rendering, rng: np.random.Generator) -> Sample:
    color, mask, region = photo.color, photo.mask.copy(), photo.region.copy()
    color = expose(color, mask, rng)
    if rng.random() < 0.22:
        color, hidden = occlude(color, mask, rng)
        mask &= ~hidden
        region[hidden] = 0
    image = develop(color, rng)
    if rng.random() < 0.12:
        outside = _outside(mask.shape[0], rng)
        image[outside] = 0
        mask &= ~outside
        region[outside] = 0
    coords = np.where(mask[..., None], photo.coords, np.float32(0))
    normals = np.where(mask[..., None], photo.normals, np.float32(0))
    return Sample(image, np.clip(coords, 0, 1), mask, normals, region)


def _nobody(size: int, rng: np.random.Generator) -> Sample:
    empty = np.zeros((size, size), bool)
    color = expose(random_scenery((size, size), rng), empty, rng)
    nothing = np.zeros((size, size, 3), np.float32)
    nowhere = np.zeros((size, size), np.uint8)
    return Sample(develop(color, rng), nothing, empty, nothing, nowhere)


def _outside(size: int, rng: np.random.Generator) -> BoolArray:
    """Where a crop reaches beyond its photograph."""
    outside = np.zeros((size, size), bool)
    depth = int(size * rng.uniform(0.02, 0.35))
    side = int(rng.integers(4))
    view = outside if side % 2 else outside.T
    if side < 2:
        view[:depth] = True
    else:
        view[size - depth :] = True
    return outside
