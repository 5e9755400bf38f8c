"""The cameras of an inspection, drawn from above and from the front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.inspection.canvas import FAINT, INK, PALE, RED, Canvas, Color
from calib.inspection.report import Inspection

DoubleArray = npt.NDArray[np.float64]

PLOT = 600
_HEAD: Color = (240, 214, 190)
# From good to bad.
RAMP: tuple[Color, ...] = (
    (20, 130, 90),
    (70, 160, 70),
    (190, 175, 40),
    (240, 140, 20),
    (205, 40, 40),
)
_GROUND: Color = (250, 251, 252)
_MOST_LABELS, _LONGEST_LABEL = 32, 12
_POSE_CODES = (
    *("names-swapped", "camera-of-another", "pose-wrong", "view-epipolar", "looks-away"),
    *("same-pose", "unmatched"),
)


class Plot:
    """A square in which the world is seen along one direction.

    Attributes:
        corner: its upper left one, pixels.
        axes: (2, 3) unit directions of the world to the right and upwards.
        center: (3,) of the world, drawn in the middle.
        scale: pixels per unit of the world.
    """

    def __init__(
        self, corner: tuple[int, int], axes: DoubleArray, center: DoubleArray, scale: float
    ) -> None:
        self.corner, self.axes, self.center, self.scale = corner, axes, center, scale

    @property
    def middle(self) -> DoubleArray:
        """(2,) of the square."""
        return np.array(self.corner) + PLOT / 2

    def place(self, points: DoubleArray) -> DoubleArray:
        """(N, 2) where points (N, 3) are drawn; at the border where they are outside."""
        flat = (points - self.center) @ self.axes.T
        return self.inside(self.middle + flat * [self.scale, -self.scale], 5)

    def inside(self, places: DoubleArray, margin: float) -> DoubleArray:
        """Places kept away from the border."""
        low = np.array(self.corner) + margin
        return np.asarray(np.clip(places, low, low + PLOT - 2 * margin))


def draw_from_above(
    canvas: Canvas, corner: tuple[int, int], inspection: Inspection, cameras: Sequence[Camera]
) -> None:
    """The cameras from above, azimuth 0 below, in a square of ``PLOT`` pixels."""
    around = inspection.arrangement
    axes = np.stack([np.cross(around.up, around.front), -around.front])
    _draw(canvas, corner, "from above", axes, inspection, cameras)


def draw_from_front(
    canvas: Canvas, corner: tuple[int, int], inspection: Inspection, cameras: Sequence[Camera]
) -> None:
    """The cameras from azimuth 0, in a square of ``PLOT`` pixels."""
    around = inspection.arrangement
    axes = np.stack([np.cross(around.up, around.front), around.up])
    _draw(canvas, corner, "from the front (azimuth 0)", axes, inspection, cameras)


def error_color(error_px: float, limit_px: float) -> Color:
    """From green at 0 to red at the limit; grey where nothing is known."""
    if not np.isfinite(error_px):
        return FAINT
    at = min(error_px / limit_px, 1.0) * (len(RAMP) - 1)
    low = min(int(at), len(RAMP) - 2)
    mixed = np.array(RAMP[low]) * (low + 1 - at) + np.array(RAMP[low + 1]) * (at - low)
    red, green, blue = (int(v) for v in np.round(mixed))
    return red, green, blue


def short_names(names: Sequence[str]) -> list[str]:
    """Names without ending and, where they are long, without what all start with."""
    stems = [name.rpartition(".")[0] or name for name in names]
    if max(len(stem) for stem in stems) > _LONGEST_LABEL // 2:
        lowest, highest = min(stems), max(stems)
        same = [a == b for a, b in zip(lowest, highest, strict=False)]
        common = min([*same, False].index(False), min(map(len, stems)) - 1)
        stems = [stem[common:] for stem in stems]
    return [stem[-_LONGEST_LABEL:] for stem in stems]


def _draw(
    canvas: Canvas,
    corner: tuple[int, int],
    title: str,
    axes: DoubleArray,
    inspection: Inspection,
    cameras: Sequence[Camera],
) -> None:
    around = inspection.arrangement
    typical = float(np.median(around.distances))
    scale = PLOT / 2 / (1.18 * float(np.quantile(around.distances, 0.9)))
    plot = Plot(corner, axes, around.center, scale)
    canvas.box(corner, (PLOT, PLOT), _GROUND)
    middle = plot.middle.tolist()
    for share in (0.5, 1.0):
        canvas.disc(middle, share * typical * scale, PALE, fill=False)
    canvas.disc(middle, 0.12 * typical * scale, _HEAD)
    canvas.text(title, (corner[0] + 10, corner[1] + 20), FAINT, 0.45)
    centers = np.array([camera.center for camera in cameras])
    # The nearest to the eye last.
    order = np.argsort((centers - around.center) @ np.cross(*axes), kind="stable").tolist()
    for k in order:
        error = inspection.view_errors[k].error_px
        color = error_color(error, inspection.misplaced.limit_px)
        depth = 0.12 if len(cameras) <= _MOST_LABELS else 0.06
        _draw_frustum(canvas, plot, cameras[k], depth * typical, color)
    _draw_labels(canvas, plot, inspection, centers)


def _draw_frustum(canvas: Canvas, plot: Plot, camera: Camera, depth: float, color: Color) -> None:
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    rays = camera.as_pinhole().unproject(unit * [camera.width, camera.height])
    far = camera.center + depth * rays / (rays @ camera.rotation[2])[:, None]
    tip, corners = plot.place(camera.center[None])[0], plot.place(far)
    for corner in corners:
        canvas.line([tip, corner], color)
    canvas.polygon(corners, color)
    canvas.disc(tip.tolist(), 3.5, color)


def _draw_labels(canvas: Canvas, plot: Plot, inspection: Inspection, centers: DoubleArray) -> None:
    """Names outside of their cameras; of many views only some, and those with a bad pose."""
    flagged = {
        name
        for finding in inspection.findings
        for name in finding.views
        if finding.code in _POSE_CODES
    }
    labels = short_names(inspection.names)
    every = -(-len(labels) // _MOST_LABELS)
    places = plot.place(centers)
    for k, (name, at) in enumerate(zip(inspection.names, places, strict=True)):
        if k % every and name not in flagged:
            continue
        outwards = at - plot.middle
        outwards = outwards / max(float(np.linalg.norm(outwards)), 1e-9)
        spot = plot.inside(at + 15 * outwards + [0, 5], 16)
        canvas.text(labels[k], spot.tolist(), RED if name in flagged else INK, 0.4, 0.5)
