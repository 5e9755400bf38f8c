"""Layouts: named places of the cube, shipped or of a user's file.

A layout's file is JSON that an editor reads::

    {"layout": "markers", "landmarks": [{"name": "left_1", "uvw": [0.6, 0.5, 0.7]}, ...]}

A landmark with ``"inside": true`` lies off the surface, as teeth and eye centres do, and is located
from the surface around it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mvs.canonical.template import spread_points
from mvs.types import BoolArray, FloatArray

_SHIPPED = {
    "68": "landmarks68.json",
    "5": "landmarks5.json",
    "named": "landmarks_named.json",
}
_DENSE = {"500": 500, "5k": 5000, "50k": 50_000}
LAYOUTS = (*_SHIPPED, *_DENSE)
_KEYS = {"name", "uvw", "inside"}
_EXAMPLE = '{"landmarks": [{"name": "a", "uvw": [0.6, 0.5, 0.7]}, ...]}'


@dataclass(frozen=True)
class Layout:
    """Places of the cube to be found.

    Attributes:
        name: of the layout.
        names: of the K places, unique.
        positions: (K, 3) float32 cube coordinates.
        inside: (K,) bool, True off the surface.
    """

    name: str
    names: tuple[str, ...]
    positions: FloatArray
    inside: BoolArray

    def __len__(self) -> int:
        return len(self.names)


def load_layout(layout: str | Path = "68") -> Layout:
    """A layout by its name, or from a JSON file.

    Args:
        layout: ``68`` (the order of Multi-PIE and 300-W: jaw 0-16, brows 17-26, nose 27-35, eyes
            36-47, lips 48-67; right before left), ``5`` (eyes, nose tip, mouth corners), ``named``
            (ears, crown, teeth, eye centres and so on), ``500``, ``5k`` or ``50k`` (spread evenly
            over the head), or the path of a file.

    Raises:
        ValueError: if there is no such layout, or the file is none.
    """
    name = str(layout)
    if name in _DENSE:
        n = _DENSE[name]
        names = tuple(f"p{index}" for index in range(n))
        return Layout(name, names, spread_points(n), np.zeros(n, np.bool_))
    if name in _SHIPPED:
        return _shipped(name)
    path = Path(layout)
    if not path.is_file():
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, or a file, got {name!r}")
    return _parse(path)


@cache
def _shipped(name: str) -> Layout:
    return _parse(Path(__file__).parent / _SHIPPED[name])


def _parse(path: Path) -> Layout:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        entries = document["landmarks"]
        unknown = {key for entry in entries for key in entry} - _KEYS
        if unknown:
            raise ValueError(f"unknown key {min(unknown)!r}")
        names = tuple(str(entry["name"]) for entry in entries)
        places = np.array([entry["uvw"] for entry in entries], np.float32)
        inside = np.array([entry.get("inside", False) is True for entry in entries], np.bool_)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: not a layout ({reason}); it must be {_EXAMPLE}") from None
    if len(names) == 0 or places.shape != (len(names), 3) or not np.isfinite(places).all():
        raise ValueError(f"{path}: each landmark needs a uvw of three finite numbers")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: two landmarks have one name")
    return Layout(str(document.get("layout", path.stem)), names, places, inside)
