"""Portraits of known geometry, coefficients against slow sums, readings against Bayes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from calib.camera import Camera
from calib.scale import Similarity
from mvs.canonical.cube import CUBE_MM, CUBE_OFFSET, CUBE_SCALE_PER_CM
from mvs.canonical.surface import Surface, blend
from mvs.headmodel import reading
from mvs.headmodel.energy import Energy
from mvs.headmodel.fit_image import fit_image
from mvs.headmodel.fit_video import fit_video
from mvs.headmodel.model_faces import outer_faces
from mvs.headmodel.observe import Observer
from mvs.headmodel.options import FitOptions
from mvs.headmodel.portrait import FACE_CENTER_CM, PIXELS_PER_CM, familiar, portrait
from mvs.headmodel.reading import Reader, through
from mvs.headmodel.reading_term import FaceBasis, FaceReading
from mvs.headmodel.start import cube_from_model
from mvs.headmodel.state import State, columns
from mvs.headmodel.terms import prior
from mvs.headmodel.types import Shape
from mvs.network.crop import empty_cube_map
from tests.headmodel.maps import (
    MapEmbedder,
    camera_at,
    half_hidden,
    map_of,
    person,
    picture,
    place,
)
from tests.headmodel.models import small_flame, small_ict
from tests.headmodel.readings import SMALL, Told, nowhere, read_as, small_network
from tests.headmodel.test_fit import EXACT, SURE_VIDEO, one_view, posed_error_mm, video
from tests.headmodel.test_terms import check

MODELS = {"ict": small_ict, "flame": small_flame}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param](1500)


def slow_coefficients(model, network, shape):
    """Anchor by anchor: how far it lies off the mean head's, in cm, times the analysis."""
    surface = Surface(model.topology.coords.astype(float), outer_faces(model))
    face, shares, _ = surface.closest(network.anchors.double().numpy(), 12)
    rest = Shape(shape.identity, 0 * shape.expression, 0 * shape.joints)
    at = [
        blend(model.vertices(s), surface.faces, face, shares)
        for s in (model.neutral(), rest, shape)
    ]
    moved = 100 * model.unit_m * np.stack([at[1] - at[0], at[2] - at[1]])
    found = np.zeros(SMALL.n_coefficients)
    for k in range(SMALL.n_coefficients):
        for m in range(SMALL.n_anchors):
            found[k] += (
                network.analysis[k, m].double().numpy() @ moved[int(k >= SMALL.n_identity), m]
            )
    return found - network.offset.double().numpy()


def test_coefficients(model):
    network = small_network()
    shape = person(model, 2, joints=0.2)
    basis = FaceBasis(model, network)
    value, jacobian = basis.at(shape, True)
    np.testing.assert_allclose(value, slow_coefficients(model, network, shape), atol=1e-9)
    assert jacobian.shape == (SMALL.n_coefficients, State(shape, place(model)).n_shape)
    # The mean head at rest is where both kinds begin.
    np.testing.assert_allclose(
        basis.at(model.neutral(), False)[0], -network.offset.double().numpy(), atol=1e-12
    )


def test_derivatives(model):
    state = State(person(model, 3, joints=0.2), place(model), 0.1)
    rng = np.random.default_rng(0)
    n = SMALL.n_coefficients
    told = read_as(rng.normal(0, 1, n), rng.uniform(0.1, 0.9, n))
    basis = FaceBasis(model, small_network())
    term = FaceReading(basis, told, nowhere(basis), 0.7)
    check(lambda s, derive: term.errors(s, derive)[:2], state)
    weight = 0.7 * (1 / told.variance - 1)
    np.testing.assert_allclose(term.errors(state, False)[2], weight)
    # Frames of one person count once together.
    weight[: SMALL.n_identity] /= 4
    np.testing.assert_allclose(term.errors(state, False, 4)[2], weight)


def test_prior_and_reading_together_are_what_was_read():
    """Where the coefficients are the model's own, the least energy is at the reading's mean."""
    model = small_ict(1500)
    network = small_network(config=replace(SMALL, n_identity=10, n_expression=4))
    network.offset.zero_()
    where = columns(model)["identity"]
    by_identity = FaceBasis(model, network).at(model.neutral(), True)[1][:10, where]
    # Whitened: coefficient k is identity mode k.
    mixed = np.linalg.inv(by_identity) @ network.analysis[:10].double().flatten(1).numpy()
    network.analysis[:10] = torch.from_numpy(mixed.reshape(10, -1, 3))
    rng = np.random.default_rng(1)
    told = read_as(rng.normal(0, 1, 14), rng.uniform(0.05, 0.95, 14))
    basis = FaceBasis(model, network)
    term = FaceReading(basis, told, nowhere(basis))
    state = State(model.neutral(), place(model))
    error, jacobian, weight = term.errors(state, True)
    error, jacobian, weight = error[:10, 0], jacobian[:10, 0, where], weight[:10]
    own, by_own = prior(state, np.ones(state.n_shape + 1), np.zeros(state.n_shape + 1))
    own, by_own = own[where, 0], by_own[where, 0, where]
    information = (jacobian.T * weight) @ jacobian + by_own.T @ by_own
    found = -np.linalg.solve(information, jacobian.T @ (weight * error) + by_own.T @ own)
    np.testing.assert_allclose(found, told.mean[:10], atol=2e-4)
    # And as sure as was read. The network's numbers are single precision.
    np.testing.assert_allclose(np.diag(np.linalg.inv(information)), told.variance[:10], rtol=1e-3)


def test_a_reading_that_knows_nothing_counts_nothing():
    model = small_ict(1500)
    n = SMALL.n_coefficients
    basis = FaceBasis(model, small_network())
    term = FaceReading(basis, read_as(np.full(n, 0.3), np.ones(n)), nowhere(basis))
    error, _, weight = term.errors(State(model.neutral(), place(model)), False)
    assert np.isfinite(error).all()
    assert weight.max() < 2e-3


def dots(model, at, camera, points_cm, size):
    """A picture with a white dot at each place given in cm of the canonical head."""
    cube = cube_from_model(model).inverse()
    places = cube.points(np.asarray(points_cm) * CUBE_SCALE_PER_CM + CUBE_OFFSET)
    pixels, _ = camera.project(at.points(places))
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.zeros((*size, 3), np.uint8)
    for px, py in pixels:
        image[np.hypot(x - px, y - py) < 7] = 255
    return image


def centroids(picture):
    from scipy import ndimage

    labels, n = ndimage.label(picture[..., 0] > 60)
    found = ndimage.center_of_mass(picture[..., 0], labels, range(1, n + 1))
    return np.array(found)[:, ::-1] + 0.5


@pytest.mark.parametrize("roll", [0.0, 40.0])
@pytest.mark.parametrize(("scale", "focal"), [(1.0, 700.0), (1.3, 2600.0)])
def test_portraits_are_upright_centred_and_of_one_size(model, roll, scale, focal):
    """Wherever the head is in the picture, however large, far and turned about the axis."""
    size = (900, 1000)
    turn = Rotation.from_euler("z", roll, degrees=True).as_matrix()
    pose = np.column_stack([turn @ np.diag([1.0, -1, -1]), [0.25, -0.1, focal / 900]])
    camera = Camera("PINHOLE", *size[::-1], np.array([focal, focal, 520.0, 430.0]), pose)
    at = place(model, 15.0, scale)
    center, above = np.array(FACE_CENTER_CM), np.array([0, 4, 0])
    image = dots(model, at, camera, [center, center + above], size)
    assert len(centroids(image)) == 2
    found = centroids(portrait(image, camera, model, at, 160).image)
    middle = found[np.linalg.norm(found - 80, axis=1).argmin()]
    high = found[np.linalg.norm(found - 80, axis=1).argmax()]
    np.testing.assert_allclose(middle, [80, 80], atol=0.4)
    # Up is up; 4 cm, a little shortened by the tilt and by the view from beside.
    assert abs(high[0] - 80) < 0.8
    assert 80 - high[1] == pytest.approx(4 * PIXELS_PER_CM, rel=0.06)


def test_a_portrait_tells_where_its_pixels_come_from(model):
    camera, at = camera_at(12.0, 900, 1800.0), place(model, 15.0, 1.1)
    cm = np.array([[0, 0, 0], [3, 4, 0], [-4, 1, -2]]) + FACE_CENTER_CM
    image = dots(model, at, camera, cm, (900, 900))
    taken = portrait(image, camera, model, at, 160)
    found, _ = through(taken.picture_from_portrait, centroids(taken.image))
    # In the portrait's order of rows, which may not be the picture's.
    for dot in centroids(image):
        assert np.linalg.norm(found - dot, axis=1).min() < 1.0


def test_points_through_a_homography():
    rng = np.random.default_rng(0)
    homography = np.eye(3) + 0.1 * rng.normal(0, 1, (3, 3)) * [[1], [1], [0.01]]
    points = rng.uniform(0, 100, (7, 2))
    found, slopes = through(homography, points)
    for point, at, slope in zip(points, found, slopes, strict=True):
        x, y, w = homography @ [*point, 1]
        np.testing.assert_allclose(at, [x / w, y / w])
        for axis in (0, 1):
            step = 1e-5 * np.eye(2)[axis]
            ends = [through(homography, (point + sign * step)[None])[0][0] for sign in (1, -1)]
            np.testing.assert_allclose(slope[:, axis], (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_points_count_by_what_they_are_wrong_by(model):
    """A point off by its own deviation in the portrait is one off, in any picture."""
    camera = camera_at(5.0, 200, 400.0)
    shape, at = person(model, 2), place(model)
    rng = np.random.default_rng(3)
    points = rng.uniform(9, 23, (SMALL.n_anchors, 2))
    points[:3] = [[-2, 16], [16, 31], [5, 12]]
    turns = rng.uniform(0, 2 * np.pi, SMALL.n_anchors)
    off = 1e-4 * np.stack([np.cos(turns), np.sin(turns)], 1)
    seen = Observer(model).observe(map_of(model, shape, at, camera), camera)
    n = SMALL.n_coefficients
    terms = []
    for moved in (points, points + off):
        told = Told(small_network(), np.zeros(n), np.ones(n), moved, 1e-4)
        reader = Reader(model, told, FitOptions(points=0.3))
        terms.append(reader.read(np.zeros((200, 200, 3), np.uint8), seen).reading.points)
    one, other = terms
    away = np.einsum("nab,nb->na", one.roots, other.pixels - one.pixels)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 1.0, rtol=1e-3)
    found = one.rows(State(shape, at), False, 5.0)
    world = at.points(one.places.points(shape))
    away = np.einsum("nab,nb->na", one.roots, camera.project(world)[0] - one.pixels)
    np.testing.assert_allclose(found.residual, away, rtol=1e-6)
    # By the border, or beyond it, nothing counts.
    np.testing.assert_array_equal(found.weight[:3], 0.0)
    np.testing.assert_array_equal(found.weight[3:], 0.3)
    assert found.bound == 5.0


def test_what_is_finer_is_averaged():
    model = small_ict(1500)
    params = np.array([6000.0, 6000.0, 800.0, 800.0])
    camera = Camera("PINHOLE", 1600, 1600, params, camera_at(distance=1.0).cam_from_world)
    board = np.indices((1600, 1600)).sum(axis=0)[..., None] % 2 * np.full(3, 255, np.uint8)
    found = portrait(board.astype(np.uint8), camera, model, place(model), 96).image
    assert np.abs(found.astype(int) - 127).max() < 12


def test_portraits_from_where_none_were_trained_count_less(model):
    """From in front for all, from above and from behind for nothing, in between for less."""

    def seen_from(yaw, pitch):
        turn = Rotation.from_euler("yx", [yaw, -pitch], degrees=True).as_matrix()
        center = np.array(FACE_CENTER_CM) * 0.01
        rotation = np.diag([1.0, -1.0, -1.0]) @ turn.T
        pose = np.column_stack([rotation, [0, 0, 0.6] - rotation @ center])
        camera = Camera("PINHOLE", 64, 64, np.array([90.0, 90.0, 32.0, 32.0]), pose)
        # The models' origins and axes are not the cube's.
        to = cube_from_model(model)
        at = Similarity(CUBE_MM / 10, np.eye(3), -np.array(CUBE_OFFSET) / CUBE_SCALE_PER_CM)
        return familiar(camera, model, Similarity.of_scale(0.01).compose(at).compose(to))

    assert seen_from(0, 3) == seen_from(30, 0) == seen_from(-40, 5) == 1
    assert 0 < seen_from(60, 3) < 1
    assert seen_from(60, 3) == pytest.approx(seen_from(-60, 3), abs=1e-4)
    assert 0 < seen_from(0, 25) < 1
    assert seen_from(0, 40) == seen_from(0, -35) == seen_from(100, 0) == seen_from(180, 0) == 0


def test_a_picture_without_a_head_is_not_read():
    model = small_ict(1500)
    regressor = Told(small_network(), np.zeros(9), np.full(9, 0.5))
    seen = Observer(model).observe(empty_cube_map(64, 64), camera_at())
    assert Reader(model, regressor, FitOptions()).read(picture(0), seen) is seen
    maps, camera, _, _ = one_view(model)
    seen = Observer(model).observe(maps, camera)
    assert Reader(model, regressor, FitOptions(reading=0.0)).read(picture(0), seen) is seen
    assert not regressor.portraits
    found = Reader(model, regressor, FitOptions()).read(picture(0), seen)
    assert found.reading is not None
    (one,) = regressor.portraits
    assert one.shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["points", "pixels_read", "reading", "normals", "landmarks"])
@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_impossible_weights_are_refused(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be finite and not negative"):
        FitOptions(**{name: bad})


def test_pixels_count_less_beside_a_reading(model):
    """In full where the picture is not read, in part where it is."""
    shape, at, camera = person(model, 2), place(model), camera_at()
    seen = Observer(model).observe(map_of(model, shape, at, camera), camera)
    told = Told(small_network(), np.zeros(9), np.full(9, 0.5))
    options = FitOptions(pixels_read=0.25)
    read = Reader(model, told, options).read(picture(0), seen)
    weights = []
    for one in (seen, read):
        energy = Energy(model, [one], options, knows_scale=True, knows_focal=True)
        energy.look(State(shape, at), 3.0)
        weights.append(energy.sights[0].weight)
    assert weights[0].max() > 0
    np.testing.assert_allclose(weights[1], 0.25 * weights[0])


def told_truth(model, shape, variance=0.02):
    """A regressor that reads the true coefficients, to which nothing else could lead."""
    network = small_network(config=replace(SMALL, n_anchors=200, n_identity=20, n_expression=20))
    network.offset.zero_()
    network.analysis *= 5
    value, _ = FaceBasis(model, network).at(shape, False)
    return Told(network, value * (1 - variance), np.full(40, variance))


def test_a_picture_is_fitted_as_it_is_read(model):
    """Half of the head is hidden and the map is trusted little: the reading tells the rest."""
    shape, at, camera = person(model, 4), place(model, 8.0), camera_at()
    truth = at.points(model.vertices(shape))
    embedder = MapEmbedder([map_of(model, shape, at, camera)])
    vague = FitOptions(expression_sd=1.0)
    alone = fit_image(picture(0), embedder, model, vague, camera=camera)
    regressor = told_truth(model, shape)
    told = fit_image(picture(0), embedder, model, vague, camera=camera, regressor=regressor)
    unread = fit_image(
        picture(0), embedder, model, replace(vague, reading=0), camera=camera, regressor=regressor
    )
    np.testing.assert_array_equal(unread.identity, alone.identity)
    assert posed_error_mm(told, truth) < 0.4 * posed_error_mm(alone, truth)
    assert posed_error_mm(told, truth) < 0.5


def test_a_picture_is_fitted_to_the_points_that_are_seen(model):
    """The map is coarse and half hidden, nothing is read but where places are, hidden ones too."""
    shape, at, camera = person(model, 4), place(model, 8.0), camera_at()
    truth = at.points(model.vertices(shape))
    embedder = MapEmbedder([half_hidden(map_of(model, shape, at, camera))])
    network = small_network(config=replace(SMALL, n_anchors=200, size=192))
    vague = FitOptions(expression_sd=1.0)
    places = at.points(FaceBasis(model, network).places.points(shape))
    pixels, _ = camera.project(places)

    class Seeing(Told):
        """Knows the picture's pixels, and is asked of the portrait's."""

        def read(self, _image, _times=1):
            back, _ = through(np.linalg.inv(self.taken.picture_from_portrait), pixels)
            n = SMALL.n_coefficients
            return read_as(np.zeros(n), np.ones(n), back, 0.1)

    seeing = Seeing(network, np.zeros(9), np.ones(9))

    def taking(*args):
        seeing.taken = portrait(*args)
        return seeing.taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "portrait", taking)
        fits = [
            fit_image(picture(0), embedder, model, how, camera=camera, regressor=seeing)
            for how in (replace(vague, points=0.0), replace(vague, points=1.0))
        ]
    unseen, seen = (posed_error_mm(fit, truth) for fit in fits)
    assert seen < 0.5 * unseen
    assert seen < 1.0


def test_videos_are_read():
    model = small_ict(1500)
    maps, camera, truths, _ = video(model)
    frames = [(f"{t}.png", picture(t)) for t in range(len(maps))]
    how = replace(SURE_VIDEO, fit=replace(EXACT, expression_sd=1.0))
    n = SMALL.n_coefficients
    wrong = Told(small_network(), np.full(n, 3.0), np.full(n, 1e-4))
    fits = [
        fit_video(iter(frames), MapEmbedder(maps), model, how, camera=camera, regressor=regressor)
        for regressor in (None, wrong)
    ]
    assert len(wrong.portraits) == len(maps)
    # Misled by a reading that is sure.
    errors = [posed_error_mm(fit, truths[1], 1) for fit in fits]
    assert errors[1] > 2 * errors[0]
