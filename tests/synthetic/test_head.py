import numpy as np
import pytest

from mvs.canonical.cube import cube_from_cm
from mvs.synthetic.head import (
    EYE,
    EYEBALL_RANGES,
    FACE,
    HEAD_NECK,
    MOUTH,
    TEETH_RANGE,
    load_head,
)
from tests.synthetic.heads import EXPRESSIONS, EYES, N_IDENTITIES


def without(path, folder, name):
    with np.load(path) as data:
        kept = {key: data[key] for key in data.files if key != name}
    np.savez(folder / "other.npz", **kept)
    return folder / "other.npz"


def test_what_is_in_the_file(head_file, studio):
    head = studio.head
    with np.load(head_file) as data:
        np.testing.assert_array_equal(head.template, data["vertices"])
        assert head.identity_modes.shape == (N_IDENTITIES, data["vertices"].size)
        modes = data["id_delta_q"][2].astype(float) * data["id_scale"][2]
        np.testing.assert_allclose(head.identity_modes[2], modes.ravel(), rtol=1e-6)
        n_faces = len(data["faces"])
    assert head.expression_names == EXPRESSIONS
    # Shells behind the eyeballs in the file's order are left out.
    assert len(head.faces) < n_faces
    assert np.abs(head.template[head.faces]).max() < 20 < np.abs(head.template).max()


def test_parts(studio):
    head = studio.head
    part = head.vertex_part
    assert set(part[head.faces].ravel()) == {FACE, HEAD_NECK, EYE, MOUTH}
    used = np.unique(head.faces)
    assert head.template[used[part[used] == FACE], 2].min() > 3
    assert (part[slice(*head.ranges[TEETH_RANGE])] == MOUTH).all()
    for span, center in zip(EYEBALL_RANGES, EYES, strict=True):
        assert (part[slice(*head.ranges[span])] == EYE).all()
        assert np.abs(head.template[slice(*head.ranges[span])] - center).max() < 1.6
    np.testing.assert_allclose(head.eye_centers, EYES, atol=1e-5)


def test_pose_adds_the_modes(studio):
    head, rng = studio.head, np.random.default_rng(0)
    neutral = np.zeros(len(EXPRESSIONS))
    np.testing.assert_array_equal(head.pose(np.zeros(N_IDENTITIES), neutral), head.template)
    identity, expression = rng.normal(size=N_IDENTITIES), rng.uniform(size=len(EXPRESSIONS))
    expression[3] = 0
    expected = head.template.astype(float).ravel()
    for weight, mode in zip(identity, head.identity_modes, strict=True):
        expected = expected + weight * mode
    for weight, mode in zip(expression, head.expression_modes, strict=True):
        expected = expected + weight * mode
    found = head.pose(identity, expression)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.reshape(-1, 3), atol=2e-5)
    few = head.pose(identity[:2], neutral)
    padded = head.pose(np.concatenate([identity[:2], np.zeros(N_IDENTITIES - 2)]), neutral)
    np.testing.assert_allclose(few, padded, atol=1e-6)


def test_the_cube_is_isotropic_and_turned_as_documented(studio):
    corners = cube_from_cm(np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    steps = corners[1:] - corners[0]
    np.testing.assert_allclose(steps, np.eye(3) * steps[0, 0], atol=1e-7)
    # 375.7 mm a side; left, up and forward grow; the middle of the face is in the middle.
    assert 10 / steps[0, 0] == pytest.approx(375.7, abs=0.05)
    assert corners[0, 0] == 0.5
    used = cube_from_cm(studio.head.template[np.unique(studio.head.faces)])
    assert used.dtype == np.float32
    assert used.min() > 0
    assert used.max() < 1


@pytest.mark.parametrize(
    "kind",
    [
        "absent",
        "text",
        "empty",
        "folder",
        "array",
        "incomplete",
    ],
)
def test_other_files_are_refused_in_one_line(head_file, tmp_path, kind):
    path = tmp_path / f"{kind}.npz"
    if kind == "text":
        path.write_text("a head")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "array":
        np.savez(path, other=np.ones(3))
    elif kind == "incomplete":
        path = without(head_file, tmp_path, "landmarks68")
    with pytest.raises(ValueError, match="not a packed ICT-FaceKit head") as caught:
        load_head(path)
    assert str(path) in str(caught.value)
    assert "--head" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(head_file, tmp_path):
    path = without(head_file, tmp_path, "ex_names")
    with np.load(path) as data:
        kept = {key: data[key] for key in data.files}
    np.savez(path, **kept, ex_names=np.array([object()], object))
    with pytest.raises(ValueError, match="not a packed ICT-FaceKit head"):
        load_head(path)


def test_the_real_head(real_head_file):
    head = load_head(real_head_file)
    assert head.template.shape == (26719, 3)
    assert head.faces.shape == (48836, 3)
    assert head.identity_modes.shape == (100, 26719 * 3)
    assert len(head.expression_names) == len(head.expression_modes) == 57
    used = cube_from_cm(head.template[np.unique(head.faces)])
    # A margin of 5 % on the longest side, along y.
    np.testing.assert_allclose([used[:, 1].min(), used[:, 1].max()], [0.05, 0.95], atol=1e-3)
    # The subject's left has x > 0, eyes are above the mouth, the nose is in front.
    marks = head.template[head.landmarks]
    assert marks[42:48, 0].min() > 0 > marks[36:42, 0].max()
    assert marks[36:48, 1].min() > marks[48:68, 1].max()
    assert marks[30, 2] == marks[:, 2].max()
