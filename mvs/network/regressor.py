"""The shape regressor: who a portrait shows and what the face does, as coefficients of a basis.

The basis is of no head model: it spans how places of a face, given in the canonical cube, lie off
those of the mean head at rest. So what is read serves any model whose vertices have places there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvs.network.checkpoint import load_checkpoint, load_strict
from mvs.network.encoder import Encoder, EncoderConfig
from mvs.network.one_thread import one_thread
from mvs.types import ByteArray, DoubleArray

KIND = "regressor"
WEIGHTS = Path(__file__).parent / "weights" / "regressor.safetensors"
# Least logarithm of a coefficient's variance, which is 1 where nothing is known.
_LEAST = -4.0


@dataclass(frozen=True)
class RegressorConfig(EncoderConfig):
    """Size of the network.

    Attributes:
        narrow: channels that are kept at strides 16 and 32, for the layer that sees all of them.
        hidden: width of that layer.
        n_anchors: places of the basis.
        n_identity: coefficients of who is shown.
        n_expression: of what the face does.
    """

    size: int = 192
    narrow: tuple[int, int] = (32, 64)
    hidden: int = 384
    n_anchors: int = 400
    n_identity: int = 48
    n_expression: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = (self.hidden, self.n_anchors, self.n_identity, self.n_expression)
        if len(self.narrow) != 2 or min(*self.narrow, *counts) < 1:
            raise ValueError(f"two narrow widths are needed, and all sizes positive: {self}")

    @property
    def n_coefficients(self) -> int:
        """Of both kinds."""
        return self.n_identity + self.n_expression


class RegressorNetwork(Encoder):
    """Portrait to coefficients of identity and expression with their variances.

    Attributes:
        anchors: (M, 3) cube coordinates of the basis' places.
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
        for layer in (self.mean, self.variance):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.register_buffer("anchors", torch.zeros(m, 3))
        self.register_buffer("analysis", torch.zeros(n, m, 3))
        self.register_buffer("offset", torch.zeros(n))
        self.register_buffer("energy", torch.ones(n))
        self.register_buffer("mirror", torch.ones(n))

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            picture: (B, 3, S, S) RGB in 0..255, S the configuration's size.

        Returns:
            (B, K) float32 coefficients, and logarithms of their variance.
        """
        _, _, x16, x32 = self.encode(picture)
        parts = [self.narrow16(x16).flatten(1), self.narrow32(x32).flatten(1)]
        seen = F.gelu(self.hidden(torch.cat(parts, dim=1)))
        with torch.autocast(picture.device.type, enabled=False):
            mean = self.mean(seen.float())
            variance = -F.softplus(self.variance(seen.float().detach())).clamp(max=-_LEAST)
        return mean, variance


@dataclass(frozen=True, eq=False)
class Reading:
    """What a portrait says of a face.

    Attributes:
        mean: (K,) expected coefficients.
        variance: (K,) in (0, 1]; 1 where the portrait says nothing.
    """

    mean: DoubleArray
    variance: DoubleArray


class Regressor:
    """Reads portraits.

    Attributes:
        network: with its basis.
    """

    def __init__(self, network: RegressorNetwork) -> None:
        self.network = network.eval()

    def read(self, portrait: ByteArray) -> Reading:
        """What a portrait (S, S, 3) uint8 RGB says; the mean of it and its mirror image."""
        picture = torch.from_numpy(np.ascontiguousarray(portrait)).permute(2, 0, 1)[None].float()
        both = torch.cat([picture, picture.flip(3)]).contiguous(memory_format=torch.channels_last)
        with one_thread():
            mean, variance = self.network(both)
            mean[1] *= self.network.mirror
        return Reading(
            mean.double().mean(dim=0).numpy(), variance.double().mean(dim=0).exp().numpy()
        )


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
