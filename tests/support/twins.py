"""Facade models of any head with lively weights, and their twins in transformers."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from ossia.api.models.config import GptOssConfig
from ossia.api.models.pretrained import PreTrainedModel
from ossia.kernels.routing import route
from support.models import lively_, small_config
from support.transformers_version import IS_4

# There, `router_logits` are the weights of the chosen experts, and the aux loss is made of those.
RECORDS_WEIGHTS = IS_4


def small_settings(**changes: object) -> GptOssConfig:
    """The mutable kind of `small_config`, with any further settings."""
    shape = set(type(small_config()).__dataclass_fields__) - {"eos_token_id"}
    config = small_config(**{name: changes[name] for name in changes if name in shape})
    others = {name: changes[name] for name in changes if name not in shape}
    return GptOssConfig.from_dict(config.to_hf(), **others)


def lively(model: PreTrainedModel, seed: int = 0) -> Any:
    """The model with lively weights, in evaluation mode."""
    lively_(model, seed)
    return model.eval()


def twin_of(model: PreTrainedModel) -> Any:
    """The same class, config and weights in transformers; dense experts only."""
    kind = getattr(transformers, type(model).__name__)
    config = transformers.GptOssConfig(**model.config.to_dict())
    config._attn_implementation = "eager"
    twin = kind(config)
    twin.load_state_dict(model.state_dict())
    return twin.train(model.training)


def as_recorded(router_logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """What this version of transformers calls router logits, (tokens, experts)."""
    if not RECORDS_WEIGHTS:
        return router_logits
    weights, expert_ids = route(router_logits, top_k)
    return torch.zeros_like(router_logits).scatter(1, expert_ids, weights)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, relative: float = 1e-3) -> None:
    """Equal to a thousandth of the largest magnitude."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    scale = expected.abs().max().clamp(min=1e-6)
    assert (actual - expected).abs().max() <= relative * scale


def assert_same_gradients(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    """Every parameter's gradient, within a thousandth of its largest entry or of the model's."""
    expected = {name: param.grad for name, param in theirs.named_parameters()}
    largest = max(grad.abs().max() for grad in expected.values() if grad is not None)
    for name, param in ours.named_parameters():
        grad = expected.pop(name)
        assert (param.grad is None) == (grad is None), name
        if grad is not None:
            limit = 1e-3 * max(grad.abs().max(), 1e-2 * largest)
            assert (param.grad - grad).abs().max() <= limit, name
    assert not expected
