"""Errors on pictures that the network was not trained on, and what it makes of some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mvs.network.compact import COORDS, LOG_VARIANCE, MASK, NORMALS, CompactNetwork
from mvs.training.data import read_shard, to_batch
from mvs.training.precision import autocast
from mvs.types import ByteArray


@torch.no_grad()
def validate(network: CompactNetwork, shard: Path, size: int, n_batch: int) -> dict[str, float]:
    """Errors on a shard the network was not trained on.

    Args:
        network: the network; left in evaluation mode.
        shard: file of records.
        size: side of the pictures.
        n_batch: pictures at a time.

    Returns:
        ``median`` and ``p90`` of the distance on the head (cube units), median angle between
        normals ``normals_deg``, ``iou`` of the mask.
    """
    network.eval()
    device = next(network.parameters()).device
    records = read_shard(shard)[:192]
    distances, angles, both, either = [], [], 0.0, 0.0
    for start in range(0, len(records), n_batch):
        part = np.array(records[start : start + n_batch])
        batch = to_batch(part, np.zeros(len(part), bool), size)
        with autocast(device.type):
            out = network(batch.pictures.float().to(device)).cpu()
        distance = (out[:, COORDS] - batch.coords).norm(dim=1)
        on_head = batch.mask[:, 0] > 0
        distances.append(distance[on_head])
        cosine = F.cosine_similarity(out[:, NORMALS], batch.normals)[on_head]
        angles.append(torch.rad2deg(cosine.clamp(-1, 1).acos()))
        found = out[:, MASK] > 0
        both += float((found & (batch.mask[:, 0] > 0)).sum())
        either += float((found | (batch.mask[:, 0] > 0)).sum())
    distance = torch.cat(distances).float().numpy()
    return {
        "median": float(np.median(distance)),
        "p90": float(np.quantile(distance, 0.9)),
        "normals_deg": float(torch.cat(angles).median()),
        "iou": both / max(either, 1.0),
    }


@torch.no_grad()
def sample_pictures(network: CompactNetwork, shard: Path, size: int, n: int = 6) -> ByteArray:
    """The first pictures of a shard beside what the network says of them.

    Args:
        network: the network; left in evaluation mode.
        shard: file of records.
        size: side of the pictures.
        n: how many.

    Returns:
        (n S / 2, 7 S / 2, 3) uint8: picture; coordinates found and true; mask found; normals found
        and true; standard deviation, white at a twentieth of the cube.
    """
    network.eval()
    records = np.array(read_shard(shard)[:n])
    batch = to_batch(records, np.zeros(len(records), bool), size)
    device = next(network.parameters()).device
    with autocast(device.type):
        out = network(batch.pictures.float().to(device)).cpu()
    mask = (out[:, MASK, None] > 0).float()
    spread = (0.5 * out[:, LOG_VARIANCE, None]).exp() / 0.05
    columns = (
        F.avg_pool2d(batch.pictures.float() / 255, 2),
        out[:, COORDS] * mask,
        batch.coords,
        mask.expand(-1, 3, -1, -1),
        0.5 + 0.5 * F.normalize(out[:, NORMALS], dim=1) * mask,
        0.5 + 0.5 * batch.normals,
        (spread * mask).expand(-1, 3, -1, -1),
    )
    sheet = torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)
    return (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
