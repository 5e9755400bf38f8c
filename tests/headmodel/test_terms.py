"""Every term's derivatives against finite differences, for linear and for skinned models."""

import numpy as np
import pytest

from mvs.headmodel.places import Places
from mvs.headmodel.pupils import PupilDistance
from mvs.headmodel.state import State, columns, rotation_of, vector_of
from mvs.headmodel.terms import Rows, change, normal_errors, prior, reprojection, to_planes
from tests.headmodel.maps import camera_at, person, place, pupils_mm
from tests.headmodel.models import small_flame, small_ict

STEP = 1e-6


@pytest.fixture(params=["ict", "flame"])
def state(request):
    model = {"ict": small_ict, "flame": small_flame}[request.param](1500)
    shape = person(model, seed=3, joints=0.2)
    return model, State(shape, place(model, 20.0, 1.1, (0.01, -0.02, 0.03)), 0.1)


def some_places(model, n=12):
    rng = np.random.default_rng(1)
    faces = model.topology.faces[rng.choice(len(model.topology.faces), n, replace=False)]
    return Places(model, faces, rng.dirichlet(np.ones(3), n))


def check(term, state):
    value, jacobian = term(state, True)
    assert term(state, False)[1] is None
    np.testing.assert_array_equal(term(state, False)[0], value)
    assert jacobian.shape == (*value.shape, state.size)
    for column in range(state.size):
        step = np.zeros(state.size)
        step[column] = STEP
        slope = (term(state.moved(step), False)[0] - term(state.moved(-step), False)[0]) / STEP / 2
        scale = max(np.abs(slope).max(), 1e-3)
        np.testing.assert_allclose(jacobian[..., column], slope, atol=2e-5 * scale, rtol=2e-5)


def test_reprojection(state):
    model, at = state
    places, camera = some_places(model), camera_at(-15.0)
    rng = np.random.default_rng(2)
    pixels, roots = rng.uniform(0, 96, (12, 2)), rng.normal(0, 1, (12, 2, 2))
    check(lambda s, d: reprojection(places, s, camera, pixels, None, d), at)
    check(lambda s, d: reprojection(places, s, camera, pixels, roots, d), at)
    error = reprojection(places, at, camera, pixels, roots, False)[0]
    world = at.world_from_model.points(places.points(at.shape))
    seen = (camera.project(world)[0] - camera.K[:2, 2]) * np.exp(at.zoom) + camera.K[:2, 2]
    np.testing.assert_allclose(error, np.einsum("nab,nb->na", roots, seen - pixels), atol=1e-9)


def test_places_behind_the_camera_say_nothing(state):
    model, at = state
    behind = camera_at(0.0, distance=-3.0)
    error, jacobian = reprojection(some_places(model), at, behind, np.zeros((12, 2)))
    assert not error.any()
    assert not jacobian.any()


def test_planes(state):
    model, at = state
    rng = np.random.default_rng(2)
    targets, normals = rng.normal(0, 0.1, (12, 3)), rng.normal(0, 1, (12, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    places = some_places(model)
    check(lambda s, d: to_planes(places, s, targets, normals, d), at)
    on_plane = at.world_from_model.points(places.points(at.shape)) + 0.25 * normals
    error = to_planes(places, at, on_plane, normals, False)[0]
    np.testing.assert_allclose(error, -0.25, atol=1e-12)


def test_normals(state):
    model, at = state
    places = some_places(model)
    seen = places.normals(at.shape)[0].astype(np.float32)
    check(lambda s, d: normal_errors(places, s, seen, d), at)
    assert np.abs(normal_errors(places, at, seen, False)[0]).max() < 1e-6


def test_prior(state):
    _, at = state
    deviations = np.linspace(0.5, 2.0, at.n_shape + 1)
    means = np.linspace(-0.1, 0.1, at.n_shape + 1)
    check(lambda s, d: prior(s, deviations, means, d), at)


def test_pupils(state):
    model, at = state
    check(PupilDistance(model, 60.0).errors, at)
    # Half a millimetre is one standard deviation.
    assert (
        abs(PupilDistance(model, pupils_mm(model, at.shape) - 1.0).errors(at, False)[0][0, 0] - 2.0)
        < 0.2
    )


@pytest.mark.parametrize("turn", [0.0, 1e-6, 0.4])
def test_change(state, turn):
    model, at = state
    step = np.zeros(at.size)
    rng = np.random.default_rng(3)
    step[: at.n_shape + 6] = 0.05 * rng.normal(size=at.n_shape + 6)
    step[columns(model)["rotation"]] = turn * np.array([0.6, -0.64, 0.48])
    other = at.moved(step)
    check(lambda s, d: change(s, other, (0.1, 0.2, 0.3, 0.4), d), at)
    assert np.abs(change(at, at, (1, 1, 1, 1), False)[0]).max() < 1e-12


def test_rotation_vectors_there_and_back():
    for vector in ([0.3, -1.2, 0.4], [0, 0, 0], [1e-9, 0, 0]):
        np.testing.assert_allclose(vector_of(rotation_of(np.array(vector))), vector, atol=1e-12)


def test_robust_rows_are_half_as_steep_far_out():
    rows = Rows(np.array([[3.0, 4.0], [0.0, 0.0]]), None, np.array([2.0, 1.0]), bound=5.0)
    assert rows.energy() == pytest.approx(2 * 25 / 2)
    np.testing.assert_allclose(rows.influence(), [0.25, 1.0])
    plain = Rows(rows.residual, None, rows.weight)
    assert plain.energy() == pytest.approx(50.0)
