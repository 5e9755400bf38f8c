"""From linear light to the picture a camera delivers: exposure, tone, blur, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mvs.types import BoolArray, ByteArray, FloatArray


def expose(color: FloatArray, mask: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Exposure and white balance as a camera would set them, not quite right.

    Args:
        color: (H, W, 3) float32 linear RGB.
        mask: (H, W) bool, what the exposure is mostly set for.
        rng: source of randomness.

    Returns:
        (H, W, 3) float32 in linear light, 1 is white.
    """
    luminance = color.mean(axis=2)
    whole = float(luminance.mean())
    subject = float(luminance[mask].mean()) if mask.any() else whole
    level = max(0.75 * subject + 0.25 * whole, 1e-3)
    spread = 0.3 if rng.random() < 0.75 else 0.7
    gain = 0.24 * np.exp(rng.normal(0, spread)) * level**-0.75
    balance = np.exp(rng.normal(0, 0.06 if rng.random() < 0.8 else 0.2, 3))
    return np.asarray(color * (gain * balance), np.float32)


def develop(color: FloatArray, rng: np.random.Generator) -> ByteArray:
    """Tone curve, saturation, optics, sensor noise and compression.

    Args:
        color: (H, W, 3) float32 linear light, 1 is white.
        rng: source of randomness.

    Returns:
        (H, W, 3) uint8.
    """
    color = _blur(_vignette(color, rng), rng)
    if rng.random() < 0.7:
        shot = rng.uniform(0, 0.03) * np.sqrt(np.maximum(color, 0)) + rng.uniform(0, 0.006)
        noise = shot * rng.standard_normal(color.shape, np.float32)
        color = np.asarray(color + noise, np.float32)
    tone: npt.NDArray[np.floating] = np.clip(color, 0, None).astype(np.float64)
    if rng.random() < 0.5:  # a shoulder instead of clipping
        tone = tone * (1 + tone / 4) / (1 + tone)
    tone = np.clip(tone, 0, 1) ** (1 / rng.uniform(1.9, 2.6))
    contrast = rng.uniform(-0.1, 0.35)
    tone = tone + contrast * (tone * tone * (3 - 2 * tone) - tone)
    gray = tone.mean(axis=2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.06 else rng.uniform(0.6, 1.35)
    tone = gray + saturation * (tone - gray)
    picture = np.clip(tone * 255 + 0.5, 0, 255).astype(np.uint8)
    return picture if rng.random() < 0.4 else compress(picture, int(rng.integers(35, 98)))


def _vignette(color: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Darker corners and scattered light, each in some pictures."""
    height, width = color.shape[:2]
    if rng.random() < 0.2:
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
        fall = 1 - rng.uniform(0.1, 0.6) * (x * x + y * y) / 2
        color = np.asarray(color * fall[..., None], np.float32)
    if rng.random() < 0.12:  # haze and glare
        veil = rng.uniform(0.01, 0.12) * np.exp(rng.normal(0, 0.1, 3))
        color = np.asarray(color + veil, np.float32)
    return color


def _blur(color: FloatArray, rng: np.random.Generator) -> FloatArray:
    kind = rng.random()
    if kind < 0.45:
        return np.asarray(cv2.GaussianBlur(color, (0, 0), rng.uniform(0.3, 1.0)))
    if kind < 0.55:
        return np.asarray(cv2.GaussianBlur(color, (0, 0), rng.uniform(1.0, 2.5)))
    if kind < 0.62:  # moved
        length, angle = int(rng.integers(2, 7)), rng.uniform(0, np.pi)
        kernel = np.zeros((15, 15), np.float32)
        end = (7 + round(length * np.cos(angle)), 7 + round(length * np.sin(angle)))
        cv2.line(kernel, (7, 7), end, 1.0, 1)
        return np.asarray(cv2.filter2D(color, -1, kernel / kernel.sum()))
    if kind < 0.7:  # a small picture enlarged
        small = cv2.resize(color, None, fx=(f := rng.uniform(0.3, 0.8)), fy=f, interpolation=3)
        return np.asarray(cv2.resize(small, color.shape[1::-1], interpolation=cv2.INTER_LINEAR))
    return color


def compress(picture: ByteArray, quality: int) -> ByteArray:
    """An RGB picture as JPEG of a quality (1 to 100) leaves it."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", picture[..., ::-1], options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(decoded, np.uint8)[..., ::-1])
