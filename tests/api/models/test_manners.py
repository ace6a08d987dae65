"""A model is a well-behaved module: cast, copied, resized, checkpointed, compiled, trained."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from ossia import GptOssForCausalLM, GptOssForSequenceClassification, GptOssModel
from ossia.errors import RequestError
from support.twins import assert_same_gradients, lively, small_settings, twin_of

IDS = torch.arange(40).view(2, 20)


def _new(expert_format="dense", kind=GptOssForCausalLM, **changes):
    return lively(kind(small_settings(expert_format=expert_format, **changes)), 5)


# Casting and copying


@pytest.mark.parametrize("change", ["half", "bfloat16", "double", "to"])
def test_casting_leaves_packed_experts_alone(change):
    model = _new("mxfp4")
    before = model.model.layers[0].mlp.experts.gate_up_proj_blocks.clone()
    model = model.to(torch.float16) if change == "to" else getattr(model, change)()
    assert torch.equal(model.model.layers[0].mlp.experts.gate_up_proj_blocks, before)
    assert model.dtype in (torch.float16, torch.bfloat16, torch.float64)
    assert model(IDS).logits.dtype == model.dtype
    assert model.float().dtype == torch.float32


@pytest.mark.parametrize("expert_format", ["dense", "mxfp4"])
def test_copies_are_equal_and_apart(expert_format):
    model = _new(expert_format)
    expected = model(IDS).logits
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    saved.seek(0)
    restored = GptOssForCausalLM(model.config).eval()
    restored.load_state_dict(torch.load(saved))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), restored):
        assert torch.equal(twin(IDS).logits, expected)
        with torch.no_grad():
            twin.lm_head.weight.zero_()
        twin.config.use_cache = False
    assert torch.equal(model(IDS).logits, expected)


def test_outputs_can_be_pickled():
    output = _new()(IDS, labels=IDS, use_cache=False)
    again = pickle.loads(pickle.dumps(output))
    assert type(again) is type(output)
    assert torch.equal(again.loss, output.loss)
    assert again.keys() == output.keys()


# Counting


def test_weights_are_counted_as_in_transformers():
    model = _new()
    twin = twin_of(model)
    for options in ({}, {"only_trainable": True}, {"exclude_embeddings": True}):
        assert model.num_parameters(**options) == twin.num_parameters(**options)
    assert _new("mxfp4").num_parameters() == model.num_parameters()
    frozen = _new("mxfp4").num_parameters(only_trainable=True)
    experts = 4 * 8 * (64 * 64 + 32 * 64)
    assert frozen == model.num_parameters() - experts
    assert model.get_memory_footprint() == 4 * model.num_parameters()


# Embeddings


def test_embeddings_can_be_got_and_set():
    model = _new()
    assert model.get_input_embeddings() is model.model.embed_tokens
    assert model.get_output_embeddings() is model.lm_head
    assert model.model.get_output_embeddings() is None
    other = torch.nn.Embedding(97, 64)
    model.set_input_embeddings(other)
    assert model.model.embed_tokens is other
    head = torch.nn.Linear(64, 97, bias=False)
    model.set_output_embeddings(head)
    assert model.lm_head is head


@pytest.mark.parametrize("expert_format", ["dense", "mxfp4"])
@pytest.mark.parametrize("mean", [True, False])
def test_the_vocabulary_grows(expert_format, mean, tmp_path):
    model = _new(expert_format)
    before, head = model(IDS).logits, model.lm_head.weight.detach().clone()
    embedding = model.resize_token_embeddings(100, pad_to_multiple_of=8, mean_resizing=mean)
    assert embedding is model.get_input_embeddings()
    assert embedding.weight.shape == model.lm_head.weight.shape == (104, 64)
    assert model.config.vocab_size == 104
    after = model(IDS).logits
    assert torch.allclose(after[..., :97], before, atol=1e-5)
    if mean:
        assert torch.allclose(model.lm_head.weight[97:], head.mean(0).expand(7, -1), atol=1e-6)
    else:
        assert 0.01 < model.lm_head.weight[97:].std() < 0.03
    model(torch.tensor([[103]]), labels=torch.tensor([[103]]))
    assert model.lm_head.weight.requires_grad
    model.save_pretrained(tmp_path)
    assert torch.equal(GptOssForCausalLM.from_pretrained(tmp_path)(IDS).logits, after)
    assert model.as_engine_model().config.vocab_size == 104


def test_the_vocabulary_shrinks_and_stays():
    model = _new(pad_token_id=50)
    before = model(IDS).logits
    assert model.resize_token_embeddings() is model.get_input_embeddings()
    model.resize_token_embeddings(60)
    assert torch.allclose(model(IDS).logits, before[..., :60], atol=1e-5)
    with pytest.raises(RequestError, match="new_num_tokens: pad_token_id=50"):
        model.resize_token_embeddings(40)
    assert model.config.vocab_size == 60
    for options in ({"new_num_tokens": 0}, {"pad_to_multiple_of": -1}):
        with pytest.raises(RequestError, match=next(iter(options))):
            model.resize_token_embeddings(**options)


# Gradient checkpointing


@pytest.mark.parametrize("expert_format", ["dense", "mxfp4"])
@pytest.mark.parametrize("reentrant", [None, True, False])
def test_checkpointing_gives_the_same_gradients(expert_format, reentrant):
    model = _new(expert_format).train()
    plain = copy.deepcopy(model)
    expected = plain(IDS, labels=IDS)
    expected.loss.backward()
    options = None if reentrant is None else {"use_reentrant": reentrant}
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    assert model.is_gradient_checkpointing
    actual = model(IDS, labels=IDS)
    assert actual.past_key_values is None
    actual.loss.backward()
    assert torch.equal(actual.loss, expected.loss)
    assert_same_gradients(model, plain)
    assert model.eval()(IDS).past_key_values is not None
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_checkpointing_keeps_what_is_recorded_differentiable():
    model = _new().train()
    plain = copy.deepcopy(model)
    for each in (model, plain):
        if each is model:
            each.gradient_checkpointing_enable()
        output = each(IDS, labels=IDS, output_router_logits=True, output_attentions=True)
        (output.loss + output.attentions[1].square().sum()).backward()
    assert_same_gradients(model, plain)


def test_checkpointing_computes_layers_again():
    """Fewer tensors are kept for the backward pass: the point of it."""

    def kept(model) -> int:
        sizes: list[int] = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(IDS, labels=IDS)
        return sum(sizes)

    model = _new().train()
    before = kept(model)
    model.gradient_checkpointing_enable()
    assert kept(model) < before / 3


def test_wrong_checkpointing_arguments_are_refused():
    model = _new().train()
    with pytest.raises(RequestError, match="gradient_checkpointing_kwargs: reentrant is not"):
        model.gradient_checkpointing_enable({"reentrant": True})
    model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(RequestError, match="use_reentrant"):
        model(IDS, output_router_logits=True)


def test_inputs_can_require_gradients_of_a_frozen_model():
    model = _new().train()
    model.requires_grad_(False)
    model.enable_input_require_grads()
    model.enable_input_require_grads()
    assert model(IDS).logits.requires_grad
    model.disable_input_require_grads()
    assert not model(IDS).logits.requires_grad


# Use


@pytest.mark.parametrize("expert_format", ["dense", "mxfp4"])
def test_a_plain_training_loop_learns(expert_format):
    model = _new(expert_format).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = model(IDS, labels=IDS).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_what_models_say_of_themselves():
    model = _new()
    assert model.can_generate()
    assert not model.model.can_generate()
    assert model.base_model is model.model is model.get_decoder()
    assert model.model.base_model is model.model
    assert model.device == torch.device("cpu")
    assert not GptOssForSequenceClassification(model.config).can_generate()
    assert isinstance(GptOssForSequenceClassification(model.config).base_model, GptOssModel)
    model.tie_weights()
    assert "lm_head.weight" in model.state_dict()
