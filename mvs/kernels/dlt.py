"""Triangulation of many points from many views at once.

Linear solution (direct linear transform, inhomogeneous: Hartley and Sturm 1997, section 4, on
coordinates moved and scaled to the points), then Gauss-Newton on the reprojection error, then the
worst view is dropped while it is worse than the bound. Everything is float64; each point is solved
by one thread in a fixed order of views.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numba
import numpy as np
import numpy.typing as npt

from mvs.kernels.threads import prange
from mvs.types import BoolArray, DoubleArray, FloatArray

_CHUNK = 512


class PointStatus(IntEnum):
    """What came of one point."""

    OK = 0
    TOO_FEW_VIEWS = 1
    DEGENERATE = 2
    BEHIND_CAMERA = 3
    LARGE_ERROR = 4
    SMALL_ANGLE = 5
    FAR_FROM_HEAD = 6


@dataclass(frozen=True)
class Observations:
    """Where each point is seen.

    Attributes:
        projections: (V, 3, 4) float64 pixels from world.
        pixels: (N, V, 2) float64, NaN where a view does not see the point.
        roots: (N, V, 3) float32 a, b, c: the error (x, y) in pixels of an observation counts as
            (a x + b y, c y): the square root of its information; None takes pixels as they are.
    """

    projections: DoubleArray
    pixels: DoubleArray
    roots: FloatArray | None = None


@dataclass(frozen=True)
class TriangulateBounds:
    """When a view or a point is given up.

    Attributes:
        max_error: largest reprojection error of a view, as the observations' roots count it.
        min_views: views a point needs.
        min_agreement: share of the views that see a point that must agree on it.
        min_angle_deg: widest angle between two of its rays, at least (always measured from the
            first view that sees it).
        keep_first: never drop the first view.
        n_iterations: Gauss-Newton steps, at most; 0 leaves the linear solution.
    """

    max_error: float = np.inf
    min_views: int = 2
    min_agreement: float = 0.0
    min_angle_deg: float = 0.0
    keep_first: bool = False
    n_iterations: int = 10


@dataclass(frozen=True)
class TriangulatedPoints:
    """Points and what is known of them; N rows.

    Attributes:
        points: (N, 3) float64, NaN unless the status is OK.
        status: (N,) uint8 of ``PointStatus``.
        used: (N, V) bool views that agree, none unless the status is OK.
        error: (N,) float32 root mean square reprojection error of those.
        angle_deg: (N,) float32 widest angle from the first of their rays.
        deviation: (N,) float32 standard deviation of the position, per pixel of error.
    """

    points: DoubleArray
    status: npt.NDArray[np.uint8]
    used: BoolArray
    error: FloatArray
    angle_deg: FloatArray
    deviation: FloatArray


def triangulate_points(
    observations: Observations, bounds: TriangulateBounds | None = None
) -> TriangulatedPoints:
    """Triangulate every point from all views that see it.

    Args:
        observations: projections and pixels.
        bounds: see ``TriangulateBounds``.

    Returns:
        Points, status and figures.

    Raises:
        ValueError: if the shapes do not fit.
    """
    bounds = bounds or TriangulateBounds()
    projections = np.ascontiguousarray(observations.projections, dtype=np.float64)
    pixels = np.ascontiguousarray(observations.pixels, dtype=np.float64)
    roots = observations.roots
    roots = np.empty((0, 0, 3), np.float32) if roots is None else np.ascontiguousarray(roots)
    n_views = len(projections)
    if projections.shape != (n_views, 3, 4) or pixels.shape[1:] != (n_views, 2):
        raise ValueError(
            "projections must have shape (V, 3, 4) and pixels (N, V, 2), "
            f"got {projections.shape} and {pixels.shape}"
        )
    if roots.size and roots.shape != (*pixels.shape[:2], 3):
        raise ValueError(f"roots must have shape (N, V, 3) like pixels, got {roots.shape}")
    n = len(pixels)
    result = TriangulatedPoints(
        np.full((n, 3), np.nan),
        np.zeros(n, np.uint8),
        np.zeros((n, n_views), np.bool_),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
        np.full(n, np.nan, np.float32),
    )
    if n and n_views:
        _run(projections, pixels, roots, bounds, result)
        result.used[result.status != PointStatus.OK] = False
    return result


def _run(
    projections: DoubleArray,
    pixels: DoubleArray,
    roots: FloatArray,
    bounds: TriangulateBounds,
    result: TriangulatedPoints,
) -> None:
    """Move the world's origin between the cameras and scale it to their spread, then solve."""
    inverse = np.linalg.inv(projections[:, :, :3])
    centers = -np.einsum("vij,vj->vi", inverse, projections[:, :, 3])
    origin = centers.mean(axis=0)
    scale = max(float(np.linalg.norm(centers - origin, axis=1).max()), 1e-300)
    moved = projections.copy()
    moved[:, :, 3] += projections[:, :, :3] @ origin
    # Third row of unit length and positive depth in front, so that depths are lengths.
    length = np.linalg.norm(moved[:, 2, :3], axis=1) * np.sign(np.linalg.det(moved[:, :, :3]))
    moved /= length[:, None, None]
    moved[:, :, 3] /= scale
    limits = (
        bounds.max_error,
        bounds.min_views,
        bounds.min_agreement,
        np.cos(np.deg2rad(bounds.min_angle_deg)),
        bounds.keep_first,
        bounds.n_iterations,
    )
    frame = ((centers - origin) / scale, origin, scale)
    figures = (result.error, result.angle_deg, result.deviation)
    _triangulate(
        moved, frame, pixels, roots, limits, (result.points, result.status, result.used), figures
    )


@numba.njit(cache=True, error_model="numpy", inline="always")
def _solve(m, b):  # type: ignore[no-untyped-def]
    """Solve a symmetric 3x3 system (xx, xy, xz, yy, yz, zz); also the trace of the inverse."""
    xx, xy, xz, yy, yz, zz = m
    a = yy * zz - yz * yz
    c = xz * yz - xy * zz
    d = xy * yz - xz * yy
    determinant = xx * a + xy * c + xz * d
    good = determinant > 1e-14 * xx * yy * zz
    inverse = 1.0 / determinant if good else 0.0
    e = xx * zz - xz * xz
    f = xy * xz - xx * yz
    g = xx * yy - xy * xy
    x = (a * b[0] + c * b[1] + d * b[2]) * inverse
    y = (c * b[0] + e * b[1] + f * b[2]) * inverse
    z = (d * b[0] + f * b[1] + g * b[2]) * inverse
    return good, x, y, z, (a + e + g) * inverse


@numba.njit(cache=True, error_model="numpy", inline="always")
def _root(roots, i, v):  # type: ignore[no-untyped-def]
    if roots.size == 0:
        return 1.0, 0.0, 1.0
    return float(roots[i, v, 0]), float(roots[i, v, 1]), float(roots[i, v, 2])


@numba.njit(cache=True, error_model="numpy", inline="always")
def _accumulate(sums, row, r):  # type: ignore[no-untyped-def]
    """Add one equation row . x = r to the normal equations."""
    xx, xy, xz, yy, yz, zz, bx, by, bz = sums
    x, y, z = row
    return (
        xx + x * x,
        xy + x * y,
        xz + x * z,
        yy + y * y,
        yz + y * z,
        zz + z * z,
        bx + x * r,
        by + y * r,
        bz + z * r,
    )


@numba.njit(cache=True, error_model="numpy", inline="always")
def _add_view(sums, p, q, p_error, q_error, root):  # type: ignore[no-untyped-def]
    """Add the two equations of one view, scaled by the root of its information."""
    a, b, c = root
    row = (a * p[0] + b * q[0], a * p[1] + b * q[1], a * p[2] + b * q[2])
    sums = _accumulate(sums, row, a * p_error + b * q_error)
    return _accumulate(sums, (c * q[0], c * q[1], c * q[2]), c * q_error)


@numba.njit(cache=True, error_model="numpy", inline="always")
def _linear(P, pixels, roots, i, used):  # type: ignore[no-untyped-def]
    """Inhomogeneous direct linear transform from the used views."""
    sums = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for v in range(P.shape[0]):
        if used[i, v]:
            x, y = pixels[i, v, 0], pixels[i, v, 1]
            p = (
                P[v, 0, 0] - x * P[v, 2, 0],
                P[v, 0, 1] - x * P[v, 2, 1],
                P[v, 0, 2] - x * P[v, 2, 2],
            )
            q = (
                P[v, 1, 0] - y * P[v, 2, 0],
                P[v, 1, 1] - y * P[v, 2, 1],
                P[v, 1, 2] - y * P[v, 2, 2],
            )
            p_error, q_error = x * P[v, 2, 3] - P[v, 0, 3], y * P[v, 2, 3] - P[v, 1, 3]
            sums = _add_view(sums, p, q, p_error, q_error, _root(roots, i, v))
    return _solve(sums[:6], sums[6:])


@numba.njit(cache=True, error_model="numpy", inline="always")
def _project(P, v, x, y, z):  # type: ignore[no-untyped-def]
    depth = P[v, 2, 0] * x + P[v, 2, 1] * y + P[v, 2, 2] * z + P[v, 2, 3]
    u = (P[v, 0, 0] * x + P[v, 0, 1] * y + P[v, 0, 2] * z + P[v, 0, 3]) / depth
    w = (P[v, 1, 0] * x + P[v, 1, 1] * y + P[v, 1, 2] * z + P[v, 1, 3]) / depth
    return u, w, depth


@numba.njit(cache=True, error_model="numpy", inline="always")
def _step(P, pixels, roots, i, used, x, y, z):  # type: ignore[no-untyped-def]
    """One Gauss-Newton step on the reprojection error."""
    sums = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for v in range(P.shape[0]):
        if used[i, v]:
            u, w, depth = _project(P, v, x, y, z)
            d = 1.0 / depth
            p = (
                (P[v, 0, 0] - u * P[v, 2, 0]) * d,
                (P[v, 0, 1] - u * P[v, 2, 1]) * d,
                (P[v, 0, 2] - u * P[v, 2, 2]) * d,
            )
            q = (
                (P[v, 1, 0] - w * P[v, 2, 0]) * d,
                (P[v, 1, 1] - w * P[v, 2, 1]) * d,
                (P[v, 1, 2] - w * P[v, 2, 2]) * d,
            )
            p_error, q_error = pixels[i, v, 0] - u, pixels[i, v, 1] - w
            sums = _add_view(sums, p, q, p_error, q_error, _root(roots, i, v))
    return _solve(sums[:6], sums[6:])


@numba.njit(cache=True, error_model="numpy", inline="always")
def _errors(P, pixels, roots, i, used, x, y, z, first):  # type: ignore[no-untyped-def]
    """Sum and largest of the squared errors, the worst view from ``first`` on, smallest depth."""
    total = worst = droppable = 0.0
    worst_view = -1
    nearest = np.inf
    for v in range(P.shape[0]):
        if not used[i, v]:
            continue
        u, w, depth = _project(P, v, x, y, z)
        nearest = min(nearest, depth)
        a, b, c = _root(roots, i, v)
        p_error, q_error = pixels[i, v, 0] - u, pixels[i, v, 1] - w
        p_error = a * p_error + b * q_error
        squared = p_error * p_error + (c * q_error) ** 2
        total += squared
        worst = max(worst, squared)
        if v >= first and squared > droppable:
            droppable = squared
            worst_view = v
    return total, worst, worst_view, nearest


@numba.njit(cache=True, error_model="numpy", inline="always")
def _cosine(centers, i, used, x, y, z):  # type: ignore[no-untyped-def]
    """Cosine of the widest angle between the first used ray and another."""
    smallest = 1.0
    ax = ay = az = 0.0
    for v in range(len(centers)):
        if not used[i, v]:
            continue
        rx, ry, rz = centers[v, 0] - x, centers[v, 1] - y, centers[v, 2] - z
        length = np.sqrt(rx * rx + ry * ry + rz * rz) + 1e-300
        if ax == 0.0 and ay == 0.0 and az == 0.0:
            ax, ay, az = rx / length, ry / length, rz / length
        smallest = min(smallest, (ax * rx + ay * ry + az * rz) / length)
    return max(smallest, -1.0)


@numba.njit(cache=True, error_model="numpy")
def _triangulate_rows(rows, P, frame, pixels, roots, limits, found, figures):  # type: ignore[no-untyped-def]
    """Solve the points rows[0] .. rows[1] - 1, one after the other."""
    centers, origin, scale = frame
    max_error, min_views, min_agreement, max_cosine, keep_first, n_iterations = limits
    points, status, used = found
    error, angle, deviation = figures
    for i in range(rows[0], rows[1]):
        n_used = 0
        for v in range(P.shape[0]):
            used[i, v] = np.isfinite(pixels[i, v, 0] + pixels[i, v, 1])
            n_used += used[i, v]
        needed = max(2, min_views, int(np.ceil(min_agreement * n_used - 1e-9)))
        status[i] = 1
        while n_used >= needed:
            good, x, y, z, spread = _linear(P, pixels, roots, i, used)
            if not good:
                status[i] = 2
                break
            for _ in range(n_iterations):
                good, dx, dy, dz, spread = _step(P, pixels, roots, i, used, x, y, z)
                if not good:
                    break
                x, y, z = x + dx, y + dy, z + dz
                if dx * dx + dy * dy + dz * dz < 1e-16 * (1.0 + x * x + y * y + z * z):
                    break
            total, worst, worst_view, nearest = _errors(
                P, pixels, roots, i, used, x, y, z, int(keep_first)
            )
            if not good or not np.isfinite(total):
                status[i] = 2
                break
            if worst <= max_error * max_error:
                status[i] = 0 if nearest > 0.0 else 3
                break
            status[i] = 4
            if n_used == needed or worst_view < 0:
                break
            used[i, worst_view] = False
            n_used -= 1
        if status[i] != 0:
            continue
        cosine = _cosine(centers, i, used, x, y, z)
        if cosine > max_cosine:
            status[i] = 5
            continue
        points[i, 0] = x * scale + origin[0]
        points[i, 1] = y * scale + origin[1]
        points[i, 2] = z * scale + origin[2]
        error[i] = np.sqrt(total / n_used)
        angle[i] = np.rad2deg(np.arccos(cosine))
        deviation[i] = np.sqrt(max(spread, 0.0)) * scale


@numba.njit(cache=True, error_model="numpy", parallel=True)
def _triangulate(P, frame, pixels, roots, limits, found, figures):  # type: ignore[no-untyped-def]
    n = len(pixels)
    for chunk in prange((n + _CHUNK - 1) // _CHUNK):
        rows = (chunk * _CHUNK, min((chunk + 1) * _CHUNK, n))
        _triangulate_rows(rows, P, frame, pixels, roots, limits, found, figures)
