"""The DenseMarks network: loads the public checkpoint and computes what the public model computes.

Source: Pozdeev et al. 2026, DenseMarks: Learning Canonical Embeddings for Human Heads Images via
Point Tracks. The checkpoint is CC BY-NC 4.0 and never part of this project; ``mvs weights fetch
densemarks`` gets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mvs.network.checkpoint import CheckpointError, load_strict, read_tensors
from mvs.network.download import cached_path
from mvs.network.dpt import DPTConfig, DPTNeck
from mvs.network.heads import CubeHead
from mvs.network.network_embedder import NetworkEmbedder, Prediction
from mvs.network.vit import VisionTransformer, ViTConfig
from mvs.types import ByteArray

CROP_SIZE = 512
_PIXEL_MEAN = (0.485, 0.456, 0.406)
_PIXEL_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DenseMarksConfig:
    """The parts of the network; the defaults are the public model.

    Attributes:
        vit: the backbone.
        dpt: the neck; its ``token_width`` is the backbone's ``width``.
    """

    vit: ViTConfig = field(default_factory=ViTConfig)
    dpt: DPTConfig = field(default_factory=DPTConfig)

    def __post_init__(self) -> None:
        if self.vit.width != self.dpt.token_width:
            raise ValueError(
                f"dpt.token_width must be vit.width = {self.vit.width}, got {self.dpt.token_width}"
            )


class Features(nn.Module):
    """Normalisation, backbone and neck: a picture to a feature map."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: DenseMarksConfig) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor(_PIXEL_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(_PIXEL_STD).reshape(1, 3, 1, 1))
        self.backbone = VisionTransformer(config.vit)
        self.dpt_neck = DPTNeck(config.dpt)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, channels, about H / 2, about W / 2)."""
        taps = self.backbone((image - self.pixel_mean) / self.pixel_std)
        features: Tensor = self.dpt_neck(taps)
        return features


class DenseMarks(nn.Module):
    """Cube coordinates for every pixel of a picture; module names are the checkpoint's."""

    def __init__(self, config: DenseMarksConfig) -> None:
        super().__init__()
        self.embedder = Features(config)
        self.predictor = CubeHead(config.dpt.channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], sides multiples of the patch -> (B, 3, H, W) in [0, 1]."""
        height, width = image.shape[-2:]
        coords: Tensor = self.predictor(self.embedder(image), height, width)
        return coords


def load_network(path: Path, config: DenseMarksConfig | None = None) -> DenseMarks:
    """The network with the weights of a checkpoint in the public naming.

    Args:
        path: safetensors file.
        config: sizes; the public model's by default.

    Returns:
        The network in evaluation mode, float32.

    Raises:
        CheckpointError: if the file is absent, damaged, or does not fit the network.
    """
    tensors, _ = read_tensors(path)
    network = DenseMarks(config or DenseMarksConfig())
    constants = [name for name, _ in network.named_buffers()]
    load_strict(network, tensors, path, constants)
    return network.eval()


def load_densemarks(weights: Path | None = None, device: str = "cpu") -> NetworkEmbedder:
    """The public DenseMarks model as an embedder.

    The model says nothing about where the head is or how sure it is: ``confidence`` is 1 and
    ``mask`` True wherever the region lies inside the picture, and the head is taken to be what the
    picture shows (``find_head`` returns the whole picture). Give head masks with the capture.

    Args:
        weights: the checkpoint; by default where ``mvs weights fetch densemarks`` puts it.
        device: PyTorch's name of the device to compute on.

    Raises:
        CheckpointError: if there is no usable checkpoint.
    """
    path = weights or cached_path("densemarks")
    if weights is None and not path.is_file():
        raise CheckpointError(
            path,
            "no DenseMarks weights here",
            "run `mvs weights fetch densemarks` or give --weights",
        )
    network = load_network(path).to(device)

    def predict(crop: ByteArray) -> Prediction:
        image = torch.from_numpy(crop).to(device).permute(2, 0, 1)[None].float() / 255
        coords = network(image)[0].permute(1, 2, 0).contiguous().cpu().numpy()
        ones = np.ones(crop.shape[:2], np.float32)
        return Prediction(coords, ones, ones > 0)

    embedder = NetworkEmbedder("densemarks", predict, CROP_SIZE, has_mask=False)
    embedder.weights, embedder.device = path, device
    return embedder
