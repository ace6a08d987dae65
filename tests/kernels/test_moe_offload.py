"""Experts that lie elsewhere: only chosen ones are sent, and packed ones as packed."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels.moe import ExpertWeights
from ossia.kernels.moe.reference import run_experts
from ossia.kernels.mxfp4 import Mxfp4Tensor, pack

EXPERTS, HIDDEN, FFN = 6, 96, 32


class Elsewhere(torch.Tensor):
    """A stand-in for a tensor of another device: notes what is sent."""

    sent: list[tuple[torch.dtype, tuple[int, ...]]] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to:
            cls.sent.append((args[0].dtype, tuple(args[0].shape)))
            return args[0].as_subclass(torch.Tensor).to(*args[1:], **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})


def _weights(packed: bool, place) -> ExpertWeights:
    generator = torch.Generator().manual_seed(0)
    gate_up = torch.randn(EXPERTS, 2 * FFN, HIDDEN, generator=generator) / 8
    down = torch.randn(EXPERTS, HIDDEN, FFN, generator=generator) / 8
    if packed:
        parts = [Mxfp4Tensor(*map(place, pack(matrix))) for matrix in (gate_up, down)]
    else:
        parts = [place(matrix.mT.contiguous()) for matrix in (gate_up, down)]
    return ExpertWeights(
        gate_up=parts[0],
        gate_up_bias=place(torch.ones(EXPERTS, 2 * FFN)),
        down=parts[1],
        down_bias=place(torch.ones(EXPERTS, HIDDEN)),
        alpha=1.702,
        limit=7.0,
    )


@pytest.mark.parametrize("packed", [False, True])
def test_only_chosen_experts_are_sent(packed):
    x = torch.randn(3, HIDDEN)
    expert_ids = torch.tensor([[1, 4], [4, 1], [1, 4]])
    weights = torch.full((3, 2), 0.5)
    Elsewhere.sent.clear()
    actual = run_experts(
        x, expert_ids, weights, _weights(packed, lambda t: t.as_subclass(Elsewhere))
    )
    assert torch.equal(actual, run_experts(x, expert_ids, weights, _weights(packed, lambda t: t)))
    assert type(actual) is torch.Tensor
    shapes = [shape for _, shape in Elsewhere.sent]
    assert shapes.count((2 * FFN,)) == shapes.count((HIDDEN,)) == 2  # two experts' biases
    if packed:
        assert (torch.uint8, (2 * FFN, HIDDEN // 32, 16)) in Elsewhere.sent
    matrices = [shape for shape in shapes if len(shape) > 1]
    assert len(matrices) == (8 if packed else 4)
