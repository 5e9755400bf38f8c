"""Fields over a picture made smooth along the surface that it shows, and not across its edges."""

from __future__ import annotations

import numba
import numpy as np

from mvs.kernels.threads import prange
from mvs.types import FloatArray

# A window reaches this many times its width.
_REACH = 2.0
# Slopes are held back by this part of the window's weight, so that a few pixels say no slope.
_RIDGE = 0.05


def smooth_along(
    values: FloatArray,
    weight: FloatArray,
    guide: FloatArray,
    width: float,
    reach: float,
    wild: float = np.inf,
) -> tuple[FloatArray, FloatArray]:
    """Fit a plane to each pixel's neighbourhood and take its value in the middle.

    A neighbour counts by its weight, by its distance in pixels and by its distance along the
    surface. A second fit counts less those that the first one misses by more than ``wild``.

    Args:
        values: (H, W, C) float32; not read where ``weight`` is 0.
        weight: (H, W) float32, >= 0.
        guide: (H, W, 3) float32 places of the pixels on the surface; NaN where there is none.
        width: of the window's Gaussian, pixels.
        reach: of the Gaussian of distances between places.
        wild: scale of the errors that are no longer believed.

    Returns:
        (H, W, C) float32 smooth values, NaN where nothing nearby has weight or there is no place,
        and (H, W) float32 the mean weight of the neighbours that are near on the surface.

    Raises:
        ValueError: if shapes do not fit or a width is not positive.

    Source:
        Cleveland, "Robust locally weighted regression" (1979).
    """
    if values.shape[:2] != weight.shape or guide.shape != (*weight.shape, 3) or values.ndim != 3:
        raise ValueError(f"shapes must fit, got {values.shape}, {weight.shape}, {guide.shape}")
    if not (width > 0 and reach > 0 and wild > 0):
        raise ValueError(f"width, reach and wild must be > 0, got {width}, {reach}, {wild}")
    smooth = np.full(values.shape, np.nan, np.float32)
    support = np.zeros(weight.shape, np.float32)
    steps = np.arange(int(np.ceil(_REACH * width)) + 1)
    _smooth(
        np.ascontiguousarray(values, np.float32),
        np.ascontiguousarray(weight, np.float32),
        np.ascontiguousarray(guide, np.float32),
        (np.exp(-0.5 * (steps / width) ** 2), -0.5 / reach**2, 1.0 / wild**2),
        (smooth, support),
    )
    return smooth, support


@numba.njit(cache=True, error_model="numpy")
def _solve(moments, sums, fit):  # type: ignore[no-untyped-def]
    """Value in the middle and slopes of the plane with least weighted squares."""
    total, mx, my = moments[0], moments[1] / moments[0], moments[2] / moments[0]
    ridge = _RIDGE * total
    xx = moments[3] - total * mx * mx + ridge
    xy = moments[4] - total * mx * my
    yy = moments[5] - total * my * my + ridge
    determinant = xx * yy - xy * xy
    for c in range(sums.shape[1]):
        mean = sums[0, c] / total
        bx = sums[1, c] - mx * sums[0, c]
        by = sums[2, c] - my * sums[0, c]
        fit[1, c] = (bx * yy - by * xy) / determinant
        fit[2, c] = (by * xx - bx * xy) / determinant
        fit[0, c] = mean - fit[1, c] * mx - fit[2, c] * my


@numba.njit(cache=True, error_model="numpy")
def _gather(x, y, fields, setup, fit, again, moments, sums):  # type: ignore[no-untyped-def]
    """Weighted sums over a pixel's window; the weight there would be if all counted fully."""
    values, weight, guide = fields
    kernel, along, wild = setup
    height, width = weight.shape
    n = len(kernel) - 1
    moments[:] = 0.0
    sums[:] = 0.0
    possible = 0.0
    for ny in range(max(y - n, 0), min(y + n + 1, height)):
        for nx in range(max(x - n, 0), min(x + n + 1, width)):
            squared = 0.0
            for k in range(3):
                squared += (guide[ny, nx, k] - guide[y, x, k]) ** 2
            if not squared * along > -8.0:
                continue
            w = kernel[abs(nx - x)] * kernel[abs(ny - y)] * np.exp(squared * along)
            possible += w
            w *= weight[ny, nx]
            if w <= 0.0:
                continue
            dx, dy = float(nx - x), float(ny - y)
            if again:
                off = 0.0
                for c in range(values.shape[2]):
                    told = fit[0, c] + dx * fit[1, c] + dy * fit[2, c]
                    off += (values[ny, nx, c] - told) ** 2
                w /= (1.0 + off * wild) ** 2
            moments[0] += w
            moments[1] += w * dx
            moments[2] += w * dy
            moments[3] += w * dx * dx
            moments[4] += w * dx * dy
            moments[5] += w * dy * dy
            for c in range(values.shape[2]):
                v = float(values[ny, nx, c])
                sums[0, c] += w * v
                sums[1, c] += w * dx * v
                sums[2, c] += w * dy * v
    return possible


@numba.njit(cache=True, error_model="numpy")
def _smooth_row(y, fields, setup, found):  # type: ignore[no-untyped-def]
    values, _, guide = fields
    smooth, support = found
    moments = np.empty(6)
    sums = np.empty((3, values.shape[2]))
    fit = np.zeros((3, values.shape[2]))
    for x in range(values.shape[1]):
        if not np.isfinite(guide[y, x, 0] + guide[y, x, 1] + guide[y, x, 2]):
            continue
        possible = _gather(x, y, fields, setup, fit, False, moments, sums)
        if not moments[0] > 0.0:
            continue
        support[y, x] = moments[0] / possible
        _solve(moments, sums, fit)
        if setup[2] > 0.0:
            _gather(x, y, fields, setup, fit, True, moments, sums)
            if moments[0] > 0.0:
                _solve(moments, sums, fit)
        for c in range(values.shape[2]):
            smooth[y, x, c] = fit[0, c]


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _smooth(values, weight, guide, setup, found):  # type: ignore[no-untyped-def]
    for y in prange(len(values)):
        _smooth_row(y, (values, weight, guide), setup, found)
