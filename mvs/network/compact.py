"""The shipped network: a convolutional encoder with attention at its coarsest level, and a decoder.

On a CPU, dense 3 x 3 convolutions reach several times the arithmetic rate of a vision transformer's
small matrix products; attention over the coarsest level gives every pixel the whole picture.
"""

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
from mvs.network.network_embedder import NetworkEmbedder, Prediction
from mvs.types import BoolArray, ByteArray, Embedder

KIND = "compact"
WEIGHTS = Path(__file__).parent / "weights" / "compact.safetensors"
# The standard deviation, in cube units, at which confidence is a half (about 4 mm).
_HALF_CONFIDENCE = 0.01
_MEAN, _DEVIATION = 127.5, 64.0
# Channels of the output.
COORDS, LOG_VARIANCE, MASK, NORMALS = slice(0, 3), 3, 4, slice(5, 8)
_N_OUTPUTS = 8


@dataclass(frozen=True)
class CompactConfig:
    """Size of the network.

    Attributes:
        size: side of the picture it is trained for, pixels; a multiple of 32.
        widths: channels at strides 2, 4, 8, 16 and 32.
        depths: residual blocks at strides 4, 8 and 16.
        n_attention: attention blocks at stride 32.
        head_width: channels of an attention head.
    """

    size: int = 256
    widths: tuple[int, ...] = (32, 64, 128, 256, 384)
    depths: tuple[int, ...] = (1, 2, 3)
    n_attention: int = 4
    head_width: int = 64

    def __post_init__(self) -> None:
        counts = (self.size, *self.widths, *self.depths, self.n_attention, self.head_width)
        if not all(type(count) is int for count in counts):
            raise ValueError(f"sizes must be whole numbers: {self}")
        if len(self.widths) != 5 or len(self.depths) != 3:
            raise ValueError(f"5 widths and 3 depths are needed: {self}")
        if min(self.size, *self.widths, self.head_width) < 1 or min(counts) < 0:
            raise ValueError(f"sizes must be positive: {self}")
        if self.size % 32:
            raise ValueError(f"size must be a multiple of 32: {self}")
        if self.widths[-1] % self.head_width:
            raise ValueError(f"the last width must be a multiple of head_width: {self}")


class _ConvNorm(nn.Sequential):
    """3 x 3 convolution, batch normalisation, and a ReLU unless told otherwise."""

    def __init__(self, width_in: int, width: int, stride: int = 1, relu: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class _Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _ConvNorm(width, width)
        self.second = _ConvNorm(width, width, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class _Attention(nn.Module):
    """Self-attention and MLP over a map's cells; a depthwise convolution tells where each lies."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.position = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.n_heads = width // head_width

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        x = x + self.position(x)
        height, width = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)
        parts = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        # Written out: PyTorch's fused attention is slower on so few cells.
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = scores.softmax(dim=-1) @ value
        tokens = tokens + self.proj(mixed.transpose(1, 2).flatten(2))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return torch.as_tensor(tokens.transpose(1, 2).unflatten(-1, (height, width)))


class CompactNetwork(nn.Module):
    """Picture to cube coordinates, log-variance, mask and normals, at half its resolution."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        w2, w4, w8, w16, w32 = config.widths
        d4, d8, d16 = config.depths
        self.stem = _ConvNorm(3, w2, 2)
        self.level4 = nn.Sequential(_ConvNorm(w2, w4, 2), *(_Residual(w4) for _ in range(d4)))
        self.level8 = nn.Sequential(_ConvNorm(w4, w8, 2), *(_Residual(w8) for _ in range(d8)))
        self.level16 = nn.Sequential(_ConvNorm(w8, w16, 2), *(_Residual(w16) for _ in range(d16)))
        self.level32 = nn.Sequential(
            _ConvNorm(w16, w32, 2, relu=False),
            *(_Attention(w32, config.head_width) for _ in range(config.n_attention)),
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in ((w32, w16), (w16, w8), (w8, w4))
        )
        self.merge = nn.ModuleList(
            nn.Sequential(_ConvNorm(w, w), _ConvNorm(w, w)) for w in (w16, w8, w4)
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
        x4 = self.level4(self.stem((picture - _MEAN) / _DEVIATION))
        x8 = self.level8(x4)
        x16 = self.level16(x8)
        x = self.level32(x16)
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
