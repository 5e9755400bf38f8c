"""The neck of a dense prediction transformer: tokens of four blocks to one feature map.

Source: Ranftl et al. 2021, Vision Transformers for Dense Prediction, section 3. Module names follow
the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvs.network.vit import Tokens

# Side of each level's feature map in patches; the deepest tap gives the coarsest map.
_SCALES = (4.0, 2.0, 1.0, 0.5)


@dataclass(frozen=True)
class DPTConfig:
    """Size of the neck; the defaults go with ViT-B.

    Attributes:
        token_width: channels of the backbone's tokens.
        level_widths: channels of the four levels before fusion, finest first.
        channels: channels of the fused map.
    """

    token_width: int = 768
    level_widths: tuple[int, int, int, int] = (96, 192, 384, 768)
    channels: int = 256

    def __post_init__(self) -> None:
        if len(self.level_widths) != len(_SCALES):
            raise ValueError(f"level_widths needs {len(_SCALES)} entries, got {self.level_widths}")


class ReassembleLayer(nn.Module):
    """Projects a token map to a level's channels and resolution."""

    def __init__(self, token_width: int, width: int, scale: float) -> None:
        super().__init__()
        self.projection = nn.Conv2d(token_width, width, kernel_size=1)
        self.resize: nn.Module = nn.Identity()
        if scale > 1:
            self.resize = nn.ConvTranspose2d(width, width, int(scale), stride=int(scale))
        elif scale < 1:
            self.resize = nn.Conv2d(width, width, 3, stride=round(1 / scale), padding=1)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, width, h * scale, w * scale)."""
        out: Tensor = self.resize(self.projection(patches))
        return out


class ReassembleStage(nn.Module):
    """Mixes the class token into every patch and makes a pyramid of the four taps."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        width = config.token_width
        self.layers = nn.ModuleList(
            ReassembleLayer(width, level_width, scale)
            for level_width, scale in zip(config.level_widths, _SCALES, strict=True)
        )
        self.readout_projects = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.GELU()) for _ in _SCALES
        )

    def forward(self, taps: Sequence[Tokens]) -> list[Tensor]:
        """Four ``Tokens`` -> four feature maps, finest first."""
        levels = []
        for tokens, readout, layer in zip(taps, self.readout_projects, self.layers, strict=True):
            patches = tokens.patches.flatten(2).transpose(1, 2)
            cls = tokens.cls[:, None].expand_as(patches)
            mixed = readout(torch.cat([patches, cls], dim=-1))
            levels.append(layer(mixed.transpose(1, 2).reshape(tokens.patches.shape)))
        return levels


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.convolution2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        hidden = self.convolution1(F.relu(features))
        out: Tensor = features + self.convolution2(F.relu(hidden))
        return out


class FusionLayer(nn.Module):
    """Adds a finer level to the coarser result and doubles the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, channels, kernel_size=1)
        # Without work in the coarsest layer, which has nothing to add; checkpoints hold it.
        self.residual_layer1 = ResidualUnit(channels)
        self.residual_layer2 = ResidualUnit(channels)

    def forward(self, coarse: Tensor, level: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and a level of about that size -> (B, C, 2 H, 2 W)."""
        if level is not None:
            if level.shape != coarse.shape:
                # A grid with an odd side: halved and doubled again it is one longer.
                level = F.interpolate(level, coarse.shape[-2:], mode="bilinear")
            coarse = coarse + self.residual_layer1(level)
        refined = self.residual_layer2(coarse)
        doubled = F.interpolate(refined, scale_factor=2, mode="bilinear", align_corners=True)
        out: Tensor = self.projection(doubled)
        return out


class FusionStage(nn.Module):
    """Fuses the pyramid from the coarsest level to the finest."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(channels) for _ in _SCALES)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Four maps, finest first -> (B, C, 8 h, 8 w) for a grid of h x w patches."""
        coarsest, *finer = reversed(levels)
        first, *others = self.layers
        fused: Tensor = first(coarsest)
        for layer, level in zip(others, finer, strict=True):
            fused = layer(fused, level)
        return fused


class DPTNeck(nn.Module):
    """Tokens of four blocks to one feature map with half the side of the picture (patch 16)."""

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        self.reassemble_stage = ReassembleStage(config)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, config.channels, 3, padding=1, bias=False)
            for width in config.level_widths
        )
        self.fusion_stage = FusionStage(config.channels)

    def forward(self, taps: Sequence[Tokens]) -> Tensor:
        """Fused features.

        Args:
            taps: tokens of four blocks, shallowest first, grids of h x w patches.

        Returns:
            (B, channels, H, W) with H = 8 h, W = 8 w (a little more where h or w is odd).
        """
        levels = self.reassemble_stage(taps)
        narrowed = [conv(level) for conv, level in zip(self.convs, levels, strict=True)]
        fused: Tensor = self.fusion_stage(narrowed)
        return fused
