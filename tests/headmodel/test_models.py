"""Vertices against slow sums, derivatives against differences."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mvs.headmodel.turns import turn_matrices
from mvs.headmodel.types import Shape
from tests.headmodel import models
from tests.reference.skinning import skin

MODELS = {"ict": models.small_ict, "flame": models.small_flame}


def random_shape(model, seed=0, n_identity=None):
    rng = np.random.default_rng(seed)
    n = len(model.identity_names) if n_identity is None else n_identity
    return Shape(
        rng.normal(0, 1, n),
        rng.uniform(0, 1, len(model.expression_names)),
        rng.normal(0, 0.3, (len(model.joint_names), 3)),
    )


def vector(shape):
    return np.concatenate([shape.identity, shape.expression, shape.joints.ravel()])


def shape_of(values, like):
    k, e = len(like.identity), len(like.expression)
    return Shape(values[:k], values[k : k + e], values[k + e :].reshape(-1, 3))


@pytest.mark.parametrize("name", MODELS)
def test_the_neutral_head_is_the_template(name):
    model = MODELS[name]()
    shape = model.neutral()
    assert len(shape.identity) == len(model.identity_names)
    assert len(shape.expression) == len(model.expression_names) == len(model.expression_bounds)
    assert shape.joints.shape == (len(model.joint_names), 3)
    np.testing.assert_allclose(model.vertices(shape), model.template, atol=1e-15)
    rows = np.array([5, 3, 3, 700])
    np.testing.assert_allclose(model.vertices(shape, rows), model.template[rows], atol=1e-15)


def test_linear_heads_are_sums_of_their_modes():
    model, arrays = models.small_ict(), models.ict_arrays()
    shape = random_shape(model)
    expected = arrays["vertices"].copy()
    for weight, mode in zip(shape.identity, arrays["identity"], strict=True):
        expected += weight * mode
    for weight, mode in zip(shape.expression, arrays["expression"], strict=True):
        expected += weight * mode
    # The packed file rounds to 1 / 65534 of the largest of each mode, and to float32.
    assert np.abs(model.vertices(shape) - expected).max() < 3e-4


@pytest.mark.parametrize("n_identity", [4, None])
def test_skinned_heads_are_posed_as_in_the_papers(n_identity):
    model, (arrays, _) = models.small_flame(), models.flame_arrays()
    shape = random_shape(model, 1, n_identity)
    expected = skin(arrays, shape.identity, shape.expression, shape.joints)
    assert np.abs(expected - model.template).max() > 0.02
    np.testing.assert_allclose(model.vertices(shape), expected, atol=1e-12)
    rows = np.array([9, 2000, 9])
    np.testing.assert_allclose(model.vertices(shape, rows), expected[rows], atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("seed", "n_identity"), [(2, None), (3, 3), (None, None)])
def test_derivatives_are_differences(name, seed, n_identity):
    model = MODELS[name]()
    shape = model.neutral() if seed is None else random_shape(model, seed, n_identity)
    rows = np.arange(0, len(model.template), 37)
    found = model.jacobian(shape, rows)
    values, step = vector(shape), 1e-5
    assert found.shape == (len(rows), 3, len(values))
    size = np.abs(model.template).max()
    for k in range(len(values)):
        ends = []
        for sign in (-1, 1):
            moved = values.copy()
            moved[k] += sign * step
            ends.append(model.vertices(shape_of(moved, shape), rows))
        expected = (ends[1] - ends[0]) / (2 * step)
        np.testing.assert_allclose(found[..., k], expected, atol=1e-9 * size)


def test_jaw_and_eyes_move_what_is_theirs():
    model = models.small_flame()
    topology, rest = model.topology, model.template

    def moved(joint, vector):
        shape = model.neutral()
        shape.joints[model.joint_names.index(joint)] = vector
        return np.linalg.norm(model.vertices(shape) - rest, axis=1) * 1000

    def part(name):
        return topology.parts == topology.part_names.index(name)

    left, right = part("left_eye"), part("right_eye")
    turned = moved("left_eye", [0, 0.3, 0])
    assert turned[left].max() > 3
    assert turned[right].max() < 1e-9
    jaw = moved("jaw", [0.3, 0, 0])
    chin, crown = topology.landmarks[8, 0], rest[:, 1].argmax()
    assert jaw[chin] > 20
    assert jaw[crown] < 5  # a corrective
    assert jaw[left | right].max() < 1e-9
    # The chin goes down and back: a positive turn about x, which points to the subject's left.
    shape = model.neutral()
    shape.joints[1] = [0.3, 0, 0]
    gone = model.vertices(shape)[chin] - rest[chin]
    assert gone[1] < -0.01
    assert gone[2] < -0.01


def test_left_and_right_expressions_are_mirror_images():
    model = models.small_ict()
    mirrored = model.template * [-1, 1, 1]
    places = [model.expression_names.index(f"mouthSmile_{side}") for side in "LR"]
    left, right = (model.modes[:, :, len(model.identity_names) + k] for k in places)
    assert model.template[np.abs(left).max(axis=1) > 0.3, 0].min() > 0
    points = np.concatenate([model.template, mirrored])
    assert len(points) == 2 * len(left)
    front = np.linalg.norm(left, axis=1).argmax()
    other = np.linalg.norm(mirrored - model.template[front], axis=1).argmin()
    gap = np.linalg.norm(mirrored[other] - model.template[front])
    np.testing.assert_allclose(left[front], right[other] * [-1, 1, 1], atol=0.8 * gap + 1e-4)


def test_shapes_of_other_models_are_refused():
    ict, flame = models.small_ict(), models.small_flame()
    with pytest.raises(ValueError, match="shape must have up to 10 identity and 16 expression"):
        ict.vertices(flame.neutral())
    shape = ict.neutral()
    with pytest.raises(ValueError, match=r"joints must be \(0, 3\), got \(4, 3\)"):
        ict.vertices(Shape(shape.identity, shape.expression, np.zeros((4, 3))))
    with pytest.raises(ValueError, match="shape must"):
        ict.jacobian(Shape(np.zeros(11), shape.expression, shape.joints), np.array([0]))


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-4, 0.00999, 0.01001, 0.5, 3.1, 6.0])
def test_rotation_vectors(size):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5, 3))
    vectors *= size / np.linalg.norm(vectors, axis=1, keepdims=True)
    matrices, slopes = turn_matrices(vectors)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14)
    step = 1e-6
    for k in range(3):
        move = step * np.eye(3)[k]
        ends = [Rotation.from_rotvec(vectors + s * move).as_matrix() for s in (-1, 1)]
        np.testing.assert_allclose(slopes[:, k], (ends[1] - ends[0]) / (2 * step), atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_topology(name):
    topology, n = MODELS[name]().topology, len(MODELS[name]().template)
    assert topology.faces.dtype == np.int32
    assert topology.coords.dtype == np.float32
    assert topology.faces.max() < n
    assert topology.is_textured == (name == "ict")
    if topology.is_textured:
        assert len(topology.face_uv) == len(topology.faces)
        assert topology.face_uv.max() < len(topology.uv)
    assert np.isfinite(topology.coords[topology.faces]).all()
    assert topology.parts.shape == (n,)
    np.testing.assert_allclose(topology.landmark_weights.sum(axis=1), 1)
    of = {part: topology.parts == k for k, part in enumerate(topology.part_names)}
    coords = topology.coords
    assert coords[of["left_eye"], 0].min() > 0.5 > coords[of["right_eye"], 0].max()
    assert np.nanmax(coords[of["neck"], 1]) < np.nanmax(coords[of["face"], 1])
