"""A vision transformer with rotary positions, storage tokens and LayerScale (DINOv3's design).

Module names follow the published checkpoints, so that their tensors load by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ViTConfig:
    """Size of a vision transformer; the defaults are ViT-B/16.

    Attributes:
        width: channels of a token.
        depth: number of blocks.
        n_heads: attention heads; ``width / n_heads`` must be divisible by 4.
        patch_size: side of a patch, in pixels.
        n_storage_tokens: extra tokens after the class token.
        mlp_ratio: hidden channels of the MLP per channel of a token.
        norm_eps: epsilon of every LayerNorm.
        rope_base: longest period of the rotary position code.
        taps: indices of the blocks whose outputs are returned, in ascending order.
    """

    width: int = 768
    depth: int = 12
    n_heads: int = 12
    patch_size: int = 16
    n_storage_tokens: int = 4
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-5
    rope_base: float = 100.0
    taps: tuple[int, ...] = (8, 9, 10, 11)

    def __post_init__(self) -> None:
        if self.width % self.n_heads or (self.width // self.n_heads) % 4:
            raise ValueError(
                f"width / n_heads must be a multiple of 4, got {self.width} / {self.n_heads}"
            )
        if not self.taps or list(self.taps) != sorted(set(self.taps)):
            raise ValueError(f"taps must be ascending block indices, got {self.taps}")
        if self.taps[0] < 0 or self.taps[-1] >= self.depth:
            raise ValueError(f"taps must lie in 0..{self.depth - 1}, got {self.taps}")


class Tokens(NamedTuple):
    """What one block makes of a picture, after the final norm.

    Attributes:
        patches: (B, C, h, w) patch tokens on their grid.
        cls: (B, C) class token.
    """

    patches: Tensor
    cls: Tensor


class PatchEmbed(nn.Module):
    """Cuts a picture into patches and projects each to a token."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / patch * W / patch, C), row by row."""
        tokens: Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return tokens


class RopeEmbed(nn.Module):
    """Axial rotary position code: angles from a patch's row and column.

    Source: Su et al. 2021, RoFormer, eq. 34; coordinates and periods as in Simeoni et al. 2025,
    DINOv3.
    """

    periods: Tensor

    def __init__(self, head_width: int, base: float) -> None:
        super().__init__()
        n_periods = head_width // 4
        exponents = torch.arange(n_periods, dtype=torch.float32) / n_periods
        self.register_buffer("periods", base**exponents)

    def forward(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Sine and cosine for a grid of patches: two (rows * columns, head_width) tensors."""
        y = self._angles(rows)[:, None].expand(rows, columns, -1)
        x = self._angles(columns)[None].expand(rows, columns, -1)
        angles = torch.cat([y, x], dim=-1).flatten(0, 1).tile(2)
        return angles.sin(), angles.cos()

    def _angles(self, n: int) -> Tensor:
        """(n, head_width / 4): patch centres, scaled to [-1, 1], over each period."""
        index = torch.arange(n, dtype=torch.float32, device=self.periods.device)
        coordinates = 2 * (index + 0.5) / n - 1
        return 2 * math.pi * coordinates[:, None] / self.periods


def _rotate(tokens: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    """Turns element j of a (B, heads, n, head_width) token against element j + head_width / 2."""
    first, second = tokens.chunk(2, dim=-1)
    return tokens * cos + torch.cat([-second, first], dim=-1) * sin


class MaskedBiasLinear(nn.Linear):
    """The query, key and value projection, whose key third has no bias."""

    bias_mask: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, 3 * width)
        mask = torch.ones(3 * width)
        mask[width : 2 * width] = 0
        self.register_buffer("bias_mask", mask)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., 3 C)."""
        return F.linear(tokens, self.weight, self.bias * self.bias_mask)


class Attention(nn.Module):
    """Multi-head self-attention; patch tokens carry the rotary code, prefix tokens do not."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = MaskedBiasLinear(width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """(B, N, C) -> (B, N, C); the last rows of N are the patches ``rope`` is for."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = self._add_position(query, rope), self._add_position(key, rope)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    @staticmethod
    def _add_position(tokens: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        n_prefix = tokens.shape[-2] - len(rope[0])
        prefix, patches = tokens[..., :n_prefix, :], tokens[..., n_prefix:, :]
        return torch.cat([prefix, _rotate(patches, *rope)], dim=-2)


class LayerScale(nn.Module):
    """A learned factor per channel (Touvron et al. 2021, CaiT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return tokens * self.gamma


class Mlp(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class Block(nn.Module):
    """Attention and MLP, each normalised before, scaled after, and added."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.attn = Attention(width, config.n_heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))
        self.ls2 = LayerScale(width)

    def forward(self, tokens: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), rope))
        out: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return out


class VisionTransformer(nn.Module):
    """The backbone: a picture in, the tokens of the tapped blocks out.

    Source: Dosovitskiy et al. 2021, ViT; Darcet et al. 2024, registers; Simeoni et al. 2025,
    DINOv3.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.storage_tokens = nn.Parameter(torch.zeros(1, config.n_storage_tokens, width))
        # Only self-supervised training uses it; published checkpoints hold it.
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = PatchEmbed(config.patch_size, width)
        self.rope_embed = RopeEmbed(width // config.n_heads, config.rope_base)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)

    def forward(self, image: Tensor) -> list[Tokens]:
        """Tokens of the tapped blocks.

        Args:
            image: (B, 3, H, W) normalised RGB; H and W multiples of the patch size.

        Returns:
            One ``Tokens`` per tap, each through the final norm.

        Raises:
            ValueError: if the picture cannot be cut into whole patches.
        """
        rows, columns = self._grid(image)
        prefix = torch.cat([self.cls_token, self.storage_tokens], dim=1)
        patches = self.patch_embed(image)
        tokens = torch.cat([prefix.expand(len(image), -1, -1), patches], dim=1)
        rope = self.rope_embed(rows, columns)
        outputs = []
        for index, block in enumerate(self.blocks[: self.config.taps[-1] + 1]):
            tokens = block(tokens, rope)
            if index in self.config.taps:
                outputs.append(self._split(self.norm(tokens), rows, columns))
        return outputs

    def _grid(self, image: Tensor) -> tuple[int, int]:
        size = self.config.patch_size
        shape = tuple(image.shape)
        is_batch = len(shape) == 4 and shape[1] == 3 and image.numel() > 0
        if not is_batch or shape[2] % size or shape[3] % size:
            raise ValueError(
                f"image must be (B, 3, H, W) with H and W multiples of {size}, got {shape}"
            )
        return shape[2] // size, shape[3] // size

    def _split(self, tokens: Tensor, rows: int, columns: int) -> Tokens:
        patches = tokens[:, 1 + self.config.n_storage_tokens :]
        return Tokens(
            patches.transpose(1, 2).reshape(len(patches), -1, rows, columns), tokens[:, 0]
        )
