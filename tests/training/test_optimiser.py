import pytest
import torch

from mvs.training import optimiser
from mvs.training.optimiser import Optimiser, orthogonalise


@pytest.fixture(params=[False, True])
def half(request, monkeypatch):
    monkeypatch.setattr(optimiser, "has_bfloat16", lambda: request.param)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30), (40, 40)])
@pytest.mark.usefixtures("half")
def test_orthogonalised_has_the_same_directions_and_values_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    found = (u.T @ orthogonalise(matrix).float() @ v.T).diagonal()
    large = s > 0.05 * s[0]
    assert found[large].min() > 0.5
    assert found.max() < 1.3


def test_steps_of_matrices_have_the_size_that_adam_would_take():
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    before = layer.weight.detach().clone()
    steps = Optimiser(layer, 1e-2, 0.0)
    layer(torch.randn(200, 64)).square().mean().backward()
    steps.step()
    size = (layer.weight.detach() - before).square().mean().sqrt()
    assert 0.1e-2 < float(size) < 0.3e-2  # Adam's step has a root mean square of 0.2 to 0.4


def test_what_is_beside_the_network_is_learnt_and_restored():
    def make():
        torch.manual_seed(0)
        network, beside = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)
        return network, beside, Optimiser(network, 1e-2, 0.01, beside)

    def steps(n, network, beside, optimiser, first=0):
        for k in range(first, first + n):
            torch.manual_seed(k)
            loss = (beside(network(torch.randn(8, 64))) - 1).square().mean()
            network.zero_grad()
            beside.zero_grad()
            loss.backward()
            optimiser.step()

    network, beside, whole = make()
    steps(5, network, beside, whole)
    other, other_beside, half = make()
    steps(3, other, other_beside, half)
    again, again_beside, resumed = make()
    again.load_state_dict(other.state_dict())
    again_beside.load_state_dict(other_beside.state_dict())
    resumed.load({name: value.clone() for name, value in half.state().items()})
    steps(2, again, again_beside, resumed, first=3)
    for a, b in ((network, again), (beside, again_beside)):
        for one, two in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(one, two)
