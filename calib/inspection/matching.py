"""Fresh matches between pictures, verified so that a wrong pose cannot hide what contradicts it.

Matches are verified by an essential matrix of their own (five points, RANSAC). The given poses
are asked only where that says nothing, or where at least half as many matches fit them: a
background that does not move with the subject has a motion of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.capture import BoolArray
from calib.inspection.epipolar import epipolar_distances
from calib.inspection.features import Features, PairMatches, match_features

DoubleArray = npt.NDArray[np.float64]

# In parts of the picture's diagonal: 3 px of a picture of 768 x 768.
_TOLERANCE = 3.0 / 1086.0
# Rays flatter than this do not fit on the plane where the essential matrix is found.
_MIN_COSINE = 0.2
# Matches that are wrong all through fit some motion, too: about eight and a tenth of them.
_FEW, _FEW_SHARE = 15, 0.15
# One or two in a hundred fit given poses by chance.
_FEW_GIVEN, _FEW_GIVEN_SHARE = 8, 0.25


def match_pair(
    views: tuple[int, int],
    features: tuple[Features, Features],
    cameras: tuple[Camera, Camera],
) -> PairMatches:
    """Match two pictures and verify the matches; none where too few fit one motion."""
    rows = match_features(*features)
    pixels = (features[0].pixels[rows[0]], features[1].pixels[rows[1]])
    fits = verify_matches(pixels, cameras)
    given = fits_given_poses(pixels, cameras)
    n_given = int(given.sum())
    if n_given >= _FEW_GIVEN + _FEW_GIVEN_SHARE * len(given) or (
        n_given >= _FEW_GIVEN and 2 * n_given >= fits.sum() > 0
    ):
        fits = fits | given if (fits & given).sum() >= 0.8 * fits.sum() else given
    return PairMatches(views, rows[0][fits], rows[1][fits])


def verify_matches(
    pixels: tuple[DoubleArray, DoubleArray], cameras: tuple[Camera, Camera]
) -> BoolArray:
    """Which matches fit one motion between two pictures, whatever their given poses.

    Args:
        pixels: (n, 2) of either picture.
        cameras: whose lenses count and whose poses do not.

    Returns:
        (n,) bool; all False where there are too few matches to tell. Source: D. Nister, An
        efficient solution to the five-point relative pose problem, 2004, inside RANSAC.
    """
    import cv2

    n = len(pixels[0])
    planes = [_on_plane(p, camera) for p, camera in zip(pixels, cameras, strict=True)]
    usable = np.flatnonzero(np.isfinite(planes[0]).all(1) & np.isfinite(planes[1]).all(1))
    fits = np.zeros(n, np.bool_)
    enough = _FEW + _FEW_SHARE * len(usable)
    if len(usable) < enough:
        return fits
    diagonal = [np.hypot(c.width, c.height) / c.K[0, 0] for c in cameras]
    _, found = cv2.findEssentialMat(
        planes[0][usable],
        planes[1][usable],
        np.eye(3),
        method=cv2.USAC_ACCURATE,
        prob=0.999,
        threshold=_TOLERANCE * float(np.mean(diagonal)),
    )
    if found is not None and int(found.sum()) >= enough:
        fits[usable] = found.ravel() > 0
    return fits


def fits_given_poses(
    pixels: tuple[DoubleArray, DoubleArray], cameras: tuple[Camera, Camera]
) -> BoolArray:
    """Which matches lie near the epipolar lines of two cameras; (n,) bool."""
    (first, _), (second, _) = epipolar_distances(cameras, pixels)
    limits = [_TOLERANCE * np.hypot(c.width, c.height) for c in cameras]
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(first) < limits[0]) & (np.abs(second) < limits[1]))


def _on_plane(pixels: DoubleArray, camera: Camera) -> DoubleArray:
    rays = camera.with_pose(np.eye(3, 4)).unproject(pixels)
    with np.errstate(invalid="ignore"):
        flat = ~(rays[:, 2] > _MIN_COSINE)
        plane = rays[:, :2] / rays[:, 2:]
    plane[flat] = np.nan
    return np.asarray(plane)
