"""Views whose pose does not fit the others': which they are and, where it can be told, why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.calibration import inverted
from calib.camera import Camera
from calib.inspection.epipolar import PairError, pair_error
from calib.inspection.features import Features, PairMatches

DoubleArray = npt.NDArray[np.float64]

# A pair is bad beyond this: in parts of the diagonal (1.5 px of 768 x 768), and against the better
# pairs of the capture; but never only beyond the last (6 px).
_LEAST_BAD, _BAD_RATIO, _MOST_BAD = 1.5 / 1086, 4.0, 6.0 / 1086
_MOST_TRIED = 16
_TURN = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Misplaced:
    """Views that contradict the others.

    Attributes:
        limit_px: beyond which a pair counts as bad.
        views: indices of bad views, whatever the reason.
        swapped: pairs of bad views that fit with their cameras exchanged.
        belongs: (view, camera) of other bad views that fit with the camera of another.
        unmatched: views without one verified match.
        is_hopeless: most views contradict each other, so that no single one can be blamed.
        whole: what all cameras together would have to undergo to fit, None where they fit or
            nothing helps.
        whole_error_px: median of the pairs' errors then.
    """

    limit_px: float
    views: tuple[int, ...]
    swapped: tuple[tuple[int, int], ...]
    belongs: tuple[tuple[int, int], ...]
    unmatched: tuple[int, ...]
    is_hopeless: bool
    whole: str | None
    whole_error_px: float


def bad_limit(errors: Sequence[PairError], cameras: Sequence[Camera]) -> float:
    """The error in pixels beyond which a pair is bad."""
    diagonal = float(np.median([np.hypot(c.width, c.height) for c in cameras]))
    sizes = [error.error_px for error in errors]
    # "lower" takes no mean, which infinite errors have not.
    good = float(np.quantile(sizes, 0.25, method="lower")) if sizes else 0.0
    return float(np.clip(_BAD_RATIO * good, _LEAST_BAD * diagonal, _MOST_BAD * diagonal))


def find_bad_views(errors: Sequence[PairError], n_views: int, limit_px: float) -> list[int]:
    """Views to leave out, the worst first, so that most pairs of every other view are good.

    Args:
        errors: of pairs.
        n_views: of the capture.
        limit_px: of ``bad_limit``.

    Returns:
        Their indices, ascending.
    """
    bad: list[int] = []
    while True:
        left = [e for e in errors if not set(e.views) & set(bad)]
        shares = np.zeros(n_views)
        worst = np.zeros(n_views)
        for view in range(n_views):
            own = [e.error_px for e in left if view in e.views]
            if own:
                shares[view] = np.mean(np.array(own) > limit_px)
                worst[view] = min(float(np.median(own)), 1e12)
        candidate = int(np.lexsort((-worst, -shares))[0])
        if shares[candidate] <= 0.5:
            break
        bad.append(candidate)
    for view in tuple(bad):
        others = set(bad) - {view}
        own = [e.error_px for e in errors if view in e.views and not set(e.views) & others]
        if own and np.median(own) <= limit_px:
            bad.remove(view)
    return sorted(bad)


def explain(
    matches: Sequence[PairMatches],
    features: Sequence[Features],
    cameras: Sequence[Camera],
    bad: Sequence[int],
    limit_px: float,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Try every bad view with the camera of every other bad view, against the good ones.

    Args:
        matches: of bad views with good ones, among others.
        features: of every view.
        cameras: of every view.
        bad: of ``find_bad_views``.
        limit_px: up to which a camera fits.

    Returns:
        Pairs to exchange, and (view, camera) of views that fit another's camera one way only.
    """
    tried = tuple(bad)[:_MOST_TRIED]
    fits: dict[int, int] = {}
    for view in tried:
        own = [
            match
            for match in matches
            if view in match.views and not ({*match.views} - {view}) & {*bad}
        ]
        costs = [
            (_error_with(own, features, cameras, view, cameras[other]), other)
            for other in tried
            if other != view and _size(cameras[other]) == _size(cameras[view])
        ]
        if own and costs and min(costs)[0] <= limit_px:
            fits[view] = min(costs)[1]
    swapped = [(a, b) for a, b in fits.items() if a < b and fits.get(b) == a]
    paired = {view for pair in swapped for view in pair}
    return swapped, [(a, b) for a, b in fits.items() if a not in paired]


def explain_all(
    matches: Sequence[PairMatches],
    features: Sequence[Features],
    cameras: Sequence[Camera],
    limit_px: float,
) -> tuple[str | None, float]:
    """Try the usual mistakes on all cameras at once.

    Returns:
        The one that makes the pairs fit, None where none does, and the median error with it.
    """
    best: tuple[float, str | None] = (float("inf"), None)
    for name, repair in _REPAIRS.items():
        repaired = repair(cameras)
        errors = [
            pair_error(m, features, (repaired[m.views[0]], repaired[m.views[1]])).error_px
            for m in matches
        ]
        if errors:
            best = min(best, (float(np.median(errors)), name), key=lambda found: found[0])
    return (best[1], best[0]) if best[0] <= limit_px else (None, best[0])


def _error_with(
    matches: Iterable[PairMatches],
    features: Sequence[Features],
    cameras: Sequence[Camera],
    view: int,
    camera: Camera,
) -> float:
    """Median error of a view's pairs if it had another camera."""
    errors = []
    for match in matches:
        pair = tuple(camera if i == view else cameras[i] for i in match.views)
        errors.append(pair_error(match, features, (pair[0], pair[1])).error_px)
    return float(np.median(errors)) if errors else float("inf")


def _size(camera: Camera) -> tuple[int, int]:
    return camera.width, camera.height


def _posed(camera: Camera, rotation: DoubleArray, translation: DoubleArray) -> Camera:
    return camera.with_pose(np.column_stack([rotation, translation]))


def _invert(cameras: Sequence[Camera]) -> list[Camera]:
    return [camera.with_pose(inverted(camera.cam_from_world)) for camera in cameras]


def _turn(cameras: Sequence[Camera]) -> list[Camera]:
    return [camera.with_pose(_TURN @ camera.cam_from_world) for camera in cameras]


def _turn_inverse(cameras: Sequence[Camera]) -> list[Camera]:
    """For a world_from_cam of OpenGL read as COLMAP's cam_from_world."""
    return _turn(_invert(cameras))


def _invert_rotations(cameras: Sequence[Camera]) -> list[Camera]:
    return [_posed(c, c.rotation.T, c.translation) for c in cameras]


def _take_centers(cameras: Sequence[Camera]) -> list[Camera]:
    return [_posed(c, c.rotation, -c.rotation @ c.translation) for c in cameras]


def _shift_names(step: int) -> Callable[[Sequence[Camera]], list[Camera]]:
    def shift(cameras: Sequence[Camera]) -> list[Camera]:
        return [cameras[(k + step) % len(cameras)] for k in range(len(cameras))]

    return shift


_REPAIRS: dict[str, Callable[[Sequence[Camera]], list[Camera]]] = {
    "the poses are world_from_cam and were read as cam_from_world": _invert,
    "the cameras' axes are OpenGL's (y up, z backward) and were read as OpenCV's": _turn,
    "the poses are world_from_cam with OpenGL's axes": _turn_inverse,
    "the rotations are transposed": _invert_rotations,
    "the translations are camera centres": _take_centers,
    "every picture has the camera of the one before it": _shift_names(1),
    "every picture has the camera of the one after it": _shift_names(-1),
}
