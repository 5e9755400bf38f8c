from dataclasses import replace

import numpy as np
import pytest

from mvs.synthetic import dataset
from mvs.synthetic.dataset import (
    LABEL_SIZE,
    PICTURE_SIZE,
    RECORD,
    SHARDS,
    VIEWS_PER_PERSON,
    DatasetOptions,
    contact_sheet,
    decode_coords,
    decode_normals,
    encode,
    shard_path,
)
from mvs.synthetic.render import render
from mvs.synthetic.sample import Sample, random_samples
from mvs.synthetic.scene import build_scene
from mvs.synthetic.shards import write_shards
from mvs.training.data import to_batch
from tests.synthetic.test_render import gray, person_of, shot_of

LEVEL = 1 / 65535


def random_sample(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((PICTURE_SIZE, PICTURE_SIZE)) < 0.6
    coords = rng.uniform(0, 1, (PICTURE_SIZE, PICTURE_SIZE, 3)).astype(np.float32)
    image = rng.integers(0, 256, (PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
    normals = rng.normal(size=coords.shape)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    region = rng.choice(13, mask.shape, p=[0.3, *[0.7 / 12] * 12]).astype(np.uint8)
    on = mask[..., None].astype(np.float32)
    return Sample(image, coords * on, mask, normals.astype(np.float32) * on, region)


def slow_labels(sample):
    """Labels one by one: mean over the head's part of 2 x 2 pixels, head where half or more is."""
    coords = np.zeros((LABEL_SIZE, LABEL_SIZE, 3))
    mask = np.zeros((LABEL_SIZE, LABEL_SIZE), bool)
    for row in range(LABEL_SIZE):
        for column in range(LABEL_SIZE):
            block = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            inside = sample.mask[block]
            mask[row, column] = inside.sum() >= 2
            if inside.any():
                coords[row, column] = sample.coords[block][inside].astype(float).mean(axis=0)
    return coords, mask


def test_records_hold_the_sample():
    sample = random_sample()
    coords, mask = slow_labels(sample)
    assert 0.3 < mask.mean() < 0.9
    record = encode(sample)
    assert record.dtype == RECORD
    np.testing.assert_array_equal(record["image"], sample.image)
    np.testing.assert_array_equal(record["mask"], mask)
    decoded = decode_coords(record["coords"])
    assert decoded.dtype == np.float32
    # Rounded to the nearest level: half a level, and float32's own rounding.
    np.testing.assert_allclose(decoded[mask], coords[mask], atol=0.5 * LEVEL + 2e-7)
    assert np.abs(decoded - coords)[mask].max() > 0.45 * LEVEL


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_the_ends_of_the_cube_are_kept(value):
    size = (PICTURE_SIZE, PICTURE_SIZE)
    image = np.zeros((*size, 3), np.uint8)
    coords = np.full((*size, 3), value, np.float32)
    sample = Sample(image, coords, np.ones(size, bool), coords, np.ones(size, np.uint8))
    record = encode(sample)
    np.testing.assert_allclose(decode_coords(record["coords"]), value, atol=0.51 * LEVEL)
    assert (record["mask"] == 1).all()
    empty = encode(replace(sample, mask=np.zeros(size, bool)))
    assert not empty["mask"].any()
    assert not empty["coords"].any()


def test_flipping_is_what_a_mirrored_head_looks_like(studio):
    """The template is its own mirror image, so a mirrored camera sees the mirrored picture."""
    person = person_of(studio, neck=np.zeros(3, np.float32), collar=(-14.0, 0.3))
    person = replace(
        person,
        identity=np.zeros_like(person.identity),
        expression=np.zeros_like(person.expression),
    )
    scene = build_scene(studio, person, (0.0,))
    shot, mirror = shot_of(0.6, 0.2, 0.15, size=PICTURE_SIZE), np.diag([-1.0, 1, 1])
    center = (PICTURE_SIZE - shot.center[0], shot.center[1])
    other = replace(shot, R=mirror @ shot.R @ mirror, t=mirror @ shot.t, center=center)
    records = []
    for seen in (shot, other):
        photo = render(scene, seen, gray(PICTURE_SIZE), 1, 1)
        picture = (photo.coords * 255).astype(np.uint8)
        sample = Sample(picture, photo.coords, photo.mask, photo.normals, photo.region)
        records.append(encode(sample))
    for size in (PICTURE_SIZE, PICTURE_SIZE // 2):
        batch = to_batch(np.array(records), np.array([True, False]), size)
        assert batch.pictures.shape == (2, 3, size, size)
        assert batch.coords.shape == (2, 3, size // 2, size // 2)
        flipped, plain = batch.mask.numpy()[:, 0] > 0
        assert plain.mean() > 0.2
        # The shirt's rim is not its mirror image.
        assert (flipped != plain).mean() < 0.01
        both = flipped & plain
        coords = batch.coords.permute(0, 2, 3, 1).numpy()[:, both]
        assert np.quantile(np.abs(coords[0] - coords[1]), 0.99) < 2e-4
        assert not batch.coords.permute(0, 2, 3, 1).numpy()[0][~flipped].any()
        # Pictures are mirrored with their labels; all but their red channel, which is u.
        pictures = batch.pictures.numpy().transpose(0, 2, 3, 1)[:, ::2, ::2][:, both].astype(int)
        assert np.abs(pictures[0] - pictures[1])[:, 1:].mean() < 3
        assert np.abs(pictures[0].sum(axis=0) - pictures[1].sum(axis=0))[0] > 1000


def test_batches_hold_the_records():
    records = np.array([encode(random_sample(seed)) for seed in range(3)])
    batch = to_batch(records, np.array([False, True, False]), PICTURE_SIZE)
    for index, turn in enumerate((1, -1, 1)):
        picture = batch.pictures[index].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(picture, records[index]["image"][:, ::turn])
        mask = records[index]["mask"][:, ::turn] > 0
        np.testing.assert_array_equal(batch.mask[index, 0].numpy() > 0, mask)
        coords = decode_coords(records[index]["coords"])[:, ::turn]
        coords[..., 0] = 1 - coords[..., 0] if turn < 0 else coords[..., 0]
        found = batch.coords[index].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found, coords * mask[..., None], atol=1e-6)


def test_shards_continue_where_they_stopped(head_file, studio, tmp_path):
    options = DatasetOptions(head_file, tmp_path / "set", 2, 1, seed=3)
    written = list(write_shards(options, SHARDS))
    assert written == [shard_path(options.output, 0), shard_path(options.output, 1)]
    assert sorted(options.output.iterdir()) == written
    before = [path.read_bytes() for path in written]
    assert before[0] != before[1]
    records = np.load(written[1])
    assert records.dtype == RECORD
    assert records.shape == (VIEWS_PER_PERSON,)
    for view, sample in enumerate(random_samples(studio, (3, 1, 0), 3, PICTURE_SIZE)):
        assert records[view].tobytes() == encode(sample).tobytes()
    # What is there is not touched, what is missing comes back as it was.
    stamp = written[0].stat().st_mtime_ns
    written[1].unlink()
    assert list(write_shards(options, SHARDS)) == written[1:]
    assert written[0].stat().st_mtime_ns == stamp
    assert [path.read_bytes() for path in written] == before
    assert sorted(options.output.iterdir()) == written
    assert list(write_shards(options, SHARDS)) == []


@pytest.mark.parametrize("moment", ["render", "write"])
def test_shards_are_whole_or_absent(head_file, studio, tmp_path, monkeypatch, moment):
    options = DatasetOptions(head_file, tmp_path, 1, 2)
    monkeypatch.setattr(dataset, "load_studio", lambda _: studio)
    blank = random_sample()

    def samples(_studio, seed, n, _size, _subjects):
        if moment == "render" and seed[2] == 1:
            raise KeyboardInterrupt
        return [blank] * n

    def save(file, records):
        file.write(records.tobytes()[:1000])
        raise OSError("no space left")

    monkeypatch.setattr(dataset, "random_samples", samples)
    if moment == "write":
        monkeypatch.setattr(dataset.np, "save", save)
    with pytest.raises((KeyboardInterrupt, OSError)):
        dataset._write_shard(options, 0)
    assert not shard_path(tmp_path, 0).exists()
    monkeypatch.undo()
    monkeypatch.setattr(dataset, "random_samples", lambda *_: [blank] * 3)
    monkeypatch.setattr(dataset, "load_studio", lambda _: studio)
    path = dataset._write_shard(options, 0)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(np.load(path), np.array([encode(blank)] * 6))


def test_subjects_are_passed_on_and_checked(tmp_path, monkeypatch, studio):
    asked = []

    def samples(*arguments):
        asked.append(arguments[-1])
        return [random_sample()] * 3

    monkeypatch.setattr(dataset, "random_samples", samples)
    monkeypatch.setattr(dataset, "load_studio", lambda _: studio)
    options = DatasetOptions(tmp_path / "head.npz", tmp_path, people_per_shard=2)
    dataset._write_shard(options, 0)
    dataset._write_shard(replace(options, subjects="covered"), 1)
    assert asked == ["any"] * 2 + ["covered"] * 2
    with pytest.raises(ValueError, match="subjects must be one of any, faces, covered, got cats"):
        DatasetOptions(tmp_path / "head.npz", tmp_path, subjects="cats")


def test_a_bad_head_is_refused_before_anything_is_written(tmp_path):
    options = DatasetOptions(tmp_path / "absent.npz", tmp_path / "set")
    with pytest.raises(ValueError, match="not a packed ICT-FaceKit head"):
        list(write_shards(options, SHARDS))
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "bad", [{"n_shards": -1}, {"people_per_shard": 0}, {"seed": -1}, {"workers": 0}]
)
def test_impossible_options_are_refused(bad, tmp_path):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DatasetOptions(tmp_path / "head.npz", tmp_path, **bad)


def test_contact_sheet_shows_pictures_and_labels():
    records = np.array([encode(random_sample(seed)) for seed in range(5)])
    sheet = contact_sheet(records, 8)
    n = LABEL_SIZE
    assert sheet.shape == (3 * n, 8 * n, 3)
    assert sheet.dtype == np.uint8
    for index, record in enumerate(records):
        row, column = divmod(4 * index, 8)
        tile = sheet[row * n : (row + 1) * n, column * n : (column + 4) * n]
        np.testing.assert_array_equal(tile[:, :n], record["image"][::2, ::2])
        expected = decode_coords(record["coords"]) * record["mask"][..., None] * 255
        assert np.abs(tile[:, n : 2 * n] - expected).max() <= 1
        normals = (127 + 127 * decode_normals(record["normals"])) * record["mask"][..., None]
        assert np.abs(tile[:, 2 * n : 3 * n] - normals).max() <= 2
        # One colour per region, black for the background alone.
        colors = tile[:, 3 * n :].reshape(-1, 3)
        keys = set(zip(map(tuple, colors), record["region"].ravel(), strict=True))
        assert len(keys) == len({color for color, _ in keys}) == len(np.unique(record["region"]))
        np.testing.assert_array_equal((colors > 0).any(axis=1), record["region"].ravel() > 0)
    assert not sheet[2 * n :, 4 * n :].any()
