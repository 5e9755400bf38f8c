"""Dense warps between two pictures of heads: the same place of the cube, for every pixel.

Each pixel of the one picture asks for its place in the other picture's map; the answer is solved
for between the pixels, and made smooth along the surface. No detector and no training: the maps
alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mvs.kernels.grid import build_grid
from mvs.kernels.nearest import nearest
from mvs.kernels.smooth import smooth_along
from mvs.kernels.subpixel import locate, usable_cells
from mvs.stages.views import cube_per_pixel
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, FloatArray

# Longest edge of a cell of four pixels that lies on one surface, in steps between pixels.
_MAX_EDGE_STEPS = 8.0
# How far the place may be from the nearest pixel, pixels of the map.
_MAX_SHIFT = 4.0
# Places count as neighbours on the surface up to about this many steps between pixels.
_REACH_STEPS = 4.0
# Errors of more pixels than this are no longer believed when a flow is made smooth.
_WILD_PX = 1.5
# The rim of what is valid is evened out over this width, pixels of the map.
_RIM_BLUR = 1.5
# Blur per step of a picture that is shrunk, in pixels of it.
_SHRINK_BLUR = 0.5


@dataclass(frozen=True)
class WarpOptions:
    """How a picture is brought into the geometry of another.

    Attributes:
        smooth_px: width over which flows are made smooth, pixels of the map; 0 leaves them.
        max_gap: farthest, in the cube, that the other map's surface may pass from a place.
        max_roundtrip_px: farthest from where it started that the way there and back may end,
            pixels of the map; a pixel's confidence halves at about half of it.
        min_support: share of a pixel's neighbourhood on the surface that must have been found.
    """

    smooth_px: float = 1.5
    max_gap: float = 0.015
    max_roundtrip_px: float = 6.0
    min_support: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.smooth_px <= 20:
            raise ValueError(f"smooth_px must be in [0, 20], got {self.smooth_px}")
        if not (self.max_gap > 0 and self.max_roundtrip_px > 0):
            raise ValueError(f"max_gap and max_roundtrip_px must be > 0, got {self}")
        if not 0 <= self.min_support <= 1:
            raise ValueError(f"min_support must be in [0, 1], got {self.min_support}")


@dataclass(frozen=True)
class Flow:
    """Where in picture A each pixel of B's map lies.

    Attributes:
        pixels: (H, W, 2) float32 in picture A, NaN where ``valid`` is False.
        confidence: (H, W) float32 in [0, 1]: of both maps, less where the ways there and back
            disagree or the places differ; 0 where not valid.
        roundtrip: (H, W) float32 pixels of picture B between a pixel and where the way to A and
            back ends; NaN where not valid.
        valid: (H, W) bool.
        image_from_map: (2, 3) float64 affine from these pixels to those of picture B.
    """

    pixels: FloatArray
    confidence: FloatArray
    roundtrip: FloatArray
    valid: BoolArray
    image_from_map: DoubleArray

    def at_picture(self, height: int, width: int) -> Flow:
        """The flow with an entry for each pixel of picture B (height, width)."""
        from mvs.network.crop import paste_cube_map

        layers = np.concatenate([self.pixels, self.roundtrip[..., None]], axis=2)
        carrier = CubeMap(layers, self.confidence, self.valid, self.image_from_map)
        whole = paste_cube_map(carrier, height, width)
        layers = np.where(whole.mask[..., None], whole.coords, np.nan).astype(np.float32)
        confidence = np.where(whole.mask, whole.confidence, 0).astype(np.float32)
        pixels = np.ascontiguousarray(layers[..., :2])
        return Flow(pixels, confidence, layers[..., 2].copy(), whole.mask, np.eye(2, 3))

    def displacement(self) -> FloatArray:
        """(H, W, 2) float32 pixels from each pixel of B to its place in A; NaN where not valid."""
        height, width = self.valid.shape
        y, x = np.mgrid[:height, :width] + 0.5
        affine = self.image_from_map
        start = np.stack([x, y], axis=2) @ affine[:, :2].T + affine[:, 2]
        return (self.pixels - start).astype(np.float32)


def warp_flow(map_a: CubeMap, map_b: CubeMap, options: WarpOptions | None = None) -> Flow:
    """Where in picture A the place that each pixel of B shows is seen.

    The nearest pixel of A in the cube, then Gauss-Newton on A's bilinear surface, there and, for
    the check, back. Planes fitted to each neighbourhood along B's surface make the flow smooth and
    fill what single pixels missed.

    Args:
        map_a: of the picture whose pixels are wanted.
        map_b: of the picture that is asked for.
        options: see ``WarpOptions``.

    Returns:
        One entry per pixel of ``map_b``; a pixel whose place A does not show is not valid.
    """
    options = options or WarpOptions()
    a, b = _Surface.of(map_a), _Surface.of(map_b)
    if not (a.valid.any() and b.valid.any()):
        return _nothing(map_b)
    onward, gap = _follow(a, b, options)
    back, _ = _follow(b, a, options)
    returned = _sample(back, onward)
    y, x = np.mgrid[: b.valid.shape[0], : b.valid.shape[1]] + 0.5
    roundtrip = np.linalg.norm(returned - np.stack([x, y], axis=2), axis=2)
    with np.errstate(invalid="ignore"):
        valid = _even_out(roundtrip, b.valid, options.max_roundtrip_px)
        agree = np.exp(-0.5 * (roundtrip / (0.4 * options.max_roundtrip_px)) ** 2)
        near = np.exp(-0.5 * (gap / options.max_gap) ** 2)
    sure = np.minimum(b.confidence, _sample(a.confidence[..., None], onward)[..., 0]) * agree * near
    affine = map_a.image_from_map
    pixels = np.where(valid[..., None], onward @ affine[:, :2].T + affine[:, 2], np.nan)
    scale = np.sqrt(abs(np.linalg.det(map_b.image_from_map[:, :2])))
    return Flow(
        pixels.astype(np.float32),
        np.where(valid, np.nan_to_num(sure), 0).astype(np.float32),
        np.where(valid, roundtrip * scale, np.nan).astype(np.float32),
        valid,
        map_b.image_from_map,
    )


def warp_image(image: ByteArray, flow: Flow, blank: ByteArray) -> ByteArray:
    """Picture A in the geometry of B's map.

    Args:
        image: (h, w, C) uint8 picture A.
        flow: into A.
        blank: (H, W, C) uint8 what stands where the flow is not valid.

    Returns:
        (H, W, C) uint8. Where A is finer than B it is blurred first.
    """
    import cv2

    shrink = _shrink(flow)
    if shrink > 1:
        width = _SHRINK_BLUR * float(np.sqrt(shrink**2 - 1))
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), width), np.uint8)
    at = np.nan_to_num(flow.pixels - np.float32(0.5), nan=-10.0)
    border = cv2.BORDER_REPLICATE
    sampled = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=border)
    shown = np.asarray(sampled, np.uint8).reshape(blank.shape)
    return np.where(flow.valid[..., None], shown, blank)


def smooth_map(cube_map: CubeMap, width: float = 1.0) -> CubeMap:
    """A map with its noise from pixel to pixel averaged along the surface.

    Args:
        cube_map: of a picture.
        width: of the window, pixels of the map.

    Returns:
        The map; pixels of the mask that have no coordinate leave it.
    """
    surface = _Surface.of(cube_map)
    if not surface.valid.any():
        return replace(cube_map, mask=surface.valid)
    reach = _REACH_STEPS * surface.step
    weight = np.where(surface.valid, np.maximum(surface.confidence, 1e-3), 0).astype(np.float32)
    coords, _ = smooth_along(surface.coords, weight, surface.guide, width, reach, reach)
    coords = np.where(surface.valid[..., None], coords, 0).astype(np.float32)
    return replace(cube_map, coords=coords, mask=surface.valid)


@dataclass(frozen=True)
class _Surface:
    """A map made ready: what counts of it, and how far apart its pixels are in the cube."""

    coords: FloatArray
    confidence: FloatArray
    valid: BoolArray
    step: float

    @property
    def guide(self) -> FloatArray:
        """The coordinates, NaN beside the head."""
        return np.where(self.valid[..., None], self.coords, np.float32(np.nan))

    @staticmethod
    def of(cube_map: CubeMap) -> _Surface:
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite(cube_map.coords.sum(axis=2) + cube_map.confidence)
        coords = np.where(finite[..., None], cube_map.coords, 0).astype(np.float32)
        confidence = np.clip(np.nan_to_num(cube_map.confidence), 0, 1).astype(np.float32)
        valid = np.asarray(finite & cube_map.mask)
        return _Surface(coords, confidence, valid, max(cube_per_pixel(cube_map), 1e-6))


def _follow(a: _Surface, b: _Surface, options: WarpOptions) -> tuple[DoubleArray, FloatArray]:
    """Pixels (H, W, 2) of map A for those of map B, NaN for none, and their gap in the cube."""
    pixels = np.full((*b.valid.shape, 2), np.nan)
    gap = np.full(b.valid.shape, np.inf, np.float32)
    cells = usable_cells(a.coords, a.valid, _MAX_EDGE_STEPS * max(a.step, b.step))
    flat = np.flatnonzero(a.valid).astype(np.int32)
    targets = b.coords[b.valid]
    grid = build_grid(np.ascontiguousarray(a.coords.reshape(-1, 3)[flat]))
    index = nearest(grid, targets, options.max_gap + 2 * a.step).index
    start = np.where(index >= 0, flat[index], -1).astype(np.int32)
    found, distance = locate(a.coords, cells, targets, start, _MAX_SHIFT)
    far = ~(distance <= options.max_gap)
    found[far] = np.nan
    pixels[b.valid], gap[b.valid] = found, np.where(far, np.inf, distance)
    if options.smooth_px == 0:
        return pixels, gap
    known = np.isfinite(pixels[..., 0])
    sure = np.zeros(b.valid.shape)
    sure[known] = np.maximum(b.confidence[known], 0.05)
    reach = _REACH_STEPS * b.step * max(options.smooth_px / 1.5, 1.0)
    layers = np.concatenate([pixels, np.where(known, gap, 0)[..., None]], axis=2)
    weight, wild = sure.astype(np.float32), _WILD_PX * max(b.step / a.step, 1.0)
    smooth, _ = smooth_along(
        layers.astype(np.float32), weight, b.guide, options.smooth_px, reach, wild
    )
    # The share that was found is no matter of confidence.
    one = known.astype(np.float32)
    _, support = smooth_along(one[..., None], one, b.guide, options.smooth_px, reach)
    kept = b.valid & (support >= options.min_support)
    smooth[~kept] = np.nan
    return smooth[..., :2].astype(np.float64), np.where(kept, smooth[..., 2], np.inf)


def _sample(values: DoubleArray | FloatArray, pixels: DoubleArray) -> DoubleArray:
    """Values (h, w, C) interpolated at pixels (H, W, 2) of their own; NaN beside and for NaN."""
    import cv2

    at = np.nan_to_num(pixels - 0.5, nan=-1e4).astype(np.float32)
    layers = [
        cv2.remap(
            np.ascontiguousarray(values[..., k], np.float32),
            *(at[..., 0], at[..., 1], cv2.INTER_LINEAR),
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float("nan"),
        )
        for k in range(values.shape[2])
    ]
    return np.stack([np.asarray(layer, np.float64) for layer in layers], axis=2)


def _even_out(roundtrip: DoubleArray, head: BoolArray, bound: float) -> BoolArray:
    """Pixels whose way there and back ends near, with an even rim and without pinholes."""
    import cv2

    near = np.asarray(roundtrip <= bound)
    share = np.asarray(cv2.GaussianBlur(near.astype(np.float32), (0, 0), _RIM_BLUR))
    possible = np.asarray(cv2.GaussianBlur(head.astype(np.float32), (0, 0), _RIM_BLUR))
    return np.asarray(head & (roundtrip <= 2 * bound) & (share >= 0.5 * possible))


def _shrink(flow: Flow) -> float:
    """Typical number of pixels of A from one pixel of the flow to the next."""
    steps = np.linalg.norm(np.diff(flow.pixels, axis=1), axis=2)
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) if len(steps) else 1.0


def _nothing(map_b: CubeMap) -> Flow:
    shape = map_b.mask.shape
    return Flow(
        np.full((*shape, 2), np.nan, np.float32),
        np.zeros(shape, np.float32),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.bool_),
        map_b.image_from_map,
    )
