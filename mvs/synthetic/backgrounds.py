"""What is behind a head: walls, clouds of noise with the statistics of pictures, clutter, bokeh."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mvs.types import FloatArray


def random_background(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Draw a background.

    Args:
        size: (height, width).
        rng: source of randomness.

    Returns:
        (H, W, 3) float32 linear RGB.
    """
    kind = rng.random()
    if kind < 0.25:
        picture = _wall(size, rng)
    elif kind < 0.45:
        picture = _clouds(size, rng, rng.uniform(0.6, 2.0))
    else:
        picture = _clutter(size, rng)
        if kind > 0.75:
            spread = rng.uniform(1.0, size[0] / 30)
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), spread), np.float32)
    return np.maximum(picture, 0.002).astype(np.float32)


def random_color(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A linear RGB colour; skin-like in one draw of eight."""
    if rng.random() < 0.125:
        return np.array([0.5, 0.3, 0.2]) * rng.uniform(0.2, 1.4)
    gray = rng.uniform(0.05, 0.95) ** 2.2
    saturation = rng.uniform(0, 1) ** 2
    tint = rng.uniform(0, 1, 3) ** 2.2
    return np.asarray((1 - saturation) * gray + saturation * tint)


def clouds(size: tuple[int, int], rng: np.random.Generator, slope: float) -> FloatArray:
    """Noise whose amplitude falls with frequency: (H, W) float32, mean 0, deviation 1.

    Args:
        size: (height, width).
        rng: source of randomness.
        slope: exponent; photographs have about 1.
    """
    height, width = size
    y = np.fft.fftfreq(height)[:, None] * height
    x = np.fft.rfftfreq(width)[None] * width
    amplitude = np.maximum(np.hypot(y, x), 1.0) ** -slope
    white = rng.standard_normal((2, *amplitude.shape), np.float32)
    spectrum = amplitude * (white[0] + 1j * white[1])
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=size)
    return np.asarray(field / max(float(field.std()), 1e-9), np.float32)


def _clouds(size: tuple[int, int], rng: np.random.Generator, slope: float) -> FloatArray:
    shared = clouds(size, rng, slope)[..., None]
    own = np.stack([clouds(size, rng, slope) for _ in range(2)], axis=-1)
    mixed = shared * rng.uniform(0.2, 0.7) + own @ (rng.normal(0, 0.25, (2, 3)).astype(np.float32))
    return np.asarray(random_color(rng) * np.exp(mixed), np.float32)


def _wall(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    y, x = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]), indexing="ij")
    ramp = rng.normal(0, 0.35) * x + rng.normal(0, 0.35) * y
    ramp = ramp - rng.uniform(0, 0.5) * np.hypot(x - rng.normal(0, 0.4), y - rng.normal(0, 0.4))
    grain = rng.uniform(0, 0.2) ** 1.5 * clouds(size, rng, rng.uniform(0.0, 1.2))
    return np.asarray(random_color(rng) * np.exp(ramp + grain)[..., None], np.float32)


def _clutter(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    picture = _clouds(size, rng, 1.3) if rng.random() < 0.5 else _wall(size, rng)
    picture = np.ascontiguousarray(picture)
    for _ in range(int(rng.integers(3, 40))):
        draw_shape(picture, rng)
    texture = np.exp(rng.uniform(0, 0.25) * clouds(size, rng, rng.uniform(0.4, 1.4)))
    return np.asarray(picture * texture[..., None], np.float32)


def draw_shape(picture: FloatArray, rng: np.random.Generator) -> None:
    """Draw a random box, disc, polygon, line or word onto a picture (H, W, 3), in place."""
    height, width = picture.shape[:2]
    color = tuple(float(c) for c in random_color(rng))
    x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
    w, h = (int(v) for v in np.exp(rng.uniform(np.log(4), np.log(width / 2), 2)))
    kind = rng.integers(6)
    thickness = -1 if rng.random() < 0.7 else int(rng.integers(1, 6))
    if kind == 0:
        cv2.rectangle(picture, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), color, thickness)
    elif kind == 1:
        turn = rng.uniform(0, 180)
        cv2.ellipse(picture, (x, y), (w // 2, h // 2), turn, 0, 360, color, thickness, cv2.LINE_AA)
    elif kind == 2:
        corners = rng.normal(0, 0.5, (int(rng.integers(3, 7)), 2)) * [w, h] + [x, y]
        cv2.fillPoly(picture, [corners.astype(np.int32)], color, cv2.LINE_AA)
    elif kind == 3:
        end = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.line(picture, (x, y), end, color, int(rng.integers(1, 8)), cv2.LINE_AA)
    elif kind == 4:
        for k in range(int(rng.integers(3, 12))):
            place = (x + k * max(w // 4, 3), y)
            cv2.rectangle(picture, place, (place[0] + max(w // 8, 1), y + h), color, -1)
    else:
        word = "".join(chr(c) for c in rng.integers(48, 123, int(rng.integers(2, 9))))
        face = int(rng.integers(0, 5))
        stamp = np.zeros((height, width), np.uint8)
        cv2.putText(stamp, word, (x, y), face, rng.uniform(0.4, 2.0), 255, 2)
        picture[stamp > 127] = color
