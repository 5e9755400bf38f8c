from dataclasses import replace

import numpy as np
import pytest
import torch

from mvs.synthetic.dataset import LABEL_SIZE, RECORD, decode_coords, decode_normals, shard_path
from mvs.training import data
from mvs.training.data import ShardStream, StreamOptions, to_batch


@pytest.fixture
def records(shards):
    return np.load(shard_path(shards, 0))


def test_a_batch_is_the_records(records):
    batch = to_batch(records[:3], np.zeros(3, bool), 256)
    np.testing.assert_array_equal(batch.pictures.permute(0, 2, 3, 1), records["image"][:3])
    np.testing.assert_array_equal(batch.mask[:, 0] > 0, records["mask"][:3] > 0)
    on_head = records["mask"][:3] > 0
    found = batch.coords.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(
        found[on_head], decode_coords(records["coords"][:3])[on_head], atol=1e-6
    )
    assert (found[~on_head] == 0).all()
    normals = batch.normals.permute(0, 2, 3, 1).numpy()
    expected = decode_normals(records["normals"][:3])[on_head]
    np.testing.assert_allclose((normals[on_head] * expected).sum(axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(normals[on_head], axis=1), 1, atol=1e-5)
    assert (normals[~on_head] == 0).all()
    np.testing.assert_array_equal(batch.region, records["region"][:3])


def test_a_mirrored_picture_swaps_left_and_right_in_the_cube(records):
    plain = to_batch(records[:1], np.zeros(1, bool), 256)
    mirrored = to_batch(records[:1], np.ones(1, bool), 256)
    np.testing.assert_array_equal(mirrored.pictures.flip(3), plain.pictures)
    np.testing.assert_array_equal(mirrored.mask.flip(3), plain.mask)
    expected = plain.coords.clone()
    expected[:, 0] = (1 - expected[:, 0]) * plain.mask[:, 0]
    np.testing.assert_allclose(mirrored.coords.flip(3), expected, atol=1e-6)
    expected = plain.normals.clone()
    expected[:, 0] *= -1
    np.testing.assert_allclose(mirrored.normals.flip(3), expected, atol=1e-6)
    np.testing.assert_array_equal(mirrored.region.flip(2), plain.region)


def test_half_size_labels_are_means_over_the_head_only(records):
    batch = to_batch(records[:2], np.zeros(2, bool), 128)
    n = LABEL_SIZE // 2
    for index in range(2):
        mask = records["mask"][index].reshape(n, 2, n, 2).transpose(0, 2, 1, 3).reshape(n, n, 4)
        coords = decode_coords(records["coords"][index]).reshape(n, 2, n, 2, 3)
        coords = coords.transpose(0, 2, 1, 3, 4).reshape(n, n, 4, 3)
        for row, column in zip(*np.nonzero(mask.mean(axis=2) >= 0.5), strict=True):
            inside = mask[row, column] > 0
            expected = coords[row, column][inside].mean(axis=0)
            found = batch.coords[index, :, row, column].numpy()
            np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_array_equal(batch.mask[index, 0] > 0, mask.mean(axis=2) >= 0.5)


@pytest.mark.parametrize("size", [160, 192, 224])
def test_pictures_of_any_size_are_seen_from_the_same_place(records, size):
    """Labels lie where those of the full size do, to a pixel of the smaller."""
    full = to_batch(records[:2], np.zeros(2, bool), 256)
    batch = to_batch(records[:2], np.zeros(2, bool), size)
    assert batch.pictures.shape == (2, 3, size, size)
    line = (np.arange(size // 2) + 0.5) * 256 / size - 0.5
    at = line.round().astype(int)
    both = (batch.mask > 0) & (full.mask[..., at, :][..., at] > 0)
    assert both.sum() > 0.95 * (batch.mask > 0).sum()
    # Coordinates of these records grow evenly from left to right and from bottom to top.
    there = torch.from_numpy((line + 0.5) / 128).float()
    inner = torch.nn.functional.max_pool2d(1 - batch.mask, 5, 1, 2) == 0
    for axis, expected in ((0, there[None, :]), (1, 1 - there[:, None])):
        error = ((batch.coords[:, axis] - expected) * inner[:, 0]).abs()
        assert error.max() < 0.002
    rim = torch.nn.functional.max_pool2d(batch.mask, 3, 1, 1)
    rim = rim != -torch.nn.functional.max_pool2d(-batch.mask, 3, 1, 1)
    named = batch.region > 0
    assert (named == (batch.mask[:, 0] > 0))[~rim[:, 0]].all()


def test_a_step_s_batch_depends_on_its_number_alone(shards):
    options = StreamOptions(shards, 2, first=2)
    first, second = ShardStream(options), ShardStream(options)
    first.get(1, 5, 128, 5)
    for step in (7, 8):
        one, two = first.get(step, 5 * step, 128, 5), second.get(step, 5 * step, 128, 5)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    changed = ShardStream(replace(options, augment=True)).get(7, 35, 128, 5)
    assert not np.array_equal(changed.pictures, first.get(7, 35, 128, 5).pictures)
    assert not np.array_equal(first.get(7, 0, 128, 5).pictures, first.get(8, 0, 128, 5).pictures)


def test_newer_shards_come_into_use_as_pictures_are_used(tmp_path):
    for number in range(4):
        records = np.zeros(10, RECORD)
        records["image"] = 10 * (number + 1)
        np.save(shard_path(tmp_path, number), records)
    stream = ShardStream(StreamOptions(tmp_path, 4, first=1, reuse=2.0))

    def used(seen):
        values = stream.get(0, seen, 128, 64).pictures[:, 0, 0, 0]
        return set((values // 10 - 1).tolist())

    assert used(0) == {0}
    assert used(25) == {0, 1}
    assert used(1000) == {0, 1, 2, 3}


def test_a_folder_without_shards_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="mvs synthesize training"):
        ShardStream(StreamOptions(tmp_path, 4))


def test_a_shard_that_never_comes_is_an_error(shards, monkeypatch):
    monkeypatch.setattr(data, "_LONGEST_WAIT_S", 0)
    stream = ShardStream(StreamOptions(shards, 50, first=50))
    with pytest.raises(ValueError, match=r"shard_000\d\d\.npy: did not come"):
        stream.get(0, 0, 128, 64)
