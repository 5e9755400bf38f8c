"""One picture of what an embedder sees: a row per view, a column per thing it says.

Columns: the picture, cube coordinates as colour, confidence, the mask's outline, normals (where the
network has them), parts, 68 landmarks (green where seen, red where only guessed), and the picture
warped into the next view: every pixel of that takes the colour of the pixel whose coordinate is
nearest, and stays blank where none is near. The next view itself is beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.files import replacing
from mvs.canonical.regions import REGIONS
from mvs.evaluation.follow import view_angles
from mvs.evaluation.tiles import (
    BLACK,
    BLANK,
    PART_COLORS,
    SheetView,
    Tile,
    draw_confidence,
    draw_landmarks,
    draw_mask,
    draw_normals,
    draw_parts,
    with_text,
)
from mvs.kernels.grid import build_grid
from mvs.kernels.nearest import nearest
from mvs.stages.embed import EmbeddedViews
from mvs.types import BoolArray, ByteArray, FloatArray

SUFFIXES = (".png", ".jpg", ".jpeg")
_HEADER, _GAP, _SWATCH = 24, 4, 12


@dataclass(frozen=True)
class SheetOptions:
    """What the sheet looks like.

    Attributes:
        tile: side of one picture, pixels.
        n_views: rows, at most.
        margin: side of the crop, in parts of the longer side of the box around the mask.
        max_cube_distance: to the nearest coordinate, beyond which a warped pixel stays blank.
    """

    tile: int = 224
    n_views: int = 5
    margin: float = 1.2
    max_cube_distance: float = 0.015

    def __post_init__(self) -> None:
        if self.tile < 32:
            raise ValueError(f"tile must be at least 32, got {self.tile}")
        if self.n_views < 1:
            raise ValueError(f"n_views must be at least 1, got {self.n_views}")
        if not (self.margin >= 1 and self.max_cube_distance > 0):
            raise ValueError(f"margin must be >= 1 and max_cube_distance > 0, got {self}")


def check_sheet_path(path: Path) -> None:
    """Raises ``ValueError`` unless a sheet can be written to a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a sheet is written as {', '.join(SUFFIXES)}, got {path.name}")


def write_sheet(path: Path, sheet: ByteArray) -> None:
    """Write a sheet, whole or not at all.

    Args:
        path: .png or .jpg.
        sheet: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if the path ends in something else.
    """
    import cv2

    check_sheet_path(path)
    _, data = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(sheet[..., ::-1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(data.tobytes())


def spread_views(
    embedded: EmbeddedViews, names: Sequence[str], n: int | None = None
) -> list[SheetView]:
    """A handful of views spread over the directions from which the head is seen, in a walk around.

    Args:
        embedded: views of a capture.
        names: of the views.
        n: how many, at most; the default of ``SheetOptions`` if None.

    Returns:
        Views with something on the mask; neighbours in the list see the head from near directions.
    """
    n = SheetOptions.n_views if n is None else n
    angles = view_angles(embedded)
    left = [k for k, cube_map in enumerate(embedded.cube_maps) if cube_map.mask.any()]
    if not left:
        return []
    # Farthest first, from one end.
    middle = min(left, key=lambda k: (angles[k, left].sum(), k))
    chosen = [max(left, key=lambda k: (angles[middle, k], -k))]
    while len(chosen) < min(n, len(left)):
        rest = [k for k in left if k not in chosen]
        chosen.append(max(rest, key=lambda k: (angles[k, chosen].min(), -k)))
    walk = [chosen.pop(0)]
    while chosen:
        step = min(chosen, key=lambda k: (angles[walk[-1], k], k))
        walk.append(step)
        chosen.remove(step)
    return [SheetView(names[k], embedded.images[k], embedded.cube_maps[k]) for k in walk]


def draw_sheet(views: Sequence[SheetView], options: SheetOptions | None = None) -> ByteArray:
    """Draw the sheet.

    Args:
        views: one row each, in order; those without a head are left out.
        options: what the sheet looks like.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if no view has a head.
    """
    options = options or SheetOptions()
    tiles = [
        Tile.of(view, options.tile, options.margin) for view in views if view.cube_map.mask.any()
    ]
    if not tiles:
        raise ValueError("no head was found in any picture, so there is nothing to draw")
    columns: dict[str, Callable[[Tile], ByteArray]] = {
        "picture": lambda tile: with_text(tile.image, tile.name),
        "u v w": lambda tile: tile.on_head(np.clip(tile.coords, 0, 1) * 255),
        "confidence": draw_confidence,
        "mask": draw_mask,
    }
    if any(tile.normals is not None for tile in tiles):
        columns["normals"] = draw_normals
    columns |= {"parts": draw_parts, "landmarks": draw_landmarks}
    rows = [[draw(tile) for draw in columns.values()] for tile in tiles]
    titles = list(columns)
    if len(tiles) > 1:
        titles += ["warped to next", "next"]
        for k, row in enumerate(rows):
            target = tiles[k + 1] if k + 1 < len(tiles) else tiles[k - 1]
            warped = warp_picture(
                tiles[k].image,
                (tiles[k].coords, tiles[k].mask),
                (target.coords, target.mask),
                options.max_cube_distance,
            )
            row += [warped, with_text(target.image, target.name)]
    return _assemble(titles, rows, options.tile)


def warp_picture(
    image: ByteArray,
    source: tuple[FloatArray, BoolArray],
    target: tuple[FloatArray, BoolArray],
    max_distance: float,
) -> ByteArray:
    """A picture in the geometry of another, by nearest neighbours in the cube.

    Args:
        image: (H, W, 3) uint8, whose colours are taken.
        source: its (H, W, 3) cube coordinates and (H, W) mask.
        target: (h, w, 3) cube coordinates and (h, w) mask of the other picture.
        max_distance: in the cube; farther pixels stay blank.

    Returns:
        (h, w, 3) uint8.
    """
    coords, mask = target
    warped = np.empty((*mask.shape, 3), np.uint8)
    warped[:] = BLANK
    colors = image[source[1]]
    if len(colors) and mask.any():
        found = nearest(build_grid(source[0][source[1]]), coords[mask], max_distance).index
        warped[mask] = np.where(found[:, None] >= 0, colors[found], BLANK)
    return warped


def _assemble(titles: Sequence[str], rows: Sequence[Sequence[ByteArray]], side: int) -> ByteArray:
    step = side + _GAP
    height = 2 * _HEADER + len(rows) * step
    sheet = np.full((height, len(titles) * step - _GAP, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        _write(sheet, title, (column * step + 4, _HEADER - 8))
        for row, tiles in enumerate(rows):
            top, left = _HEADER + row * step, column * step
            sheet[top : top + side, left : left + side] = tiles[column]
    _draw_legend(sheet)
    return sheet


def _draw_legend(sheet: ByteArray) -> None:
    """The parts' colours, along the lower edge."""
    bottom = len(sheet) - 8
    width = (sheet.shape[1] - 4) / (len(REGIONS) - 1)
    for index, name in enumerate(REGIONS[1:]):
        left = 4 + int(index * width)
        swatch = np.s_[bottom - _SWATCH + 2 : bottom + 2, left : left + _SWATCH]
        sheet[swatch] = PART_COLORS[index + 1]
        _write(sheet, name, (left + _SWATCH + 4, bottom))


def _write(sheet: ByteArray, text: str, place: tuple[int, int]) -> None:
    import cv2

    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, BLACK, 1, cv2.LINE_AA)
