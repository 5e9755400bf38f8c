"""Regressors that say what they are told."""

import numpy as np
import torch

from mvs.canonical.cube import cube_from_cm
from mvs.network.regressor import Reading, RegressorConfig, RegressorNetwork

SMALL = RegressorConfig(
    size=32,
    widths=(8, 8, 8, 16, 16),
    depths=(0, 0, 0),
    n_attention=1,
    head_width=16,
    narrow=(4, 4),
    hidden=8,
    n_anchors=60,
    n_identity=5,
    n_expression=4,
)


def small_network(seed=0, config=SMALL):
    """A network with anchors over the face and any analysis."""
    torch.manual_seed(seed)
    network = RegressorNetwork(config)
    rng = np.random.default_rng(seed)
    n = config.n_anchors
    x, y = rng.uniform(-5, 5, n), rng.uniform(-6, 8, n)
    places = cube_from_cm(np.stack([x, y, 11 - 0.1 * (x**2 + y**2)], 1).astype(np.float32))
    network.anchors.copy_(torch.from_numpy(places))
    network.analysis.copy_(torch.from_numpy(rng.normal(0, 0.1, network.analysis.shape)))
    network.offset.copy_(torch.from_numpy(rng.normal(0, 1, len(network.offset))))
    return network


class Told:
    """Reads any portrait as it was told, and keeps the portraits."""

    def __init__(self, network, mean, variance):
        self.network, self.portraits = network, []
        self._reading = Reading(np.asarray(mean, float), np.asarray(variance, float))

    def read(self, portrait):
        self.portraits.append(portrait)
        return self._reading
