import numpy as np
import pytest

from mvs.synthetic import drawing, sample
from mvs.synthetic.degrade import develop, expose
from mvs.synthetic.render import Rendering
from mvs.synthetic.sample import random_samples

SIZE = 64
FIELDS = ("image", "coords", "mask", "normals", "region")


def as_bytes(samples):
    return [[getattr(one, name).tobytes() for name in FIELDS] for one in samples]


def flat_photo(size=SIZE, color=0.3):
    """A rendering that shows a head everywhere but on its left quarter."""
    y, x = np.mgrid[:size, :size] / size
    coords = np.stack([x, y, 0.5 + 0 * x], -1).astype(np.float32)
    mask = x >= 0.25
    shown = np.where(mask, drawing.SKIN, -1).astype(np.int8)
    picture = np.full((size, size, 3), color, np.float32)
    on = mask[..., None].astype(np.float32)
    normals = np.array([0.0, 0.6, 0.8], np.float32) * on
    return Rendering(picture, coords * on, normals, mask.astype(np.uint8), mask, shown)


def test_the_seed_determines_every_byte(studio):
    first = as_bytes(random_samples(studio, (1, 2, 3), 3, SIZE))
    assert first == as_bytes(random_samples(studio, (1, 2, 3), 3, SIZE))
    # Fewer views are the first of them.
    assert first[:1] == as_bytes(random_samples(studio, (1, 2, 3), 1, SIZE))
    pictures = {picture for picture, *_ in first}
    for seed in ((1, 2, 4), (1, 3, 3), (2, 2, 3), (1, 2)):
        other = as_bytes(random_samples(studio, seed, 3, SIZE))
        pictures |= {picture for picture, *_ in other}
    assert len(pictures) == 15


def test_mask_and_coords_agree(studio):
    shown = 0
    for seed in range(12):
        for one in random_samples(studio, (9, seed), 2, SIZE):
            assert one.image.shape == one.coords.shape == (SIZE, SIZE, 3)
            assert (one.image.dtype, one.coords.dtype) == (np.uint8, np.float32)
            assert one.mask.shape == (SIZE, SIZE)
            assert one.mask.dtype == np.bool_
            assert not one.coords[~one.mask].any()
            assert (one.coords[one.mask].max(axis=1) > 0).all()
            assert 0 <= one.coords.min() <= one.coords.max() <= 1
            shown += one.mask.any()
    assert shown > 15


def test_labels_are_those_of_the_rendering(studio, monkeypatch):
    photos, plain = [], sample.render

    def keep(*arguments):
        photos.append(plain(*arguments))
        return photos[-1]

    monkeypatch.setattr(sample, "render", keep)
    taken, hidden = [], 0
    for seed in range(20):
        views = random_samples(studio, (3, seed), 2, SIZE)
        if len(photos) == 2:
            taken += zip(photos, views, strict=True)
        photos.clear()
    assert len(taken) > 30
    for photo, one in taken:
        assert not (one.mask & ~photo.mask).any()
        expected = np.clip(photo.coords, 0, 1) * one.mask[..., None]
        np.testing.assert_array_equal(one.coords, expected)
        hidden += (photo.mask & ~one.mask).any()
    # What is covered or beyond the photograph's rim is not labelled.
    assert 2 <= hidden <= 20


def test_what_hides_the_head_is_cut_out_of_the_mask():
    photo = flat_photo()
    outcomes = set()
    for seed in range(150):
        one = sample._finish(photo, np.random.default_rng(seed))
        assert not (one.mask & ~photo.mask).any()
        np.testing.assert_array_equal(one.coords, photo.coords * one.mask[..., None])
        lost = photo.mask & ~one.mask
        black = (one.image == 0).all(axis=2)
        strip = [black[0].all(), black[-1].all(), black[:, 0].all(), black[:, -1].all()]
        assert not (one.mask & black).any()
        outcomes.add((bool(lost.any()), any(strip)))
    assert outcomes >= {(False, False), (True, False), (True, True)}


def test_pictures_without_a_head():
    one = sample._nobody(SIZE, np.random.default_rng(0))
    assert not one.mask.any()
    assert not one.coords.any()
    assert len(np.unique(one.image)) > 5


def test_some_pictures_show_nobody(studio, monkeypatch):
    calls = []
    monkeypatch.setattr(sample, "_nobody", lambda *_: calls.append(1))
    monkeypatch.setattr(sample, "render", lambda *_: None)
    monkeypatch.setattr(sample, "_finish", lambda *_: None)
    monkeypatch.setattr(sample, "random_scenery", lambda *_: None)
    n = 3000
    assert len(random_samples(studio, (0,), n, SIZE)) == n
    assert 0.01 * n < len(calls) < 0.03 * n


@pytest.mark.parametrize("subjects", ["faces", "covered"])
def test_other_subjects_are_seen_from_the_front_more_often(studio, monkeypatch, subjects):
    shots = []
    monkeypatch.setattr(sample, "_nobody", lambda *_: pytest.fail("nobody is there"))
    monkeypatch.setattr(sample, "render", lambda _, shot, *__: shots.append(shot))
    monkeypatch.setattr(sample, "_finish", lambda *_: None)
    monkeypatch.setattr(sample, "random_scenery", lambda *_: None)
    for seed in range(10):
        random_samples(studio, (1, seed), 40, SIZE, subjects)
    behind = np.mean([(-shot.R.T @ shot.t)[2] < 0 for shot in shots])
    assert len(shots) == 400
    assert behind == 0 if subjects == "faces" else 0.03 < behind < 0.2


def test_exposure_follows_the_subject():
    rng = np.random.default_rng(0)
    color = rng.uniform(0.05, 0.6, (20, 30, 3)).astype(np.float32)
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:20] = True
    color[mask] *= 0.3
    plain = expose(color, mask, np.random.default_rng(1))
    ratio = plain / color
    # One gain per channel, whatever is in the picture.
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1, :1], ratio.shape), rtol=1e-5)
    assert (np.abs(np.log(ratio[0, 0] / ratio[0, 0].mean())) < 0.4).all()
    brighter = expose(16 * color, mask, np.random.default_rng(1))
    np.testing.assert_allclose(brighter, 2 * plain, rtol=1e-5)
    # A dark subject is lifted more than a bright one in the same picture.
    assert expose(color, ~mask, np.random.default_rng(1)).mean() < plain.mean()
    assert np.isfinite(expose(color, np.zeros_like(mask), np.random.default_rng(1))).all()


def test_developing_keeps_what_is_to_be_seen():
    ramp = np.broadcast_to(np.arange(48)[None, :, None] / 48, (48, 48, 3))
    bright = ramp.astype(np.float32) * 0.6 + 0.02
    spread = []
    for seed in range(60):
        picture = develop(bright, np.random.default_rng(seed))
        assert picture.dtype == np.uint8
        assert picture.shape == (48, 48, 3)
        columns = picture.mean(axis=(0, 2))
        assert np.corrcoef(columns, np.arange(48))[0, 1] > 0.9
        assert picture.tobytes() == develop(bright, np.random.default_rng(seed)).tobytes()
        spread.append(np.ptp(columns))
    assert np.median(spread) > 100
    black = develop(np.zeros((16, 16, 3), np.float32), np.random.default_rng(3))
    assert black.max() < 40


@pytest.mark.parametrize("size", [32, 96])
def test_sizes(studio, size):
    one = random_samples(studio, (0, 5), 1, size)[0]
    assert one.image.shape == (size, size, 3)
    assert one.mask.shape == (size, size)
