"""Points from the pixels that show them, through any lens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calib.camera import Camera

DoubleArray = npt.NDArray[np.float64]

_STEPS = 10
# Of the normal equations: rays this parallel give no point.
_PARALLEL = 1e-7


def intersect_rays(cameras: Sequence[Camera], pixels: DoubleArray) -> DoubleArray:
    """The points nearest to the rays of their pixels.

    Linear least squares on the distances to the rays, each divided by the point's distance and
    multiplied by the focal length, so that pixels are what counts; repeated with the distances
    found. Rays come from the lens model, so that distortion is undone.

    Args:
        cameras: V views.
        pixels: (N, V, 2) as photographed, NaN where a view does not see a point.

    Returns:
        (N, 3) world, NaN where fewer than two rays, or parallel ones, see a point.

    Source:
        Hartley and Sturm (1997), section 4.2, for the repetition with new weights.
    """
    n = len(pixels)
    rays = np.stack([c.unproject(pixels[:, v]) for v, c in enumerate(cameras)], axis=1)
    centers = np.stack([camera.center for camera in cameras])
    focal = np.array([np.sqrt(camera.K[0, 0] * camera.K[1, 1]) for camera in cameras])
    seen = np.asarray(np.isfinite(rays).all(axis=2))
    rays = np.where(seen[..., None], rays, 0.0)
    across = np.eye(3) - rays[..., None] * rays[..., None, :]
    weight = np.where(seen, 1.0, 0.0)
    points = np.full((n, 3), np.nan)
    good = seen.sum(axis=1) >= 2
    for _ in range(_STEPS):
        normal = np.einsum("nv,nvij->nij", weight, across)
        total = np.einsum("nv,nvij,vj->ni", weight, across, centers)
        strength = np.linalg.eigvalsh(normal)
        good &= strength[:, 0] > _PARALLEL * strength[:, 2]
        points[~good] = np.nan
        points[good] = np.linalg.solve(normal[good], total[good, :, None])[..., 0]
        distance = np.linalg.norm(points[:, None] - centers, axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(seen & good[:, None], (focal / distance) ** 2, 0.0)
    return points


def reprojection_errors(
    cameras: Sequence[Camera], points: DoubleArray, pixels: DoubleArray
) -> DoubleArray:
    """How far from their pixels points appear.

    Args:
        cameras: V views.
        points: (N, 3).
        pixels: (N, V, 2), NaN where a view does not see a point.

    Returns:
        (N, V) pixels, NaN where not seen; inf behind the camera and outside its lens.
    """
    errors = np.full(pixels.shape[:2], np.nan)
    for view, camera in enumerate(cameras):
        seen = np.isfinite(pixels[:, view]).all(axis=1)
        off = np.linalg.norm(camera.project(points[seen])[0] - pixels[seen, view], axis=1)
        errors[seen, view] = np.where(np.isnan(off), np.inf, off)
    return errors
