"""Muon: momentum whose update is made orthogonal, for stacks of matrices.

Source: Keller Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the
quintic Newton-Schulz iteration and its coefficients are from there.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_A, _B, _C = 3.4445, -4.7750, 2.0315
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Updates each (..., rows, columns) parameter by the nearest orthogonal matrix to its momentum.

    Args:
        params: Parameters of two dimensions or more; leading ones are stacks.
        lr: Step size: the root mean square of an update, up to the matrix' aspect.
        momentum: Nesterov momentum.
        weight_decay: Shrinks weights by this times the step size. Without it they grow for ever,
            attention sharpens, and after some thousand steps the loss climbs.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(list(params), defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures here
        """Apply the gradients."""
        assert closure is None
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state["momentum"] = torch.zeros_like(param)
                momentum = state["momentum"].lerp_(param.grad, 1 - group["momentum"])
                update = orthogonal(param.grad.lerp(momentum, group["momentum"]))
                aspect = max(1.0, param.shape[-2] / param.shape[-1]) ** 0.5
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(update.to(param.dtype), alpha=-group["lr"] * aspect)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The (roughly) nearest orthogonal matrix of each of a stack; bfloat16 does on a GPU."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x
