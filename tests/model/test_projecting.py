"""project_layers: which kernels get which matrices."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels.fp8 import Fp8Matrix, adjoining, quantize, reference
from ossia.model import projecting
from ossia.model.fp8_weights import ATTENTION, UNEMBEDDING, round_weights
from ossia.model.projecting import addends, project_layers
from support.models import small_model


@pytest.fixture
def kernels(monkeypatch) -> list[str]:
    """The kernels' names as they are called; torch computes."""
    called: list[str] = []

    def multiply(x: torch.Tensor, matrix: Fp8Matrix, out: torch.Tensor) -> None:
        called.append("fp8")
        out.copy_(reference.linear(x.float(), matrix, None))

    def project(x: torch.Tensor, weights: list[torch.Tensor], out: torch.Tensor) -> None:
        called.append("bfloat16")
        out[0], out[1:] = x.float() @ torch.cat(weights).float().T, 0

    monkeypatch.setattr(projecting.fp8, "multiply", multiply)
    monkeypatch.setattr(projecting, "project", project)
    return called


@pytest.mark.parametrize("parts", [(), (UNEMBEDDING,), (UNEMBEDDING, ATTENTION)])
@torch.inference_mode()
def test_by_what_the_weights_are(kernels: list[str], parts: tuple[str, ...]):
    model = small_model(3, expert_format="mxfp4", vocab_size=97).bfloat16()
    attention = model.model.layers[0].self_attn
    round_weights(model, parts)
    for layers, part in (
        ((attention.q_proj, attention.k_proj, attention.v_proj), ATTENTION),
        ((attention.o_proj,), ATTENTION),
        ((model.lm_head,), UNEMBEDDING),
    ):
        x = torch.randn(3, layers[0].in_features).bfloat16()
        rows = sum(layer.out_features for layer in layers)
        room = torch.full((2, 3, rows), torch.nan)
        project_layers(x, layers, room)
        assert kernels.pop() == ("fp8" if part in parts else "bfloat16")
        out = addends(layers, room)
        assert out.data_ptr() == room.data_ptr()
        assert len(out) == (1 if part in parts else 2)
        states = [layer.state_dict()["weight"].float() for layer in layers]
        expected = x.float() @ torch.cat(states).T
        assert torch.allclose(out.sum(0), expected, atol=0.02 * float(expected.abs().max()))


def test_matrices_that_lie_apart_are_not_one():
    whole, other = quantize(torch.randn(12, 32)), quantize(torch.randn(4, 32))
    one, two = whole.part(0, 5), whole.part(5, 12)
    joined = adjoining([one, two])
    assert joined.codes.data_ptr() == whole.codes.data_ptr()
    assert torch.equal(joined.scales, whole.scales)
    assert joined.rows == 12
    with pytest.raises(AssertionError, match="do not lie one behind the other"):
        adjoining([one, other])
