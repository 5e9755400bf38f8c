import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mvs.network.densemarks import DenseMarks, DenseMarksConfig
from mvs.network.dpt import DPTConfig
from mvs.network.vit import ViTConfig


def recipe(name, shape):
    """A tensor of the published conformance recipe: a function of its name and shape alone."""
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float64)
    z = z.astype(np.float32)
    if any(part in name for part in ("norm.weight", ".norm1.weight", ".norm2.weight")):
        return np.float32(1) + np.float32(0.1) * z
    if name.endswith("gamma"):
        return np.float32(0.5) + np.float32(0.1) * z
    if name == "predictor.embed_lowres.weight":
        return np.float32(0.002) * z
    if len(shape) >= 2 and name.endswith("weight"):
        return (z / np.sqrt(int(np.prod(shape[1:])))).astype(np.float32)
    return np.float32(0.02) * z


def recipe_tensors(network):
    """Every tensor of a network by the recipe; its constants as they are."""
    constants = {name for name, _ in network.named_buffers()}
    return {
        name: tensor.clone() if name in constants else torch.from_numpy(recipe(name, tensor.shape))
        for name, tensor in network.state_dict().items()
    }


@pytest.fixture(scope="session")
def small_config():
    return DenseMarksConfig(
        vit=ViTConfig(
            width=16, depth=5, n_heads=2, patch_size=4, n_storage_tokens=2, taps=(0, 2, 3, 4)
        ),
        dpt=DPTConfig(token_width=16, level_widths=(4, 6, 8, 10), channels=8),
    )


@pytest.fixture
def small_tensors(small_config):
    tensors = recipe_tensors(DenseMarks(small_config))
    # The recipe's is for 256 channels; with 8 all coordinates would lie near the middle.
    tensors["predictor.embed_lowres.weight"] *= 100
    return tensors


@pytest.fixture
def small_file(small_tensors, tmp_path):
    path = tmp_path / "small.safetensors"
    save_file(small_tensors, path)
    return path
