"""Muon for the matrices inside a network, Adam for all else."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mvs.training.precision import has_bfloat16

# Matrices with fewer rows or columns are left to Adam: the first and the last layer.
_SMALLEST = 28
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_N_ITERATIONS = 5


class Optimiser:
    """Steps of a network's parameters, restartable from ``state``.

    A convolution is a matrix of its outputs by its taps; both see the same memory.
    """

    def __init__(
        self, network: nn.Module, rate: float, decay: float, beside: nn.Module | None = None
    ) -> None:
        """Takes hold of a network's parameters.

        Args:
            network: whose matrices go to Muon.
            rate: learning rate.
            decay: of the matrices, relative to the rate.
            beside: a module that is learnt along, by Adam.
        """
        self._names: dict[str, nn.Parameter] = {}
        self._views: list[tuple[nn.Parameter, nn.Parameter]] = []
        matrices, others = [], []
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2 or min(parameter.shape[0], parameter[0].numel()) < _SMALLEST:
                others.append(parameter)
                self._names[name] = parameter
                continue
            view = nn.Parameter(_as_matrix(parameter.data))
            matrices.append(view)
            self._names[name] = view
            self._views.append((parameter, view))
        if beside is not None:
            for name, parameter in beside.named_parameters():
                others.append(parameter)
                self._names[f"beside.{name}"] = parameter
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            _Muon(matrices, rate, decay),
            torch.optim.AdamW(others, rate, (0.9, 0.99), weight_decay=0.0, fused=True),
        )

    def set_rate(self, rate: float) -> None:
        """Use this learning rate from now on."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        """Move the parameters by their gradients."""
        for parameter, view in self._views:
            view.grad = None if parameter.grad is None else _as_matrix(parameter.grad)
        for part in self._parts:
            part.step()

    def state(self) -> dict[str, Tensor]:
        """Everything but the parameters, by name."""
        return {
            f"{key}.{name}": value
            for part in self._parts
            for name, parameter in self._names.items()
            for key, value in part.state.get(parameter, {}).items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from what ``state`` gave."""
        for key, value in state.items():
            kind, name = key.split(".", 1)
            parameter = self._names[name]
            matrix = any(parameter is view for _, view in self._views)
            # The fused step needs the parameter's strides, and all on its device.
            same = value.shape == parameter.shape
            kept = torch.empty_like(parameter).detach() if same else torch.empty_like(value)
            kept = kept.to(parameter.device).copy_(value)
            self._parts[0 if matrix else 1].state[parameter][kind] = kept


class _Muon(torch.optim.Optimizer):
    """Momentum whose every step is brought near an orthogonal matrix.

    PyTorch's own does the same in bfloat16 only, which many processors compute very slowly.

    Source:
        Jordan et al. (2024), Muon; step size of Liu et al. (2025), eq. 4, so that one rate serves
        this and Adam.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, decay: float) -> None:
        super().__init__(list(matrices), {"lr": lr, "decay": decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # noqa: ARG002
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                mean = state["momentum_buffer"]
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonalise(matrix.grad.lerp(mean, group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["decay"])
                size = 0.2 * max(matrix.shape) ** 0.5
                matrix.add_(update.to(matrix.dtype), alpha=-group["lr"] * size)


def orthogonalise(matrix: Tensor) -> Tensor:
    """A matrix (m, n) with its singular values moved towards 1 (to about 0.7 to 1.2).

    Source:
        Newton-Schulz iteration with the quintic of Jordan et al. (2024).
    """
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16() if matrix.is_cuda or has_bfloat16() else matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_N_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _as_matrix(tensor: Tensor) -> Tensor:
    """(O, ...) -> (O, n): the same memory if it is channels last."""
    last = tensor.movedim(1, -1) if tensor.ndim > 2 else tensor
    return last.reshape(len(tensor), -1)
