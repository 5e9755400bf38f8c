"""The shipped network: an encoder and a decoder that gives every pixel its place in the cube."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvs.network.checkpoint import load_checkpoint, load_strict
from mvs.network.encoder import ConvNorm, Encoder, EncoderConfig
from mvs.network.network_embedder import NetworkEmbedder, Prediction
from mvs.types import BoolArray, ByteArray, Embedder

KIND = "compact"
WEIGHTS = Path(__file__).parent / "weights" / "compact.safetensors"
# The standard deviation, in cube units, at which confidence is a half (about 4 mm).
_HALF_CONFIDENCE = 0.01
# Channels of the output.
COORDS, LOG_VARIANCE, MASK, NORMALS = slice(0, 3), 3, 4, slice(5, 8)
_N_OUTPUTS = 8


@dataclass(frozen=True)
class CompactConfig(EncoderConfig):
    """Size of the network."""


class CompactNetwork(Encoder):
    """Picture to cube coordinates, log-variance, mask and normals, at half its resolution."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        _, w4, w8, w16, w32 = config.widths
        self.narrow = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in ((w32, w16), (w16, w8), (w8, w4))
        )
        self.merge = nn.ModuleList(
            nn.Sequential(ConvNorm(w, w), ConvNorm(w, w)) for w in (w16, w8, w4)
        )
        # Four values per output: one for each pixel of a 2 x 2 block at stride 2.
        self.head = nn.Conv2d(w4, 4 * _N_OUTPUTS, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias, 0.0)  # type: ignore[arg-type]

    def forward(self, picture: Tensor) -> Tensor:
        """Predict.

        Args:
            picture: (B, 3, S, S) RGB in 0..255, S a multiple of 32.

        Returns:
            (B, 8, S / 2, S / 2) float32: coordinates, logarithm of their variance (squared cube
            units), logit of the head mask, normal in the head's frame (of any length).
        """
        x4, x8, x16, x = self.encode(picture)
        skips = (x16, x8, x4)
        for narrow, merge, skip in zip(self.narrow, self.merge, skips, strict=True):
            x = merge(F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear") + skip)
        # Coordinates need more digits than half precision has.
        with torch.autocast(picture.device.type, enabled=False):
            out = F.pixel_shuffle(self.head(x.float()), 2)
        offset = out.new_tensor([0.5, 0.5, 0.5, 2 * math.log(0.05), 0.0, 0.0, 0.0, 0.3])
        return torch.as_tensor(out + offset[:, None, None])


def load_compact(weights: Path | None = None, device: str = "cpu") -> Embedder:
    """The compact embedder.

    Args:
        weights: checkpoint of ``CompactNetwork``; the shipped one if None.
        device: where to compute.

    Raises:
        CheckpointError: if the file is absent, damaged or for another network.
    """
    path = weights or WEIGHTS
    config, tensors = load_checkpoint(path, KIND, CompactConfig)
    network = CompactNetwork(config)
    load_strict(network, tensors, path)
    network.eval().to(device=device)
    embedder = NetworkEmbedder(
        KIND,
        partial(predict, network),
        crop_size(config),
        predict_mask=partial(predict_mask, network),
    )
    embedder.weights, embedder.device = path, device
    return embedder


def crop_size(config: CompactConfig) -> int:
    """Side of the crops that are looked at, pixels: an eighth more than in training.

    Finer pixels gain more than the larger head loses; a quarter more loses again.
    """
    return 32 * round(config.size * 9 / 8 / 32)


def predict(network: CompactNetwork, crop: ByteArray) -> Prediction:
    """What the network says of a crop (S, S, 3) uint8, at the crop's resolution.

    The mean of its answers to the crop and, turned back, to the crop's mirror image.
    Confidence is 1 / (1 + variance / 0.01^2): a half where the expected error is 1 % of the cube.
    """
    picture = _batch_of(crop, network)
    both = torch.cat([picture, picture.flip(3)])
    plain, mirrored = network(both.contiguous(memory_format=torch.channels_last))
    mirrored = mirrored.flip(2)
    mirrored[0], mirrored[NORMALS.start] = 1 - mirrored[0], -mirrored[NORMALS.start]
    out = 0.5 * (plain + mirrored)[None]
    out = F.interpolate(out, scale_factor=2.0, mode="bilinear")[0].cpu()
    coords = out[COORDS].clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
    variance = out[LOG_VARIANCE].exp().numpy()
    confidence = 1 / (1 + variance / np.float32(_HALF_CONFIDENCE**2))
    normals = F.normalize(out[NORMALS], dim=0).permute(1, 2, 0).contiguous().numpy()
    return Prediction(coords, confidence.astype(np.float32), out[MASK].numpy() > 0, normals)


def predict_mask(network: CompactNetwork, crop: ByteArray) -> BoolArray:
    """The head's mask (S, S) of a crop (S, S, 3) uint8, without its mirror image: half the time."""
    out = network(_batch_of(crop, network).contiguous(memory_format=torch.channels_last))[:, MASK]
    whole = F.interpolate(out[:, None], scale_factor=2.0, mode="bilinear")[0, 0].cpu()
    return np.asarray(whole.numpy() > 0)


def _batch_of(crop: ByteArray, network: CompactNetwork) -> Tensor:
    device = network.head.weight.device
    return torch.from_numpy(np.ascontiguousarray(crop)).to(device).permute(2, 0, 1)[None].float()
