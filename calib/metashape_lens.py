"""Metashape's lens models in terms of COLMAP's.

With x = X / Z, y = Y / Z, r^2 = x^2 + y^2 (for fisheyes x, y scaled by atan(r) / r first)::

    x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + p1 (r^2 + 2 x^2) + 2 p2 x y
    y' = y (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + p2 (r^2 + 2 y^2) + 2 p1 x y
    u = width / 2 + cx + x' f + x' b1 + y' b2
    v = height / 2 + cy + y' f

p1 and p2 are exchanged against OpenCV's and COLMAP's; the centre of the first pixel is (0.5, 0.5).
Source: Agisoft Metashape user manual, appendix "Camera models".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.calibration import DamagedError
from calib.camera import Camera
from calib.lens import brown_coefficients

DoubleArray = npt.NDArray[np.float64]

# What a calibration may say; what is absent is 0.
NAMES = ("f", "cx", "cy", "b1", "b2", "k1", "k2", "k3", "k4", "p1", "p2", "p3", "p4")
_FRAMES = ("frame",)
_FISHEYES = ("fisheye", "equidistant_fisheye")
# Skew that no pixel sees; a fit of k4 that is mentioned; one that is refused. All in pixels.
_SKEW_PX, _FIT_PX, _WORST_FIT_PX = 0.1, 0.05, 0.5
_N_RADII = 2000
_N_REWEIGHTINGS = 8
_SMALLEST_DENOMINATOR = 0.05


@dataclass(frozen=True, eq=False)
class MetashapeLens:
    """A sensor's lens.

    Attributes:
        model: of COLMAP's.
        params: in COLMAP's order.
        fit_px: how far, in pixels, the model is from Metashape's at worst; 0 where it is the same.
    """

    model: str
    params: DoubleArray
    fit_px: float = 0.0

    @property
    def is_worth_a_warning(self) -> bool:
        """Whether the fit is visible."""
        return self.fit_px > _FIT_PX


def lens_from_metashape(
    kind: str, said: dict[str, float], size: tuple[int, int], name: str
) -> MetashapeLens:
    """A sensor's lens.

    Args:
        kind: of the sensor: "frame", "fisheye", "equidistant_fisheye".
        said: by ``NAMES``.
        size: width and height, pixels.
        name: of the sensor, for messages.

    Raises:
        DamagedError: if no lens model here is the same to within a tenth of a pixel (skew), or
            half a pixel (k4).
    """
    values = dict.fromkeys(NAMES, 0.0) | said
    if kind not in (*_FRAMES, *_FISHEYES):
        raise DamagedError(f"sensor {name!r} is of the type {kind}, which is not supported")
    if values["f"] <= 0 or values["f"] + values["b1"] <= 0:
        raise DamagedError(f"sensor {name!r} has the focal length {values['f']:g}")
    if values["p3"] or values["p4"]:
        raise DamagedError(f"sensor {name!r} has p3 or p4, which no lens model here has")
    _check_skew(values, size, name)
    linear = [
        *(values["f"] + values["b1"], values["f"]),
        *(size[0] / 2 + values["cx"], size[1] / 2 + values["cy"]),
    ]
    k = [values[key] for key in ("k1", "k2", "k3", "k4")]
    # OpenCV's p1 is Metashape's p2.
    p = [values["p2"], values["p1"]]
    if kind in _FISHEYES:
        if any(p):
            params = np.array([*linear, *k[:2], *p, *k[2:], 0, 0])
            return MetashapeLens("THIN_PRISM_FISHEYE", params)
        return MetashapeLens("OPENCV_FISHEYE", np.array([*linear, *k]))
    if k[3]:
        radial, fit_px = _rational(k, _radii(values, size, k), values["f"])
        if fit_px > _WORST_FIT_PX:
            raise DamagedError(
                f"sensor {name!r} has k4, which no lens model here has; the closest is "
                f"{fit_px:.1f} px off; align without k4, or export undistorted pictures"
            )
        params = np.array([*linear, *radial[:2], *p, *radial[2:]])
        return MetashapeLens("FULL_OPENCV", params, fit_px)
    if k[2]:
        return MetashapeLens("FULL_OPENCV", np.array([*linear, *k[:2], *p, k[2], 0, 0, 0]))
    if any((*k, *p)):
        return MetashapeLens("OPENCV", np.array([*linear, *k[:2], *p]))
    return MetashapeLens("PINHOLE", np.array(linear))


def metashape_from_lens(camera: Camera, name: str) -> tuple[str, dict[str, float]]:
    """The type of the sensor and its calibration, by ``NAMES``, without zeros.

    Raises:
        ValueError: if Metashape has no such lens.
    """
    K = camera.K
    said = {"f": K[1, 1], "b1": K[0, 0] - K[1, 1]}
    said |= {"cx": K[0, 2] - camera.width / 2, "cy": K[1, 2] - camera.height / 2}
    brown = brown_coefficients(camera)
    if camera.model == "OPENCV_FISHEYE":
        kind = "fisheye"
        said |= dict(zip(("k1", "k2", "k3", "k4"), camera.params[4:], strict=True))
    elif brown is not None and not brown[5:].any():
        kind = "frame"
        said |= dict(zip(("k1", "k2", "p2", "p1", "k3"), brown[:5], strict=True))
    else:
        raise ValueError(f"{name}: cameras.xml cannot hold {camera.model}; undistort first")
    return kind, {key: float(value) for key, value in said.items() if value}


def _check_skew(values: dict[str, float], size: tuple[int, int], name: str) -> None:
    """Refuse a skew that moves a pixel of the picture by more than ``_SKEW_PX``."""
    reach = (size[1] / 2 + abs(values["cy"])) / values["f"]
    if abs(values["b2"]) * reach > _SKEW_PX:
        raise DamagedError(
            f"sensor {name!r} has b2, a skew of {abs(values['b2']) * reach:.2f} px at the edge, "
            "which no lens model here has; align without b2, or export undistorted pictures"
        )


def _radii(values: dict[str, float], size: tuple[int, int], k: list[float]) -> DoubleArray:
    """Undistorted radii, from the middle to where the farthest corner of the picture lies."""
    corner = np.hypot(size[0] / 2 + abs(values["cx"]), size[1] / 2 + abs(values["cy"]))
    corner /= min(values["f"], values["f"] + values["b1"])
    radii = np.linspace(0, 4 * corner, _N_RADII)
    distorted = radii * np.polyval([*k[::-1], 1.0], radii**2)
    # The polynomial folds back beyond the picture, or never gets to its corner.
    ends = np.flatnonzero((distorted[1:] >= corner) | (np.diff(distorted) <= 0))
    last = int(ends[0]) + 2 if len(ends) else _N_RADII
    return np.linspace(0, radii[min(last, _N_RADII - 1)], _N_RADII)


def _rational(k: list[float], radii: DoubleArray, focal: float) -> tuple[list[float], float]:
    """k1 ... k6 of FULL_OPENCV closest to a polynomial, and how far it is off, pixels.

    (1 + k1 s + k2 s^2 + k3 s^3) / (1 + k4 s + k5 s^2 + k6 s^3) with s = r^2, by least squares
    linearised with the denominator of the round before; denominators of lower degree are tried too,
    as a full one may have a pole among the radii. Source: Sanathanan, Koerner, "Transfer function
    synthesis as a ratio of two complex polynomials", 1963.
    """
    reach = float(radii[-1]) ** 2
    s = radii**2 / reach
    target = np.polyval([*(c * reach**n for n, c in zip((4, 3, 2, 1), k[::-1], strict=True)), 1], s)
    powers = np.column_stack([s, s**2, s**3])
    best, best_px = np.zeros(6), np.inf
    for degree in (3, 2, 1):
        denominator = np.ones_like(s)
        for _ in range(_N_REWEIGHTINGS):
            weight = (radii / denominator)[:, None]
            system = np.hstack([powers, -target[:, None] * powers[:, :degree]]) * weight
            found = np.linalg.lstsq(system, (target - 1) * weight[:, 0], rcond=None)[0]
            denominator = 1 + powers[:, :degree] @ found[3:]
            if denominator.min() < _SMALLEST_DENOMINATOR:
                break
            ratio = (1 + powers @ found[:3]) / denominator
            off_px = float((focal * radii * np.abs(ratio - target)).max())
            if off_px < best_px:
                best, best_px = np.pad(found, (0, 3 - degree)), off_px
    return (best / np.tile([reach, reach**2, reach**3], 2)).tolist(), best_px
