"""The attention module's projections, joined and apart."""

from __future__ import annotations

import pytest
import torch

from ossia.model.attention import Attention
from support.models import small_config


@pytest.fixture
def attention() -> Attention:
    module = Attention(small_config(), 0).requires_grad_(requires_grad=False)
    for param in module.parameters():
        param.normal_()
    return module


@pytest.mark.parametrize("biased", [True, False])
def test_joined_projections_say_what_they_said_apart(biased):
    module = Attention(small_config(attention_bias=biased), 0).requires_grad_(requires_grad=False)
    for param in module.parameters():
        param.normal_()
    x = torch.randn(5, module.q_proj.in_features)
    apart = module._project(x)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    module.join_projections()
    with torch.no_grad():
        joined = module._project(x)
    for one, other in zip(apart, joined, strict=True):
        torch.testing.assert_close(one, other)
    assert joined[0].stride(0) > joined[0][0].numel(), "there was no product of all"
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj"])
@pytest.mark.parametrize("what", ["weight", "bias"])
def test_a_projection_that_got_another_tensor_is_heard(attention, name, what):
    attention.join_projections()
    part = getattr(attention, name)
    getattr(part, what).data = torch.randn_like(getattr(part, what))
    x = torch.randn(5, attention.q_proj.in_features)
    with torch.no_grad():
        found = dict(zip(("q_proj", "k_proj", "v_proj"), attention._project(x), strict=True))
        torch.testing.assert_close(found[name].flatten(1), part(x))
