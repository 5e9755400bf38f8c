import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mvs.network import densemarks
from mvs.network.checkpoint import CheckpointError
from mvs.network.densemarks import DenseMarks, DenseMarksConfig, load_densemarks, load_network
from mvs.network.dpt import DPTConfig
from mvs.network.vit import ViTConfig
from mvs.types import Square
from tests.network.conftest import recipe_tensors
from tests.reference import dense_transformer
from tests.shared import SHARED

VECTORS = SHARED / "conformance" / "densemarks"


def as_batch(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


# Odd grids are where the pyramid's levels do not fit and are resized.
@pytest.mark.parametrize("shape", [(16, 16), (12, 20), (4, 8)])
def test_equals_the_slow_reference(small_config, small_file, small_tensors, shape):
    image = np.random.default_rng(3).uniform(0, 1, (3, *shape))
    expected = dense_transformer.forward(small_config, small_tensors, image)
    network = load_network(small_file, small_config)
    with torch.inference_mode():
        found = network(torch.from_numpy(image.astype(np.float32))[None])[0].numpy()
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.skipif(not VECTORS.is_dir(), reason=f"{SHARED} holds no conformance vectors")
def test_computes_what_the_public_model_computes(tmp_path):
    layout = json.loads((VECTORS / "layout.json").read_text())
    network = DenseMarks(DenseMarksConfig())
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == {tensor["name"]: tensor["shape"] for tensor in layout}
    fixed = {tensor["name"] for tensor in layout if tensor["fixed"]}
    assert {name for name, _ in network.named_buffers()} == fixed
    path = tmp_path / "model.safetensors"
    save_file(recipe_tensors(network), path)
    network = load_network(path)
    path.unlink()
    with np.load(VECTORS / "vectors.npz") as vectors, torch.inference_mode():
        for case in ("wide", "square"):
            found = network(as_batch(vectors[f"{case}_image"]))[0].numpy()
            assert np.abs(found - vectors[f"{case}_uvw"]).max() <= 2e-4


def test_shapes_and_range(small_config):
    network = DenseMarks(small_config).eval()
    for batch, height, width in ((1, 8, 8), (3, 16, 4)):
        coords = network(torch.rand(batch, 3, height, width))
        assert coords.shape == (batch, 3, height, width)
        assert coords.dtype == torch.float32
        assert 0 <= coords.min() <= coords.max() <= 1


@pytest.mark.parametrize(
    "shape", [(1, 3, 8, 9), (1, 3, 6, 8), (1, 4, 8, 8), (3, 8, 8), (0, 3, 8, 8), (8,)]
)
def test_pictures_that_cannot_be_cut_into_patches_are_refused(small_config, shape):
    with pytest.raises(ValueError, match="multiples of 4, got"):
        DenseMarks(small_config).embedder.backbone(torch.zeros(shape))


def test_every_parameter_in_use_gets_a_gradient(small_config):
    torch.manual_seed(0)
    network = DenseMarks(small_config)
    network(torch.rand(2, 3, 12, 8)).square().mean().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    unused = "embedder.dpt_neck.fusion_stage.layers.0.residual_layer1.convolution"
    assert without == {"embedder.backbone.mask_token"} | {
        f"{unused}{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")
    }
    dead = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.any()]
    assert dead == []
    key_bias = network.embedder.backbone.blocks[0].attn.qkv.bias.grad[16:32]
    assert not key_bias.any()


def test_learns_one_batch_by_heart(small_config):
    torch.manual_seed(1)
    network = DenseMarks(small_config)
    image, target = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 4, 4) * 0.6 + 0.2
    target = torch.nn.functional.interpolate(target, (16, 16), mode="bilinear")
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    errors = []
    for _ in range(150):
        error = (network(image) - target).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.05 * errors[0]
    assert errors[-1] < 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViTConfig(width=20, n_heads=3), "multiple of 4"),
        (lambda: ViTConfig(width=12, n_heads=2), "multiple of 4"),
        (lambda: ViTConfig(taps=()), "ascending"),
        (lambda: ViTConfig(taps=(3, 2)), "ascending"),
        (lambda: ViTConfig(depth=4, taps=(1, 4)), r"0\.\.3"),
        (lambda: DPTConfig(level_widths=(1, 2, 3)), "4 entries"),
        (lambda: DenseMarksConfig(dpt=DPTConfig(token_width=384)), "768"),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_half_precision_files_load(small_config, small_tensors, tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in small_tensors.items()}, path)
    network = load_network(path, small_config)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    # What the file says counts, also where it is rounded: the public model computes with it.
    name = "embedder.backbone.rope_embed.periods"
    rounded = small_tensors[name].bfloat16().float()
    assert torch.equal(network.state_dict()[name], rounded)


def test_other_constants_are_refused(small_config, small_tensors, tmp_path):
    path = tmp_path / "other.safetensors"
    small_tensors["embedder.backbone.rope_embed.periods"] *= 1.05
    save_file(small_tensors, path)
    with pytest.raises(CheckpointError, match=r"constants differ.*rope_embed\.periods"):
        load_network(path, small_config)


def test_embedder(small_config, small_file, monkeypatch):
    monkeypatch.setattr(densemarks, "CROP_SIZE", 32)
    monkeypatch.setattr(densemarks, "DenseMarksConfig", lambda: small_config)
    embedder = load_densemarks(small_file)
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    # It cannot tell where the head is: the picture is taken to show it.
    assert embedder.find_head(image) == Square((16.0, 12.0), 32.0)
    region = embedder.embed(image, Square((16.0, 12.0), 32.0))
    assert region.mask.sum() == 24 * 32
    assert (region.confidence == 1).all()
    crop = np.zeros((32, 32, 3), np.uint8)
    crop[4:28] = image
    with torch.inference_mode():
        expected = load_network(small_file, small_config)(as_batch(crop))[0].permute(1, 2, 0)
    np.testing.assert_allclose(region.coords, expected, atol=1e-6)
    whole = embedder.embed(image)
    assert whole.mask.all()
    np.testing.assert_allclose(whole.coords, region.coords[4:28], atol=1e-6)


def test_without_weights_it_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        load_densemarks()
    assert "mvs weights fetch densemarks" in str(caught.value)
    assert "\n" not in str(caught.value)
