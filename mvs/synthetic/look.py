"""What a rendered person looks like: colours and patterns, drawn at random over the human range."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# One record that the shading kernel reads. Colours are linear RGB, lengths centimetres on the
# template, amounts 0..1 unless said otherwise.
LOOK = np.dtype(
    [
        ("seed", "f4", 3),  # offset into the noise volume
        ("skin", "f4", 3),
        ("blood", "f4"),  # how red cheeks, nose and ears are
        ("blotches", "f4"),
        ("freckles", "f4"),
        ("moles", "f4"),
        ("pores", "f4"),
        ("wrinkles", "f4"),
        ("oil", "f4"),  # strength of highlights
        ("roughness", "f4"),
        ("lips", "f4", 3),
        ("lip_amount", "f4"),
        ("shadow", "f4", 3),  # eye make-up
        ("shadow_amount", "f4"),
        ("liner", "f4"),
        ("brow", "f4"),
        ("beard", "f4"),  # 0 none, below 0.5 stubble, above a full beard
        ("shaved", "f4"),  # hair shaved to the skin
        ("beard_shape", "i4"),  # see ``skin``
        ("folds", "f4"),
        ("brow_scale", "f4"),  # width against the usual
        ("white", "f4"),  # brightness of the eyes' white
        ("glare", "f4"),  # how much clear glasses mirror
        ("iris", "f4", 3),
        ("iris_radius", "f4"),  # rad
        ("pupil", "f4"),  # relative to the iris
        ("gaze", "f4", 3),  # unit vector in the head's frame
        ("hair", "f4", 3),
        ("hair_gray", "f4"),
        ("strand", "f4"),  # strands per cm
        ("wave", "f4"),
        ("curl", "f4"),  # 0 straight strands, 1 curls without direction
        ("gloss", "f4"),
        ("contrast", "f4"),  # between locks, in logarithms
        ("tips", "f4"),  # how much lighter a lock's tip is
        ("sparse", "f4"),  # 0 dense hair, 1 thin
        ("cloth", "f4", 3),
        ("cloth_other", "f4", 3),
        ("stripes", "f4"),  # per cm, 0 none
        ("weave", "f4"),
        ("hat", "f4", 3),
        ("hat_other", "f4", 3),
        ("knit", "f4"),  # ribs per cm, 0 plain
        ("frame", "f4", 3),  # glasses
        ("lens", "f4", 3),
    ]
)

_SKIN = np.array(
    [
        (0.80, 0.58, 0.48),
        (0.66, 0.44, 0.33),
        (0.50, 0.30, 0.205),
        (0.33, 0.18, 0.11),
        (0.17, 0.085, 0.05),
        (0.065, 0.034, 0.023),
    ]
)
_HAIR = np.array(
    [
        (0.012, 0.010, 0.009),
        (0.035, 0.022, 0.014),
        (0.085, 0.048, 0.026),
        (0.19, 0.115, 0.055),
        (0.42, 0.29, 0.15),
        (0.26, 0.075, 0.03),
        (0.34, 0.33, 0.32),
        (0.70, 0.68, 0.65),
    ]
)
_HAIR_SHARE = (0.24, 0.2, 0.16, 0.12, 0.09, 0.06, 0.08, 0.05)
_IRIS = np.array(
    [
        (0.06, 0.03, 0.015),
        (0.13, 0.065, 0.025),
        (0.16, 0.13, 0.05),
        (0.10, 0.16, 0.09),
        (0.14, 0.22, 0.32),
        (0.25, 0.3, 0.33),
    ]
)

Record = npt.NDArray[np.void]


def random_look(rng: np.random.Generator) -> Record:
    """Draw a look.

    Args:
        rng: source of randomness.

    Returns:
        (1,) array of ``LOOK``.
    """
    look = np.zeros(1, LOOK)
    look["seed"] = rng.uniform(0, 32, 3)
    look["brow_scale"] = look["white"] = 1
    _skin(look, rng)
    _face_details(look, rng)
    _eyes(look, rng)
    _hair(look, rng)
    _clothes(look, rng)
    return look


def vary_look(look: Record, rng: np.random.Generator) -> None:
    """Draw what ``random_look`` leaves at rest, in place."""
    look["beard_shape"] = rng.choice(5, p=[0.55, 0.15, 0.08, 0.15, 0.07])
    look["folds"] = rng.uniform(0, 1) ** 1.5
    look["brow_scale"] = rng.uniform(0.55, 1.5)
    look["white"] = rng.uniform(0.45, 1.0)
    look["glare"] = rng.uniform(0, 1) ** 1.5
    if rng.random() < 0.25:  # sweat, cream
        look["oil"], look["roughness"] = rng.uniform(1.0, 3.0), rng.uniform(0.18, 0.35)
    look["contrast"] = rng.uniform(0.15, 1.0)
    look["tips"] = rng.uniform(-0.2, 0.6)


def _skin(look: Record, rng: np.random.Generator) -> None:
    tone = rng.uniform(0, len(_SKIN) - 1)
    log = [np.interp(tone, np.arange(len(_SKIN)), np.log(_SKIN[:, k])) for k in range(3)]
    look["skin"] = np.clip(np.exp(log + rng.normal(0, 0.09, 3) + rng.normal(0, 0.08)), 0.01, 0.9)
    look["blood"] = rng.uniform(0, 1) ** 1.5
    look["blotches"] = rng.uniform(0.1, 1)
    look["freckles"] = rng.uniform(0.2, 1) if rng.random() < 0.3 else 0
    look["moles"] = rng.uniform(0, 1)
    look["pores"] = rng.uniform(0.1, 1)
    look["wrinkles"] = rng.uniform(0, 1) ** 3
    look["oil"] = rng.uniform(0.1, 1)
    look["roughness"] = rng.uniform(0.25, 0.6)


def _face_details(look: Record, rng: np.random.Generator) -> None:
    skin = look["skin"][0]
    red = skin * rng.uniform(0.55, 0.95) * np.array([1.1, 0.62, 0.62])
    if rng.random() < 0.2:  # lipstick
        red = _color(rng, saturation=0.75) if rng.random() < 0.3 else np.array([0.4, 0.03, 0.05])
        red = red * rng.uniform(0.5, 1.3)
    look["lips"], look["lip_amount"] = np.clip(red, 0.01, 0.9), rng.uniform(0.35, 1)
    if rng.random() < 0.2:
        look["shadow"], look["shadow_amount"] = _color(rng, 0.5), rng.uniform(0.2, 0.8)
    look["liner"] = rng.uniform(0.2, 1)
    look["brow"] = rng.uniform(0.3, 1) if rng.random() < 0.93 else 0.05
    kind = rng.random()
    look["beard"] = (
        0 if kind < 0.55 else rng.uniform(0.1, 0.5) if kind < 0.8 else rng.uniform(0.5, 1)
    )
    look["shaved"] = rng.uniform(0, 0.8)


def _eyes(look: Record, rng: np.random.Generator) -> None:
    iris = _IRIS[rng.integers(len(_IRIS))] * rng.uniform(0.6, 1.3) + rng.uniform(0, 0.02, 3)
    look["iris"] = iris
    look["iris_radius"], look["pupil"] = rng.uniform(0.4, 0.48), rng.uniform(0.3, 0.6)
    yaw, pitch = rng.normal(0, 0.22), rng.normal(0, 0.12)
    gaze = np.array([np.sin(yaw), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    look["gaze"] = gaze / np.linalg.norm(gaze)


def _hair(look: Record, rng: np.random.Generator) -> None:
    color = _HAIR[rng.choice(len(_HAIR), p=_HAIR_SHARE)] * rng.uniform(0.6, 1.5)
    if rng.random() < 0.05:
        color = _color(rng, 0.8)
    look["hair"] = np.clip(color, 0.006, 0.85)
    look["hair_gray"] = rng.uniform(0, 0.7) if rng.random() < 0.2 else 0
    look["strand"] = rng.uniform(2.0, 6.0)
    look["wave"] = rng.uniform(0, 1)
    look["curl"] = rng.uniform(0.3, 1) if rng.random() < 0.3 else rng.uniform(0, 0.3)
    look["gloss"] = rng.uniform(0.1, 1)
    look["sparse"] = rng.uniform(0, 1) ** 4


def _clothes(look: Record, rng: np.random.Generator) -> None:
    look["cloth"], look["cloth_other"] = _color(rng, 0.5), _color(rng, 0.5)
    look["stripes"] = rng.uniform(0.1, 0.8) if rng.random() < 0.3 else 0
    look["weave"] = rng.uniform(0, 1)
    look["hat"], look["hat_other"] = _color(rng, 0.6), _color(rng, 0.6)
    look["knit"] = rng.uniform(0.6, 2.2) if rng.random() < 0.6 else 0
    dark = rng.uniform(0.005, 0.05, 3)
    look["frame"] = dark if rng.random() < 0.6 else _color(rng, 0.4)
    look["lens"] = rng.uniform(0.004, 0.05, 3)


def _color(rng: np.random.Generator, saturation: float) -> npt.NDArray[np.float64]:
    """A random linear RGB colour between 0.005 and 0.8."""
    gray = rng.uniform(0.08, 0.9) ** 2.2
    tint = rng.uniform(0, 1, 3) ** 2.2
    return np.asarray(np.clip((1 - saturation) * gray + saturation * tint * gray * 2, 0.005, 0.8))
