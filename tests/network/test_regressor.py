from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from mvs.network import regressor as regressor_module
from mvs.network.checkpoint import CheckpointError, save_checkpoint
from mvs.network.regressor import (
    KIND,
    WEIGHTS,
    RegressorConfig,
    RegressorNetwork,
    load_regressor,
)
from tests.headmodel.readings import SMALL, small_network


def portrait(seed=0, size=32):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def saved(path, network):
    save_checkpoint(path, network, KIND, network.config)
    return path


def lively(network):
    """Weights large enough for pictures to differ."""
    points = network.points
    for weight in (network.mean.weight, network.variance.weight, points.offset, points.doubt):
        torch.nn.init.normal_(weight, std=1.0)
    return network


def test_a_mirror_image_reads_as_mirrored(tmp_path):
    network = lively(small_network())
    signs = torch.where(torch.arange(9) % 2 == 0, 1.0, -1.0)
    network.mirror.copy_(signs)
    regressor = load_regressor(saved(tmp_path / "r.safetensors", network))
    picture = portrait()
    plain, mirrored = regressor.read(picture), regressor.read(picture[:, ::-1])
    assert np.abs(plain.mean).max() > 0.1
    np.testing.assert_allclose(mirrored.mean, plain.mean * signs.numpy(), atol=1e-5)
    np.testing.assert_allclose(mirrored.variance, plain.variance, rtol=1e-5)
    # What is left in the one is right in the other.
    other = np.roll(np.arange(SMALL.n_anchors), SMALL.n_anchors // 2)
    np.testing.assert_allclose(mirrored.points[other] * [-1, 1] + [32, 0], plain.points, atol=1e-3)
    np.testing.assert_allclose(mirrored.sigma[other], plain.sigma, rtol=1e-4)
    assert np.ptp(plain.points, axis=0).min() > 1
    assert np.ptp(plain.sigma) > 0.1
    assert (plain.variance > 0).all()
    assert (plain.variance <= 1).all()


def test_a_reading_is_that_of_the_network(tmp_path):
    network = lively(small_network(3)).eval()
    picture = portrait(1)
    found = load_regressor(saved(tmp_path / "r.safetensors", network)).read(picture)
    both = torch.from_numpy(np.stack([picture, picture[:, ::-1]])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        seen = network(both)
    np.testing.assert_allclose(found.mean, seen.mean.mean(0).numpy(), atol=1e-5)
    np.testing.assert_allclose(found.variance, seen.variance.mean(0).exp().numpy(), rtol=1e-5)
    assert found.points.shape == (SMALL.n_anchors, 2)
    assert found.sigma.shape == (SMALL.n_anchors,)
    assert found.mean.shape == found.variance.shape == (SMALL.n_coefficients,)
    assert found.mean.dtype == np.float64


def test_a_portrait_read_often_is_the_mean_of_its_layouts(tmp_path):
    """Layout by layout: the picture moved by hand, what is seen in it moved back."""
    network = lively(small_network(3))
    regressor = load_regressor(saved(tmp_path / "r.safetensors", network))
    smooth = cv2.GaussianBlur(portrait(2), (0, 0), 2.0)
    found = regressor.read(smooth, 3)
    parts = []
    for zoom, x, y in regressor_module._LAYOUTS[:3]:
        rows, columns = np.indices((32, 32)) + 0.5
        at = [(16 + (c - 16 - k * 32) / zoom) for c, k in ((rows, y), (columns, x))]
        moved = np.stack(
            [
                map_coordinates(
                    smooth[..., k].astype(float), [a - 0.5 for a in at], order=1, mode="nearest"
                )
                for k in range(3)
            ],
            2,
        )
        part = regressor.read(np.round(moved).astype(np.uint8))
        back = 16 + (part.points - 16 - 32 * np.array([x, y])) / zoom
        parts.append((part.mean, back, np.log(part.variance), np.log(part.sigma)))
    mean, points, variance, sigma = (np.mean(p, axis=0) for p in zip(*parts, strict=True))
    np.testing.assert_allclose(found.points, points, atol=0.5)
    np.testing.assert_allclose(found.mean, mean, atol=0.05 * np.abs(mean).max())
    np.testing.assert_allclose(np.log(found.variance), variance, atol=0.1)
    np.testing.assert_allclose(np.log(found.sigma), sigma, atol=0.1)
    assert np.abs(found.mean - regressor.read(smooth).mean).max() > 0
    for bad in (0, 6):
        with pytest.raises(ValueError, match="times must be 1 to 5"):
            regressor.read(smooth, bad)


def test_a_place_is_where_its_cells_and_their_features_say():
    """Cell by cell: the mean of the cells' middles and of what their features say besides."""
    network = lively(small_network(5)).eval()
    taken = {}
    network.points.mixed.register_forward_hook(lambda _m, _i, out: taken.update(seen=out))
    with torch.no_grad():
        found = network(torch.from_numpy(portrait(4)).permute(2, 0, 1)[None].float())
    seen, points = taken["seen"][0], network.points
    query, base = points.query.weight[:, :, 0, 0], points.query.bias
    for m in (0, 7, 59):
        scores = {
            (y, x): float((query[m] @ seen[:, y, x] + base[m]).detach())
            for y in range(4)
            for x in range(4)
        }
        total = sum(np.exp(score) for score in scores.values())
        at = np.zeros(2)
        for (y, x), score in scores.items():
            off = (seen[:, y, x] @ points.offset[m]).detach().numpy()
            at += np.exp(score) / total * (8 * np.array([x + 0.5, y + 0.5]) + 8 * off)
        np.testing.assert_allclose(found.points[0, m].numpy(), at, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.cells.exp().sum(dim=2).numpy(), 1.0, rtol=1e-5)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_regressor(tmp_path / "absent.safetensors")
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, small_network(), "compact", SMALL)
    with pytest.raises(CheckpointError, match="holds a compact network, not regressor"):
        load_regressor(path)
    save_checkpoint(path, small_network(), KIND, replace(SMALL, hidden=16))
    with pytest.raises(CheckpointError, match="of wrong shape"):
        load_regressor(path)


@pytest.mark.parametrize(
    "bad",
    [
        {"n_anchors": 0},
        {"hidden": 0},
        {"search": 0},
        {"narrow": (4,)},
        {"size": 30},
        {"n_identity": 0},
    ],
)
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError):
        replace(SMALL, **bad)


def test_the_shipped_weights():
    regressor = load_regressor()
    assert WEIGHTS.stat().st_size < 30_000_000
    network = regressor.network
    assert network.config == RegressorConfig()
    assert isinstance(network, RegressorNetwork)
    size = network.config.size
    found = regressor.read(np.full((size, size, 3), 90, np.uint8))
    # Nothing shows: whatever is guessed is no outlier, and by no means sure.
    assert (np.abs(found.mean) < 3).all()
    assert found.variance.mean() > 0.5
    energy, n = network.energy.numpy(), network.config.n_identity
    assert (found.variance * energy)[:n].sum() > 0.6 * energy[:n].sum()
    # Anchors lie on the canonical face, in mirrored pairs.
    left, right = network.anchors.chunk(2)
    np.testing.assert_allclose(left[:, 0], 1 - right[:, 0], atol=1e-6)
    np.testing.assert_allclose(left[:, 1:], right[:, 1:], atol=1e-6)
    assert set(network.mirror.tolist()) == {-1.0, 1.0}
