"""What the latent cube adds to training: on renders beside the dense truth, on tracks alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvs.canonical.landmarks import landmark_positions
from mvs.network.compact import COORDS, MASK
from mvs.training.cube import (
    CubeOptions,
    LatentCube,
    contrastive,
    landmark_loss,
    sample_map,
    segmentation_loss,
)
from mvs.training.data import Batch
from mvs.training.pairs import PairBatch

# Pixels of a picture that the losses on features look at.
_N_PIXELS = 128
# A landmark shows where a pixel's true coordinate comes this near (3 mm on the neutral head).
_SHOWN = 0.008
_MASK = 10.0


class Objective(nn.Module):
    """The latent cube with its losses; learnt beside the network and not shipped."""

    def __init__(self, options: CubeOptions) -> None:
        super().__init__()
        self.options = options
        self.cube = LatentCube(options)
        self.register_buffer(
            "landmarks", torch.from_numpy(landmark_positions("68")), persistent=False
        )

    def on_renders(self, out: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses of rendered pictures, where the true coordinates stand for the second frame.

        Args:
            out: (B, 8, h, w) output of the network.
            batch: with the truth.
            step: number of the step, from which the pixels are drawn.
        """
        generator = torch.Generator().manual_seed(step)
        smoothed = self.cube.smoothed()
        terms: dict[str, list[Tensor]] = {"contrastive": [], "landmarks": [], "segmentation": []}
        for found, coords, mask, region in zip(
            out[:, COORDS], batch.coords, batch.mask[:, 0], batch.region, strict=True
        ):
            on_head = mask.flatten().nonzero()[:, 0]
            if len(on_head) < 2:
                continue
            picked = on_head[torch.randperm(len(on_head), generator=generator)[:_N_PIXELS]]
            predicted = found.flatten(1).T[picked]
            true = coords.flatten(1).T
            features = self.cube.look_up(torch.stack([predicted, true[picked]]), smoothed)
            terms["contrastive"].append(contrastive(*features))
            labels = region.flatten()[picked]
            terms["segmentation"].append(segmentation_loss(self.cube, features[0], labels))
            marks = torch.as_tensor(self.landmarks)
            distance, nearest = torch.cdist(marks, true[on_head]).min(dim=1)
            shown = distance < _SHOWN
            if bool(shown.any()):
                at_marks = found.flatten(1).T[on_head[nearest[shown]]]
                terms["landmarks"].append(landmark_loss(at_marks, marks[shown]))
        return {name: torch.stack(values).mean() for name, values in terms.items() if values}

    def on_pairs(self, out: Tensor, warped: Tensor, batch: PairBatch) -> dict[str, Tensor]:
        """Losses of pairs of frames whose coordinates nobody knows.

        Args:
            out: (2 B, 8, h, w) output for first and second frames in turn.
            warped: the output for the same pictures under ``batch.warps``.
            batch: the pairs.
        """
        size = batch.pictures.shape[-1]
        contrasts, smoothed = [], self.cube.smoothed()
        for pair, points in enumerate(batch.points):
            first, second = (
                self.cube.look_up(
                    sample_map(out[2 * pair + k, COORDS], points[:, k], size), smoothed
                )
                for k in range(2)
            )
            contrasts.append(contrastive(first, second))
        return {
            "contrastive": torch.stack(contrasts).mean(),
            "equivariance": equivariance(out, warped, batch.warps, batch.mask),
            "mask": F.binary_cross_entropy_with_logits(out[:, MASK, None], batch.mask),
        }

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        weights = {
            "contrastive": self.options.contrastive,
            "landmarks": self.options.landmarks,
            "segmentation": self.options.segmentation,
            "equivariance": self.options.equivariance,
            "mask": _MASK,
        }
        total = self.cube.raw.new_zeros(())
        for name, value in terms.items():
            total = total + weights[name] * value
        return total


def equivariance(out: Tensor, warped: Tensor, warps: Tensor, mask: Tensor) -> Tensor:
    """How far the answer to a warped picture is from the warped answer, on the head.

    Args:
        out: (B, 8, h, w) answers to the pictures; taken as they are, without a gradient.
        warped: (B, 8, h, w) answers to the warped pictures.
        warps: (B, 2, 3) places in the picture of the warped picture's places, both in -1..1.
        mask: (B, 1, h, w) head masks of the pictures.

    Returns:
        Mean distance in the cube, cube units.
    """
    target = torch.cat([out[:, COORDS].detach(), mask], dim=1)
    moved = warp(target, warps)
    weight = (moved[:, 3:] > 1 - 1e-4).float()
    off = (warped[:, COORDS] - moved[:, :3]).square().sum(dim=1, keepdim=True)
    return torch.as_tensor(((off + 1e-8).sqrt() * weight).sum() / weight.sum().clamp(min=1))


def warp(values: Tensor, warps: Tensor) -> Tensor:
    """Maps (B, C, h, w) looked up through affine ``warps``; 0 outside."""
    shape = [*values.shape]
    grid = F.affine_grid(warps, shape, align_corners=False)
    return F.grid_sample(values, grid, "bilinear", "zeros", align_corners=False)
