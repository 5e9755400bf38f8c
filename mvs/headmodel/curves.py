"""Expressions as curves, named as ARKit names them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from calib.files import replacing
from mvs.headmodel.types import Fit

# In the order in which Live Link Face writes them, there with a capital first.
ARKIT = (
    *("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft"),
    *("eyeSquintLeft", "eyeWideLeft"),
    *("eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight"),
    *("eyeLookUpRight", "eyeSquintRight", "eyeWideRight"),
    *("jawForward", "jawRight", "jawLeft", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight"),
    *("mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight"),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight"),
    "tongueOut",
)
_SIDES = {"_L": "Left", "_R": "Right"}


def arkit_name(name: str) -> str:
    """A model's expression by ARKit's name (``browDown_L`` is ``browDownLeft``), or as it is."""
    full = name[:-2] + _SIDES[name[-2:]] if name[-2:] in _SIDES else name
    return full if full in ARKIT else name


def arkit_parts(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Which of a model's expressions make up each of ARKit's, in ``ARKIT``'s order.

    ARKit raises both inner brows and puffs both cheeks together; a model may have one per side.

    Args:
        names: of the model's expressions.

    Returns:
        Rows of ``names`` by ARKit's name, without those that the model has not.
    """
    found = {arkit_name(name): (index,) for index, name in enumerate(names)}
    parts = {}
    for name in ARKIT:
        both = tuple(names.index(name + side) for side in _SIDES if name + side in names)
        if name in found or both:
            parts[name] = found.get(name, both)
    return parts


def write_curves(path: Path, fit: Fit, rate: float) -> None:
    """Write ``expressions.csv``: a row per frame, a column per expression.

    First ARKit's names that the model has, in the order and spelling of Live Link Face (what ARKit
    moves on both sides at once is the mean of the model's two); then the model's other expressions
    and its joints (``jaw.x`` and so on, radians) by their own names.

    Args:
        path: the file.
        fit: T frames.
        rate: frames a second.
    """
    model = fit.model
    parts = arkit_parts(model.expression_names)
    used = {rows[0] for rows in parts.values() if len(rows) == 1}
    others = [k for k in range(len(model.expression_names)) if k not in used]
    header = ["frame", "time", "name", *(name[0].upper() + name[1:] for name in parts)]
    header += [model.expression_names[k] for k in others]
    header += [f"{joint}.{axis}" for joint in model.joint_names for axis in "xyz"]
    rows: list[list[Any]] = [header]
    for t, expression in enumerate(fit.expressions):
        values = [float(expression[list(k)].mean()) for k in parts.values()]
        values += [float(expression[k]) for k in others] + fit.joints[t].ravel().tolist()
        name = fit.names[t][0] if fit.names[t] else ""
        rows.append([t, f"{t / rate:.6f}", name, *(f"{value:.6f}" for value in values)])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with replacing(path) as stream:
        stream.write(text.getvalue().encode())
