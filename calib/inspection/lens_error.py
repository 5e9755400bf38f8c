"""What all pictures have in common against the given cameras: a shift, a focal length, a bend.

Every observation is moved by one correction of the picture plane, and the points are solved for
beside it: what moving the points can explain is no evidence. One cause after the other is tried,
and the one that explains most is taken as long as it is sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.inspection.tracks import Tracks, triangulate_tracks

DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# The parameters of each cause.
CAUSES = {"shift": (0, 1), "scale": (2,), "bend": (3,)}
_N_PARAMS = 4
_N_STEPS = 6
# Points of one surface share their errors, so that more of them do not make a result surer.
_MOST_COUNTED = 200
_LEAST_POINTS = 60
# Standard errors that a cause must be away from nothing.
_SURE = 3.0
# An error that matches have in common: what moves them less, once the points have followed, is
# not seen. How far off a camera may be before anybody looks: keeps what is not seen near zero.
_SHARED_PX, _PRIOR_PX = 0.02, 4.0
# The same in parts of the matches' own scatter, which bends weak directions.
_SHARED_SIGMA = 0.15
_CAUCHY = 2.5
_LEAST_SIGMA_PX = 0.02
_OUTLIER = 4.0 / 1086


@dataclass(frozen=True)
class LensError:
    """A correction of the picture plane that all pictures ask for.

    A pixel p, with q = (p - principal point) / focal length, should have been recorded at
    p + shift + (scale / e) q f + (bend / e^3) |q|^2 q f, where e is q at the picture's edge.

    Attributes:
        causes: of ``CAUSES``, those that are sure, the strongest first.
        shift_px: x and y; the principal point should move the other way.
        shift_error_px: their standard errors; infinite where shift is not tried.
        scale_px: at the edge of the picture.
        scale_error_px: its standard error.
        scale_share: the same in parts of the focal length.
        bend_px: at the edge of the picture.
        bend_error_px: its standard error.
        n_points: that it was measured on.
        cost: robust sum of squares without a correction.
        corrected_cost: the same with the causes' correction.
        rms_px: of the residuals with it, robust.
    """

    causes: tuple[str, ...]
    shift_px: tuple[float, float]
    shift_error_px: tuple[float, float]
    scale_px: float
    scale_error_px: float
    scale_share: float
    bend_px: float
    bend_error_px: float
    n_points: int
    cost: float
    corrected_cost: float
    rms_px: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """Tracks with the derivative of the correction by its parameters, (M, 2, 4)."""

    tracks: Tracks
    cameras: Sequence[Camera]
    moves: DoubleArray
    edge: float
    points: DoubleArray
    sigma_px: float


@dataclass(frozen=True, eq=False)
class _Fit:
    params: DoubleArray
    errors: DoubleArray
    covariance: DoubleArray
    information: DoubleArray
    cost: float
    rms_px: float


def measure_lens_error(tracks: Tracks, cameras: Sequence[Camera]) -> LensError | None:
    """Estimate what the given cameras have wrong in common.

    Args:
        tracks: of views whose poses fit.
        cameras: of all views.

    Returns:
        The correction; None where too few points are seen by three views or more to tell.
    """
    problem = _make_problem(tracks, cameras)
    if problem is None:
        return None
    start = _fit(problem, ())
    causes: list[str] = []
    best = start
    while len(causes) < len(CAUSES):
        trials = {name: _fit(problem, (*causes, name)) for name in CAUSES if name not in causes}
        name = min(trials, key=lambda name: trials[name].cost)
        known = [index for cause in causes for index in CAUSES[cause]]
        if not _is_sure(trials[name], CAUSES[name], known, problem.sigma_px):
            break
        causes.append(name)
        best = trials[name]
    shown = best if causes else _fit(problem, ("shift",))
    return _describe(problem, causes, start, shown)


def _describe(problem: _Problem, causes: Sequence[str], start: _Fit, best: _Fit) -> LensError:
    p = [float(v) for v in best.params]
    e = [float(v) for v in best.errors]
    focal = float(np.median([camera.K[0, 0] for camera in problem.cameras]))
    return LensError(
        causes=tuple(causes),
        shift_px=(p[0], p[1]),
        shift_error_px=(e[0], e[1]),
        scale_px=p[2],
        scale_error_px=e[2],
        scale_share=p[2] / (problem.edge * focal),
        bend_px=p[3],
        bend_error_px=e[3],
        n_points=problem.tracks.n_points,
        cost=start.cost,
        corrected_cost=best.cost if causes else start.cost,
        rms_px=best.rms_px,
    )


def _make_problem(tracks: Tracks, cameras: Sequence[Camera]) -> _Problem | None:
    """Drop outliers and pairs that no third view checks; linearise the correction."""
    points = triangulate_tracks(tracks, cameras)
    diagonal = float(np.median([np.hypot(c.width, c.height) for c in cameras]))
    miss = np.linalg.norm(tracks.pixels - _project(points, tracks, cameras)[0], axis=1)
    worst = np.zeros(tracks.n_points)
    np.maximum.at(worst, tracks.point, np.nan_to_num(miss, nan=np.inf))
    tracks = tracks.keep(worst[tracks.point] < _OUTLIER * diagonal)
    n_seen = np.bincount(tracks.point, minlength=tracks.n_points)
    if (n_seen >= 3).sum() < _LEAST_POINTS:
        return None
    points = triangulate_tracks(tracks, cameras)
    residuals = tracks.pixels - _project(points, tracks, cameras)[0]
    sigma = max(1.4826 * float(np.median(np.abs(residuals))), _LEAST_SIGMA_PX)
    focal = np.array([camera.K[[0, 1], [0, 1]] for camera in cameras])
    middle = np.array([camera.K[:2, 2] for camera in cameras])
    size = np.array([[camera.width, camera.height] for camera in cameras])
    edge = float(np.median((size / focal).max(axis=1) / 2))
    plane = (tracks.pixels - middle[tracks.view]) / focal[tracks.view]
    outwards = plane * focal[tracks.view] / focal[tracks.view, :1]
    moves = np.zeros((len(plane), 2, _N_PARAMS))
    moves[:, :, :2] = np.eye(2)
    moves[:, :, 2] = outwards / edge
    moves[:, :, 3] = (plane**2).sum(axis=1, keepdims=True) * outwards / edge**3
    return _Problem(tracks, cameras, moves, edge, points, sigma)


def _fit(problem: _Problem, causes: Sequence[str]) -> _Fit:
    """Gauss-Newton with the points eliminated (Schur complement) and Cauchy's weights."""
    tracks, moves = problem.tracks, problem.moves
    active = sorted(k for name in causes for k in CAUSES[name])
    params = np.zeros(_N_PARAMS)
    points = problem.points.copy()
    scale = _CAUCHY * problem.sigma_px
    prior = len(moves) * (_SHARED_PX / _PRIOR_PX) ** 2 * np.eye(len(active))
    for _ in range(_N_STEPS):
        pixels, by_point = _project(points, tracks, problem.cameras)
        residuals = tracks.pixels + moves @ params - pixels
        weights = 1 / (1 + (residuals**2).sum(axis=1) / scale**2)
        absorbed, step = _eliminate(tracks, by_point, moves, residuals, weights)
        # What is left of a parameter's effect once the points have followed it.
        left = moves - by_point @ absorbed[tracks.point]
        own = left[:, :, active]
        hessian = np.einsum("m,mki,mkj->ij", weights, own, own) + prior
        gradient = np.einsum("m,mki,mk->i", weights, own, residuals)
        change = np.zeros(_N_PARAMS)
        change[active] = -np.linalg.solve(hessian, gradient + prior @ params[active])
        params = params + change
        points = points + step + absorbed @ change
    pixels, by_point = _project(points, tracks, problem.cameras)
    residuals = tracks.pixels + moves @ params - pixels
    squared = (residuals**2).sum(axis=1)
    covariance = np.full((_N_PARAMS, _N_PARAMS), np.inf)
    information = np.zeros((_N_PARAMS, _N_PARAMS))
    if active:
        rows = np.ix_(active, active)
        covariance[rows] = _covariance(tracks, own, residuals, weights, np.linalg.inv(hessian))
        information[rows] = (hessian - prior) / weights.sum()
    n_free = max(2 * len(squared) - 3 * tracks.n_points, 1)
    return _Fit(
        params=params,
        errors=np.sqrt(np.diag(covariance)),
        covariance=covariance,
        information=information,
        cost=float(np.log1p(squared / scale**2).sum()),
        rms_px=float(np.sqrt((weights * squared).sum() / n_free)),
    )


def _eliminate(
    tracks: Tracks,
    by_point: DoubleArray,
    moves: DoubleArray,
    residuals: DoubleArray,
    weights: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """How each point follows the parameters, (N, 3, 4), and its own step, (N, 3)."""
    weighted = by_point * weights[:, None, None]
    normal = np.zeros((tracks.n_points, 3, 3))
    right = np.zeros((tracks.n_points, 3, _N_PARAMS + 1))
    np.add.at(normal, tracks.point, np.einsum("mki,mkj->mij", weighted, by_point))
    both = np.concatenate([moves, residuals[:, :, None]], axis=2)
    np.add.at(right, tracks.point, np.einsum("mki,mkj->mij", weighted, both))
    size = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    solved = np.linalg.solve(normal + 1e-9 * size * np.eye(3), right)
    return solved[:, :, :_N_PARAMS], solved[:, :, _N_PARAMS]


def _covariance(
    tracks: Tracks,
    effect: DoubleArray,
    residuals: DoubleArray,
    weights: DoubleArray,
    inverse: DoubleArray,
) -> DoubleArray:
    """The larger of two: residuals that views share, and so many independent points at most.

    Source: H. White, A Heteroskedasticity-Consistent Covariance Matrix Estimator, 1980, clustered.
    """
    scores = weights[:, None] * np.einsum("mkj,mk->mj", effect, residuals)
    found = []
    for label, inflation in (
        (tracks.view, 1.0),
        (tracks.point, max(1.0, tracks.n_points / _MOST_COUNTED)),
    ):
        summed = np.zeros((int(label.max()) + 1, scores.shape[1]))
        np.add.at(summed, label, scores)
        found.append(inverse @ (summed.T @ summed) @ inverse * inflation)
    return np.asarray(max(found, key=np.trace))


def _is_sure(fit: _Fit, new: tuple[int, ...], old: Sequence[int], sigma_px: float) -> bool:
    """Whether new parameters are away from nothing, and move matches where the old ones cannot."""
    params = fit.params[[*new]]
    covariance = fit.covariance[np.ix_(new, new)]
    own = fit.information[np.ix_(new, new)]
    if old:
        mixed = fit.information[np.ix_(old, new)]
        own = own - mixed.T @ np.linalg.pinv(fit.information[np.ix_(old, old)]) @ mixed
    is_seen = bool(params @ own @ params > max(_SHARED_PX, _SHARED_SIGMA * sigma_px) ** 2)
    return is_seen and bool(params @ np.linalg.pinv(covariance) @ params > _SURE**2)


def _project(
    points: DoubleArray, tracks: Tracks, cameras: Sequence[Camera]
) -> tuple[DoubleArray, DoubleArray]:
    """(M, 2) pixels of the tracks' points and (M, 2, 3) their derivative, without distortion."""
    pixels = np.full((len(tracks.point), 2), np.nan)
    by_point = np.zeros((len(tracks.point), 2, 3))
    for index, camera in enumerate(cameras):
        rows = np.flatnonzero(tracks.view == index)
        world = points[tracks.point[rows]]
        pixels[rows] = camera.project(world)[0]
        local = world @ camera.rotation.T + camera.translation
        plane = np.zeros((len(rows), 2, 3))
        plane[:, [0, 1], [0, 1]] = 1 / local[:, 2:]
        plane[:, :, 2] = -local[:, :2] / local[:, 2:] ** 2
        by_point[rows] = camera.K[[0, 1], [0, 1]][:, None] * plane @ camera.rotation
    return pixels, by_point
