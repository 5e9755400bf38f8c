"""Things held in front of a head: hands, a microphone, a phone, a cup, anything plain."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mvs.synthetic.backgrounds import clouds, draw_shape, random_color
from mvs.types import BoolArray, DoubleArray, FloatArray

# Thumb to little finger: turn against the palm's axis (rad), length and width by the palm's.
_FINGERS = (
    (-0.95, 1.25, 0.30),
    (-0.28, 1.75, 0.27),
    (-0.05, 1.95, 0.28),
    (0.15, 1.80, 0.26),
    (0.36, 1.45, 0.23),
)


def occlude(
    color: FloatArray, mask: BoolArray, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    """Hold something in front.

    Args:
        color: (H, W, 3) float32 linear RGB.
        mask: (H, W) bool, where the head is; most things are near it.
        rng: source of randomness.

    Returns:
        The picture, and (H, W) bool where the thing hides what was there.
    """
    size = color.shape[0]
    kind = rng.random()
    hidden = np.zeros((size, size), np.float32)
    place, reach = _near(mask, rng)
    cover = np.broadcast_to(random_color(rng).astype(np.float32), color.shape).copy()
    if kind < 0.5:
        cover[:] = np.array([0.55, 0.33, 0.24]) * np.exp(rng.normal(-0.3, 0.6))
        for _ in range(1 + int(rng.random() < 0.25)):
            _hand(hidden, place, reach * rng.uniform(0.13, 0.26), rng)
            place, reach = _near(mask, rng)
        cover *= _round(hidden, reach * 0.06, rng)
    elif kind < 0.8:
        _thing(hidden, cover, place, reach, rng)
        cover *= _round(hidden, reach * rng.uniform(0.03, 0.2), rng)
    else:
        shape = np.zeros((size, size, 3), np.float32)
        for _ in range(int(rng.integers(1, 3))):
            draw_shape(shape, rng)
        hidden[:] = shape.max(axis=2) > 0
    if hidden.mean() > 0.35:
        hidden[:] = 0
    light = float(color[mask].mean()) / 0.25 if mask.any() else 1.0
    cover *= min(max(light, 0.1), 2.0)
    cover *= np.exp(rng.uniform(0, 0.3) * clouds((size, size), rng, 1.0))[..., None]
    soft = cv2.GaussianBlur(hidden, (0, 0), rng.uniform(0.3, 1.2))[..., None]
    mixed = color + soft * (cover - color)
    return np.asarray(mixed, np.float32), hidden > 0.5


def _near(mask: BoolArray, rng: np.random.Generator) -> tuple[DoubleArray, float]:
    """A place (x, y) at the head, rather at its lower rim, and the head's size in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows) or rng.random() < 0.15:
        return rng.uniform(0.1, 0.9, 2) * mask.shape[0], 0.6 * mask.shape[0]
    reach = float(max(rows[-1] - rows[0], columns[-1] - columns[0], 8))
    share = np.array([rng.uniform(-0.15, 1.15), rng.beta(2.0, 1.2) * 1.2])
    first = np.array([columns[0], rows[0]])
    return first + share * [columns[-1] - columns[0], rows[-1] - rows[0]], reach


def _hand(hidden: FloatArray, place: DoubleArray, palm: float, rng: np.random.Generator) -> None:
    """A palm with fingers stretched or bent, and a forearm, onto ``hidden``."""
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.4 else rng.normal(-np.pi / 2, 0.6)
    side = 1.0 if rng.random() < 0.5 else -1.0
    bent, apart = rng.uniform(0.25, 1.0), rng.uniform(0.5, 1.3)
    axis = np.array([np.cos(turn), np.sin(turn)])
    wide = np.array([-axis[1], axis[0]]) * side
    turn_deg = float(np.rad2deg(turn))
    if rng.random() < 0.75:
        middle = _at(place - 0.1 * palm * axis)
        cv2.ellipse(
            hidden, middle, (int(0.62 * palm), int(0.5 * palm)), turn_deg, 0, 360, 1.0, -1, 16
        )
        wrist = place - 3.2 * palm * axis
        cv2.line(hidden, middle, _at(wrist), 1.0, max(int(0.62 * palm), 1), 16)
    for index, (angle, length, width) in enumerate(_FINGERS):
        if rng.random() < 0.12:
            continue
        base = place + palm * (0.38 * axis + 0.27 * (index - 2.4) * wide)
        base = place - 0.25 * palm * axis - 0.45 * palm * wide if index == 0 else base
        heading = turn + side * angle * apart + rng.normal(0, 0.06)
        reach = palm * (length - 0.75) * bent * rng.uniform(0.85, 1.1)
        joint = base + 0.55 * reach * np.array([np.cos(heading), np.sin(heading)])
        heading += rng.normal(0, 0.25) * (1.2 - bent)
        tip = joint + 0.5 * reach * np.array([np.cos(heading), np.sin(heading)])
        for start, stop in ((base, joint), (joint, tip)):
            cv2.line(hidden, _at(start), _at(stop), 1.0, max(int(width * palm), 1), 16)


def _thing(
    hidden: FloatArray,
    cover: FloatArray,
    place: DoubleArray,
    reach: float,
    rng: np.random.Generator,
) -> None:
    """A microphone, phone or cup onto ``hidden``, in colours onto ``cover``."""
    kind, turn = int(rng.integers(3)), rng.normal(0, 0.5)
    down = np.array([np.sin(turn), np.cos(turn)])
    size = reach * rng.uniform(0.07, 0.2)
    if kind == 0:
        cv2.line(hidden, _at(place), _at(place + 12 * size * down), 1.0, max(int(size), 1), 16)
        cv2.circle(hidden, _at(place), max(int(0.9 * size), 1), 1.0, -1, 16)
        cover[:] = rng.uniform(0.005, 0.12)
        mesh = np.indices(hidden.shape).sum(axis=0) % 3 == 0
        cover[mesh] *= rng.uniform(1.0, 3.0)
        return
    aside = np.array([down[1], -down[0]])
    half = np.array([0.5, 1.0]) if kind == 1 else np.array([0.75, 0.9])
    corners = [
        place
        + size * 1.6 * (s * half[0] * aside * (1 - 0.15 * (kind == 2) * r) + r * half[1] * down)
        for s, r in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    cv2.fillPoly(hidden, [np.array(corners).astype(np.int32)], 1.0, 16)
    if kind == 1:
        cover[:] = rng.uniform(0.003, 0.05)
        lens = _at(place + size * (0.4 * aside - 1.1 * down))
        color = tuple(float(c) for c in random_color(rng) * 0.4)
        cv2.circle(cover, lens, max(int(0.25 * size), 1), color, -1, 16)


def _round(hidden: FloatArray, depth: float, rng: np.random.Generator) -> FloatArray:
    """Shading (H, W, 3) of a thing whose rims turn away within ``depth`` pixels."""
    inside = (hidden > 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    t = np.clip(distance / max(depth, 1.5), 0, 1)
    height = np.asarray(np.sqrt(1 - (1 - t) ** 2), np.float32)
    smooth = cv2.GaussianBlur(height, (0, 0), 1.0) * max(depth, 1.5)
    dy, dx = np.gradient(smooth)
    turn = rng.uniform(-np.pi, np.pi)
    slope = (dx * np.cos(turn) + dy * np.sin(turn)) / np.sqrt(1 + dx * dx + dy * dy)
    lit = rng.uniform(0.4, 0.9) + rng.uniform(0.2, 0.8) * slope
    red = np.array([1.0, 0.9, 0.85])
    shading = np.maximum(lit, 0.06)[..., None] * (1 - (1 - t[..., None]) * (1 - red))
    return np.asarray(shading, np.float32)


def _at(point: npt.NDArray[np.float64]) -> tuple[int, int]:
    return int(np.clip(point[0], -4000, 4000)), int(np.clip(point[1], -4000, 4000))
