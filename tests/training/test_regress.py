from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.interpolate import interpn
from scipy.spatial.transform import Rotation

from mvs.network.checkpoint import CheckpointError
from mvs.network.regressor import load_regressor
from mvs.synthetic.head import load_head
from mvs.synthetic.portraits import SIZE, portrait_path, random_activations, record_type
from mvs.synthetic.scene import bend_neck
from mvs.training import portraits
from mvs.training.portraits import PortraitStream, blank_picture, cropped, jittered
from mvs.training.regress import Labels, RegressorTrainer, at_points
from mvs.training.regress_options import RegressOptions
from mvs.training.shape_basis import at_anchors, make_basis
from tests.headmodel.readings import SMALL
from tests.synthetic.heads import N_IDENTITIES, write_head

N_ANCHORS, N_SHOWN = 80, 24


@pytest.fixture(scope="module")
def head_file(tmp_path_factory):
    return write_head(tmp_path_factory.mktemp("head") / "head.npz")


@pytest.fixture(scope="module")
def head(head_file):
    return load_head(head_file)


@pytest.fixture(scope="module")
def basis(head):
    return make_basis(head, N_ANCHORS, 4, 3)


def camera(rng, turned=0.2):
    """From about the front; the face is off the middle."""
    turn = Rotation.from_euler("xy", rng.normal(0, turned, 2)).as_matrix()
    K = np.array([[8.75 * 60, 0, SIZE / 2], [0, 8.75 * 60, SIZE / 2], [0, 0, 1]])
    R = np.diag([1.0, -1.0, -1.0]) @ turn
    return K @ np.column_stack([R, [*rng.normal(0, 2, 2), 60.0]])


@pytest.fixture(scope="module")
def shown(tmp_path_factory, head):
    """Portraits whose colour tells the first coefficients of identity."""
    folder = tmp_path_factory.mktemp("portraits")
    rng, beside = np.random.default_rng(1), np.random.default_rng(2)
    for number in range(2):
        records = np.zeros(N_SHOWN, record_type(head))
        for record in records:
            record["identity"] = rng.normal(0, 1, N_IDENTITIES)
            record["expression"] = random_activations(head, rng)
            color = np.clip(127 + 40 * record["identity"][:3], 0, 255)
            record["neck"] = beside.normal(0, 0.3, 3)
            record["camera"] = camera(beside)
            record["image"] = color + rng.integers(0, 20, (SIZE, SIZE, 3))
        np.save(portrait_path(folder, number), records)
    return folder


@pytest.fixture
def options(head_file, shown, tmp_path):
    network = replace(
        SMALL,
        widths=(8, 16, 16, 32, 32),
        hidden=32,
        n_anchors=N_ANCHORS,
        n_identity=4,
        n_expression=3,
    )
    return RegressOptions(
        head_file,
        shown,
        tmp_path / "run",
        validation=shown,
        steps=4,
        batch=6,
        warm_up=1,
        checkpoint_every=2,
        network=network,
    )


def test_a_basis_whitens_people(head, basis):
    """Coefficients of people have mean 0 and variance 1, whatever the person's mirror image."""
    moved = at_anchors(head, head.identity_modes, basis.anchors)
    flip = np.roll(moved, N_ANCHORS // 2, axis=1) * [-1, 1, 1]
    covariance = np.zeros((4, 4))
    for image in (moved, flip):
        found = np.einsum("kmc,nmc->nk", basis.analysis[:4], image)
        covariance += 0.5 * found.T @ found
    np.testing.assert_allclose(covariance, np.eye(4), atol=1e-9)
    assert (np.diff(basis.energy[:4]) <= 0).all()


def test_a_mirrored_face_has_mirrored_coefficients(basis):
    rng = np.random.default_rng(0)
    moved = rng.normal(0, 1, (N_ANCHORS, 3))
    flipped = np.roll(moved, N_ANCHORS // 2, axis=0) * [-1, 1, 1]
    one, other = (np.einsum("kmc,mc->k", basis.analysis, d) for d in (moved, flipped))
    np.testing.assert_allclose(other, basis.mirror * one, rtol=1e-6, atol=1e-9)
    assert set(basis.mirror) <= {-1.0, 1.0}


def test_how_a_head_moves_as_a_whole_does_not_count(basis):
    points = basis.anchors / 0.026616902916325333
    points = points - points.mean(axis=0)
    for axis in range(3):
        turn = np.cross(np.eye(3)[axis], points)
        shift = np.tile(np.eye(3)[axis], (N_ANCHORS, 1))
        for moved in (turn, shift):
            found = np.einsum("kmc,mc->k", basis.analysis, moved)
            assert np.abs(found).max() < 1e-6 * np.abs(basis.analysis).sum(axis=(1, 2)).max()


def test_expressions_have_mean_zero_after_the_offset(head, basis):
    rng = np.random.default_rng(7)
    draws = np.stack([random_activations(head, rng) for _ in range(4000)]).astype(float)
    moved = np.tensordot(draws, at_anchors(head, head.expression_modes, basis.anchors), 1)
    moved = np.concatenate([moved, np.roll(moved, N_ANCHORS // 2, axis=1) * [-1, 1, 1]])
    found = np.einsum("kmc,nmc->nk", basis.analysis[4:], moved) - basis.offset[4:]
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(found.var(axis=0), 1, atol=0.15)
    assert not basis.offset[:4].any()


def test_labels_are_the_coefficients_of_the_posed_head(options, head, basis):
    trainer = RegressorTrainer(options)
    stream = PortraitStream(options.data, head, 32, 0)
    batch = stream.plain(0, 5)
    found = Labels(trainer.network, head).of(batch).numpy()
    for row in range(5):
        identity, expression = batch.identity[row].numpy(), batch.expression[row].numpy()
        rest = head.pose(identity, np.zeros_like(expression)).astype(float)
        posed = head.pose(identity, expression).astype(float)
        off = [(rest - head.template).reshape(1, -1), (posed - rest).reshape(1, -1)]
        moved = [at_anchors(head, d, basis.anchors)[0] for d in off]
        true = [np.einsum("kmc,mc->k", basis.analysis[:4], moved[0])]
        true.append(np.einsum("kmc,mc->k", basis.analysis[4:], moved[1]))
        np.testing.assert_allclose(
            found[row], np.concatenate(true) - basis.offset, atol=2e-3, rtol=1e-3
        )
    flipped = Labels(trainer.network, head).of(
        batch._replace(mirrored=torch.ones(5, dtype=torch.bool))
    )
    np.testing.assert_allclose(flipped.numpy(), found * basis.mirror, rtol=1e-5, atol=1e-6)


def test_points_are_where_the_posed_head_is_seen(options, head, basis, monkeypatch):
    """Place by place, through neck, camera, jitter and mirror."""
    moves = []

    def moved(image, size, rng):
        found, move = jittered(image, size, rng)
        moves.append(move)
        return found, move

    monkeypatch.setattr(portraits, "jittered", moved)
    labels = Labels(RegressorTrainer(options).network, head)
    batch = PortraitStream(options.data, head, 32, 0).get(0, 8)
    found = labels.points(batch).numpy()
    assert 0 < batch.mirrored.sum() < 8
    records = np.concatenate([np.load(portrait_path(options.data, k)) for k in (0, 1)])
    other = np.roll(np.arange(N_ANCHORS), N_ANCHORS // 2)
    for row in range(8):
        (record,) = records[(records["identity"] == batch.identity[row].numpy()).all(axis=1)]
        posed = head.pose(record["identity"], record["expression"])
        at = at_anchors(head, posed.reshape(1, -1), basis.anchors)[0]
        rest = at_anchors(head, head.template.reshape(1, -1), basis.anchors)[0]
        at = bend_neck(at, rest, record["neck"])
        for m in range(0, N_ANCHORS, 9):
            x, y, w = record["camera"].astype(float) @ [*at[m], 1.0]
            x, y, w = moves[row] @ [x / w, y / w, 1.0]
            if batch.mirrored[row]:
                np.testing.assert_allclose(found[row, other[m]], [32 - x / w, y / w], atol=2e-2)
            else:
                np.testing.assert_allclose(found[row, m], [x / w, y / w], atol=2e-2)


def test_what_is_in_a_picture_moves_as_jitter_says(monkeypatch):
    for name in ("_SHOWN_ANEW", "_HIDDEN"):
        monkeypatch.setattr(portraits, name, 0.0)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[100:104, 120:124] = 255
    rng = np.random.default_rng(3)
    for _ in range(4):
        found, move = jittered(image, 192, rng)
        rows, columns = np.indices((192, 192)) + 0.5
        seen = [np.average(axis, weights=found[..., 0]) for axis in (columns, rows)]
        np.testing.assert_allclose((move @ [122.0, 102.0, 1.0])[:2], seen, atol=0.1)


def test_cells_are_read_between_their_middles():
    rng = np.random.default_rng(0)
    cells = torch.from_numpy(rng.normal(0, 1, (2, 3, 16)))
    points = torch.from_numpy(rng.uniform(0, 32, (2, 3, 2)))
    found = at_points(cells, points, 4).numpy()
    for b in range(2):
        for m in range(3):
            x, y = np.clip(points[b, m].numpy() / 8 - 0.5, 0, 3)
            values = cells[b, m].numpy().reshape(4, 4)
            wanted = interpn((np.arange(4), np.arange(4)), values, (y, x))[0]
            assert found[b, m] == pytest.approx(wanted)
    # Shared out so, cells have the point in their middle.
    share = torch.zeros(1, 1, 16, dtype=torch.float64, requires_grad=True)
    point = torch.tensor([[[9.0, 22.5]]], dtype=torch.float64)
    at_points(share, point, 4).sum().backward()
    y, x = np.mgrid[:4, :4] * 8 + 4
    middle = [(share.grad.numpy()[0, 0].reshape(4, 4) * axis).sum() for axis in (x, y)]
    np.testing.assert_allclose(middle, [9.0, 22.5])


def test_blank_pictures_show_nothing():
    """Where a disc was there is none."""
    y, x = np.mgrid[:64, :64] - 31.5
    disc = (x**2 + y**2 < 400)[..., None] * np.full(3, 200, np.uint8)
    rng = np.random.default_rng(1)
    made = np.stack([blank_picture(disc.astype(np.uint8), rng) for _ in range(20)])
    assert made.shape == (20, 64, 64, 3)
    assert made.dtype == np.uint8
    inside = made[:, disc[..., 0] > 0].mean(axis=1) - made.mean(axis=(1, 2))
    assert np.abs(inside).max() < 6
    assert len({picture.tobytes() for picture in made}) == 20


def test_a_crop_without_jitter_is_the_middle(monkeypatch):
    for name in ("_TURN", "_ZOOM", "_SHIFT", "_SHOWN_ANEW", "_HIDDEN"):
        monkeypatch.setattr(portraits, name, 0.0)
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    found, move = jittered(image, 192, np.random.default_rng(0))
    np.testing.assert_allclose(move, [[1, 0, -16], [0, 1, -16], [0, 0, 1]], atol=1e-12)
    np.testing.assert_array_equal(found, cropped(image, 192))
    assert found.shape == (192, 192, 3)


def test_every_portrait_is_seen_once_a_round(shown, head):
    stream = PortraitStream(shown, head, 32, 3)
    assert len(stream) == 2 * N_SHOWN
    rows = [stream.get(step, 8).identity.numpy() for step in range(12)]
    first, second = np.concatenate(rows[:6]), np.concatenate(rows[6:])
    assert len(np.unique(first, axis=0)) == 2 * N_SHOWN
    assert len(np.unique(second, axis=0)) == 2 * N_SHOWN
    assert (first != second).any()
    again = PortraitStream(shown, head, 32, 3).get(5, 8)
    for one, other in zip(again, stream.get(5, 8), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_mirrored_pictures_say_so(shown, head, monkeypatch):
    ramp = np.tile(np.arange(SIZE, dtype=np.uint8)[None, :, None], (SIZE, 1, 3))
    monkeypatch.setattr(
        portraits, "jittered", lambda _image, size, _rng: (cropped(ramp, size).copy(), np.eye(3))
    )
    batch = PortraitStream(shown, head, 64, 0).get(0, 24)
    assert 0 < batch.mirrored.sum() < 24
    rising = batch.pictures[:, 0, 0, -1] > batch.pictures[:, 0, 0, 0]
    assert torch.equal(rising, ~batch.mirrored)


def test_training_goes_on_where_it_stopped(options, tmp_path):
    whole = list(RegressorTrainer(options).run())
    assert [report["step"] for report in whole] == [2, 4]
    short = replace(options, output=tmp_path / "again")
    half = RegressorTrainer(short).run()
    next(half)
    half.close()
    (rest,) = RegressorTrainer(short).run()
    assert rest["step"] == 4
    a, b = (load_file(o.output / "regressor.safetensors") for o in (options, short))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert list(RegressorTrainer(options).run()) == []
    regressor = load_regressor(options.output / "regressor.safetensors")
    assert regressor.network.config == options.network


def changed_by(options, tmp_path, **how):
    """Names of the tensors that training on, interrupted once, changes."""
    list(RegressorTrainer(options).run())
    start = options.output / "regressor.safetensors"
    further = replace(options, start=start, output=tmp_path / "further", **how)
    half = RegressorTrainer(further).run()
    next(half)
    half.close()
    list(RegressorTrainer(further).run())
    before, after = load_file(start), load_file(further.output / "regressor.safetensors")
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_frozen_levels_stay_as_they_were(options, tmp_path):
    changed = {name.split(".")[0] for name in changed_by(options, tmp_path, frozen=True)}
    assert {"level8", "level16", "level32", "hidden", "mean", "variance", "points"} <= changed
    assert not changed & {"stem", "level4"}


def test_variances_are_learnt_alone(options, tmp_path):
    changed = changed_by(options, tmp_path, variances=True)
    assert changed == {"variance.weight", "variance.bias", "points.doubt", "points.base"}
    with pytest.raises(ValueError, match="variances needs start"):
        replace(options, variances=True)


def test_it_learns_what_portraits_show(options):
    longer = replace(
        options, steps=500, batch=12, learning_rate=5e-3, average=0.9, checkpoint_every=500
    )
    (report,) = RegressorTrainer(longer).run()
    # Three of six modes show, the expression does not.
    assert report["identity"] < 0.7
    assert report["expression"] > 0.6
    # Pictures do not tell where a face is: points are off as far as faces are.
    assert 5 < report["points"] < 25


def test_it_learns_where_places_are(options, head, tmp_path):
    """A spot moves as the face does; without it places are off by some ten pixels."""
    rng = np.random.default_rng(2)
    records = np.zeros(96, record_type(head))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    for record in records:
        record["camera"] = camera(rng, 0.0)
        at = record["camera"] @ [0, 0, 8, 1.0]
        near = np.exp(-((x - at[0] / at[2]) ** 2 + (y - at[1] / at[2]) ** 2) / 200)
        record["image"] = (40 + 200 * near)[..., None]
    np.save(portrait_path(tmp_path, 0), records)
    network = replace(options.network, size=192)
    longer = replace(
        options,
        data=tmp_path,
        validation=tmp_path,
        network=network,
        steps=200,
        batch=12,
        learning_rate=1e-2,
        average=0.9,
        checkpoint_every=200,
    )
    (report,) = RegressorTrainer(longer).run()
    assert report["points"] < 5


def test_the_encoder_begins_as_the_shipped_network_does(options):
    from mvs.network.compact import WEIGHTS
    from mvs.network.regressor import RegressorConfig

    full = RegressorConfig(n_anchors=N_ANCHORS, n_identity=4, n_expression=3)
    network = RegressorTrainer(replace(options, network=full)).network
    shipped = load_file(WEIGHTS)
    name = "level16.1.first.0.weight"
    assert torch.equal(network.state_dict()[name], shipped[name].float())


def test_other_states_and_portraits_are_refused(options, tmp_path, head):
    list(RegressorTrainer(options).run())
    with pytest.raises(CheckpointError, match="not a state that this run can go on from"):
        RegressorTrainer(replace(options, network=replace(options.network, hidden=16)))
    with pytest.raises(ValueError, match="make some with mvs synthesize portraits"):
        PortraitStream(tmp_path, head, 32, 0)
    np.save(portrait_path(tmp_path, 0), np.zeros(3, [("image", "u1", (4, 4, 3))]))
    with pytest.raises(ValueError, match="no portraits of this head model"):
        PortraitStream(tmp_path, head, 32, 0)
    portrait_path(tmp_path, 0).write_bytes(b"no array")
    with pytest.raises(ValueError, match="not a readable shard"):
        PortraitStream(tmp_path, head, 32, 0)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"n_anchors": 61}, "n_anchors must be even"),
        ({"n_anchors": 2}, "n_anchors must be even and at least 4"),
        ({"n_identity": 7}, "n_identity must be at most 6"),
        ({"n_expression": 8}, "n_expression must be at most 7"),
        ({"size": 256}, "size must be at most 224"),
    ],
)
def test_sizes_that_the_model_has_not_are_refused(options, bad, why):
    with pytest.raises(ValueError, match=why):
        RegressorTrainer(replace(options, network=replace(options.network, **bad)))


def test_devices_that_are_not_there_are_refused(options):
    with pytest.raises(ValueError, match="none that PyTorch knows"):
        RegressorTrainer(replace(options, device="abacus"))


@pytest.mark.parametrize(
    "bad",
    [{"steps": -1}, {"batch": 0}, {"learning_rate": 0.0}, {"average": 1.0}, {"threads": 0}],
)
def test_impossible_options_are_refused(options, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        replace(options, **bad)
