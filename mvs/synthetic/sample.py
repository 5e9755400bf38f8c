"""Training pictures: a random person seen by random cameras, as a crop of a photograph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from mvs.synthetic.backgrounds import clouds, draw_shape, random_background, random_color
from mvs.synthetic.degrade import develop, expose
from mvs.synthetic.people import random_person
from mvs.synthetic.render import Rendering, Shot, look_at, render
from mvs.synthetic.scene import Studio, build_scene
from mvs.types import BoolArray, ByteArray, FloatArray

_HEAD_CENTER = (0.0, 2.0, 0.5)
_HEAD_HEIGHT_CM = 24.0
_HAIR_LEVELS = (0.0, 0.9)


@dataclass(frozen=True)
class Sample:
    """A picture and its truth.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        coords: (S, S, 3) float32 cube coordinates, 0 off the head.
        mask: (S, S) bool, True on the head.
    """

    image: ByteArray
    coords: FloatArray
    mask: BoolArray


def random_samples(studio: Studio, seed: tuple[int, ...], n_views: int, size: int) -> list[Sample]:
    """Pictures of one random person.

    Args:
        studio: the head model.
        seed: numbers that determine everything.
        n_views: how many pictures.
        size: side of a picture, pixels.

    Returns:
        ``n_views`` samples.
    """
    rng = np.random.default_rng(seed)
    scene = build_scene(studio, random_person(studio.head, rng), _HAIR_LEVELS)
    samples = []
    for _ in range(n_views):
        if rng.random() < 0.02:
            samples.append(_nobody(size, rng))
            continue
        background = random_background((size, size), rng)
        photo = render(scene, random_shot(size, rng), background, 2, 2)
        samples.append(_finish(photo, rng))
    return samples


def random_shot(size: int, rng: np.random.Generator) -> Shot:
    """Draw a camera around a head.

    Most crops hold the head well; one in seven shows it small, as a whole photograph would.
    """
    yaw = rng.normal(0, 0.7) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    pitch = float(np.clip(rng.normal(0.05, 0.3), -0.8, 0.8))
    roll = rng.normal(0, 0.14) if rng.random() < 0.85 else rng.uniform(-0.55, 0.55)
    distance = np.exp(rng.uniform(np.log(40), np.log(260)))
    shot = look_at(np.array(_HEAD_CENTER), yaw, pitch, roll, distance)
    if rng.random() < 0.14:
        share = rng.uniform(0.12, 0.42)
        center = rng.uniform(0.15, 0.85, 2)
    else:
        share = rng.uniform(0.42, 0.95)
        spread = 0.07 if rng.random() < 0.8 else 0.2
        center = 0.5 + rng.normal(0, spread, 2)
    focal = share * size * distance / _HEAD_HEIGHT_CM
    middle = (float(center[0] * size), float(center[1] * size))
    return replace(shot, focal=focal, center=middle, size=(size, size))


def _finish(photo: Rendering, rng: np.random.Generator) -> Sample:
    color, mask = photo.color, photo.mask.copy()
    color = expose(color, mask, rng)
    if rng.random() < 0.13:
        color, hidden = _occlude(color, rng)
        mask &= ~hidden
    image = develop(color, rng)
    if rng.random() < 0.12:
        outside = _outside(mask.shape[0], rng)
        image[outside] = 0
        mask &= ~outside
    coords = np.where(mask[..., None], photo.coords, np.float32(0))
    return Sample(image, np.clip(coords, 0, 1), mask)


def _nobody(size: int, rng: np.random.Generator) -> Sample:
    empty = np.zeros((size, size), bool)
    color = expose(random_background((size, size), rng), empty, rng)
    return Sample(develop(color, rng), np.zeros((size, size, 3), np.float32), empty)


def _occlude(color: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    """Something in front: a hand's fingers, a phone, a microphone, a plain thing."""
    size = color.shape[0]
    hidden = np.zeros((size, size), np.float32)
    cover = np.zeros_like(color)
    cover[:] = random_color(rng) * 1.2
    center = rng.uniform(0.1, 0.9, 2) * size
    if rng.random() < 0.5:  # fingers
        cover[:] = np.array([0.55, 0.33, 0.24]) * np.exp(rng.normal(0, 0.5))
        angle, width = rng.uniform(0, 2 * np.pi), size * rng.uniform(0.02, 0.06)
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        for k in range(int(rng.integers(2, 5))):
            start = center + across * width * 2.1 * k
            end = start + along * size * rng.uniform(0.15, 0.3)
            points = [tuple(int(v) for v in p) for p in (start, end)]
            cv2.line(hidden, points[0], points[1], 1.0, int(2 * width), cv2.LINE_AA)
        palm = tuple(int(v) for v in center + across * width * 2.5 - along * width)
        cv2.circle(hidden, palm, int(4 * width), 1.0, -1, cv2.LINE_AA)
    else:
        shape = np.zeros((size, size, 3), np.float32)
        for _ in range(int(rng.integers(1, 3))):
            draw_shape(shape, rng)
        hidden[:] = shape.max(axis=2) > 0
        if hidden.mean() > 0.35:
            hidden[:] = 0
    cover *= np.exp(rng.uniform(0, 0.4) * clouds((size, size), rng, 1.0))[..., None]
    mixed = color + hidden[..., None] * (cover - color)
    return mixed.astype(np.float32), hidden > 0.5


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
