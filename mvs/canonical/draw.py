"""Pictures of the cube: the template with its regions and points, projections, matches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.files import replacing
from mvs.canonical.atlas import atlas_coords, atlas_places
from mvs.canonical.layouts import Layout
from mvs.canonical.pictures import MappedPicture
from mvs.canonical.segments import Regions
from mvs.canonical.template import load_template
from mvs.canonical.warp import warp_flow
from mvs.kernels.raster import rasterise, vertex_normals
from mvs.types import BoolArray, ByteArray, DoubleArray, FloatArray

_PAPER = np.array([248, 248, 246], np.uint8)
_INK, _DOT = (30, 30, 30), (200, 30, 30)
# Degrees that the head is turned to its right: what a viewer sees of it.
_SIDES = {"front": 0.0, "left side": 90.0, "back": 180.0}
# Of the cube a template's picture shows this much, around this place.
_SHOWN, _MIDDLE = 0.86, np.array([0.5, 0.56, 0.5])
_LIGHT = np.array([0.25, 0.35, 0.9]) / np.linalg.norm([0.25, 0.35, 0.9])
# Names for at most this many points.
_MAX_NAMES = 40
_GAP = 6


def draw_template(regions: Regions, layout: Layout, size: int = 480) -> ByteArray:
    """The template from the front, its left side and behind, with regions and named points.

    Args:
        regions: whose colours it has.
        layout: points to mark; hollow where they lie inside.
        size: of one view, pixels.

    Returns:
        (size, 3 * size + gaps, 3) uint8.
    """
    views = [_draw_side(regions, layout, size, name, yaw) for name, yaw in _SIDES.items()]
    return stack_columns(views)


def draw_atlas(regions: Regions, layout: Layout, size: int = 1024) -> ByteArray:
    """The atlas (size, size, 3) with regions, lines of the cube every twentieth, and points."""
    coords = atlas_coords(size)
    drawn = regions.colors[_atlas_labels(regions, size)].astype(np.float32)
    steps = np.floor(coords * 20)
    lines = np.zeros((size, size), np.bool_)
    for axis in (0, 1):
        change = np.diff(steps[..., :2], axis=axis) != 0
        lines[tuple(slice(None, s) for s in change.shape[:2])] |= change.any(axis=2)
    drawn[lines] *= 0.8
    picture = np.clip(drawn, 0, 255).astype(np.uint8)
    surface = ~layout.inside
    places = atlas_places(layout.positions[surface])[0] * size
    names = [name for name, on in zip(layout.names, surface, strict=True) if on]
    return _mark(picture, places, names, np.zeros(len(names), np.bool_))


def draw_cube(pictures: Sequence[MappedPicture], size: int = 480) -> ByteArray:
    """Pixels of pictures as points in the cube, in their own colours: front, side, top.

    Args:
        pictures: all in one drawing.
        size: of one projection, pixels.

    Returns:
        (size, 3 * size + gaps, 3) uint8.
    """
    coords, colors = _points(pictures)
    # Axes to the right and down, and towards the viewer.
    shown = {
        "front: u, v": (coords[:, 0], 1 - coords[:, 1], coords[:, 2]),
        "left side: w, v": (1 - coords[:, 2], 1 - coords[:, 1], coords[:, 0]),
        "above: u, w": (coords[:, 0], coords[:, 2], coords[:, 1]),
    }
    views = [_scatter(axes, colors, size, title) for title, axes in shown.items()]
    return stack_columns(views)


def draw_uvw(picture: MappedPicture, height: int = 320) -> ByteArray:
    """A picture with its coordinates as colour beside it, (height, W, 3) uint8."""
    whole = picture.full()
    shown = np.where(whole.mask[..., None], np.clip(whole.coords, 0, 1) * 255, 40)
    pair = [_scaled(p, height) for p in (picture.image, np.nan_to_num(shown).astype(np.uint8))]
    return with_title(stack_columns(pair), picture.name)


def draw_matches(
    first: MappedPicture, second: MappedPicture, n: int = 60, height: int = 400
) -> ByteArray:
    """Lines between the same places of two pictures beside each other, coloured by place.

    Args:
        first: on the left.
        second: on the right.
        n: about how many lines.
        height: of the drawing, pixels.

    Returns:
        (height, W, 3) uint8.
    """
    import cv2

    flow = warp_flow(first.cube_map, second.cube_map)
    pictures = [_scaled(p.image, height) for p in (first, second)]
    scales = [height / p.image.shape[0] for p in (first, second)]
    drawn = stack_columns(pictures)
    shift = pictures[0].shape[1] + _GAP
    rows = _lattice(flow.valid & (flow.confidence > 0), n)
    affine = flow.image_from_map
    for y, x in rows:
        end = (affine[:, :2] @ [x + 0.5, y + 0.5] + affine[:, 2]) * scales[1] + [shift, 0]
        start = flow.pixels[y, x] * scales[0]
        color = tuple(int(c) for c in np.clip(second.cube_map.coords[y, x], 0, 1) * 255)
        ends = [tuple(int(v) for v in np.rint((p - 0.5) * 16)) for p in (start, end)]
        cv2.line(drawn, ends[0], ends[1], color, 1, cv2.LINE_AA, 4)
        for place in ends:
            cv2.circle(drawn, place, 3 * 16, color, -1, cv2.LINE_AA, 4)
    return with_title(drawn, f"{first.name}  {second.name}")


def stack_rows(rows: Sequence[ByteArray]) -> ByteArray:
    """Drawings one below the other, (H, W, 3) uint8."""
    width = max(row.shape[1] for row in rows)
    height = sum(len(row) + _GAP for row in rows) - _GAP
    sheet = np.empty((height, width, 3), np.uint8)
    sheet[:] = _PAPER
    top = 0
    for row in rows:
        sheet[top : top + len(row), : row.shape[1]] = row
        top += len(row) + _GAP
    return sheet


def write_picture(path: Path, picture: ByteArray) -> None:
    """Write a picture (H, W), (H, W, 3) RGB or (H, W, 4) RGBA as PNG, whole or not at all."""
    import cv2

    colors = picture
    if picture.ndim == 3:
        colors = picture[..., [2, 1, 0, 3][: picture.shape[2]]]
    _, data = cv2.imencode(".png", np.ascontiguousarray(colors))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(data.tobytes())


def _atlas_labels(regions: Regions, size: int) -> ByteArray:
    """(size, size) labels over the atlas, from memberships at a third of the resolution."""
    import cv2

    coarse = max(size // 3, 2)
    scores = regions.scores(atlas_coords(coarse).reshape(-1, 3)).reshape(coarse, coarse, -1)
    labels, best = np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32)
    for index in np.flatnonzero(scores.any(axis=(0, 1))):
        layer = np.asarray(cv2.resize(np.ascontiguousarray(scores[..., index]), (size, size)))
        labels[layer > best] = index
        best = np.maximum(best, layer)
    return labels


def _draw_side(
    regions: Regions, layout: Layout, size: int, title: str, yaw_deg: float
) -> ByteArray:
    head = load_template()
    yaw = np.deg2rad(yaw_deg)
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    pixels, depth = _project(head.coords, turn, size)
    seen = rasterise(pixels, depth, head.faces, (size, size), True, True)
    on = seen.face >= 0
    corners = head.faces[np.maximum(seen.face, 0)]
    weights = seen.barycentric[on]
    coords = np.einsum("nk,nkc->nc", weights, head.coords[corners[on]]).astype(np.float32)
    normals = np.einsum("nk,nkc->nc", weights, vertex_normals(head.coords, head.faces)[corners[on]])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    shade = 0.45 + 0.55 * np.clip(normals @ turn.T @ _LIGHT, 0, 1)
    drawn = np.empty((size, size, 3), np.uint8)
    drawn[:] = _PAPER
    colors = regions.colors[regions.labels(coords)] * shade[:, None]
    drawn[on] = np.clip(colors, 0, 255).astype(np.uint8)
    places, far = _project(layout.positions, turn, size)
    column, row = np.clip(places, 0, size - 1).astype(np.int64).T
    visible = layout.inside | (far <= seen.depth[row, column] + 0.02)
    names = [name for name, shown in zip(layout.names, visible, strict=True) if shown]
    drawn = _mark(drawn, places[visible], names, layout.inside[visible])
    return with_title(drawn, title)


def _project(coords: FloatArray, turn: DoubleArray, size: int) -> tuple[DoubleArray, DoubleArray]:
    """Pixels (N, 2) and depths (N,) of places seen along -z after a turn."""
    place = (coords.astype(np.float64) - _MIDDLE) @ turn.T
    pixels = place[:, :2] * [1, -1] * size / _SHOWN + size / 2
    return pixels, 2.0 - place[:, 2]


def _mark(
    picture: ByteArray, places: DoubleArray, names: Sequence[str], hollow: BoolArray
) -> ByteArray:
    """Points with their names beside them, where they are few."""
    import cv2

    drawn = picture.copy()
    for (x, y), is_hollow in zip(places, hollow, strict=True):
        at = (round((x - 0.5) * 16), round((y - 0.5) * 16))
        radius = 16 * 3 if len(names) <= 200 else 16
        cv2.circle(drawn, at, radius, _DOT, 1 if is_hollow else -1, cv2.LINE_AA, 4)
    if len(names) <= _MAX_NAMES:
        for (x, y), name in zip(places, names, strict=True):
            _write(drawn, name, (int(x) + 6, int(y) + 4), 0.36)
    return drawn


def _points(pictures: Sequence[MappedPicture]) -> tuple[FloatArray, ByteArray]:
    """Coordinates (N, 3) and colours (N, 3) of the heads' pixels, at the maps' resolution."""
    coords, colors = [np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.uint8)]
    for picture in pictures:
        cube_map = picture.cube_map
        y, x = np.nonzero(cube_map.mask)
        affine = cube_map.image_from_map
        at = np.column_stack([x, y]) + 0.5
        at = np.floor(at @ affine[:, :2].T + affine[:, 2]).astype(np.int64)
        height, width = picture.image.shape[:2]
        coords.append(cube_map.coords[y, x])
        column, row = np.clip(at, 0, [width - 1, height - 1]).T
        colors.append(picture.image[row, column])
    return np.concatenate(coords), np.concatenate(colors)


def _scatter(axes: tuple[FloatArray, ...], colors: ByteArray, size: int, title: str) -> ByteArray:
    """Points in [0, 1]^2, those with the highest third coordinate in front."""
    drawn = np.empty((size, size, 3), np.uint8)
    drawn[:] = _PAPER
    for k in range(1, 10):
        drawn[k * size // 10] = drawn[:, k * size // 10] = _PAPER - np.uint8(16)
    across, down, towards = axes
    order = np.argsort(towards, kind="stable")
    with np.errstate(invalid="ignore"):
        column, row = (
            np.floor(np.nan_to_num(k, nan=-1) * size).astype(np.int64) for k in (across, down)
        )
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    order = order[inside[order]]
    drawn[row[order], column[order]] = colors[order]
    return with_title(drawn, title)


def _lattice(valid: BoolArray, n: int) -> npt.NDArray[np.int64]:
    """About ``n`` valid pixels (y, x), spread evenly."""
    step = max(1, int(np.sqrt(valid.sum() / max(n, 1))))
    y, x = np.nonzero(valid)
    on = (y % step == step // 2) & (x % step == step // 2)
    return np.column_stack([y[on], x[on]])


def _scaled(picture: ByteArray, height: int) -> ByteArray:
    import cv2

    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    area = cv2.INTER_AREA if height < len(picture) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=area), np.uint8)


def stack_columns(pictures: Sequence[ByteArray]) -> ByteArray:
    """Pictures of one height beside each other."""
    gap = np.empty((len(pictures[0]), _GAP, 3), np.uint8)
    gap[:] = _PAPER
    parts: list[npt.NDArray[Any]] = []
    for picture in pictures:
        parts += [picture, gap]
    return np.ascontiguousarray(np.concatenate(parts[:-1], axis=1))


def with_title(picture: ByteArray, text: str) -> ByteArray:
    """A picture (H, W, 3) with words at its foot."""
    drawn = picture.copy()
    _write(drawn, text, (6, len(drawn) - 8), 0.45)
    return drawn


def _write(picture: ByteArray, text: str, place: tuple[int, int], scale: float) -> None:
    import cv2

    font, (x, y) = cv2.FONT_HERSHEY_SIMPLEX, place
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        cv2.putText(picture, text, (x + dx, y + dy), font, scale, (255,) * 3, 1, cv2.LINE_AA)
    cv2.putText(picture, text, place, font, scale, _INK, 1, cv2.LINE_AA)


def confidence_picture(confidence: FloatArray) -> ByteArray:
    """Confidence (H, W) in [0, 1] as colour (H, W, 3), dark to bright."""
    import cv2

    levels = np.clip(np.nan_to_num(confidence) * 255, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1])
