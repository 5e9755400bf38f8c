"""One picture of an inspection: cameras from above and from the front, coverage, thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calib.camera import Camera
from calib.capture import ByteArray
from calib.files import replacing
from calib.inspection.canvas import FAINT, INK, PALE, RED, Canvas, Color
from calib.inspection.geometry import BANDS_DEG, SECTOR_DEG
from calib.inspection.plots import (
    PLOT,
    draw_from_above,
    draw_from_front,
    error_color,
)
from calib.inspection.report import Inspection

_MARGIN, _HEADER = 24, 44
_WIDTH = 2 * PLOT + 3 * _MARGIN
_CELL = (56, 32)
_TILE, _TILE_STEP, _CAPTION = 144, 153, 58
_PER_ROW = 8
# No view, one, and two or more.
_COVERED: tuple[Color, ...] = ((247, 222, 218), (255, 240, 200), (206, 232, 207))
_FLAGS = {
    "picture-unreadable": "unreadable",
    "picture-turned": "turned",
    "picture-scaled": "scaled",
    "picture-cropped": "cropped",
    "names-swapped": "exchanged",
    "camera-of-another": "wrong name",
    "pose-wrong": "wrong pose",
    "view-epipolar": "imprecise",
    "same-pose": "same pose",
    "same-picture": "same picture",
    "looks-away": "looks away",
    "lonely": "lonely",
    "unmatched": "unmatched",
    "blurred": "blurred",
    "clipped": "clipped",
    "exposure": "exposure",
    "color": "colour",
    "noise": "noisy",
    "coarse": "coarse",
}


def check_picture_path(path: Path) -> None:
    """Raises ``ValueError`` unless a picture can be written to a file of this name."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"the picture's name must end in .png, got {path.name}")


def write_picture(path: Path, inspection: Inspection, cameras: Sequence[Camera]) -> None:
    """Draw an inspection into a PNG, whole or not at all.

    Args:
        path: ends in .png; its folder is made.
        inspection: of a capture.
        cameras: of its views.

    Raises:
        ValueError: if the path ends in something else.
    """
    import cv2

    check_picture_path(path)
    drawn = draw_inspection(inspection, cameras)
    _, data = cv2.imencode(".png", np.ascontiguousarray(drawn[..., ::-1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data.tobytes())


def draw_inspection(inspection: Inspection, cameras: Sequence[Camera]) -> ByteArray:
    """Draw an inspection.

    Args:
        inspection: of a capture.
        cameras: of its views.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    n_rows = -(-len(inspection.names) // _PER_ROW)
    chart_top = _MARGIN + _HEADER + PLOT + 44
    tiles_top = chart_top + (len(BANDS_DEG) - 1) * _CELL[1] + 64
    canvas = Canvas(_WIDTH, tiles_top + n_rows * (_TILE + _CAPTION) + _MARGIN // 2)
    _draw_title(canvas, inspection)
    top = _MARGIN + _HEADER
    draw_from_above(canvas, (_MARGIN, top), inspection, cameras)
    draw_from_front(canvas, (2 * _MARGIN + PLOT, top), inspection, cameras)
    _draw_coverage(canvas, (_MARGIN + 90, chart_top), inspection)
    _draw_legend(canvas, (_MARGIN + 90 + 12 * _CELL[0] + 48, chart_top), inspection)
    for index in range(len(inspection.names)):
        row, column = divmod(index, _PER_ROW)
        place = (_MARGIN + column * _TILE_STEP, tiles_top + row * (_TILE + _CAPTION))
        _draw_tile(canvas, place, inspection, index)
    return canvas.pixels


def _draw_title(canvas: Canvas, inspection: Inspection) -> None:
    words = f"{inspection.path.name}: {len(inspection.names)} views, {inspection.format}"
    if inspection.pairs:
        words += f", matches {inspection.pair_error_px:.2f} px from epipolar lines"
    canvas.text(words, (_MARGIN, _MARGIN + 12), INK, 0.6)
    shown = [f for f in inspection.findings if f.severity != "note"]
    if not shown:
        canvas.text("nothing to complain of", (_MARGIN, _MARGIN + 34), FAINT, 0.45)
        return
    counts = {f.code: sum(g.code == f.code for g in shown) for f in shown}
    words = ", ".join(code if n == 1 else f"{code} x {n}" for code, n in counts.items())
    is_serious = shown[0].severity == "serious"
    canvas.text(words[:150], (_MARGIN, _MARGIN + 34), RED if is_serious else INK, 0.45)


def _draw_coverage(canvas: Canvas, corner: tuple[int, int], inspection: Inspection) -> None:
    """How many views look from each sector, the upper bands above."""
    (x, y), (width, height) = corner, _CELL
    coverage = inspection.arrangement.coverage[::-1]
    edges = BANDS_DEG[::-1]
    canvas.text("views by azimuth and elevation, degrees", (x, y - 8), FAINT)
    for row, counts in enumerate(coverage):
        top = y + row * height
        words = f"{edges[row + 1]} to {edges[row]}"
        canvas.text(words, (x - 8, top + height - 11), FAINT, 0.38, 1.0)
        for column, n in enumerate(counts.tolist()):
            left = x + column * width
            canvas.box((left, top), (width - 2, height - 2), _COVERED[min(n, 2)])
            if n:
                canvas.text(str(n), (left + width / 2 - 1, top + height - 11), INK, 0.42, 0.5)
    for column in range(coverage.shape[1] + 1):
        words = str(-180 + SECTOR_DEG * column)
        place = (x + column * width - 1, y + len(coverage) * height + 14)
        canvas.text(words, place, FAINT, 0.36, 0.5)


def _draw_legend(canvas: Canvas, corner: tuple[int, int], inspection: Inspection) -> None:
    """What the cameras' colours mean."""
    x, y = corner
    limit = inspection.misplaced.limit_px
    canvas.text("distance of matches to epipolar lines, px", (x, y - 8), FAINT)
    for step in range(240):
        canvas.box((x + step, y), (1, 14), error_color(step / 239 * limit, limit))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        place = (x + 240 * share, y + 28)
        canvas.text(f"{share * limit:.2g}", place, FAINT, 0.36, 0.5)
    canvas.text("grey: no matches to tell", (x, y + 50), FAINT, 0.38)
    unit = inspection.unit or "unit"
    around = inspection.arrangement
    low, high = float(around.distances.min()), float(around.distances.max())
    canvas.text(f"distance {low:.4g} to {high:.4g} {unit}", (x, y + 76), INK)
    low, high = (float(v) for v in np.quantile(around.pixels_per_unit, (0, 1)))
    canvas.text(f"{low:.4g} to {high:.4g} pixels per {unit}", (x, y + 94), INK)
    words = ", ".join(f"{lens.film_mm:.0f} mm" for lens in inspection.lenses[:3])
    more = f" and {len(inspection.lenses) - 3} more" if len(inspection.lenses) > 3 else ""
    canvas.text(f"like {words}{more} on 35 mm film", (x, y + 112), INK)
    canvas.text("red frame: flagged", (x, y + 138), RED, 0.38)


def _draw_tile(canvas: Canvas, corner: tuple[int, int], inspection: Inspection, index: int) -> None:
    """A view's picture with its name and what is wrong with it."""
    x, y = corner
    name, levels = inspection.names[index], inspection.pictures[index].levels
    flags = dict.fromkeys(
        _FLAGS[f.code] for f in inspection.findings if name in f.views and f.code in _FLAGS
    )
    canvas.box((x, y), (_TILE, _TILE), RED if flags else PALE)
    canvas.box((x + 3, y + 3), (_TILE - 6, _TILE - 6), (238, 240, 242))
    if levels is not None:
        height, width = levels.thumbnail.shape[:2]
        place = (x + (_TILE - width) // 2, y + (_TILE - height) // 2)
        canvas.paste(levels.thumbnail, place)
    canvas.text(name[-20:], (x + 2, y + _TILE + 14), INK, 0.4)
    if levels is not None:
        stops = float(inspection.relative_levels[index, :3].mean() / np.log(2))
        sharp = float(np.exp(inspection.relative_levels[index, 3]))
        words = f"sharp {sharp:.2f} exp {stops:+.1f}" if np.isfinite(sharp) else "not compared"
        canvas.text(words, (x + 2, y + _TILE + 30), FAINT, 0.38)
    canvas.text(", ".join(flags)[:26], (x + 2, y + _TILE + 46), RED, 0.38)
