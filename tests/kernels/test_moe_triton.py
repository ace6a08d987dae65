"""The Triton expert layer against the torch one: on a GPU for real, elsewhere in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels.moe import ExpertWeights, reference
from ossia.kernels.mxfp4 import Mxfp4Tensor
from support.tolerances import TOLERANCE
from support.triton_interpreter import run_interpreted

pytest.importorskip("triton")
SHAPES = [
    # tokens, experts, top_k, hidden, ffn
    (1, 4, 2, 64, 64),
    (3, 5, 4, 96, 32),
    (16, 6, 2, 160, 96),
]


def _packed(device: str, *shape: int) -> Mxfp4Tensor:
    blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, device=device)
    return Mxfp4Tensor(blocks, torch.randint(118, 124, shape, dtype=torch.uint8, device=device))


def _check(tokens: int, experts: int, top_k: int, hidden: int, ffn: int, device: str) -> None:
    from ossia.kernels.moe import triton_decode

    kind = {"dtype": torch.bfloat16, "device": device}
    layer = ExpertWeights(
        gate_up=_packed(device, experts, 2 * ffn, hidden // 32),
        gate_up_bias=torch.randn(experts, 2 * ffn, **kind),
        down=_packed(device, experts, hidden, ffn // 32),
        down_bias=torch.randn(experts, hidden, **kind),
        alpha=1.702,
        limit=7.0,
    )
    x = torch.randn(tokens, hidden, **kind)
    ids = torch.stack([torch.randperm(experts, device=device)[:top_k] for _ in range(tokens)])
    weights = torch.rand(tokens, top_k, **kind)
    wide = ExpertWeights(
        gate_up=layer.gate_up, gate_up_bias=layer.gate_up_bias.double(),
        down=layer.down, down_bias=layer.down_bias.double(), alpha=1.702, limit=7.0,
    )  # fmt: skip
    expected = reference.run_experts(x.double(), ids, weights.double(), wide)
    actual = triton_decode.run_experts(x, ids, weights, layer)
    assert actual.dtype is torch.bfloat16
    error = (actual.double() - expected).abs().max() / expected.abs().max()
    assert error <= TOLERANCE[torch.bfloat16]


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*SHAPES, (1, 8, 4, 2880, 2880), (16, 8, 4, 2880, 2880)])
def test_on_a_gpu(shape):
    _check(*shape, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", range(1, 17))
def test_every_number_of_tokens_on_a_gpu(tokens):
    _check(tokens, 5, 4, 96, 32, device="cuda")


def test_in_the_interpreter():
    run_interpreted(__file__)


if __name__ == "__main__":
    torch.manual_seed(0)
    for given in SHAPES:
        _check(*given, device="cpu")
