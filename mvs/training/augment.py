"""A rendered picture seen anew: turned, zoomed, shifted, partly hidden, by another camera.

Turning, zooming and shifting a picture is another crop by the same camera, so that cube coordinates
and normals, which are the head's own, stay what they are.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mvs.synthetic.dataset import LABEL_SIZE, PICTURE_SIZE, RECORD
from mvs.synthetic.degrade import compress
from mvs.types import FloatArray

# A crop's turn (standard deviation, radians), the range of its zoom's logarithm and of its shift.
_TURN, _ZOOM, _SHIFT = 0.2, (-0.25, 0.2), 0.08
# How often a picture is cropped, hidden in part, blurred, made coarse, noisy, grey and compressed.
_CROPPED, _HIDDEN = 0.8, 0.2
_BLURRED, _COARSE, _NOISY, _GREY, _COMPRESSED = 0.15, 0.1, 0.3, 0.05, 0.2


def augment(record: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change a picture and its labels alike.

    Args:
        record: one ``dataset.RECORD``.
        rng: source of randomness.

    Returns:
        Another record.
    """
    out = np.zeros((), RECORD)
    out[()] = record
    if rng.random() < _CROPPED:
        _crop_anew(out, random_crop(rng), int(rng.integers(0, 256)))
    if rng.random() < _HIDDEN:
        _hide(out, rng)
    out["image"] = photograph_anew(out["image"], rng)
    return out


def random_crop(rng: np.random.Generator) -> FloatArray:
    """Map from places in the new picture to places in the old, (2, 3), both in 0..1."""
    turn = rng.normal(0, _TURN)
    zoom = np.exp(rng.uniform(*_ZOOM))
    cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
    linear = np.array([[cos, -sin], [sin, cos]])
    shift = rng.uniform(-_SHIFT, _SHIFT, 2)
    return np.column_stack([linear, np.array([0.5, 0.5]) + shift - linear @ [0.5, 0.5]])


def _crop_anew(record: np.ndarray, crop: FloatArray, level: int) -> None:
    """Crop a record; what lies outside the old picture is plain and no head."""
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (level,) * 3}
    record["image"] = _warp(record["image"], crop, PICTURE_SIZE, cv2.INTER_LINEAR, **border)
    mask = (record["mask"] > 0).astype(np.float32)
    share = _warp(mask, crop, LABEL_SIZE, cv2.INTER_LINEAR)
    inside = share >= 0.5
    for name in ("coords", "normals"):
        values = record[name].astype(np.float32) * mask[..., None]
        mean = _warp(values, crop, LABEL_SIZE, cv2.INTER_LINEAR) / np.maximum(share, 0.5)[..., None]
        record[name] = np.rint(mean) * inside[..., None]
    record["region"] = _warp(record["region"], crop, LABEL_SIZE, cv2.INTER_NEAREST)
    record["mask"] = inside


def _warp(picture: np.ndarray, crop: FloatArray, size: int, how: int, **border: Any) -> np.ndarray:
    """Sample a square picture where ``crop`` says; OpenCV counts from the first pixel's centre."""
    matrix = np.array(crop)
    matrix[:, 2] = crop[:, 2] * size + crop[:, :2].sum(axis=1) / 2 - 0.5
    flags = how | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(picture, matrix, (size, size), flags=flags, **border)
    return np.asarray(warped)


def _hide(record: np.ndarray, rng: np.random.Generator) -> None:
    """Lay an ellipse of noise or of another place in the picture over it."""
    cover = np.zeros((LABEL_SIZE, LABEL_SIZE), np.uint8)
    center = rng.integers(0, LABEL_SIZE, 2).tolist()
    axes = rng.integers(LABEL_SIZE // 25, LABEL_SIZE // 6, 2).tolist()
    cv2.ellipse(cover, (center, tuple(2 * axis for axis in axes), rng.uniform(0, 180)), 1, -1)
    wide = cv2.resize(cover, (PICTURE_SIZE, PICTURE_SIZE), interpolation=cv2.INTER_NEAREST) > 0
    image = record["image"]
    if rng.random() < 0.5:
        other = np.roll(image, rng.integers(PICTURE_SIZE // 4, 3 * PICTURE_SIZE // 4, 2), (0, 1))
    else:
        color = rng.uniform(0, 255, 3) + rng.normal(0, rng.uniform(0, 40), image.shape)
        other = np.clip(color, 0, 255).astype(np.uint8)
    image[wide] = other[wide]
    for name in ("mask", "coords", "normals", "region"):
        record[name][cover > 0] = 0


def photograph_anew(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square picture with another white balance, tone, sharpness, noise and compression."""
    tone = (image / np.float32(255)) ** np.float32(np.exp(rng.normal(0, 0.12)))
    tone = tone * np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.05, 3)).astype(np.float32)
    if rng.random() < _GREY:
        tone[:] = tone.mean(axis=2, keepdims=True)
    if rng.random() < _BLURRED:
        tone = np.asarray(cv2.GaussianBlur(tone, (0, 0), rng.uniform(0.4, 1.5)))
    if rng.random() < _COARSE:
        size = int(len(image) * rng.uniform(0.3, 0.8))
        small = cv2.resize(tone, (size, size), interpolation=cv2.INTER_AREA)
        tone = np.asarray(cv2.resize(small, image.shape[1::-1]))
    if rng.random() < _NOISY:
        tone = tone + rng.uniform(0, 0.03) * rng.standard_normal(tone.shape, np.float32)
    picture = np.clip(tone * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < _COMPRESSED:
        picture = compress(picture, int(rng.integers(25, 80)))
    return picture
