import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mvs.network import compact
from mvs.network.checkpoint import CheckpointError, save_checkpoint
from mvs.network.compact import (
    COORDS,
    KIND,
    LOG_VARIANCE,
    MASK,
    NORMALS,
    CompactConfig,
    CompactNetwork,
    crop_size,
    load_compact,
    predict,
)
from mvs.training.loop import save_weights
from mvs.types import Square

CONFIG = CompactConfig(
    size=64, widths=(8, 8, 16, 16, 32), depths=(1, 1, 1), n_attention=1, head_width=16
)


def make_network(seed=0, config=CONFIG):
    """A network whose output depends on the picture and whose batch norms have seen some."""
    torch.manual_seed(seed)
    network = CompactNetwork(config)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    network.train()
    for _ in range(3):
        network(255 * torch.rand(2, 3, 64, 64))
    return network.eval()


def answers(**values):
    """A network that answers the same everywhere: named outputs, zero otherwise."""
    network = CompactNetwork(CONFIG).eval()
    torch.nn.init.zeros_(network.head.weight)
    offset = {"u": 0.5, "v": 0.5, "w": 0.5, "log_variance": 2 * math.log(0.05), "mask": 0.0}
    offset |= {"nx": 0.0, "ny": 0.0, "nz": 0.3}
    biases = [values.get(name, 0.0) - offset[name] for name in offset]
    network.head.bias.data = torch.tensor(biases).repeat_interleave(4)
    return network


def crops(n, size=64):
    return np.random.default_rng(n).integers(0, 256, (n, size, size, 3), np.uint8)


def as_batch(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float()


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.mark.parametrize("size", [64, 128, 256])
def test_output_has_half_the_resolution(network, size):
    """Whatever the size it is trained for."""
    with torch.inference_mode():
        out = network(255 * torch.rand(2, 3, size, size))
    assert out.shape == (2, 8, size // 2, size // 2)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


def test_default_configuration():
    config = CompactConfig()
    assert config.size == 256
    assert crop_size(config) == 288
    assert crop_size(CONFIG) == 64
    network = CompactNetwork(config).eval()
    with torch.inference_mode():
        out = network(255 * torch.rand(1, 3, 64, 64))
    assert out.shape == (1, 8, 32, 32)


def test_starts_from_the_middle_of_the_cube():
    """With little weight in the last layer: the middle, a deviation of 0.05, and no opinion."""
    torch.manual_seed(0)
    network = CompactNetwork(CONFIG).eval()
    with torch.inference_mode():
        out = network(255 * torch.rand(1, 3, 64, 64))[0]
    assert (out[COORDS] - 0.5).abs().max() < 0.3
    assert (out[LOG_VARIANCE] - math.log(0.05**2)).abs().max() < 0.3
    assert out[MASK].abs().max() < 0.3


def test_last_layer_gives_the_four_pixels_of_a_block():
    network = answers()
    network.head.bias.data = torch.arange(32.0)
    with torch.inference_mode():
        out = network(torch.rand(1, 3, 64, 64))[0]
    offset = torch.tensor([0.5, 0.5, 0.5, 2 * math.log(0.05), 0.0, 0.0, 0.0, 0.3])
    for channel in range(8):
        block = 4 * channel + torch.tensor([[0.0, 1.0], [2.0, 3.0]]) + offset[channel]
        assert torch.equal(out[channel], block.tile(16, 16))


def test_pictures_of_a_batch_do_not_see_each_other(network):
    pictures = as_batch(crops(3))
    with torch.inference_mode():
        together = network(pictures)
        for picture, out in zip(pictures, together, strict=True):
            torch.testing.assert_close(network(picture[None])[0], out, atol=1e-5, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_attention_shows_every_cell_the_whole_picture():
    """A change in one corner reaches the opposite one, beyond the reach of the convolutions."""
    dark = torch.full((1, 3, 320, 320), 60.0)
    lit = dark.clone()
    lit[..., :32, :32] = 250.0
    for n_attention in (0, 1):
        network = make_network(config=replace(CONFIG, n_attention=n_attention))
        cells = []
        network.level32.register_forward_hook(lambda *call, cells=cells: cells.append(call[-1]))
        with torch.inference_mode():
            change = (network(lit) - network(dark)).abs()
        assert change[..., :16, :16].max() > 1e-2
        far = (cells[1] - cells[0])[..., 5:, 5:].abs().max()
        if n_attention:
            assert far > 1e-5
            assert change[..., -16:, -16:].any()
        else:
            assert far == 0
            assert not change[..., -16:, -16:].any()


def slow_attention(block, x):
    """(C, h, w) float64 through an attention block, cell by cell and head by head."""
    own = {name: tensor.double().numpy() for name, tensor in block.state_dict().items()}
    n_channels, rows, columns = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    x = x + own["position.bias"][:, None, None]
    for i, j in np.ndindex(3, 3):
        factor = own["position.weight"][:, 0, i, j, None, None]
        x = x + factor * padded[:, i : i + rows, j : j + columns]

    def linear(name, values):
        return own[f"{name}.weight"] @ values + own[f"{name}.bias"]

    def norm(name, values):
        scaled = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
        return scaled * own[f"{name}.weight"] + own[f"{name}.bias"]

    cells = [x[:, i, j] for i, j in np.ndindex(rows, columns)]
    triples = [np.split(linear("qkv", norm("norm1", cell)), 3) for cell in cells]
    width = n_channels // block.n_heads
    out = np.empty_like(x)
    for index, cell in enumerate(cells):
        mixed = np.zeros(n_channels)
        for head in (slice(k, k + width) for k in range(0, n_channels, width)):
            scores = [
                triples[index][0][head] @ key[head] / math.sqrt(width) for _, key, _ in triples
            ]
            shares = np.exp(scores) / np.exp(scores).sum()
            mixed[head] = sum(
                s * value[head] for s, (_, _, value) in zip(shares, triples, strict=True)
            )
        grown = cell + linear("proj", mixed)
        hidden = linear("mlp.0", norm("norm2", grown))
        hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        out[:, index // columns, index % columns] = grown + linear("mlp.2", hidden)
    return out


def test_attention_equals_the_slow_reference():
    torch.manual_seed(3)
    block = make_network().level32[1]
    for parameter in block.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(2, 32, 3, 4)
    with torch.inference_mode():
        found = block(x).numpy()
    for picture, values in zip(x.double().numpy(), found, strict=True):
        np.testing.assert_allclose(values, slow_attention(block, picture), rtol=1e-4, atol=1e-4)


def test_every_parameter_gets_a_gradient():
    network = make_network().train()
    network(as_batch(crops(2))).square().mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_learns_one_batch_by_heart():
    torch.manual_seed(2)
    network = CompactNetwork(CONFIG).train()
    pictures = as_batch(crops(2))
    targets = torch.nn.functional.interpolate(torch.rand(2, 8, 4, 4), (32, 32), mode="bilinear")
    targets[:, LOG_VARIANCE] -= 6.5
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    errors = []
    for _ in range(240):
        error = (network(pictures) - targets).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    # What the best constants per channel would leave.
    spread = (targets - targets.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
    assert errors[-1] < 0.1 * spread
    assert errors[-1] < 0.05 * errors[0]


@pytest.mark.parametrize(
    ("deviation", "confidence"),
    [(0.01, 0.5), (0.05, 1 / 26), (0.02, 0.2), (0.005, 0.8), (1e-6, 1.0), (1e3, 0.0)],
)
def test_confidence_is_a_half_where_the_error_is_one_percent(deviation, confidence):
    network = answers(log_variance=2 * math.log(deviation))
    with torch.inference_mode():
        found = predict(network, crops(1)[0])
    np.testing.assert_allclose(found.confidence, confidence, rtol=1e-4, atol=1e-7)
    assert found.confidence.dtype == np.float32


@pytest.mark.parametrize(("logit", "is_head"), [(0.01, True), (-0.01, False), (0.0, False)])
def test_mask_is_where_the_logit_is_positive(logit, is_head):
    with torch.inference_mode():
        found = predict(answers(mask=logit), crops(1)[0])
    assert found.mask.dtype == np.bool_
    assert (found.mask == is_head).all()


def test_coordinates_stay_in_the_cube():
    with torch.inference_mode():
        found = predict(answers(u=-0.3, v=-0.1, w=1.2), crops(1)[0])
    assert found.coords.dtype == np.float32
    # The mirrored picture says 1.3: the mean is the middle.
    np.testing.assert_allclose(found.coords - (0.5, 0, 1), 0, atol=1e-6)


def test_a_mirrored_picture_has_the_mirrored_answer(network):
    crop = crops(1)[0]
    with torch.inference_mode():
        plain = predict(network, crop)
        mirrored = predict(network, np.ascontiguousarray(crop[:, ::-1]))
    expected = plain.coords[:, ::-1].copy()
    expected[..., 0] = 1 - expected[..., 0]
    np.testing.assert_allclose(mirrored.coords, expected, atol=1e-6)
    np.testing.assert_allclose(mirrored.confidence, plain.confidence[:, ::-1], rtol=1e-5)
    turned = plain.normals[:, ::-1] * np.array([-1, 1, 1], np.float32)
    np.testing.assert_allclose(mirrored.normals, turned, atol=1e-5)


def test_prediction_is_the_network_s_answer_at_the_crop_s_resolution(network):
    """Mean with the mirrored answer, bilinear between its pixels' centres, written out."""
    crop = crops(1)[0]
    with torch.inference_mode():
        found = predict(network, crop)
        out = network(as_batch(crop[None]))[0].double().numpy()
        turned = network(as_batch(crop[None, :, ::-1].copy()))[0].double().numpy()[..., ::-1]
    turned = np.stack([1 - turned[0], *turned[1:5], -turned[5], *turned[6:]])
    out = (out + turned) / 2
    assert found.coords.shape == (64, 64, 3)
    assert found.confidence.shape == found.mask.shape == (64, 64)
    place = np.clip((np.arange(64) + 0.5) / 2 - 0.5, 0, 31)
    weights = np.maximum(1 - np.abs(place[:, None] - np.arange(32)), 0)
    expected = weights @ out @ weights.T
    coords = np.clip(expected[COORDS], 0, 1).transpose(1, 2, 0)
    np.testing.assert_allclose(found.coords, coords, atol=1e-5)
    confidence = 1 / (1 + np.exp(expected[LOG_VARIANCE]) / 1e-4)
    np.testing.assert_allclose(found.confidence, confidence, rtol=1e-4)
    normals = expected[NORMALS].transpose(1, 2, 0)
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    well = length[..., 0] > 1e-2
    np.testing.assert_allclose(found.normals[well], (normals / length)[well], atol=1e-4)
    clear = np.abs(expected[MASK]) > 1e-4
    assert 0 < found.mask.sum() < 64**2
    np.testing.assert_array_equal(found.mask[clear], expected[MASK][clear] > 0)


def test_a_crop_s_layout_does_not_matter(network):
    crop = crops(1)[0]
    mirrored = np.ascontiguousarray(crop[:, ::-1])
    with torch.inference_mode():
        expected, found = predict(network, crop), predict(network, mirrored[:, ::-1])
    np.testing.assert_array_equal(found.coords, expected.coords)


@pytest.mark.parametrize("seed", [0, 1])
def test_saved_and_loaded_it_answers_the_same(tmp_path, seed):
    network = make_network(seed)
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, network, KIND, network.config)
    embedder = load_compact(path)
    assert (embedder.name, embedder.size, embedder.wants_distorted) == ("compact", 64, False)
    image = crops(1)[0]
    found = embedder.embed(image, Square((32.0, 32.0), 64.0))
    with torch.inference_mode():
        expected = predict(network, image)
    np.testing.assert_array_equal(found.coords, expected.coords)
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    np.testing.assert_array_equal(found.mask, expected.mask)


def test_weights_as_shipped_have_half_precision(tmp_path):
    """Matrices are rounded in the file, and the network in use is left as it is."""
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = tmp_path / "a.safetensors"
    save_weights(path, network)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    stored, parameters = load_file(path), dict(network.named_parameters())
    for name, tensor in stored.items():
        is_matrix = name in parameters and tensor.ndim > 1
        assert tensor.dtype == (torch.float16 if is_matrix else before[name].dtype)
    for name in parameters:
        network.state_dict()[name].copy_(stored[name].float())
    image = crops(1)[0]
    found = load_compact(path).embed(image, Square((32.0, 32.0), 64.0))
    with torch.inference_mode():
        expected = predict(network, image)
    np.testing.assert_array_equal(found.coords, expected.coords)
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    np.testing.assert_array_equal(found.mask, expected.mask)


def test_shipped_weights_are_the_default(tmp_path, monkeypatch):
    path = tmp_path / "shipped.safetensors"
    monkeypatch.setattr(compact, "WEIGHTS", path)
    with pytest.raises(CheckpointError, match="no such file") as caught:
        load_compact()
    assert caught.value.path == path
    save_weights(path, make_network())
    assert load_compact().size == 64


def test_weights_of_another_size_or_kind_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    network = make_network()
    save_checkpoint(path, network, KIND, replace(CONFIG, depths=(1, 2, 1)))
    with pytest.raises(CheckpointError, match=r"tensors do not fit.*missing"):
        load_compact(path)
    save_checkpoint(path, network, KIND, replace(CONFIG, widths=(8, 8, 16, 16, 48)))
    with pytest.raises(CheckpointError, match="of wrong shape"):
        load_compact(path)
    save_checkpoint(path, network, "densemarks", CONFIG)
    with pytest.raises(CheckpointError, match="holds a densemarks network, not compact"):
        load_compact(path)


IMPOSSIBLE = [
    ({"size": 250}, "multiple of 32"),
    ({"size": 16}, "multiple of 32"),
    ({"widths": (8, 8, 16, 32)}, "5 widths"),
    ({"widths": ()}, "5 widths"),
    ({"depths": (1, 1)}, "3 depths"),
    ({"depths": (1, 1, 1, 1)}, "3 depths"),
    ({"head_width": 24}, "multiple of head_width"),
    ({"widths": (8, 8, 16, 16, 40)}, "multiple of head_width"),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


NOT_POSITIVE = [
    {"size": 0},
    {"size": -32},
    {"widths": (8, 8, 16, 16, 0)},
    {"widths": (8, 8, 16, 16, -32)},
    {"depths": (1, -1, 1)},
    {"n_attention": -1},
    {"head_width": 0},
    {"head_width": -16},
]


@pytest.mark.parametrize("change", NOT_POSITIVE)
def test_sizes_that_are_not_positive_are_refused(change):
    with pytest.raises(ValueError):
        replace(CONFIG, **change)


def refused(change):
    return pytest.param(change, id=str(change))


@pytest.mark.parametrize(
    "change",
    [
        *(refused(change) for change, _ in IMPOSSIBLE),
        refused({"size": "large"}),
        refused({"widths": 8}),
        refused({"depths": None}),
        refused({"depths": (1, -1, 1)}),
        refused({"n_attention": -1}),
        refused({"size": 0}),
        refused({"head_width": 0}),
        refused({"widths": (8, 8, 16, 16, -32)}),
        refused({"widths": (8.5, 8, 16, 16, 32)}),
        refused({"n_attention": "x"}),
    ],
)
def test_a_file_with_an_impossible_configuration_is_refused(tmp_path, change):
    config = {name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__} | change
    header = json.dumps({"kind": KIND, "config": config})
    path = tmp_path / "a.safetensors"
    save_file(make_network().state_dict(), path, {"headmvs": header})
    with pytest.raises(CheckpointError) as caught:
        load_compact(path)
    assert "\n" not in str(caught.value)
