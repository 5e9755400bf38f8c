"""The convolutional encoder of our networks, with attention at its coarsest level.

On a CPU, dense 3 x 3 convolutions reach several times the arithmetic rate of a vision transformer's
small matrix products; attention over the coarsest level gives every pixel the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MEAN, _DEVIATION = 127.5, 64.0
# What a block adds to its shortcut starts so strong: near the identity, training settles sooner
# (Goyal et al. 2017 begin with nothing).
_QUIET = 0.25


@dataclass(frozen=True)
class EncoderConfig:
    """Size of an encoder.

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


class ConvNorm(nn.Sequential):
    """3 x 3 convolution, batch normalisation, and a ReLU unless told otherwise."""

    def __init__(self, width_in: int, width: int, stride: int = 1, relu: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvNorm(width, width)
        self.second = ConvNorm(width, width, relu=False)
        nn.init.constant_(self.second[1].weight, _QUIET)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
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
        back = nn.Linear(2 * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), back)
        self.n_heads = width // head_width
        for last in (self.proj, back):
            last.weight.data *= _QUIET

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


class Encoder(nn.Module):
    """Picture to features at strides 4, 8, 16 and 32."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        w2, w4, w8, w16, w32 = config.widths
        d4, d8, d16 = config.depths
        self.stem = ConvNorm(3, w2, 2)
        self.level4 = nn.Sequential(ConvNorm(w2, w4, 2), *(Residual(w4) for _ in range(d4)))
        self.level8 = nn.Sequential(ConvNorm(w4, w8, 2), *(Residual(w8) for _ in range(d8)))
        self.level16 = nn.Sequential(ConvNorm(w8, w16, 2), *(Residual(w16) for _ in range(d16)))
        self.level32 = nn.Sequential(
            ConvNorm(w16, w32, 2, relu=False),
            *(_Attention(w32, config.head_width) for _ in range(config.n_attention)),
        )

    def encode(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features at strides 4, 8, 16 and 32.

        Args:
            picture: (B, 3, S, S) RGB in 0..255, S a multiple of 32.
        """
        x4 = self.level4(self.stem((picture - _MEAN) / _DEVIATION))
        x8 = self.level8(x4)
        x16 = self.level16(x8)
        return x4, x8, x16, self.level32(x16)
