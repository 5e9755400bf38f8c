"""The shape regressor: who a portrait shows and what the face does, and where its places are seen.

It reads coefficients of a basis that is of no head model: the basis spans how places of a face,
given in the canonical cube, lie off those of the mean head at rest. And it finds these places in
the portrait, hidden ones too. So what is read serves any model whose vertices have places there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvs.network.checkpoint import load_checkpoint, load_strict
from mvs.network.crop import for_opencv
from mvs.network.encoder import ConvNorm, Encoder, EncoderConfig
from mvs.network.one_thread import one_thread
from mvs.types import ByteArray, DoubleArray

KIND = "regressor"
WEIGHTS = Path(__file__).parent / "weights" / "regressor.safetensors"
# Least logarithm of a coefficient's variance, which is 1 where nothing is known.
_LEAST = -4.0
# Logarithms of the variances of points, pixels^2: bounds.
_CLOSEST, _FARTHEST = -4.0, 7.0
# Side of the cells that points are looked for in, pixels.
CELL = 8
# How a portrait is laid out when it is read again: zoom, and shift in parts of its side.
_LAYOUTS = (
    (1.0, 0.0, 0.0),
    (0.96, 0.016, 0.01),
    (1.04, -0.016, 0.01),
    (0.98, -0.01, -0.02),
    (1.02, 0.016, -0.016),
)


@dataclass(frozen=True)
class RegressorConfig(EncoderConfig):
    """Size of the network.

    Attributes:
        narrow: channels that are kept at strides 16 and 32, for the layer that sees all of them.
        hidden: width of that layer.
        search: channels in which places are looked for.
        n_anchors: places of the basis.
        n_identity: coefficients of who is shown.
        n_expression: of what the face does.
    """

    size: int = 192
    narrow: tuple[int, int] = (32, 64)
    hidden: int = 384
    search: int = 128
    n_anchors: int = 400
    n_identity: int = 48
    n_expression: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = (self.hidden, self.search, self.n_anchors, self.n_identity, self.n_expression)
        if len(self.narrow) != 2 or min(*self.narrow, *counts) < 1:
            raise ValueError(f"two narrow widths are needed, and all sizes positive: {self}")

    @property
    def n_coefficients(self) -> int:
        """Of both kinds."""
        return self.n_identity + self.n_expression


class Prediction(NamedTuple):
    """What the network says of B portraits; K coefficients, M places, C cells.

    Attributes:
        mean: (B, K) float32 coefficients.
        variance: (B, K) logarithms of their variance.
        points: (B, M, 2) x and y of the places, pixels, (0, 0) the upper left corner.
        doubt: (B, M) logarithms of the variance of x and of y, pixels^2.
        cells: (B, M, C) logarithms of how likely each place is in each cell, row by row.
    """

    mean: Tensor
    variance: Tensor
    points: Tensor
    doubt: Tensor
    cells: Tensor


class RegressorNetwork(Encoder):
    """Portrait to coefficients of identity and expression, and to points, all with variances.

    A place is found by its query, which tells how likely it is in each cell, and by the features
    of those cells, which tell how far off their middle it is.

    Attributes:
        anchors: (M, 3) cube coordinates of the basis' places; place m + M / 2 is that of m in a
            mirror.
        analysis: (K, M, 3) coefficients of displacements in cm: those of identity, which take the
            head at rest less the mean head, then of expression, which take the posed head less the
            head at rest. Over people both have mean 0, after ``offset``, and variance 1.
        offset: (K,) what is subtracted.
        energy: (K,) mean squared displacement, cm^2, that one unit of each makes.
        mirror: (K,) -1 for those that change sign in a mirror, else 1.
    """

    anchors: Tensor
    analysis: Tensor
    offset: Tensor
    energy: Tensor
    mirror: Tensor
    config: RegressorConfig

    def __init__(self, config: RegressorConfig) -> None:
        super().__init__(config)
        n, m = config.n_coefficients, config.n_anchors
        near, far = config.narrow
        cells = (config.size // 32) ** 2
        self.narrow16 = nn.Conv2d(config.widths[3], near, 1)
        self.narrow32 = nn.Conv2d(config.widths[4], far, 1)
        self.hidden = nn.Linear(cells * (4 * near + far), config.hidden)
        self.mean = nn.Linear(config.hidden, n)
        self.variance = nn.Linear(config.hidden, n)
        self.points = _Points(config)
        self.of_points = nn.Sequential(
            nn.Linear(2 * m, config.hidden), nn.GELU(), nn.Linear(config.hidden, n)
        )
        for layer in (self.mean, self.variance, self.of_points[2]):
            nn.init.normal_(layer.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.register_buffer("anchors", torch.zeros(m, 3))
        self.register_buffer("analysis", torch.zeros(n, m, 3))
        self.register_buffer("offset", torch.zeros(n))
        self.register_buffer("energy", torch.ones(n))
        self.register_buffer("mirror", torch.ones(n))

    def forward(self, picture: Tensor) -> Prediction:
        """Predict.

        Args:
            picture: (B, 3, S, S) RGB in 0..255, S the configuration's size.
        """
        _, x8, x16, x32 = self.encode(picture)
        points, doubt, cells = self.points(x8, x16, x32)
        parts = [self.narrow16(x16).flatten(1), self.narrow32(x32).flatten(1)]
        seen = F.gelu(self.hidden(torch.cat(parts, dim=1)))
        placed = (points.detach() / (0.5 * self.config.size) - 1).flatten(1)
        with torch.autocast(picture.device.type, enabled=False):
            mean = self.mean(seen.float()) + self.of_points(placed)
            variance = -F.softplus(self.variance(seen.float().detach())).clamp(max=-_LEAST)
        return Prediction(mean, variance, points, doubt, cells)


class _Points(nn.Module):
    """Where places are seen, from features at strides 8, 16 and 32."""

    grid: Tensor

    def __init__(self, config: RegressorConfig) -> None:
        super().__init__()
        width, m = config.search, config.n_anchors
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in config.widths[2:])
        self.mixed = ConvNorm(width, width)
        self.query = nn.Conv2d(width, m, 1)
        self.offset = nn.Parameter(torch.zeros(m, width, 2))
        self.doubt = nn.Parameter(torch.zeros(m, width))
        self.base = nn.Parameter(torch.full((m,), 2.0))
        n = config.size // CELL
        middle = (torch.arange(n) + 0.5) * CELL
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], 2).reshape(-1, 2), persistent=False)

    def forward(self, x8: Tensor, x16: Tensor, x32: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points, logarithms of their variances and of the cells' shares; see ``Prediction``."""
        seen = self.lateral[0](x8)
        for layer, x, scale in zip(self.lateral[1:], (x16, x32), (2, 4), strict=True):
            seen = seen + F.interpolate(layer(x), scale_factor=scale, mode="bilinear")
        seen = self.mixed(seen)
        cells = self.query(seen).flatten(2).float().log_softmax(dim=2)
        share = cells.exp()
        at = share.to(seen.dtype) @ seen.flatten(2).transpose(1, 2)
        with torch.autocast(x8.device.type, enabled=False):
            found = at.float()
            offset = torch.einsum("bmc,mcd->bmd", found, self.offset)
            points = share @ self.grid + offset * CELL
            doubt = self.base + torch.einsum("bmc,mc->bm", found.detach(), self.doubt)
        return points, doubt.clamp(_CLOSEST, _FARTHEST), cells


@dataclass(frozen=True, eq=False)
class Reading:
    """What a portrait says of a face.

    Attributes:
        mean: (K,) expected coefficients.
        variance: (K,) in (0, 1]; 1 where the portrait says nothing.
        points: (M, 2) where the basis' places are seen, pixels of the portrait.
        sigma: (M,) what each is wrong by along x or y, pixels, standard deviation.
    """

    mean: DoubleArray
    variance: DoubleArray
    points: DoubleArray
    sigma: DoubleArray


class Regressor:
    """Reads portraits.

    Attributes:
        network: with its basis.
    """

    def __init__(self, network: RegressorNetwork) -> None:
        self.network = network.eval()

    def read(self, portrait: ByteArray, times: int = 1) -> Reading:
        """What a portrait says, the mean of it and of its mirror image.

        Args:
            portrait: (S, S, 3) uint8 RGB.
            times: how often it is read, each time laid out a little differently; 1 to 5.

        Raises:
            ValueError: for any other number.
        """
        if not 1 <= times <= len(_LAYOUTS):
            raise ValueError(f"times must be 1 to {len(_LAYOUTS)}, got {times}")
        network, half = self.network, self.network.config.n_anchors // 2
        layouts = [_laid_out(network.config.size, *layout) for layout in _LAYOUTS[:times]]
        pictures = np.stack([_seen_by(portrait, layout) for layout in layouts])
        planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
        both = torch.cat([planes, planes.flip(3)]).contiguous(memory_format=torch.channels_last)
        with one_thread():
            found = network(both)
            mean, points, doubt = found.mean.double(), found.points.double(), found.doubt.double()
            mean[times:] *= network.mirror
            # A mirror swaps left and right places.
            points[times:, :, 0] = network.config.size - points[times:, :, 0]
            points[times:] = points[times:].roll(half, 1)
            doubt[times:] = doubt[times:].roll(half, 1)
        back = np.stack([np.linalg.inv(layout) for layout in layouts] * 2)
        placed = np.einsum("tab,tmb->tma", back[:, :2, :2], points.numpy()) + back[:, None, :2, 2]
        return Reading(
            mean.mean(dim=0).numpy(),
            found.variance.double().mean(dim=0).exp().numpy(),
            placed.mean(axis=0),
            (0.5 * doubt.mean(dim=0)).exp().numpy(),
        )


def _laid_out(size: int, zoom: float, x: float, y: float) -> DoubleArray:
    """(3, 3) from a portrait's pixels to those of one zoomed about its middle and then shifted."""
    middle = 0.5 * size * (1 - zoom)
    return np.array([[zoom, 0, middle + x * size], [0, zoom, middle + y * size], [0, 0, 1]])


def _seen_by(portrait: ByteArray, layout: DoubleArray) -> ByteArray:
    move = for_opencv(layout)[:2]
    size = portrait.shape[1], portrait.shape[0]
    seen = cv2.warpAffine(
        portrait, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(seen, np.uint8)


def load_regressor(weights: Path | None = None) -> Regressor:
    """The shape regressor.

    Args:
        weights: checkpoint of ``RegressorNetwork``; the shipped one if None.

    Raises:
        CheckpointError: if the file is absent, damaged or for another network.
    """
    path = weights or WEIGHTS
    config, tensors = load_checkpoint(path, KIND, RegressorConfig)
    network = RegressorNetwork(config)
    load_strict(network, tensors, path)
    return Regressor(network)
