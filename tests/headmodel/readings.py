"""Regressors that say what they are told."""

import numpy as np
import torch

from calib.camera import Camera
from mvs.canonical.cube import cube_from_cm
from mvs.headmodel.reading_term import SeenPoints
from mvs.network.regressor import Reading, RegressorConfig, RegressorNetwork

SMALL = RegressorConfig(
    size=32,
    widths=(8, 8, 8, 16, 16),
    depths=(0, 0, 0),
    n_attention=1,
    head_width=16,
    narrow=(4, 4),
    hidden=8,
    search=8,
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


def read_as(mean, variance, points=None, sigma=1.0, n_anchors=SMALL.n_anchors):
    """A reading that says nothing of points unless it is told."""
    if points is None:
        points, sigma = np.zeros((n_anchors, 2)), np.inf
    mean, variance = np.asarray(mean, float), np.asarray(variance, float)
    return Reading(mean, variance, points, np.full(len(points), float(sigma)))


def nowhere(basis):
    """Points of which nothing is known."""
    n = len(basis.places)
    camera = Camera("PINHOLE", 64, 64, np.array([90.0, 90.0, 32.0, 32.0]), np.eye(3, 4))
    return SeenPoints(basis.places, camera, np.zeros((n, 2)), np.zeros((n, 2, 2)), np.ones(n))


class Told:
    """Reads any portrait as it was told, and keeps the portraits."""

    def __init__(self, network, mean, variance, points=None, sigma=1.0):
        self.network, self.portraits = network, []
        self._reading = read_as(mean, variance, points, sigma, network.config.n_anchors)

    def read(self, portrait, _times=1):
        self.portraits.append(portrait)
        return self._reading
