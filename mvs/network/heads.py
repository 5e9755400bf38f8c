"""Heads that turn a feature map into cube coordinates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CubeHead(nn.Module):
    """One transposed convolution and a squashing function: features to coordinates in [0, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed_lowres = nn.ConvTranspose2d(channels, 3, 4, stride=2, padding=1)

    def forward(self, features: Tensor, height: int, width: int) -> Tensor:
        """Cube coordinates at the picture's resolution.

        Args:
            features: (B, channels, h, w).
            height: rows of the picture.
            width: columns of the picture.

        Returns:
            (B, 3, height, width) in [0, 1].
        """
        logits = self.embed_lowres(features)
        resized = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        return 0.5 * torch.tanh(3 * resized) + 0.5
