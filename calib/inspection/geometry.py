"""Where the cameras stand, what they look at, and from which sides nobody looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera

DoubleArray = npt.NDArray[np.float64]

SECTOR_DEG = 30
BANDS_DEG = (-90, -45, -15, 15, 45, 90)
# Optical axes that differ less than this say nothing of how far away they meet.
_LEAST_SPREAD = np.sin(np.deg2rad(2.0)) ** 2
_N_ROBUST_STEPS = 20
_MIN_POINTS = 20
# Two views are one where they stand this near, in parts of the distance, and look the same way.
_SAME_PLACE, _SAME_DEG = 1e-3, 0.1


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Cameras around what they look at.

    Attributes:
        center: (3,) what they look at, world.
        center_from: "axes", where the optical axes meet; "points", the middle of the sparse
            points; "guess" where neither says.
        up: (3,) unit, world; the pictures' mean up, or across the ring of cameras.
        front: (3,) unit, world, across up: from the centre to azimuth 0.
        distances: (V,) from the centre, world units.
        azimuths_deg: (V,) around up, 0 in the middle of the views, to the right seen from above.
        elevations_deg: (V,).
        off_axis_deg: (V,) between optical axis and centre.
        is_center_seen: (V,) whether the centre lies in the picture.
        pixels_per_unit: (V,) at the centre.
        angles_deg: (V, V) between two views, seen from the centre.
        baselines: (V, V) between two cameras, world units.
        coverage: (bands, sectors) how many views lie in each; bands as ``BANDS_DEG`` from below,
            sectors of ``SECTOR_DEG`` from -180 degrees.
    """

    center: DoubleArray
    center_from: str
    up: DoubleArray
    front: DoubleArray
    distances: DoubleArray
    azimuths_deg: DoubleArray
    elevations_deg: DoubleArray
    off_axis_deg: DoubleArray
    is_center_seen: npt.NDArray[np.bool_]
    pixels_per_unit: DoubleArray
    angles_deg: DoubleArray
    baselines: DoubleArray
    coverage: npt.NDArray[np.int64]


def arrange(cameras: Sequence[Camera], points: DoubleArray) -> Arrangement:
    """Describe how cameras stand.

    Args:
        cameras: at least two.
        points: (N, 3) sparse points, may be empty.
    """
    centers = np.array([camera.center for camera in cameras])
    center, center_from = find_center(cameras, points)
    rays = centers - center
    distances = np.linalg.norm(rays, axis=1)
    rays = rays / np.maximum(distances, 1e-12)[:, None]
    up = _find_up(cameras, rays)
    front = _find_front(rays, up)
    azimuths = np.rad2deg(np.arctan2(rays @ np.cross(up, front), rays @ front))
    elevations = 90.0 - _degrees(rays @ up)
    axes = np.array([camera.rotation[2] for camera in cameras])
    seen = np.array([_is_seen(camera, center) for camera in cameras])
    focal = np.array([np.sqrt(camera.K[0, 0] * camera.K[1, 1]) for camera in cameras])
    sector = np.floor((azimuths + 180) / SECTOR_DEG).astype(np.int64) % (360 // SECTOR_DEG)
    band = np.clip(np.searchsorted(BANDS_DEG, elevations, "right") - 1, 0, len(BANDS_DEG) - 2)
    coverage = np.zeros((len(BANDS_DEG) - 1, 360 // SECTOR_DEG), np.int64)
    np.add.at(coverage, (band, sector), 1)
    return Arrangement(
        center=center,
        center_from=center_from,
        up=up,
        front=front,
        distances=distances,
        azimuths_deg=azimuths,
        elevations_deg=elevations,
        off_axis_deg=_degrees((-rays * axes).sum(axis=1)),
        is_center_seen=seen,
        pixels_per_unit=focal / np.maximum(distances, 1e-12),
        angles_deg=_degrees(rays @ rays.T),
        baselines=np.linalg.norm(centers[:, None] - centers, axis=2),
        coverage=coverage,
    )


def find_center(cameras: Sequence[Camera], points: DoubleArray) -> tuple[DoubleArray, str]:
    """The point nearest to the optical axes, of which a few may look elsewhere.

    Args:
        cameras: at least two.
        points: (N, 3) sparse points, asked where the axes are nearly parallel.

    Returns:
        (3,) world and where it is from, as ``Arrangement.center_from``.
    """
    centers = np.array([camera.center for camera in cameras])
    axes = np.array([camera.rotation[2] for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    if np.linalg.eigvalsh(across.mean(axis=0))[0] > _LEAST_SPREAD:
        return _meeting_point(centers, across), "axes"
    ahead = points[((points[:, None] - centers) * axes).sum(axis=2).min(axis=1) > 0]
    if len(ahead) >= _MIN_POINTS:
        return np.asarray(np.median(ahead, axis=0)), "points"
    spread = float(np.linalg.norm(np.ptp(centers, axis=0)))
    return np.asarray(centers.mean(axis=0) + 3 * max(spread, 1e-9) * axes.mean(axis=0)), "guess"


def duplicates(arrangement: Arrangement, cameras: Sequence[Camera]) -> list[tuple[int, int]]:
    """Pairs of views of the same pose."""
    typical = float(np.median(arrangement.distances))
    near = np.argwhere(np.triu(arrangement.baselines < _SAME_PLACE * typical, 1))
    pairs = [(int(i), int(j)) for i, j in near]
    return [(i, j) for i, j in pairs if _turn_deg(cameras[i], cameras[j]) < _SAME_DEG]


def choose_partners(
    arrangement: Arrangement, n: int, max_deg: float = 45.0
) -> set[tuple[int, int]]:
    """Pairs of views that should show the same things from somewhat different sides.

    Args:
        arrangement: of the views.
        n: partners of each view, at most; half of them are given beyond ``max_deg`` where nobody
            is nearer.
        max_deg: between partners.

    Returns:
        Pairs, the lower index first.
    """
    pairs = set()
    best_deg, least_deg = 12.0, 0.5
    for i, angles in enumerate(arrangement.angles_deg):
        cost = np.abs(np.log(np.maximum(angles, least_deg) / best_deg))
        cost[i] = np.inf
        order = np.argsort(cost, kind="stable")[: min(n, len(angles) - 1)]
        for rank, j in enumerate(order):
            if angles[j] <= max_deg or rank < n // 2:
                pairs.add((min(i, int(j)), max(i, int(j))))
    return pairs


def _meeting_point(centers: DoubleArray, across: DoubleArray) -> DoubleArray:
    """Iteratively reweighted least squares with Cauchy's weights."""
    weights = np.ones(len(centers))
    point = centers.mean(axis=0)
    for _ in range(_N_ROBUST_STEPS):
        normal = np.einsum("v,vij->ij", weights, across)
        right = np.einsum("v,vij,vj->i", weights, across, centers)
        point = np.linalg.solve(normal, right)
        miss = np.linalg.norm(np.einsum("vij,vj->vi", across, point - centers), axis=1)
        scale = max(float(np.median(miss)), 1e-6 * float(np.ptp(centers, axis=0).max()), 1e-12)
        weights = 1 / (1 + (miss / (2 * scale)) ** 2)
    return np.asarray(point)


def _find_up(cameras: Sequence[Camera], rays: DoubleArray) -> DoubleArray:
    ups = -np.array([camera.rotation[1] for camera in cameras])
    up = ups.mean(axis=0)
    if np.linalg.norm(up) < 0.5:
        # Pictures that lie on their side: the ring of cameras tells instead.
        up = np.linalg.svd(rays - rays.mean(axis=0))[2][2]
        up = up * (1.0 if up[np.argmax(np.abs(up))] > 0 else -1.0)
    return np.asarray(up / np.linalg.norm(up))


def _find_front(rays: DoubleArray, up: DoubleArray) -> DoubleArray:
    """The views' mean direction across up, or that of the first view of a ring."""
    flat = rays - (rays @ up)[:, None] * up
    for front in (flat.mean(axis=0), flat[0], np.cross(up, np.eye(3)[np.argmin(np.abs(up))])):
        if np.linalg.norm(front) > 0.2:
            break
    return np.asarray(front / np.linalg.norm(front))


def _is_seen(camera: Camera, point: DoubleArray) -> bool:
    pixel = camera.project(point[None])[0][0]
    return bool(((pixel >= 0) & (pixel <= (camera.width, camera.height))).all())


def _degrees(cosines: DoubleArray) -> DoubleArray:
    return np.asarray(np.rad2deg(np.arccos(np.clip(cosines, -1, 1))))


def _turn_deg(first: Camera, second: Camera) -> float:
    cosine = (np.trace(first.rotation @ second.rotation.T) - 1) / 2
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
