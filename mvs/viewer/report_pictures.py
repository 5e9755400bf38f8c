"""The pictures of a report: inputs with their masks, the surface from four sides, its atlas."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calib.capture import View
from calib.image_files import read_picture
from calib.masks import read_mask
from mvs.kernels.raster import rasterise
from mvs.types import ByteArray, DoubleArray, FloatArray, Mesh
from mvs.viewer.report_mesh import Frame

# Degrees that the head is turned by: what a viewer sees of it.
SIDES = {"front": 0.0, "left side": 90.0, "back": 180.0, "right side": -90.0}
_LIGHT = np.array([0.25, 0.35, 0.9]) / np.linalg.norm([0.25, 0.35, 0.9])
_CLAY = np.array([205.0, 200.0, 194.0], np.float32)
_OUTLINES = ((0, 0, 0), 3), ((90, 230, 255), 1)
_QUALITY = 78
# The inside of a surface is darker by this.
_INSIDE = 0.42
# Radii to half the height of a still.
_SHOWN = 1.04
# Width of thumbnails: 16 of them at full size, and more of less, down to a least size.
_THUMB, _MIN_THUMB, _N_FULL = 300, 96, 16
# Colours of 0, 1, 2 ... views and more, dark to bright (Viridis, between its ends).
STEPS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
_ABSENT = "#9aa0a6"


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an input.

    Attributes:
        picture: (h, w, 3) uint8 RGB, its mask outlined.
        mask: (h, w) uint8, 1 where the picture counts; None where the view has no mask.
        kept: share of the picture that counts; None without a mask.
    """

    picture: ByteArray
    mask: ByteArray | None
    kept: float | None


def thumbnail_size(n_views: int) -> int:
    """Longer side of the thumbnails of so many views, pixels: all of them stay a small file."""
    return int(np.clip(_THUMB * np.sqrt(_N_FULL / max(n_views, 1)), _MIN_THUMB, _THUMB))


def make_thumbnail(view: View, side: int) -> Thumbnail:
    """A small picture of a view as it was taken, its mask outlined.

    Args:
        view: of a capture.
        side: longer side, pixels.

    Raises:
        CaptureError: if picture or mask cannot be read.
    """
    import cv2

    size = view.camera.width, view.camera.height
    image, alpha = read_picture(view.image_path, size)
    alpha = alpha if view.uses_alpha else None
    mask = read_mask(view.mask_path, size, alpha, lambda: image)
    scale = min(side / max(size), 1.0)
    small = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
    drawn = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    if mask is None:
        return Thumbnail(drawn, None, None)
    share = cv2.resize(mask.kept.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    kept = np.asarray(share >= 0.5, np.uint8)
    outlines = cv2.findContours(kept, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    drawn = np.where(kept[..., None] > 0, drawn, drawn // 3 * 2).astype(np.uint8)
    for color, width in _OUTLINES:
        cv2.drawContours(drawn, outlines, -1, color, width, cv2.LINE_AA)
    return Thumbnail(drawn, kept, mask.look.kept)


def draw_sides(surface: Mesh, frame: Frame, size: int) -> dict[str, tuple[ByteArray, ByteArray]]:
    """The surface seen from four sides, in parallel projection.

    Args:
        surface: a mesh.
        frame: of the head.
        size: of a picture, pixels.

    Returns:
        By side, the surface in its colours and as plain clay, (size, size, 4) uint8 RGBA each.
    """
    place = frame.place(surface.vertices.points)
    sides = {}
    for name, degrees in SIDES.items():
        yaw = np.deg2rad(degrees)
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        light = surface.vertices.normals @ (_LIGHT @ turn @ frame.rotation).astype(np.float32)
        sides[name] = _draw_side(surface, place @ turn.T, light, size)
    return sides


def _draw_side(
    surface: Mesh, place: DoubleArray, light: FloatArray, size: int
) -> tuple[ByteArray, ByteArray]:
    """Seen along -z; drawn at twice the size, for smooth outlines."""
    fine = 2 * size
    pixels = place[:, :2] * [1, -1] * fine / (2 * _SHOWN) + fine / 2
    seen = rasterise(pixels, 10.0 - place[:, 2], surface.faces, (fine, fine), False, True)
    on = seen.face >= 0
    corners, weights = surface.faces[seen.face[on]], seen.barycentric[on]
    drawn = np.column_stack([surface.vertices.colors, light]).astype(np.float32)
    values = np.zeros((len(corners), 4), np.float32)
    for k in range(3):
        values += weights[:, k, None] * drawn[corners[:, k]]
    a, b, c = (pixels[corners[:, k]] for k in range(3))
    # Rows count downwards: of what shows its inside, the corners go round this way.
    inside = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) > (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    values[inside, 3] *= -1
    values[:, 3] = 0.32 + 0.68 * np.clip(values[:, 3], 0, 1)
    values[inside] *= _INSIDE
    whole = np.zeros((fine, fine, 5), np.float32)
    whole[on, :4], whole[on, 4] = values, 1.0
    total = whole[0::2, 0::2] + whole[1::2, 0::2] + whole[0::2, 1::2] + whole[1::2, 1::2]
    # Means over the covered part of each pixel alone.
    total[..., :4] /= np.maximum(total[..., 4:], 1.0)
    alpha = total[..., 4:] * (255 / 4)
    plain = np.concatenate([total[..., :3], alpha], axis=2)
    clay = np.concatenate([total[..., 3:4] * _CLAY, alpha], axis=2)
    return np.rint(plain).astype(np.uint8), np.rint(clay).astype(np.uint8)


def color_steps(values: FloatArray) -> ByteArray:
    """Numbers of views (H, W), NaN for none known, as (H, W, 3) in the colours of ``STEPS``."""
    palette = np.array([_rgb(color) for color in (*STEPS, _ABSENT)], np.uint8)
    step = np.clip(np.rint(np.nan_to_num(values)), 0, len(STEPS) - 1).astype(np.int64)
    step[~np.isfinite(values)] = len(STEPS)
    return np.asarray(palette[step])


def color_shares(values: FloatArray) -> ByteArray:
    """Shares (H, W) of 1, NaN for none known, as (H, W, 3), dark to bright."""
    import cv2

    levels = np.clip(np.nan_to_num(values) * 255, 0, 255).astype(np.uint8)
    drawn = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]).copy()
    drawn[~np.isfinite(values)] = _rgb(_ABSENT)
    return np.asarray(drawn, np.uint8)


def data_uri(picture: ByteArray) -> str:
    """A picture (H, W, 3) RGB or (H, W, 4) RGBA as the text of a WebP file's address."""
    import cv2

    order = [2, 1, 0, 3][: picture.shape[2]]
    colors = np.ascontiguousarray(picture[..., order])
    data = cv2.imencode(".webp", colors, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1].tobytes()
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _rgb(color: str) -> Sequence[int]:
    return [int(color[k : k + 2], 16) for k in (1, 3, 5)]
