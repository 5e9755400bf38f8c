"""Texture put onto heads by its place in the cube: a decal, or a whole atlas; shading is kept.

A place needs no geometry of the person: where a pixel lies on the template says which texel it
shows. The picture's own light is kept as the ratio of its smooth brightness to that of the skin in
full light.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.image_files import read_picture, to_bytes
from mvs.canonical.atlas import atlas_coords, atlas_normals, atlas_places
from mvs.canonical.layouts import load_layout
from mvs.canonical.pictures import MappedPicture
from mvs.canonical.segments import sample_atlas
from mvs.canonical.warp import smooth_map
from mvs.network.crop import paste_cube_map
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray, IntArray

_GAMMA = 2.2
# The template's normal at a decal is the mean over this part of its width.
_NORMAL_REACH = 0.35
# Texels that look up the normal.
_TEXELS = 512
# What is seen of the brightness: the full light is this quantile of it on the head.
_FULL_LIGHT = 0.8
# Of the sRGB primaries, ITU-R BT.709.
_LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class PaintOptions:
    """How texture is put onto a picture.

    Attributes:
        shading: how much of the picture's light is kept, 0 to 1.
        shading_width: width of the blur that tells light from texture, in parts of the head.
        opacity: of the texture where it is opaque.
        confidence: below the first nothing is painted, above the second all; between, some.
        height: the same for the height of a pixel's place above the template, in the cube: what
            stands out, such as hair, is not painted.
    """

    shading: float = 1.0
    shading_width: float = 0.012
    opacity: float = 1.0
    confidence: tuple[float, float] = (0.04, 0.12)
    height: tuple[float, float] = (0.03, 0.018)

    def __post_init__(self) -> None:
        if not (0 <= self.shading <= 1 and 0 <= self.opacity <= 1):
            raise ValueError(f"shading and opacity must be in [0, 1], got {self}")
        if not 0 < self.shading_width <= 1:
            raise ValueError(f"shading_width must be in (0, 1], got {self.shading_width}")
        if not (self.confidence[0] < self.confidence[1] and self.height[0] > self.height[1]):
            raise ValueError(f"confidence must ascend and height descend, got {self}")


@dataclass(frozen=True)
class Decal:
    """A picture on the template's tangent plane at a place, projected along the normal there.

    Attributes:
        texture: (h, w, 4) uint8 RGBA.
        center: (3,) place on the template, cube.
        size: width of the picture, in the cube.
        rotate_deg: counter-clockwise, as seen from outside; 0 has up along the cube's v.
    """

    texture: ByteArray
    center: DoubleArray
    size: float
    rotate_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.size <= 1:
            raise ValueError(f"a decal's size must be in (0, 1], in the cube, got {self.size}")
        _check(self.texture)

    def sample(self, coords: FloatArray, scale: float) -> FloatArray:
        """Colour and opacity at places of the cube.

        Args:
            coords: (N, 3).
            scale: distance in the cube between neighbouring samples; finer texture is averaged.

        Returns:
            (N, 4) float32 in [0, 1]; opacity 0 beside the decal and on the head's other side.
        """
        right, up, normal = self.frame()
        height = self.size * len(self.texture) / self.texture.shape[1]
        offset = coords - self.center
        x, y = offset @ right / self.size + 0.5, 0.5 - offset @ up / height
        reach = max(self.size, height)
        inside = (np.abs(x - 0.5) <= 0.5) & (np.abs(y - 0.5) <= 0.5)
        inside &= np.abs(offset @ normal) <= 0.5 * reach
        texture = _shrunk(self.texture, scale / self.size * self.texture.shape[1])
        found = np.zeros((len(coords), 4), np.float32)
        at = np.column_stack([x, y])[inside]
        found[inside] = _unmultiplied(sample_atlas(_premultiplied(texture), at))
        return found

    def frame(self) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Unit vectors (3,) of the cube: to the right, up and out of the decal."""
        places = atlas_coords(_TEXELS).reshape(-1, 3)
        near = np.linalg.norm(places - self.center, axis=1) <= _NORMAL_REACH * self.size
        normals = atlas_normals(_TEXELS).reshape(-1, 3)[near]
        normal = normals.mean(axis=0, dtype=np.float64) if len(normals) else np.zeros(3)
        if np.linalg.norm(normal) < 0.1:
            normal = self.center - np.array([0.5, 0.6, 0.5])
        normal /= np.linalg.norm(normal)
        # On the crown, where v is the normal, up is backwards.
        along = np.array([0.0, 1.0, 0.0]) if abs(normal[1]) < 0.95 else np.array([0.0, 0.0, -1.0])
        up = along - normal * (along @ normal)
        up /= np.linalg.norm(up)
        right = np.cross(up, normal)
        turn = np.deg2rad(self.rotate_deg)
        cos, sin = np.cos(turn), np.sin(turn)
        return cos * right + sin * up, cos * up - sin * right, normal


@dataclass(frozen=True)
class AtlasTexture:
    """A texture over the whole of the template's atlas.

    Attributes:
        texture: (h, w, 4) uint8 RGBA.
    """

    texture: ByteArray

    def __post_init__(self) -> None:
        _check(self.texture)

    def sample(self, coords: FloatArray, scale: float) -> FloatArray:
        """Colour and opacity (N, 4) float32 at places (N, 3), see ``Decal.sample``."""
        # The atlas is a little under two cube lengths wide.
        texture = _shrunk(self.texture, scale / 1.8 * self.texture.shape[1])
        places = atlas_places(coords)[0]
        return _unmultiplied(sample_atlas(_premultiplied(texture), places))


def decal_place(at: tuple[str, ...]) -> DoubleArray:
    """The place on the template that a name or three coordinates mean.

    Args:
        at: one name of the layouts named or 68, or three numbers u, v, w.

    Returns:
        (3,) float64, on the template.

    Raises:
        ValueError: if it is neither.
    """
    if len(at) == 3:
        try:
            place = np.array(at, np.float64)
        except ValueError:
            place = np.full(3, np.nan)
        if not np.isfinite(place).all():
            raise ValueError(f"a place is a name or three numbers u v w, got {' '.join(at)}")
    elif len(at) == 1:
        place = _named(at[0])
    else:
        raise ValueError(f"a place is a name or three numbers u v w, got {' '.join(at)!r}")
    places = atlas_places(place[None].astype(np.float32))[0]
    return np.asarray(sample_atlas(atlas_coords(_TEXELS), places)[0], np.float64)


def paint_picture(
    image: ByteArray,
    cube_map: CubeMap,
    texture: Decal | AtlasTexture,
    options: PaintOptions | None = None,
) -> ByteArray:
    """Put texture onto the head in a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        cube_map: of it, at any resolution.
        texture: what is put on.
        options: see ``PaintOptions``.

    Returns:
        (H, W, 3) uint8.
    """
    options = options or PaintOptions()
    whole = paste_cube_map(smooth_map(cube_map), *image.shape[:2])
    painted = image.copy()
    if not whole.mask.any():
        return painted
    coords = whole.coords[whole.mask]
    told = texture.sample(coords, _spacing(whole))
    rows = np.flatnonzero(told[:, 3] > 0)
    if not len(rows):
        return painted
    sure = np.where(whole.mask, _ramp(whole.confidence, options.confidence), 0)
    alpha = told[rows, 3] * options.opacity * sure[whole.mask][rows]
    alpha *= _ramp(atlas_places(coords[rows])[1], options.height)
    linear = _linear(image)
    light = _light(linear, sure, options)[whole.mask][rows]
    colors = _linear(told[rows, :3]) * light[:, None]
    y, x = (k[rows] for k in np.nonzero(whole.mask))
    mixed = linear[y, x] * (1 - alpha[:, None]) + colors * alpha[:, None]
    painted[y, x] = _bytes(mixed)
    return painted


def paint_as_taken(
    picture: MappedPicture, texture: Decal | AtlasTexture, options: PaintOptions | None = None
) -> ByteArray:
    """A picture with texture on it, in its pixels as taken; beside the texture it is unchanged."""
    if picture.view is None or picture.view.camera.is_pinhole:
        return paint_picture(picture.image, picture.cube_map, texture, options)
    image, whole = picture.as_taken()
    return paint_picture(image, whole, texture, options)


def paint_vertices(
    colors: ByteArray,
    coords: FloatArray,
    faces: IntArray,
    texture: Decal | AtlasTexture,
    options: PaintOptions | None = None,
) -> ByteArray:
    """Put texture onto a mesh's vertices: colours (V, 3) uint8 of vertices at coords (V, 3)."""
    options = options or PaintOptions()
    known = np.asarray(np.isfinite(coords).all(axis=1))
    places = np.where(known[:, None], coords, 0).astype(np.float32)
    edges = coords[faces[:, 0]] - coords[faces[:, 1]]
    lengths = np.linalg.norm(edges, axis=1)
    spacing = float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else 1e-3
    told = texture.sample(places, spacing)
    told[~known] = 0
    alpha = told[:, 3:] * options.opacity * _ramp(atlas_places(places)[1], options.height)[:, None]
    linear = _linear(colors)
    light = _vertex_light(linear, places, known, options)
    mixed = linear * (1 - alpha) + _linear(told[:, :3]) * light[:, None] * alpha
    return np.where(alpha > 0, _bytes(mixed), colors).astype(np.uint8)


def _named(name: str) -> DoubleArray:
    for layout in ("named", "68"):
        found = load_layout(layout)
        if name in found.names:
            return np.asarray(found.positions[found.names.index(name)], np.float64)
    names = ", ".join(load_layout("named").names)
    raise ValueError(
        f"no place is called {name!r}; give U V W, a name of layout 68, or one of {names}"
    )


def _light(linear: FloatArray, weight: FloatArray, options: PaintOptions) -> FloatArray:
    """(H, W) brightness of the light: smooth brightness of the head over that in full light."""
    import cv2

    if not weight.any():
        return np.ones(weight.shape, np.float32)
    luminance = linear @ np.array(_LUMINANCE, np.float32)
    ys, xs = np.nonzero(weight)
    width = max(options.shading_width * float(max(np.ptp(ys), np.ptp(xs)) + 1), 0.5)
    share = np.asarray(cv2.GaussianBlur(weight, (0, 0), width))
    smooth = np.asarray(cv2.GaussianBlur(luminance * weight, (0, 0), width))
    smooth = smooth / np.maximum(share, 1e-6)
    full = max(float(np.quantile(smooth[weight > 0], _FULL_LIGHT)), 1e-4)
    return np.asarray(1 + options.shading * (smooth / full - 1), np.float32)


def _vertex_light(
    linear: FloatArray, coords: FloatArray, known: BoolArray, options: PaintOptions
) -> FloatArray:
    """(V,) as ``_light``, averaged over cells of the cube."""
    luminance = linear @ np.array(_LUMINANCE, np.float32)
    if not known.any():
        return np.ones(len(coords), np.float32)
    cells = np.floor(coords / (2 * options.shading_width)).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.ravel()
    count = np.maximum(np.bincount(cell, known), 1e-6)
    mean = np.bincount(cell, luminance * known) / count
    full = max(float(np.quantile(luminance[known], _FULL_LIGHT)), 1e-4)
    return np.asarray(1 + options.shading * (mean[cell] / full - 1), np.float32)


def _ramp(values: FloatArray, ends: tuple[float, float]) -> FloatArray:
    """0 at the first end, 1 at the second, smooth between."""
    t = np.clip((np.nan_to_num(values, nan=ends[0]) - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _spacing(cube_map: CubeMap) -> float:
    from mvs.stages.views import cube_per_pixel

    return cube_per_pixel(cube_map)


def _shrunk(texture: ByteArray, texels: float) -> FloatArray:
    """(h, w, 4) float32 in [0, 1] with about one texel where there were ``texels``."""
    import cv2

    values = _premultiplied(np.asarray(texture / 255, np.float32))
    if texels > 1:
        height, width = texture.shape[:2]
        size = (max(2, round(width / texels)), max(2, round(height / texels)))
        values = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
    return _unmultiplied(values)


def _premultiplied(values: FloatArray) -> FloatArray:
    return np.concatenate([values[..., :3] * values[..., 3:], values[..., 3:]], axis=-1)


def _unmultiplied(values: FloatArray) -> FloatArray:
    alpha = np.clip(values[..., 3:], 0, 1)
    colors = np.where(alpha > 0, values[..., :3] / np.maximum(alpha, 1e-6), 0)
    return np.concatenate([np.clip(colors, 0, 1), alpha], axis=-1).astype(np.float32)


def _linear(values: npt.NDArray[Any]) -> FloatArray:
    """Colours, bytes or in [0, 1], proportional to light."""
    scaled = values.astype(np.float32)
    if values.dtype == np.uint8:
        scaled /= 255
    return np.asarray(scaled**_GAMMA, np.float32)


def _bytes(linear: FloatArray) -> ByteArray:
    shown = np.clip(linear, 0, 1) ** (1 / _GAMMA) * 255
    return np.asarray(np.rint(shown), np.uint8)


def _check(texture: ByteArray) -> None:
    if texture.ndim != 3 or texture.shape[2] != 4 or texture.dtype != np.uint8 or not texture.size:
        raise ValueError(f"texture must be (h, w, 4) uint8, got {texture.shape} {texture.dtype}")


def read_texture(path: Path) -> ByteArray:
    """A picture file as (h, w, 4) uint8 RGBA, opaque where the file has no opacity.

    Raises:
        CaptureError: if it cannot be read.
    """
    color, opacity = read_picture(path)
    alpha = np.full(color.shape[:2], 255, np.uint8) if opacity is None else to_bytes(opacity, path)
    return np.ascontiguousarray(np.dstack([color, alpha]))
