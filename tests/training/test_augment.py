import numpy as np
import pytest

from mvs.synthetic.dataset import LABEL_SIZE, PICTURE_SIZE, RECORD, decode_coords, decode_normals
from mvs.training import augment as augmentation
from mvs.training.augment import augment, random_crop


def places(size):
    """Pixels' centres, in parts of the picture's side."""
    line = (np.arange(size) + 0.5) / size
    return np.stack(np.meshgrid(line, line), axis=-1)


@pytest.fixture
def record():
    """A picture and coordinates that say where each pixel was, under a round head."""
    out = np.zeros((), RECORD)
    out["image"][..., :2] = np.rint(places(PICTURE_SIZE) * 255)
    at = places(LABEL_SIZE)
    mask = np.linalg.norm(at - 0.5, axis=-1) < 0.4
    coords = np.concatenate([at, np.full_like(at[..., :1], 0.3)], axis=-1)
    out["coords"] = np.rint(coords * 65535) * mask[..., None]
    out["mask"] = mask
    out["normals"] = np.array([60, -35, 105]) * mask[..., None]
    out["region"] = 7 * mask
    return out


@pytest.fixture
def only_cropped(monkeypatch):
    monkeypatch.setattr(augmentation, "_CROPPED", 1.0)
    monkeypatch.setattr(augmentation, "_HIDDEN", 0.0)
    monkeypatch.setattr(augmentation, "photograph_anew", lambda image, _: image)


@pytest.mark.parametrize("seed", range(8))
def test_picture_and_labels_are_cropped_alike(record, only_cropped, seed, monkeypatch):
    crop = random_crop(np.random.default_rng(seed))
    monkeypatch.setattr(augmentation, "random_crop", lambda _: crop)
    found = augment(record, np.random.default_rng(seed))
    mask = found["mask"] > 0
    was = places(LABEL_SIZE) @ crop[:, :2].T + crop[:, 2]
    radius = np.linalg.norm(was - 0.5, axis=-1)
    pixel = 1 / LABEL_SIZE
    assert mask[radius < 0.4 - 2 * pixel].all()
    assert not mask[radius > 0.4 + 2 * pixel].any()
    coords = decode_coords(found["coords"])
    np.testing.assert_allclose(coords[mask][:, :2], was[mask], atol=pixel / 2)
    inner = radius < 0.4 - 2 * pixel
    np.testing.assert_allclose(coords[inner][:, :2], was[inner], atol=1e-3)
    np.testing.assert_allclose(coords[mask][:, 2], 0.3, atol=1e-4)
    was = places(PICTURE_SIZE) @ crop[:, :2].T + crop[:, 2]
    inside = (np.abs(was - 0.5) < 0.49).all(axis=-1)
    np.testing.assert_allclose(found["image"][..., :2][inside] / 255, was[inside], atol=0.006)
    expected = np.array([60, -35, 105]) / np.linalg.norm([60, -35, 105])
    normals = decode_normals(found["normals"])[mask]
    np.testing.assert_allclose(normals, np.broadcast_to(expected, normals.shape), atol=0.01)
    for name in ("coords", "normals"):
        assert (found[name][~mask] == 0).all()
    assert (found["region"][mask & (radius < 0.38)] == 7).all()


def test_crops_are_turned_zoomed_and_shifted_and_not_stretched():
    """A crop by the same camera: the same size in all directions, its middle near the old one."""
    crops = np.stack([random_crop(np.random.default_rng(seed)) for seed in range(300)])
    linear = crops[:, :, :2]
    zoom = np.sqrt(np.linalg.det(linear))
    np.testing.assert_allclose(
        linear @ linear.transpose(0, 2, 1), zoom[:, None, None] ** 2 * np.eye(2)[None], atol=1e-12
    )
    assert 1 / np.exp(0.2) <= zoom.min() < 0.85
    assert 1.2 < zoom.max() <= np.exp(0.25)
    turn = np.arctan2(linear[:, 1, 0], linear[:, 0, 0])
    assert 0.17 < turn.std() < 0.23
    middle = linear @ [0.5, 0.5] + crops[:, :, 2] - 0.5
    assert 0.07 < np.abs(middle).max() <= 0.08


def test_what_is_hidden_is_no_head(record, monkeypatch):
    monkeypatch.setattr(augmentation, "_CROPPED", 0.0)
    monkeypatch.setattr(augmentation, "_HIDDEN", 1.0)
    monkeypatch.setattr(augmentation, "photograph_anew", lambda image, _: image)
    hidden = 0
    for seed in range(10):
        found = augment(record, np.random.default_rng(seed))
        gone = (record["mask"] > 0) & (found["mask"] == 0)
        hidden += gone.sum()
        changed = (found["image"] != record["image"]).any(axis=-1)
        covered = changed.reshape(LABEL_SIZE, 2, LABEL_SIZE, 2).any(axis=(1, 3))
        assert covered[gone].mean() > 0.99 if gone.any() else True
        for name in ("mask", "coords", "normals", "region"):
            assert (found[name][gone] == 0).all()
            np.testing.assert_array_equal(found[name][~covered], record[name][~covered])
        # Where the picture changed, nothing of the head is left.
        assert found["mask"][covered].mean() < 0.02 if covered.any() else True
    assert hidden > 500


def test_colours_change_and_labels_do_not(record, monkeypatch):
    monkeypatch.setattr(augmentation, "_CROPPED", 0.0)
    monkeypatch.setattr(augmentation, "_HIDDEN", 0.0)
    before = record.copy()
    found = [augment(record, np.random.default_rng(seed)) for seed in range(20)]
    assert np.array_equal(record, before)
    for one in found:
        for name in ("coords", "mask", "normals", "region"):
            np.testing.assert_array_equal(one[name], record[name])
    assert len({one["image"].tobytes() for one in found}) == 20
    change = [np.abs(one["image"].astype(int) - record["image"]).mean() for one in found]
    assert 2 < np.median(change) < 40


def test_the_same_seed_is_the_same_picture(record):
    one, two = (augment(record, np.random.default_rng(3)) for _ in range(2))
    assert one.tobytes() == two.tobytes()
