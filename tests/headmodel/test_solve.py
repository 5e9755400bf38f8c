"""The solver against SciPy's, and the normal equations against NumPy's."""

import numba
import numpy as np
import pytest
from scipy.optimize import least_squares, lsq_linear

from mvs.headmodel.arrow import minimise_frames
from mvs.headmodel.chain import minimise_chain
from mvs.headmodel.places import Places
from mvs.headmodel.solve import Box, SolveOptions, minimise, solve_bounded
from mvs.headmodel.state import State
from mvs.headmodel.terms import Rows, change, prior, reprojection
from mvs.kernels.gram import normal_equations
from tests.headmodel.maps import camera_at, person, place
from tests.headmodel.models import small_ict


def random_rows(n=2500, width=37):
    rng = np.random.default_rng(0)
    weight = rng.random(n) * (rng.random(n) < 0.9)
    return rng.normal(size=(n, width)), rng.normal(size=n), weight


def test_normal_equations():
    jacobian, residual, weight = random_rows(2501)
    normal, right = normal_equations(jacobian, residual, weight)
    np.testing.assert_allclose(normal, (jacobian.T * weight) @ jacobian, atol=1e-10)
    np.testing.assert_allclose(right, jacobian.T @ (weight * residual), atol=1e-10)
    np.testing.assert_array_equal(normal, normal.T)


def test_rows_of_no_weight_may_hold_anything():
    jacobian, residual, weight = random_rows(1027)
    weight[-1] = 0.0
    found = normal_equations(jacobian, residual, weight)
    jacobian[weight == 0], residual[weight == 0] = np.nan, np.inf
    for wanted, now in zip(found, normal_equations(jacobian, residual, weight), strict=True):
        np.testing.assert_array_equal(now, wanted)


def test_normal_equations_of_nothing_are_zero():
    normal, right = normal_equations(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    assert normal.shape == (4, 4)
    assert not normal.any()
    assert not right.any()
    with pytest.raises(ValueError, match="must be"):
        normal_equations(np.zeros((3, 4)), np.zeros(2), np.zeros(3))


def test_normal_equations_do_not_depend_on_threads():
    rows = random_rows(5000)
    before = numba.get_num_threads()
    try:
        found = []
        for n in (1, 2):
            numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
            found.append(normal_equations(*rows))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("seed", range(8))
def test_bounded_step_is_scipys(seed):
    rng = np.random.default_rng(seed)
    jacobian, residual = rng.normal(size=(60, 20)), 3 * rng.normal(size=60)
    low, high = -rng.random(20) * 0.2, rng.random(20) * 0.2
    low[:3] = high[:3] = 0.0
    low[3:6] = -np.inf
    normal, gradient = jacobian.T @ jacobian, jacobian.T @ residual
    found = solve_bounded(normal, gradient, low, high)
    loose = high > low
    wanted = lsq_linear(jacobian[:, loose], -residual, (low[loose], high[loose]), tol=1e-14)
    np.testing.assert_allclose(found[loose], wanted.x, atol=1e-6)
    assert not found[~loose].any()


class Tiny:
    """A head seen at a few places in one picture."""

    def __init__(self, seed=0, expression=None):
        self.model = small_ict(1500)
        rng = np.random.default_rng(seed)
        faces = self.model.topology.faces
        faces = faces[rng.choice(np.flatnonzero(self.model.topology.parts[faces[:, 0]] == 0), 60)]
        self.places = Places(self.model, faces, rng.dirichlet(np.ones(3), 60))
        self.camera = camera_at()
        shape = person(self.model, seed)
        if expression is not None:
            shape.expression[:] = expression
        true = State(shape, place(self.model))
        error = reprojection(self.places, true, self.camera, np.zeros((60, 2)), None, False)[0]
        self.pixels = error + 0.3 * rng.normal(size=(60, 2))
        self.start = State(self.model.neutral(), place(self.model, 4.0, 1.0, (0.01, 0, 0)))
        self.deviations = np.append(np.full(self.start.n_shape, 0.7), 0.2)

    def rows(self, state, derive):
        found = reprojection(self.places, state, self.camera, self.pixels, None, derive)
        return [Rows(*found, np.full(60, 0.8)), *self.prior_rows(state, derive)]

    def prior_rows(self, state, derive):
        kept = prior(state, self.deviations, np.zeros(len(self.deviations)), derive)
        return [Rows(*kept, np.ones(len(kept[0])))]

    def box(self):
        n = len(self.model.identity_names)
        low, high = self.model.expression_bounds.T
        free = np.ones(self.start.size, np.bool_)
        free[-2] = False
        loose = np.full(n, np.inf)
        return Box(np.append(-loose, low), np.append(loose, high), free)


def test_minimum_is_scipys():
    tiny = Tiny()
    box = tiny.box()
    found = minimise(tiny.rows, tiny.start, box, SolveOptions(60, 1e-14))
    assert (np.diff(found.energies) <= 0).all()
    low, high = box.limits(tiny.start)
    free = np.flatnonzero(high > low)

    def residuals(x):
        step = np.zeros(tiny.start.size)
        step[free] = x
        rows = tiny.rows(tiny.start.moved(step), False)
        return np.concatenate([(np.sqrt(r.weight)[:, None] * r.residual).ravel() for r in rows])

    bounds = low[free] - 1e-12, high[free] + 1e-12
    wanted = least_squares(residuals, np.zeros(len(free)), bounds=bounds, xtol=1e-12, ftol=1e-14)
    assert found.energies[-1] <= 2 * wanted.cost * (1 + 1e-6)
    assert found.energies[-1] >= 2 * wanted.cost * (1 - 1e-4)


def test_bounds_hold_and_are_reached():
    tiny = Tiny(expression=-0.6)
    found = minimise(tiny.rows, tiny.start, tiny.box(), SolveOptions(30, 1e-12)).state
    low, high = tiny.model.expression_bounds.T
    assert (found.shape.expression >= low).all()
    assert (found.shape.expression <= high).all()
    assert (found.shape.expression == low).sum() > 3


def test_frames_that_share_an_identity():
    """By the Schur complement as by one large system."""
    tinies = [Tiny(seed) for seed in (0, 1)]
    n = len(tinies[0].model.identity_names)
    shared = np.zeros(tinies[0].start.size, np.bool_)
    shared[:n] = True
    states, totals = minimise_frames(
        tinies,
        [t.start for t in tinies],
        [t.box() for t in tinies],
        shared,
        SolveOptions(60, 1e-14),
    )
    assert (np.diff(totals) <= 0).all()
    np.testing.assert_array_equal(states[0].shape.identity, states[1].shape.identity)
    own = np.flatnonzero(~shared & tinies[0].box().free)
    low, high = tinies[0].box().limits(tinies[0].start)
    bounds = np.concatenate([low[:n], low[own], low[own]]) - 1e-12
    tops = np.concatenate([high[:n], high[own], high[own]]) + 1e-12

    def residuals(x):
        parts = []
        for k, tiny in enumerate(tinies):
            step = np.zeros(tiny.start.size)
            step[:n] = x[:n]
            step[own] = x[n + k * len(own) : n + (k + 1) * len(own)]
            rows = tiny.rows(tiny.start.moved(step), False)
            parts += [(np.sqrt(r.weight)[:, None] * r.residual).ravel() for r in rows]
        return np.concatenate(parts)

    wanted = least_squares(
        residuals, np.zeros(len(tops)), bounds=(bounds, tops), xtol=1e-12, ftol=1e-14
    )
    assert totals[-1] == pytest.approx(2 * wanted.cost, rel=1e-3)


class Linked:
    """A few frames of one person, some of which show nothing."""

    deviations = (0.2, 0.1, 0.05, 0.02)

    def __init__(self, blind=()):
        self.frames = [Tiny(seed) for seed in (0, 1, 2)]
        for t, frame in enumerate(self.frames):
            frame.forget = lambda: None
            if t in blind:
                frame.rows = lambda *_: []
        self.starts = [frame.start for frame in self.frames]
        start = self.starts[0]
        self.shared = np.zeros(start.size, np.bool_)
        self.shared[: len(self.frames[0].model.identity_names)] = True
        self.box = self.frames[0].box()
        self.box.free[-1] = False

    def solve(self, steps=60):
        how = SolveOptions(steps, 1e-14, 1e-9)
        return minimise_chain(
            self.frames, self.starts, self.box, self.shared, [self.deviations] * 2, how
        )

    def residuals(self, states):
        parts = []
        for t, (frame, state) in enumerate(zip(self.frames, states, strict=True)):
            rows = frame.rows(state, False)
            parts += [(np.sqrt(r.weight)[:, None] * r.residual).ravel() for r in rows]
            if t:
                parts.append(change(state, states[t - 1], self.deviations, False)[0].ravel())
        return np.concatenate(parts)


def test_chain_of_frames_is_one_large_system():
    linked = Linked()
    states, totals = linked.solve()
    assert (np.diff(totals) <= 0).all()
    assert totals[-1] == pytest.approx((linked.residuals(states) ** 2).sum(), rel=1e-9)
    n = int(linked.shared.sum())
    own = np.flatnonzero(~linked.shared & linked.box.free)
    low, high = linked.box.limits(linked.starts[0])

    def moved(x):
        for k, start in enumerate(linked.starts):
            step = np.zeros(start.size)
            step[:n], step[own] = x[:n], x[n + k * len(own) : n + (k + 1) * len(own)]
            yield start.moved(step)

    bounds = [np.concatenate([b[:n], *[b[own]] * 3]) for b in (low - 1e-12, high + 1e-12)]
    wanted = least_squares(
        lambda x: linked.residuals(list(moved(x))),
        np.zeros(len(bounds[0])),
        bounds=bounds,
        xtol=1e-12,
        ftol=1e-14,
    )
    assert totals[-1] == pytest.approx(2 * wanted.cost, rel=1e-3)
    for state in states:
        np.testing.assert_array_equal(state.shape.identity, states[0].shape.identity)


def test_a_frame_that_shows_nothing_lies_between_its_neighbours():
    states, _ = Linked(blind=(1,)).solve(20)
    first, middle, last = (s.world_from_model.translation for s in states)
    np.testing.assert_allclose(middle, 0.5 * (first + last), atol=1e-6)


def test_steps_without_bounds_are_exact():
    """One step of the chain against the equations written out."""
    linked = Linked()
    linked.box.low[:], linked.box.high[:] = -np.inf, np.inf
    linked.box.free[:] = True
    linked.box.free[-2:] = False
    states, _ = linked.solve(1)
    n, free = int(linked.shared.sum()), np.flatnonzero(linked.box.free)
    own = free[n:]
    blocks, errors = [], []
    for t, (frame, start) in enumerate(zip(linked.frames, linked.starts, strict=True)):
        here = n + t * len(own) + np.arange(len(own))
        for row in frame.rows(start, True):
            root = np.sqrt(row.weight)[:, None, None]
            flat = (root * row.jacobian).reshape(-1, start.size)
            block = np.zeros((len(flat), n + 3 * len(own)))
            block[:, :n], block[:, here] = flat[:, :n], flat[:, own]
            blocks.append(block)
            errors.append((root[..., 0] * row.residual).ravel())
        if t:
            error, by = change(start, linked.starts[t - 1], linked.deviations)
            block = np.zeros((len(by), n + 3 * len(own)))
            # At the start all frames are alike, where both derivatives are opposite.
            block[:, here], block[:, here - len(own)] = by[:, 0, own], -by[:, 0, own]
            blocks.append(block)
            errors.append(error.ravel())
    wanted = -np.linalg.lstsq(np.concatenate(blocks), np.concatenate(errors), rcond=None)[0]
    for t, state in enumerate(states):
        step = state.vector() - linked.starts[t].vector()
        np.testing.assert_allclose(step[:n], wanted[:n], atol=1e-6)
        shape = own[own < len(step)]
        part = wanted[n + t * len(own) :][: len(shape)]
        np.testing.assert_allclose(step[shape], part, atol=1e-6)
