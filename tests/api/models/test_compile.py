"""torch.compile: one graph, no warning, and the numbers of the model as it is."""

from __future__ import annotations

import copy

import pytest
import torch

from ossia import (
    GptOssForCausalLM,
    GptOssForSequenceClassification,
    GptOssForTokenClassification,
)
from support.generation import SPECIAL, left_padded
from support.twins import assert_same_gradients, lively, small_settings

# Inductor itself uses what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")

slow_inductor = pytest.param("inductor", marks=pytest.mark.slow)
BACKENDS = ["aot_eager", slow_inductor]
# Packed experts are a node of the graph of their own; the rest is the same with dense ones.
FORMATS = [pytest.param("dense", marks=pytest.mark.slow), "mxfp4"]
KINDS = {
    "causal": GptOssForCausalLM,
    "sequence": GptOssForSequenceClassification,
    "token": GptOssForTokenClassification,
}


@pytest.fixture(autouse=True)
def _fresh_graphs():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def _model(kind: str, expert_format: str = "dense", dtype: torch.dtype = torch.float32, **changes):
    shape = {"num_hidden_layers": 2, "num_labels": 3, "classifier_dropout": 0.0} | changes
    return lively(KINDS[kind](small_settings(expert_format=expert_format, **shape))).to(dtype)


def _inputs(kind: str, side: str | None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 97, (2, 12), generator=generator)
    mask = torch.ones(2, 12, dtype=torch.long)
    labels = torch.tensor([0, 2])
    if kind != "sequence":
        labels = ids % 3 if kind == "token" else ids.clone()
    if side is not None:
        padding = slice(0, 5) if side == "left" else slice(7, 12)
        mask[1, padding], ids[1, padding] = 0, 5
        if kind != "sequence":
            labels[1, padding] = -100
    masked = side is not None or kind == "sequence"
    return {"input_ids": ids, "labels": labels} | ({"attention_mask": mask} if masked else {})


def _compiled(model, backend: str):
    """The same weights, compiled; a graph that breaks is an error."""
    return torch.compile(model, backend=backend, fullgraph=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kind", "side", "expert_format"),
    [
        pytest.param("causal", None, "dense", marks=pytest.mark.slow),
        # Padded and dense, with gradients: also in test_layers_that_are_computed_again.
        pytest.param("causal", "left", "dense", marks=pytest.mark.slow),
        ("causal", "left", "mxfp4"),
        ("sequence", "left", "dense"),
        pytest.param("token", "right", "dense", marks=pytest.mark.slow),
    ],
)
def test_a_training_step(backend, kind, side, expert_format):
    model, inputs = _model(kind, expert_format).train(), _inputs(kind, side)
    twin = copy.deepcopy(model)
    expected = twin(**inputs)
    expected.loss.backward()
    actual = _compiled(model, backend)(**inputs)
    actual.loss.backward()
    torch.testing.assert_close(actual.logits, expected.logits, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(actual.loss, expected.loss, atol=2e-5, rtol=1e-4)
    assert_same_gradients(model, twin)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("expert_format", FORMATS)
def test_everything_that_a_pass_gives(backend, expert_format):
    model, (ids, mask) = _model("causal", expert_format), _left_padded()
    wanted = {"output_hidden_states": True, "output_attentions": True, "output_router_logits": True}
    compiled = _compiled(model, backend)
    with torch.inference_mode():
        expected, actual = model(ids, mask, **wanted), compiled(ids, mask, **wanted)
    close = {"atol": 2e-5, "rtol": 2e-5}
    assert list(actual) == list(expected)
    assert type(actual) is type(expected)
    assert not actual.logits[mask == 0].any()
    for name in ("logits", "aux_loss", "hidden_states", "router_logits"):
        torch.testing.assert_close(actual[name], expected[name], **close)
    for one, other in zip(actual.attentions, expected.attentions, strict=True):
        queries = mask.bool()
        torch.testing.assert_close(
            one.transpose(1, 2)[queries], other.transpose(1, 2)[queries], **close
        )


def _left_padded() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, :5] = 0
    # No matter what stands at padding.
    return torch.arange(24).view(2, 12).masked_fill(mask == 0, -100), mask


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("expert_format", FORMATS)
def test_bfloat16_is_no_further_from_the_truth(backend, expert_format):
    """Inductor rounds less often than the model as it is, so the two differ; float32 judges."""
    model, (ids, mask) = _model("causal", expert_format, torch.bfloat16), _left_padded()
    compiled = _compiled(model, backend)
    with torch.inference_mode():
        truth = copy.deepcopy(model).float()(ids, mask).logits
        expected, actual = model(ids, mask).logits, compiled(ids, mask).logits
    assert actual.dtype == torch.bfloat16
    assert not actual[mask == 0].any()
    assert (actual - truth).abs().max() <= 1.5 * (expected - truth).abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_decoding_with_a_cache(backend):
    model = _model("causal")
    # Beyond the window of 8, and a few steps after lengths have become symbols.
    ids, mask = torch.arange(28).view(2, 14), torch.ones(2, 14, dtype=torch.long)
    mask[1, :5] = 0
    compiled = _compiled(model, backend)
    with torch.inference_mode():
        expected = model(ids, mask).logits[:, 8:]
        cache, pieces = compiled(ids[:, :8], mask[:, :8]).past_key_values, []
        for end in range(9, 15):
            output = compiled(ids[:, end - 1 : end], mask[:, :end], past_key_values=cache)
            assert output.past_key_values is cache
            pieces.append(output.logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_model_compiled_in_place_generates_the_same():
    model = _model("causal")
    inputs = left_padded([[10, 11, 12, 13, 14], [20, 21], [30, 31, 32]])
    options = {"max_new_tokens": 8, "num_beams": 2, **SPECIAL}
    expected = model.generate(**inputs, **options)
    model.compile(backend="aot_eager")
    assert torch.equal(model.generate(**inputs, **options), expected)
    assert torch.equal(
        torch.compile(model, backend="aot_eager").generate(**inputs, **options), expected
    )


@pytest.mark.parametrize("router", [pytest.param(False, marks=pytest.mark.slow), True])
def test_layers_that_are_computed_again(router):
    model, inputs = _model("causal").train(), _inputs("causal", "left")
    twin = copy.deepcopy(model)
    twin(**inputs, output_router_logits=router).loss.backward()
    model.gradient_checkpointing_enable()
    _compiled(model, "aot_eager")(**inputs, output_router_logits=router).loss.backward()
    assert_same_gradients(model, twin)


def test_frozen_experts_get_no_gradients():
    model, inputs = _model("causal").train(), _inputs("causal", None)
    for experts in (layer.mlp.experts for layer in model.model.layers):
        experts.requires_grad_(False)
    twin = copy.deepcopy(model)
    twin(**inputs).loss.backward()
    _compiled(model, "aot_eager")(**inputs).loss.backward()
    assert_same_gradients(model, twin)
