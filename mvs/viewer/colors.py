"""Colours of points by what is known of them, and what the colours mean."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from mvs.types import ByteArray
from mvs.viewer.subject import Shape

Values = npt.NDArray[np.floating] | npt.NDArray[np.integer]

# Of what is not known.
UNKNOWN = (128, 128, 128)
_PLAIN = (200, 190, 180)
# Below, nowhere, above.
_DIVERGING = ((33, 80, 190), (240, 240, 240), (190, 40, 30))


def ramp(values: Values, low: float, high: float) -> ByteArray:
    """Colours (N, 3) of numbers (N,), from violet at ``low`` to yellow at ``high``; grey for NaN.

    Source:
        viridis of van der Walt and Smith (2015), as OpenCV has it.
    """
    share = (np.asarray(values, np.float64) - low) / max(high - low, 1e-300)
    rows = np.rint(255 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.int64)
    return _gray_unknown(_viridis()[rows], share)


def diverge(values: Values, limit: float) -> ByteArray:
    """Colours (N, 3) of numbers (N,): blue at -limit, white at 0, red at limit; grey for NaN."""
    share = np.asarray(values, np.float64) / max(limit, 1e-300)
    place = np.clip(np.nan_to_num(share), -1, 1)
    table = np.array(_DIVERGING, np.float64)
    mixed = np.stack([np.interp(place, (-1, 0, 1), table[:, k]) for k in range(3)], axis=1)
    return _gray_unknown(np.rint(mixed).astype(np.uint8), share)


def _gray_unknown(colors: ByteArray, values: npt.NDArray[np.float64]) -> ByteArray:
    return np.where(np.isfinite(values)[:, None], colors, UNKNOWN).astype(np.uint8)


@cache
def _viridis() -> ByteArray:
    import cv2

    steps = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(steps, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1], np.uint8)


def _plain(shape: Shape) -> ByteArray:
    return np.tile(np.array(_PLAIN, np.uint8), (len(shape.cloud), 1))


def _rgb(shape: Shape) -> ByteArray:
    return np.asarray(shape.cloud.colors, np.uint8)


def _normal(shape: Shape) -> ByteArray:
    share = (np.clip(shape.cloud.normals, -1, 1) + 1) / 2
    return np.asarray(np.rint(255 * share), np.uint8)


def _confidence(shape: Shape) -> ByteArray:
    return ramp(shape.cloud.confidence, 0, 1)


def _views(shape: Shape) -> ByteArray:
    return ramp(shape.cloud.n_views, 0, most_views(shape))


def _uvw(shape: Shape) -> ByteArray:
    coords = shape.cloud.coords
    colors = np.rint(255 * np.clip(np.nan_to_num(coords), 0, 1)).astype(np.uint8)
    return _gray_unknown(colors, coords.sum(axis=1).astype(np.float64))


def _part(shape: Shape) -> ByteArray:
    from mvs.canonical.segments import shipped_regions

    regions = shipped_regions()
    labels = regions.labels(shape.cloud.coords)
    return np.asarray(regions.colors[labels], np.uint8)


COLORINGS: dict[str, Callable[[Shape], ByteArray]] = {
    "rgb": _rgb,
    "plain": _plain,
    "normal": _normal,
    "confidence": _confidence,
    "views": _views,
    "uvw": _uvw,
    "part": _part,
}
# What a colouring needs to be known.
_NEEDS = {"plain": None, "part": "uvw"}


def available(shape: Shape) -> list[str]:
    """The colourings that a shape's attributes allow, in the order of ``COLORINGS``."""
    needs = {name: _NEEDS.get(name, name) for name in COLORINGS}
    return [name for name, need in needs.items() if need is None or need in shape.known]


def most_views(shape: Shape) -> int:
    """The most views that agree on a point, at least one."""
    return max(int(shape.cloud.n_views.max(initial=1)), 1)


def legend(coloring: str, shape: Shape | None) -> str:
    """What the colours of a colouring mean, as HTML; empty where they explain themselves."""
    if coloring == "confidence":
        return bar(ramp(np.linspace(0, 1, 9), 0, 1), ("0", "confidence", "1"))
    if coloring == "views" and shape is not None:
        return bar(ramp(np.linspace(0, 1, 9), 0, 1), ("0", "views", str(most_views(shape))))
    if coloring == "normal":
        return _swatches([("x", (255, 128, 128)), ("y", (128, 255, 128)), ("z", (128, 128, 255))])
    if coloring == "uvw":
        axes = [
            ("u, to their left", (255, 0, 0)),
            ("v, up", (0, 255, 0)),
            ("w, front", (0, 0, 255)),
        ]
        return _swatches(axes)
    if coloring == "part":
        from mvs.canonical.regions import REGION_COLORS, REGIONS

        return _swatches(list(zip(REGIONS, REGION_COLORS, strict=True))[1:])
    return ""


def distance_legend(limit: float) -> str:
    """What the colours of ``diverge`` mean: inside the other surface, on it, outside."""
    colors = diverge(np.linspace(-1, 1, 9), 1)
    return bar(colors, (f"inside {-limit:g}", "0", f"{limit:g} outside"))


def bar(colors: ByteArray, labels: Sequence[str]) -> str:
    """A bar of colours with labels spread below it, as HTML."""
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in colors.tolist())
    words = "".join(f"<span>{html.escape(label)}</span>" for label in labels)
    return (
        '<div style="padding:0 1em">'
        f'<div style="height:12px;background:linear-gradient(to right, {stops})"></div>'
        '<div style="display:flex;justify-content:space-between;font-size:12px">'
        f"{words}</div></div>"
    )


def _swatches(entries: Sequence[tuple[str, tuple[int, int, int]]]) -> str:
    items = "".join(
        f'<span style="margin-right:8px;white-space:nowrap"><span style="display:inline-block;'
        f'width:10px;height:10px;background:rgb{color}"></span> {html.escape(name)}</span> '
        for name, color in entries
    )
    return f'<div style="padding:0 1em;font-size:12px">{items}</div>'
