"""What the network is trained for."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mvs.canonical.regions import REGIONS
from mvs.network.compact import COORDS, LOG_VARIANCE, MASK, NORMALS
from mvs.training.data import Batch

# Weights of the terms beside the coordinates', which is counted in hundredths of the cube.
_LIKELIHOOD, _SLOPE, _MASK, _NORMALS = 0.1, 0.5, 10.0, 5.0
_SOFT = 1e-3
# A pixel that is off by more than this pulls less and less, down to a part of what one does that is
# nearly right: which side of a head of hair is seen may be beyond knowing, a cheek's place is not.
_NEARLY_RIGHT, _LEAST_PULL = 0.02, 0.2
# Hair and what covers it weigh less than skin.
_LOOSE = tuple(REGIONS.index(name) for name in ("hair", "hat"))
_LOOSE_WEIGHT = 0.5


class Losses(NamedTuple):
    """The terms of a batch, scalars.

    Attributes:
        total: what is minimised.
        coords: mean cost of the distances in the cube, which grows ever slower; skin above hair.
        distance: mean distance in the cube on the head, cube units.
        likelihood: mean negative log-likelihood of the coordinates, Gaussian, per pixel.
        slope: mean distance between slopes of neighbouring pixels, cube units per pixel.
        mask: binary cross-entropy of the head mask.
        normals: mean distance between unit normals on the head; skin above hair.
    """

    total: Tensor
    coords: Tensor
    distance: Tensor
    likelihood: Tensor
    slope: Tensor
    mask: Tensor
    normals: Tensor


def losses(out: Tensor, batch: Batch) -> Losses:
    """Compare a prediction with the truth.

    The variance is fitted to the distance without steering the coordinates: pixels that are far off
    pull less, but none is given up on.

    Args:
        out: (B, 8, H, W) output of ``CompactNetwork``.
        batch: the truth.

    Source:
        Kendall and Gal (2017), eq. 8, for the likelihood.
    """
    weight = batch.mask / batch.mask.sum().clamp(min=1)
    square = (out[:, COORDS] - batch.coords).square().sum(dim=1, keepdim=True)
    away = (square + _SOFT**2).sqrt()
    distance = (away * weight).sum()
    firm = _firmness(batch)
    coords = _LEAST_PULL * away + (1 - _LEAST_PULL) * _NEARLY_RIGHT * torch.log1p(
        away / _NEARLY_RIGHT
    )
    coords = (coords * firm).sum()
    log_variance = out[:, LOG_VARIANCE, None].clamp(-16, 2)
    likelihood = 0.5 * square.detach() * (-log_variance).exp() + 1.5 * log_variance
    likelihood = (likelihood * weight).sum()
    mask = F.binary_cross_entropy_with_logits(out[:, MASK, None], batch.mask)
    slope = _slope(out[:, COORDS], batch, 3) + _slope(out[:, COORDS], batch, 2)
    off = (F.normalize(out[:, NORMALS], dim=1) - batch.normals).square().sum(dim=1, keepdim=True)
    normals = ((off + _SOFT**2).sqrt() * firm).sum()
    total = 100 * coords + _LIKELIHOOD * likelihood + 100 * _SLOPE * slope
    total = total + _MASK * mask + _NORMALS * normals
    return Losses(total, coords, distance, likelihood, slope, mask, normals)


def _firmness(batch: Batch) -> Tensor:
    """Weights of the head's pixels, of sum 1."""
    loose = torch.zeros_like(batch.mask, dtype=torch.bool)
    for index in _LOOSE:
        loose |= batch.region[:, None] == index
    weight = batch.mask * torch.where(loose, _LOOSE_WEIGHT, 1.0)
    return weight / weight.sum().clamp(min=1)


def _slope(coords: Tensor, batch: Batch, axis: int) -> Tensor:
    """Mean distance between steps to the next pixel along an axis, where both are on the head."""
    both = batch.mask.narrow(axis, 1, batch.mask.shape[axis] - 1)
    both = both * batch.mask.narrow(axis, 0, both.shape[axis])
    difference = torch.diff(coords, dim=axis) - torch.diff(batch.coords, dim=axis)
    size = (difference.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
    return torch.as_tensor((size * both).sum() / both.sum().clamp(min=1))
