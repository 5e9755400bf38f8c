"""Compare the pictures of a capture: which pairs to match, which views to believe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.camera import Camera
from calib.inspection.epipolar import (
    PairError,
    ViewError,
    epipolar_distances,
    matched_pixels,
    pair_error,
    view_error,
)
from calib.inspection.features import Features, PairMatches
from calib.inspection.geometry import Arrangement, choose_partners
from calib.inspection.lens_error import LensError, measure_lens_error
from calib.inspection.matching import match_pair
from calib.inspection.misplaced import (
    Misplaced,
    bad_limit,
    explain,
    explain_all,
    find_bad_views,
)
from calib.inspection.tracks import join_tracks

_Lines = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

# Standard errors that a view must be shifted by to be blamed.
_SURE = 6.0


@dataclass(frozen=True)
class InspectOptions:
    """How much is compared.

    Attributes:
        n_features: per picture, at most.
        n_pairs: that every view is compared in, about.
        n_extra_pairs: with which views are tried that fit none of those, altogether.
        threads: used side by side; they do not change the result.
    """

    n_features: int = 1500
    n_pairs: int = 6
    n_extra_pairs: int = 300
    threads: int = 2

    def __post_init__(self) -> None:
        if min(self.n_features, self.n_pairs, self.threads) < 1 or self.n_extra_pairs < 0:
            raise ValueError(f"numbers of features, pairs and threads must be positive, got {self}")


@dataclass(frozen=True, eq=False)
class Compared:
    """What matches say.

    Attributes:
        matches: of pairs with verified matches.
        errors: of the same pairs.
        misplaced: views that contradict the others.
        view_errors: of each view against the good ones, or against all where it meets none.
        lens_error: common to all views; None where it cannot be told.
    """

    matches: tuple[PairMatches, ...]
    errors: tuple[PairError, ...]
    misplaced: Misplaced
    view_errors: tuple[ViewError, ...]
    lens_error: LensError | None


def compare_views(
    cameras: Sequence[Camera],
    around: Arrangement,
    features: Sequence[Features],
    usable: Collection[int],
    options: InspectOptions,
    pool: Executor,
) -> Compared:
    """Match neighbours, then whatever does not fit its neighbours with everybody.

    Args:
        cameras: of every view.
        around: of the cameras.
        features: of every view.
        usable: indices of the views with a picture.
        options: how much is compared.
        pool: that matches pairs side by side.
    """
    pairs = {pair for pair in choose_partners(around, options.n_pairs) if {*pair} <= {*usable}}
    found = _Pairs(cameras, features, pool)
    found.match(pairs)
    odd = sorted({*found.bad_views()} | found.unmatched(usable))
    if odd and options.n_extra_pairs:
        found.match(_extra_pairs(odd, usable, options.n_extra_pairs) - pairs)
    misplaced = found.explain(usable)
    view_errors = tuple(found.view_error(k, misplaced.views) for k in range(len(cameras)))
    good = [
        match
        for match, error in zip(found.matches, found.errors, strict=True)
        if not {*match.views} & {*misplaced.views} and error.error_px <= misplaced.limit_px
    ]
    lens_error = measure_lens_error(join_tracks(features, good), cameras)
    return Compared(tuple(found.matches), tuple(found.errors), misplaced, view_errors, lens_error)


class _Pairs:
    """Verified pairs, which grow."""

    def __init__(
        self, cameras: Sequence[Camera], features: Sequence[Features], pool: Executor
    ) -> None:
        self.cameras, self.features, self.pool = cameras, features, pool
        self.matches: list[PairMatches] = []
        self.errors: list[PairError] = []
        # Distances and normals in the first and in the second picture of each pair.
        self.lines: list[tuple[_Lines, _Lines]] = []

    @property
    def limit_px(self) -> float:
        return bad_limit(self.errors, self.cameras)

    def match(self, pairs: Collection[tuple[int, int]]) -> None:
        def one(pair: tuple[int, int]) -> PairMatches:
            i, j = pair
            features = (self.features[i], self.features[j])
            return match_pair(pair, features, (self.cameras[i], self.cameras[j]))

        new = [match for match in self.pool.map(one, sorted(pairs)) if len(match)]
        self.matches += new
        for match in new:
            i, j = match.views
            pair = (self.cameras[i], self.cameras[j])
            self.errors.append(pair_error(match, self.features, pair))
            self.lines.append(epipolar_distances(pair, matched_pixels(match, self.features)))

    def matched(self) -> set[int]:
        return {view for match in self.matches for view in match.views}

    def unmatched(self, usable: Collection[int]) -> set[int]:
        return {*usable} - self.matched()

    def bad_views(self) -> list[int]:
        """Those that most partners contradict, then those that are shifted as a whole.

        A camera that is turned towards its neighbours moves its picture along their lines: few
        pairs are bad, but the shift that their lines agree on shows it.
        """
        limit = self.limit_px
        bad = find_bad_views(self.errors, len(self.cameras), limit)
        while 2 * len(bad) <= len(self.matched()):
            shifts = np.zeros(len(self.cameras))
            for view in sorted(self.matched() - {*bad}):
                error = self.view_error(view, bad)
                length = float(np.hypot(*error.shift_px))
                if length > max(limit, _SURE * error.shift_error_px):
                    shifts[view] = length
            if not shifts.any():
                break
            bad = sorted([*bad, int(np.argmax(shifts))])
        return bad

    def view_error(self, view: int, bad: Collection[int]) -> ViewError:
        own = [k for k, error in enumerate(self.errors) if view in error.views]
        good = [k for k in own if not {*self.errors[k].views} & ({*bad} - {view})] or own
        lines = [self.lines[k][self.errors[k].views.index(view)] for k in good]
        return view_error([self.errors[k] for k in good], lines)

    def explain(self, usable: Collection[int]) -> Misplaced:
        limit, bad, n_matched = self.limit_px, self.bad_views(), len(self.matched())
        is_hopeless = 2 * len(bad) > n_matched or 0 < len(bad) == n_matched - 1
        given = (self.matches, self.features, self.cameras)
        whole, whole_error = explain_all(*given, limit) if is_hopeless else (None, np.nan)
        swapped, belongs = ([], []) if is_hopeless else explain(*given, bad, limit)
        return Misplaced(
            limit_px=limit,
            views=tuple(bad),
            swapped=tuple(swapped),
            belongs=tuple(belongs),
            unmatched=tuple(sorted(self.unmatched(usable))),
            is_hopeless=is_hopeless,
            whole=whole,
            whole_error_px=float(whole_error),
        )


def _extra_pairs(odd: Sequence[int], usable: Collection[int], n: int) -> set[tuple[int, int]]:
    """Pairs of odd views with others, spread over the others where they are many."""
    pairs = set()
    for view in odd:
        others = [k for k in sorted(usable) if k != view]
        n_own = min(len(others), max(1, n // len(odd)))
        chosen = np.unique(np.linspace(0, len(others) - 1, n_own).round().astype(int))
        pairs |= {(min(view, others[k]), max(view, others[k])) for k in chosen}
    return pairs
