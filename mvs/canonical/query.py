"""Queries: a pixel of one picture becomes a place of the cube, to be found anywhere else.

Source: Chandran, Zoss, Gotardo and Bradley, "Continuous Landmark Detection with 3D Queries" (CVPR
2023), for the idea of a clicked point as a query.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mvs.canonical.layouts import Layout
from mvs.stages.views import map_from_image
from mvs.types import CubeMap, DoubleArray, FloatArray

# Width of the window around a pixel, in pixels of the map, and how far it reaches in widths.
_WIDTH, _REACH = 2.0, 3
_ROUNDS = 5
_ROBUST_SCALE = 1.4826
# Weight that a window must hold, in pixels, and how far the nearest pixel of the head may be.
_MIN_PIXELS = 7.0
_BESIDE = 1.5


class MarkedPixels(NamedTuple):
    """Pixels (K, 2) of a picture, the first pixel's centre at (0.5, 0.5), with names."""

    names: tuple[str, ...]
    pixels: DoubleArray


def query_places(cube_map: CubeMap, pixels: DoubleArray) -> tuple[FloatArray, FloatArray]:
    """Places of the cube that a picture shows at some of its pixels, to a part of a pixel.

    A quadratic surface is fitted to the map around each pixel, robustly and weighted by confidence.

    Args:
        cube_map: of the picture.
        pixels: (K, 2) of the picture; the centre of the first pixel is (0.5, 0.5).

    Returns:
        (K, 3) float32 cube coordinates, NaN off the head, and (K,) float32 confidence, 0 there.

    Raises:
        ValueError: if ``pixels`` is not (K, 2).
    """
    pixels = np.asarray(pixels, np.float64)
    if pixels.ndim != 2 or pixels.shape[1] != 2:
        raise ValueError(f"pixels must be (K, 2), got {pixels.shape}")
    to_map = map_from_image(cube_map)
    found = [_query(cube_map, pixel) for pixel in pixels @ to_map[:, :2].T + to_map[:, 2]]
    places = np.array([place for place, _ in found], np.float32).reshape(-1, 3)
    return places, np.array([sure for _, sure in found], np.float32)


def _query(cube_map: CubeMap, pixel: DoubleArray) -> tuple[DoubleArray, float]:
    """Place and confidence at one pixel of the map."""
    nothing = np.full(3, np.nan), 0.0
    height, width = cube_map.mask.shape
    reach = int(np.ceil(_WIDTH * _REACH))
    beside = (pixel > -1) & (pixel < np.array([width, height]) + 1)
    if not beside.all():
        return nothing
    x, y = np.floor(pixel).astype(int)
    rows = slice(max(y - reach, 0), max(y + reach + 1, 0))
    columns = slice(max(x - reach, 0), max(x + reach + 1, 0))
    coords, weight = cube_map.coords[rows, columns], cube_map.confidence[rows, columns]
    valid = cube_map.mask[rows, columns] & np.isfinite(coords).all(axis=2) & (weight > 0)
    at = np.argwhere(valid)[:, ::-1] + [columns.start, rows.start] + 0.5 - pixel
    values, weight = coords[valid].astype(np.float64), weight[valid].astype(np.float64)
    squared = (at**2).sum(axis=1)
    near = np.exp(-0.5 * squared / _WIDTH**2)
    if near.sum() < _MIN_PIXELS or squared.min() > _BESIDE**2:
        return nothing
    # The surface of the nearest pixels, where another lies behind an edge.
    start = np.median(values[np.argsort(squared, kind="stable")[:9]], axis=0)
    off = np.linalg.norm(values - start, axis=1)
    dx, dy = at.T / _WIDTH
    basis = np.column_stack([np.ones_like(dx), dx, dy, dx * dx, dx * dy, dy * dy])
    for _ in range(_ROUNDS):
        scale = 3 * _ROBUST_SCALE * float(np.median(off[near > 0.1])) + 1e-9
        robust = near * weight / (1 + (off / scale) ** 2) ** 2
        normal = basis.T @ (robust[:, None] * basis)
        normal += 1e-9 * np.trace(normal) * np.eye(6)
        fit = np.linalg.solve(normal, basis.T @ (robust[:, None] * values))
        off = np.linalg.norm(values - basis @ fit, axis=1)
    return fit[0], min(float(robust @ weight / robust.sum()), 1.0)


def query_layout(
    cube_map: CubeMap, marked: MarkedPixels, picture: str, name: str = "query"
) -> Layout:
    """The layout of the places that a picture shows at marked pixels.

    Args:
        cube_map: of the picture.
        marked: pixels with names.
        picture: name of the picture, for the message.
        name: of the layout.

    Raises:
        ValueError: if a pixel is not on the head.
    """
    places, _ = query_places(cube_map, marked.pixels)
    for row in np.flatnonzero(~np.isfinite(places).all(axis=1)):
        x, y = marked.pixels[row]
        raise ValueError(
            f"{picture}: point {marked.names[row]} at {x:g} {y:g} is not on the head; "
            "give pixels of the head, the first pixel's centre at 0.5 0.5"
        )
    return Layout(name, marked.names, places, np.zeros(len(places), np.bool_))


def read_marked(path: Path) -> MarkedPixels:
    """Pixels with names, from JSON or CSV.

    JSON: ``{"points": [{"name": "m1", "pixel": [x, y]}, ...]}``. CSV: a line ``name,x,y``, then one
    per point.

    Raises:
        ValueError: if the file is no such one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".csv":
            rows: list[Any] = list(csv.DictReader(text.splitlines()))
            names = tuple(row["name"] for row in rows)
            pixels = np.array([[row["x"], row["y"]] for row in rows], np.float64)
        else:
            rows = json.loads(text)["points"]
            names = tuple(str(row["name"]) for row in rows)
            pixels = np.array([row["pixel"] for row in rows], np.float64)
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}: not a file of points ({reason}); give CSV with name,x,y or JSON"
        ) from None
    if pixels.ndim != 2 or pixels.shape != (len(names), 2) or not np.isfinite(pixels).all():
        raise ValueError(f"{path}: each point needs two finite numbers; give name, x and y")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{path}: holds no point, or two of one name; give each its own")
    return MarkedPixels(names, pixels)


def collect_marked(path: Path | None, points: tuple[tuple[float, float], ...] = ()) -> MarkedPixels:
    """Pixels of a file, then those given one by one, named p0, p1 and so on.

    Raises:
        ValueError: if there are none, a number is none, or two have one name.
    """
    names: tuple[str, ...] = ()
    pixels = np.zeros((0, 2))
    if path is not None:
        names, pixels = read_marked(path)
    given = np.array(points, np.float64).reshape(-1, 2)
    names += tuple(f"p{index}" for index in range(len(given)))
    if not names or not np.isfinite(given).all() or len(set(names)) < len(names):
        raise ValueError("give points of different names, by --point X Y or --points FILE")
    return MarkedPixels(names, np.concatenate([pixels, given]))
