import math

import pytest
import torch

from mvs.canonical.regions import REGIONS
from mvs.network.compact import COORDS, LOG_VARIANCE, MASK, NORMALS
from mvs.training.data import Batch
from mvs.training.losses import losses

SIZE = 6


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(2, 1, SIZE, SIZE, generator=generator) < 0.6).float()
    coords = torch.rand(2, 3, SIZE, SIZE, generator=generator) * mask
    normals = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    normals = torch.nn.functional.normalize(normals, dim=1) * mask
    pictures = torch.zeros(2, 3, 2 * SIZE, 2 * SIZE, dtype=torch.uint8)
    region = mask[:, 0].long()
    region[1] *= REGIONS.index("hair")
    region[1, :2] = mask[1, 0, :2].long() * REGIONS.index("hat")
    return Batch(pictures, coords, mask, normals, region)


def firmness(batch, b, y, x):
    return 0.5 if REGIONS[batch.region[b, y, x]] in ("hair", "hat") else 1.0


@pytest.fixture
def out(batch):
    generator = torch.Generator().manual_seed(1)
    out = torch.randn(2, 8, SIZE, SIZE, generator=generator)
    out[:, COORDS] = batch.coords + 0.05 * out[:, COORDS]
    out[:, LOG_VARIANCE] -= 3
    return out


def pixels(batch):
    return [tuple(index) for index in torch.nonzero(batch.mask[:, 0]).tolist()]


def test_terms_are_the_sums_they_claim_to_be(out, batch):
    terms = losses(out, batch)
    distances, likelihoods, coords, weights = [], [], [], []
    for b, y, x in pixels(batch):
        square = sum(float(out[b, c, y, x] - batch.coords[b, c, y, x]) ** 2 for c in range(3))
        distances.append(math.sqrt(square + 1e-6))
        weights.append(firmness(batch, b, y, x))
        pull = 0.2 * distances[-1] + 0.8 * 0.02 * math.log(1 + distances[-1] / 0.02)
        coords.append(pull * weights[-1])
        log_variance = float(out[b, LOG_VARIANCE, y, x])
        # Three Gaussians of one variance, without the constant.
        likelihoods.append(0.5 * square / math.exp(log_variance) + 1.5 * log_variance)
    assert float(terms.distance) == pytest.approx(sum(distances) / len(distances), rel=1e-5)
    assert float(terms.coords) == pytest.approx(sum(coords) / sum(weights), rel=1e-5)
    assert float(terms.likelihood) == pytest.approx(sum(likelihoods) / len(likelihoods), rel=1e-4)
    entropy = 0.0
    for logit, truth in zip(
        out[:, MASK].flatten().tolist(), batch.mask.flatten().tolist(), strict=True
    ):
        share = 1 / (1 + math.exp(-logit))
        entropy -= math.log(share if truth else 1 - share)
    assert float(terms.mask) == pytest.approx(entropy / batch.mask.numel(), rel=1e-5)


def test_normals_are_compared_as_unit_vectors(out, batch):
    sizes, weights = [], []
    for b, y, x in pixels(batch):
        weights.append(firmness(batch, b, y, x))
        found = out[b, NORMALS, y, x] / out[b, NORMALS, y, x].norm()
        square = float((found - batch.normals[b, :, y, x]).square().sum())
        sizes.append(math.sqrt(square + 1e-6) * weights[-1])
    found = losses(out, batch).normals
    assert float(found) == pytest.approx(sum(sizes) / sum(weights), rel=1e-5)
    longer = out.clone()
    longer[:, NORMALS] *= 3
    assert float(losses(longer, batch).normals) == pytest.approx(float(found), rel=1e-5)


def test_slopes_count_only_between_pixels_of_the_head(out, batch):
    total = 0.0
    for dy, dx in ((1, 0), (0, 1)):
        sizes = []
        for b, y, x in pixels(batch):
            if y + dy < SIZE and x + dx < SIZE and batch.mask[b, 0, y + dy, x + dx] > 0:
                step = out[b, :3, y + dy, x + dx] - out[b, :3, y, x]
                truth = batch.coords[b, :, y + dy, x + dx] - batch.coords[b, :, y, x]
                sizes.append(math.sqrt(float((step - truth).square().sum()) + 1e-8))
        total += sum(sizes) / len(sizes)
    assert float(losses(out, batch).slope) == pytest.approx(total, rel=1e-5)


def test_a_far_pixel_pulls_less_than_a_near_one(batch):
    """Five times less in the limit, so that what cannot be known takes little of the learning."""
    pulls = []
    for off in (0.003, 1.0):
        out = torch.zeros(2, 8, SIZE, SIZE)
        out[:, COORDS] = batch.coords
        out[:, 0] += off
        out.requires_grad_()
        losses(out, batch).coords.backward()
        pulls.append(float(out.grad[:, 0].sum()))
    assert 3.5 < pulls[0] / pulls[1] < 5


def test_the_variance_does_not_steer_the_coordinates(out, batch):
    out.requires_grad_()
    losses(out, batch).likelihood.backward()
    assert (out.grad[:, COORDS] == 0).all()
    assert (out.grad[:, LOG_VARIANCE] != 0).any()


def test_the_best_variance_is_the_one_that_is_there(batch):
    """At the minimum 3 exp(log_variance) is the squared distance."""
    out = torch.zeros(2, 8, SIZE, SIZE)
    out[:, COORDS] = batch.coords + 0.03
    out[:, LOG_VARIANCE] = math.log(0.03**2)
    out.requires_grad_()
    losses(out, batch).likelihood.backward()
    assert out.grad.abs().max() < 1e-6


def test_nothing_off_the_head_matters_but_the_mask(out, batch):
    before = losses(out, batch)
    changed = torch.where(batch.mask > 0, out, out + 5.0)
    after = losses(changed, batch)
    for name in ("coords", "distance", "likelihood", "slope", "normals"):
        assert float(getattr(after, name)) == pytest.approx(float(getattr(before, name)), rel=1e-6)
    assert float(after.mask) != pytest.approx(float(before.mask), rel=1e-3)


def test_pictures_without_a_head_are_finite():
    nothing = torch.zeros(1, 3, 4, 4)
    pictures = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    batch = Batch(pictures, nothing, nothing[:, :1], nothing, nothing[:, 0].long())
    out = torch.randn(1, 8, 4, 4, requires_grad=True)
    terms = losses(out, batch)
    terms.total.backward()
    assert torch.isfinite(out.grad).all()
    assert float(terms.distance.detach()) == 0
