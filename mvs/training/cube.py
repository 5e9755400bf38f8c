"""The objective of DenseMarks: losses on features that live in a learnable latent cube.

Predicted coordinates look their features up in the cube, so points of two pictures that show the
same place of a head are drawn together without the true coordinate of either being known.

Source:
    DenseMarks (2026), section 3; what the paper leaves open (sizes, smoothing) is chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvs.canonical.regions import REGIONS


@dataclass(frozen=True)
class CubeOptions:
    """Size of the latent cube and weights of its losses.

    Attributes:
        cells: N along each side.
        features: D per cell.
        smoothing: standard deviation of the Gaussian that smooths the cube, cells.
        contrastive: weight of the contrastive loss.
        landmarks: weight of the landmark loss.
        segmentation: weight of the segmentation loss.
        equivariance: weight of the equivariance loss.
    """

    cells: int = 32
    features: int = 32
    smoothing: float = 1.0
    contrastive: float = 1.0
    landmarks: float = 50.0
    segmentation: float = 1.0
    equivariance: float = 20.0

    def __post_init__(self) -> None:
        if self.cells < 2 or self.features < 1:
            raise ValueError(f"a cube needs cells >= 2 and features >= 1, got {self}")
        weights = (self.contrastive, self.landmarks, self.segmentation, self.equivariance)
        if min(self.smoothing, *weights) < 0:
            raise ValueError(f"smoothing and weights must not be negative, got {self}")


class LatentCube(nn.Module):
    """A smoothed grid of features over the canonical cube, and a classifier of regions on them."""

    def __init__(self, options: CubeOptions) -> None:
        super().__init__()
        n, d = options.cells, options.features
        self.raw = nn.Parameter(torch.randn(d, n, n, n))
        self.classify = nn.Linear(d, len(REGIONS))
        radius = max(1, round(3 * options.smoothing))
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (offsets / max(options.smoothing, 1e-3)) ** 2)
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)

    def smoothed(self) -> Tensor:
        """(D, N, N, N) the cube under its Gaussian; the axes are w, v, u; edges are repeated."""
        cube, kernel = self.raw[:, None], torch.as_tensor(self.kernel)
        radius = len(kernel) // 2
        for axis in range(3):
            padding = [0, 0, 0, 0, 0, 0]
            padding[4 - 2 * axis] = padding[5 - 2 * axis] = radius
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = -1
            cube = F.conv3d(F.pad(cube, padding, mode="replicate"), kernel.reshape(shape))
        return cube[:, 0]

    def look_up(self, coords: Tensor, smoothed: Tensor | None = None) -> Tensor:
        """Features at cube coordinates (..., 3) in [0, 1]: (..., D), trilinear between centres.

        ``smoothed`` saves smoothing again in a step that looks up many times.
        """
        cube = self.smoothed() if smoothed is None else smoothed
        grid = (2 * coords - 1).reshape(1, -1, 1, 1, 3)
        found = F.grid_sample(
            cube[None], grid, "bilinear", padding_mode="border", align_corners=False
        )
        return torch.as_tensor(found[0, :, :, 0, 0].T.reshape(*coords.shape[:-1], -1))


def contrastive(first: Tensor, second: Tensor) -> Tensor:
    """``|| F1 F2^T - I ||_F`` of row-normalised features (P, D) of P matched points, over sqrt(P).

    The division makes pairs with many points and with few count alike.
    """
    similar = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    off = similar - torch.eye(len(similar), device=similar.device)
    size = off.square().sum().clamp(min=1e-12).sqrt()
    return torch.as_tensor(size / max(len(similar), 1) ** 0.5)


def landmark_loss(found: Tensor, positions: Tensor) -> Tensor:
    """Mean over landmarks of the absolute difference of coordinates (K, 3), summed over axes."""
    return (found - positions).abs().sum(dim=1).mean()


def segmentation_loss(cube: LatentCube, features: Tensor, regions: Tensor) -> Tensor:
    """Cross-entropy of the regions that the features at predicted coordinates tell.

    Args:
        cube: the latent cube.
        features: (P, D) of the predicted coordinates.
        regions: (P,) int64 index into ``REGIONS``.
    """
    return F.cross_entropy(cube.classify(features), regions)


def sample_map(values: Tensor, points: Tensor, size: int) -> Tensor:
    """Values of one map (C, h, w) at points (P, 2) in pixels of a picture of ``size``: (P, C)."""
    grid = (2 * points / size - 1)[None, :, None]
    found = F.grid_sample(values[None], grid, "bilinear", "border", align_corners=False)
    return torch.as_tensor(found[0, :, :, 0].T)
