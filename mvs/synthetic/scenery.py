"""Kinds of background that fill a picture: cells, bokeh, leaves, windows, other people."""

from __future__ import annotations

import cv2
import numpy as np

from mvs.synthetic.backgrounds import clouds, random_background, random_color
from mvs.types import FloatArray


def random_scenery(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Draw a background of any kind.

    Args:
        size: (height, width).
        rng: source of randomness.

    Returns:
        (H, W, 3) float32 linear RGB.
    """
    if rng.random() < 0.45:
        picture = random_background(size, rng)
    else:
        kinds = (cells, bokeh, leaves, room)
        picture = kinds[int(rng.choice(4, p=[0.3, 0.15, 0.25, 0.3]))](size, rng)
        grain = np.exp(rng.uniform(0, 0.25) * clouds(size, rng, 1.0))
        picture = np.asarray(picture * grain[..., None], np.float32)
    if rng.random() < 0.15:
        people(picture, rng)
    if rng.random() < 0.3:
        blur = rng.uniform(0.8, size[0] / 40)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    return np.asarray(np.maximum(picture, 0.002), np.float32)


def cells(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Polygons of one colour each, around random points: (H, W, 3) float32."""
    n = int(np.exp(rng.uniform(np.log(12), np.log(220))))
    places = rng.uniform(0, 1, (n, 2)) * size
    y, x = np.indices(size)[:, ::2, ::2]
    from scipy.spatial import cKDTree

    gaps, near = cKDTree(places).query(np.stack([y, x], -1), 2)
    colors = np.stack([random_color(rng) for _ in range(n)]).astype(np.float32)
    shared = random_color(rng).astype(np.float32)
    colors += np.float32(rng.uniform(0, 0.9)) * (shared - colors)
    picture = colors[near[..., 0]]
    if rng.random() < 0.4:
        seam = np.clip((gaps[..., 1] - gaps[..., 0]) / rng.uniform(2, 8), 0, 1)
        picture = picture * (rng.uniform(0, 0.8) + seam[..., None] * rng.uniform(0.2, 1))
    return _enlarge(picture, size)


def bokeh(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Bright discs out of focus on something dark."""
    picture = np.full((*size, 3), 1.0, np.float32)
    picture *= (random_color(rng) * rng.uniform(0.02, 0.4)).astype(np.float32)
    radius = rng.uniform(3, 18)
    for _ in range(int(rng.integers(8, 60))):
        disc = np.zeros(size, np.float32)
        x, y = rng.uniform(0, 1, 2) * size[::-1]
        r = max(int(radius * rng.uniform(0.6, 1.3)), 1)
        left, top = max(int(x) - r, 0), max(int(y) - r, 0)
        part = np.s_[top : int(y) + r + 1, left : int(x) + r + 1]
        cv2.circle(disc, (int(x), int(y)), r, 1.0, -1, cv2.LINE_AA)
        color = random_color(rng) * rng.uniform(0.3, 2.0)
        picture[part] += disc[part][..., None] * color.astype(np.float32)
    return picture


def leaves(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Many small turned ellipses of related colours, lit in patches."""
    base = random_color(rng) if rng.random() < 0.4 else np.array([0.10, 0.20, 0.05])
    picture = np.full((*size, 3), 1.0, np.float32) * (0.15 * base).astype(np.float32)
    length = rng.uniform(3, 16)
    for _ in range(int(rng.integers(150, 700))):
        x, y = (int(v) for v in rng.uniform(0, 1, 2) * size[::-1])
        axes = (max(int(length * rng.uniform(0.5, 1.3)), 1), max(int(length * 0.35), 1))
        tone = base * np.exp(rng.normal(0, 0.6)) * np.exp(rng.normal(0, 0.12, 3))
        color = tuple(float(c) for c in tone)
        cv2.ellipse(picture, (x, y), axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
    light = np.exp(rng.uniform(0.2, 0.9) * clouds(size, rng, 1.6))[..., None]
    return np.asarray(picture * light, np.float32)


def room(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Walls, edges of furniture, and a bright window or two."""
    height, width = size
    picture = np.full((*size, 3), 1.0, np.float32) * random_color(rng).astype(np.float32) * 0.5
    for _ in range(int(rng.integers(2, 9))):
        x0, x1 = np.sort(rng.uniform(-0.2, 1.2, 2) * width)
        y0, y1 = np.sort(rng.uniform(-0.2, 1.2, 2) * height)
        color = random_color(rng) * rng.uniform(0.1, 0.9)
        cv2.rectangle(picture, (int(x0), int(y0)), (int(x1), int(y1)), tuple(map(float, color)), -1)
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(0, 1, 2) * [width, height]
        w, h = rng.uniform(0.1, 0.5, 2) * [width, height]
        corners = (int(x), int(y)), (int(x + w), int(y + h))
        cv2.rectangle(picture, *corners, (2.5, 2.6, 2.8), -1)
        cv2.rectangle(picture, *corners, (0.2, 0.2, 0.2), int(rng.integers(1, 5)))
        cv2.line(picture, (int(x + w / 2), int(y)), (int(x + w / 2), int(y + h)), (0.2,) * 3, 2)
    light = np.exp(rng.uniform(0.1, 0.5) * clouds(size, rng, 1.5))[..., None]
    return np.asarray(picture * light, np.float32)


def people(picture: FloatArray, rng: np.random.Generator) -> None:
    """Blurred other people, in place: head, hair and shoulders in plausible colours."""
    height, width = picture.shape[:2]
    blurred = picture.copy()
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0, width), rng.uniform(0.2, 0.8) * height
        r = rng.uniform(0.04, 0.2) * width
        skin = np.array([0.5, 0.3, 0.22]) * np.exp(rng.normal(-0.3, 0.6))
        hair = np.array([0.06, 0.04, 0.03]) * np.exp(rng.normal(0, 0.8))
        shapes = (
            ((x, y + 2.6 * r), (1.9 * r, 1.6 * r), random_color(rng)),
            ((x, y - 0.2 * r), (0.95 * r, 1.15 * r), hair),
            ((x + rng.normal(0, 0.2) * r, y + 0.2 * r), (0.75 * r, r), skin),
        )
        for center, axes, color in shapes:
            place = (int(center[0]), int(center[1]))
            half = (max(int(axes[0]), 1), max(int(axes[1]), 1))
            tone = tuple(float(c) for c in color)
            cv2.ellipse(blurred, place, half, 0, 0, 360, tone, -1, cv2.LINE_AA)
    picture[:] = cv2.GaussianBlur(blurred, (0, 0), rng.uniform(0.8, 6.0))


def _enlarge(picture: FloatArray, size: tuple[int, int]) -> FloatArray:
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
