"""Where things are on the template head: hairline, brows, lips, lids, beard (centimetres).

The morphable head has no such groups; these are authored on its neutral mean, once per vertex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvs.canonical.regions import REGIONS
from mvs.synthetic.head import EYE, FACE, HEAD_NECK, MOUTH, Head
from mvs.types import ByteArray, FloatArray

# hairline height in cm by azimuth around the vertical axis through (z = 1), 0 = front, pi = back
_HAIRLINE_AZIMUTH = (0.0, 0.45, 0.75, 0.95, 1.08, 1.25, 1.42, 1.62, 1.95, 2.2, 2.6, np.pi)
_HAIRLINE_HEIGHT = (10.4, 10.0, 8.6, 6.6, 4.0, 2.2, 4.6, 5.2, 2.0, -1.5, -4.2, -4.6)
# lowest y in cm of the head proper, by z on the template: chin, jaw's edge, below the ear, nape
_JAW_Z = (-9.0, -4.0, 0.0, 2.5, 5.0, 7.3, 9.0, 10.5)
_JAW_HEIGHT = (-2.5, -2.6, -2.8, -3.2, -4.6, -6.2, -6.9, -7.5)
# half width in cm of the nose by height, from between the eyes to below the nostrils
_NOSE_HEIGHT = (-1.75, -1.3, -0.4, 0.8, 1.6, 3.7, 5.2)
_NOSE_HALF_WIDTH = (0.6, 1.75, 2.0, 1.75, 1.1, 0.75, 0.7)
_OUTER_LIP, _LEFT_EYE, _LEFT_BROW = slice(48, 60), slice(42, 48), slice(22, 27)


@dataclass(frozen=True)
class VertexRegions:
    """Region weights and distances per template vertex, all (V,) float32.

    Attributes:
        lip: 0..1 inside the lips.
        lid: distance to the rim of the eye opening, cm.
        brow: distance to the brow's middle line, cm, divided by its half width there.
        beard: 0..1 where a beard grows.
        blush: 0..1 cheeks, nose tip, ears, chin: where blood shows.
        hair: height above the hairline, cm; negative below; ears excluded.
    """

    lip: FloatArray
    lid: FloatArray
    brow: FloatArray
    beard: FloatArray
    blush: FloatArray
    hair: FloatArray


def vertex_regions(head: Head) -> VertexRegions:
    """Author every region on the template.

    Args:
        head: the morphable head.

    Returns:
        Weights per vertex; neutral values outside the skin parts.
    """
    points = head.template.astype(np.float64)
    skin = np.isin(head.vertex_part, (FACE, HEAD_NECK))
    marks = points[head.landmarks]
    folded = np.column_stack([np.abs(points[:, 0]), points[:, 1]])
    front = skin & (points[:, 2] > 5.5)
    lip_distance = _signed_distance(points[:, :2], marks[_OUTER_LIP, :2])
    lip = np.where(front & (points[:, 2] > 8.0), _smooth(lip_distance, 0.12, -0.08), 0.0)
    lid = np.where(front, np.abs(_signed_distance(folded, marks[_LEFT_EYE, :2])), 9.0)
    lid[head.vertex_part == EYE] = 9.0
    brow = np.where(front, _brow_distance(folded, marks[_LEFT_BROW, :2]), 9.0)
    return VertexRegions(
        *(
            values.astype(np.float32)
            for values in (
                lip,
                lid,
                brow,
                np.where(skin, _beard(points) * (1 - lip), 0.0),
                np.where(skin, _blush(points), 0.0),
                np.where(skin, hair_height(points), -9.0),
            )
        )
    )


def region_index(name: str) -> int:
    """Number of a region."""
    return REGIONS.index(name)


def label_vertices(head: Head, regions: VertexRegions) -> ByteArray:
    """Which of ``REGIONS`` each vertex of the bare head belongs to.

    Args:
        head: the morphable head.
        regions: of its template.

    Returns:
        (V,) uint8. Sockets belong to what is in them; a beard stays skin.
    """
    points = head.template.astype(np.float64)
    marks = points[head.landmarks]
    folded = np.column_stack([np.abs(points[:, 0]), points[:, 1]])
    opening = (points[:, 2] > 5.5) & (_signed_distance(folded, marks[_LEFT_EYE, :2]) < -0.03)
    labels = np.full(len(points), region_index("skin"), np.uint8)
    # Later ones are drawn over earlier ones.
    for name, inside in (
        ("neck", neck(points)),
        ("nose", nose(points)),
        ("ear", ear(points) | _ear_hollow(points)),
        ("brow", regions.brow < 1),
        ("lip", regions.lip > 0.5),
        ("eye", opening | (head.vertex_part == EYE)),
        ("mouth", head.vertex_part == MOUTH),
    ):
        labels[inside] = region_index(name)
    return labels


def nose(points: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which template positions (N, 3) are on the nose: bridge, tip, wings, nostrils."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    wide = x < np.interp(y, _NOSE_HEIGHT, _NOSE_HALF_WIDTH, left=0.0, right=0.0)
    return np.asarray(wide & (z > np.interp(y, (-1.7, 3.7), (10.0, 9.0))))


def neck(points: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which template positions (N, 3) are below the jaw, the ears and the hairline's nape."""
    return np.asarray(points[:, 1] < np.interp(points[:, 2], _JAW_Z, _JAW_HEIGHT))


def hair_height(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Height in cm of template positions (N, 3) above the hairline; the ears are bare."""
    azimuth = np.arctan2(np.abs(points[:, 0]), points[:, 2] - 1.0)
    height = points[:, 1] - np.interp(azimuth, _HAIRLINE_AZIMUTH, _HAIRLINE_HEIGHT)
    return np.where(ear(points), -9.0, height)


def ear(points: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which template positions (N, 3) are on the outer ears."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    return np.asarray((x > 7.35) & (y > -2.6) & (y < 4.3) & (z > -2.6) & (z < 1.9))


def _ear_hollow(points: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """The hollow before the ear's canal, deeper than the rest of the outer ear."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    return np.asarray((x > 6.2) & (y > -1.6) & (y < 3.2) & (z > -1.2) & (z < 1.7))


def _smooth(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _beard(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    top = np.where(x < 2.6, -1.35 - 0.25 * x, -2.2 + 0.8 * (x - 2.6))
    neck = -7.2 - 0.25 * np.maximum(z - 4, 0)
    inside = _smooth(top - y, -0.5, 1.3) * _smooth(y - neck, -0.4, 0.9)
    return inside * _smooth(z, 0.6, 3.0)


def _blush(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    folded = points * [1, 1, 1]
    folded[:, 0] = np.abs(folded[:, 0])
    blush = np.zeros(len(points))
    spots = (((4.6, 0.2, 8.8), 2.0, 1.0), ((0, 0.6, 13), 1.1, 0.8), ((8.4, 1, 0), 2.4, 0.9))
    for center, radius, weight in (*spots, ((0.0, -6.6, 10.6), 1.4, 0.5)):
        square = ((folded - center) ** 2).sum(axis=1)
        blush = np.maximum(blush, weight * np.exp(-square / (2 * radius**2)))
    return blush


def _segment_distance(
    points: npt.NDArray[np.float64], start: npt.NDArray[np.float64], stop: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    along = stop - start
    t = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
    return np.linalg.norm(points - start - t[:, None] * along, axis=1), t


def _signed_distance(
    points: npt.NDArray[np.float64], polygon: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Distance to a closed polygon in the plane, negative inside."""
    distance = np.full(len(points), np.inf)
    inside = np.zeros(len(points), bool)
    for start, stop in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        distance = np.minimum(distance, _segment_distance(points, start, stop)[0])
        crosses = (start[1] > points[:, 1]) != (stop[1] > points[:, 1])
        rise = stop[1] - start[1]
        run = (points[:, 1] - start[1]) * (stop[0] - start[0]) / (rise if rise else 1.0)
        inside ^= crosses & (points[:, 0] < start[0] + run)
    return np.where(inside, -distance, distance)


def _brow_distance(
    points: npt.NDArray[np.float64], line: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    widths = np.array([0.42, 0.5, 0.42, 0.32, 0.12])
    best = np.full(len(points), 9.0)
    for k in range(len(line) - 1):
        distance, t = _segment_distance(points, line[k], line[k + 1])
        width = widths[k] * (1 - t) + widths[k + 1] * t
        best = np.minimum(best, distance / width)
    return best
