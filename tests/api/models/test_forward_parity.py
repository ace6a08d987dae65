"""Everything a forward pass gives, and its gradients, against transformers in float32."""

from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.gpt_oss.modeling_gpt_oss import load_balancing_loss_func

from ossia import (
    DynamicCache,
    GptOssConfig,
    GptOssForCausalLM,
    GptOssForSequenceClassification,
    GptOssForTokenClassification,
    GptOssModel,
)
from ossia.errors import RequestError
from support.models import assume_clear_routing, model_configs
from support.twins import (
    RECORDS_WEIGHTS,
    as_recorded,
    assert_close,
    assert_same_gradients,
    lively,
    small_settings,
    twin_of,
)

few = settings(max_examples=15, deadline=None)
EVERYTHING = {
    "output_attentions": True,
    "output_hidden_states": True,
    "output_router_logits": True,
}


@st.composite
def padded(draw: st.DrawFn) -> torch.Tensor | None:
    """A mask of 1-3 rows that are padded on one side, or None."""
    batch, seq = draw(st.integers(1, 3)), draw(st.integers(2, 40))
    side = draw(st.sampled_from(["left", "right"]))
    mask = torch.ones(batch, seq, dtype=torch.long)
    for row in mask:
        row[: draw(st.integers(0, seq - 2))] = 0
    return mask.flip(1) if side == "right" else mask


def _settings_of(config, **changes) -> GptOssConfig:
    return GptOssConfig.from_dict({**config.to_hf(), **changes})


@few
@given(config=model_configs(), mask=padded(), seed=st.integers(0, 999))
def test_hidden_states_attentions_and_router_logits(config, mask, seed):
    torch.manual_seed(seed)
    model = lively(GptOssModel(_settings_of(config)), seed)
    ids = torch.randint(0, config.vocab_size, mask.shape)
    with torch.inference_mode():
        ours = model(ids, mask, **EVERYTHING)
        theirs = twin_of(model)(ids, mask, **EVERYTHING)
    assume_clear_routing(ours.router_logits, config.experts_per_token)
    assert set(ours) == set(theirs)
    tokens = mask.bool()
    assert_close(ours.last_hidden_state[tokens], theirs.last_hidden_state[tokens])
    for name in ("hidden_states", "attentions", "router_logits"):
        assert len(ours[name]) == len(theirs[name])
    for actual, expected in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert_close(actual[tokens], expected[tokens])
    for actual, expected in zip(ours.router_logits, theirs.router_logits, strict=True):
        assert actual.shape == expected.shape
        actual = as_recorded(actual, model.config.num_experts_per_tok)
        assert_close(actual[tokens.flatten()], expected[tokens.flatten()])
    for actual, expected in zip(ours.attentions, theirs.attentions, strict=True):
        assert actual.shape == expected.shape
        assert_close(_queries(actual, tokens), _queries(expected, tokens))
        assert (actual.sum(dim=-1) < 1).all()


def _queries(weights: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(tokens, heads, keys): the rows of real queries."""
    return weights.transpose(1, 2)[tokens]


@few
@given(
    config=model_configs(),
    mask=padded(),
    seed=st.integers(0, 999),
    ignored=st.booleans(),
    num_items=st.sampled_from([None, 7]),
    coefficient=st.sampled_from([0.001, 0.9]),
    masked=st.booleans(),
)
def test_losses_and_gradients(config, mask, seed, ignored, num_items, coefficient, masked):
    torch.manual_seed(seed)
    config = _settings_of(config, router_aux_loss_coef=coefficient, pad_token_id=0)
    model = lively(GptOssForCausalLM(config), seed).train()
    twin = twin_of(model)
    ids = torch.randint(0, config.vocab_size, mask.shape)
    labels = torch.where(mask.bool() | ~torch.tensor(ignored), ids, -100)
    options = {} if num_items is None else {"num_items_in_batch": num_items}
    given_mask = mask if masked else None
    _check_aux_loss(model, twin, ids, given_mask)
    options["output_router_logits"] = not RECORDS_WEIGHTS
    ours = model(ids, given_mask, labels=labels, **options)
    theirs = twin(ids, given_mask, labels=labels, **options)
    assert abs(ours.loss - theirs.loss) <= 1e-3 * abs(theirs.loss)
    ours.loss.backward()
    theirs.loss.backward()
    assert_same_gradients(model, twin)


def _check_aux_loss(model, twin, ids: torch.Tensor, mask: torch.Tensor | None) -> None:
    with torch.inference_mode():
        ours = model(ids, mask, output_router_logits=True)
        assume_clear_routing(ours.router_logits, model.config.num_experts_per_tok)
        expected = twin(ids, mask, output_router_logits=True).aux_loss
    if RECORDS_WEIGHTS:
        shape = (model.config.num_local_experts, model.config.num_experts_per_tok)
        expected = load_balancing_loss_func(ours.router_logits, *shape, mask)
    assert abs(ours.aux_loss - expected) <= 1e-3 * abs(expected)


@pytest.mark.parametrize("keep", [0, 1, 3, torch.tensor([0, 5, 2])])
def test_only_wanted_logits_are_computed(keep):
    model = lively(GptOssForCausalLM(small_settings()))
    ids = torch.randint(0, 97, (2, 9))
    actual = model(ids, logits_to_keep=keep).logits
    assert_close(actual, twin_of(model)(ids, logits_to_keep=keep).logits)


def test_embeddings_in_place_of_ids():
    model = lively(GptOssForCausalLM(small_settings()))
    ids, mask = torch.randint(0, 97, (2, 9)), torch.ones(2, 9)
    mask[0, :4] = 0
    embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
    output = model(inputs_embeds=embeds, attention_mask=mask)
    assert torch.equal(output.logits, model(ids, mask).logits)
    output.logits.sum().backward()
    assert not embeds.grad[0, :4].any()
    assert embeds.grad[0, 4:].any()


def test_shift_labels_and_another_mark():
    model = lively(GptOssForCausalLM(small_settings()))
    ids = torch.randint(0, 97, (2, 9))
    labels = ids.clone()
    labels[:, :4] = -1
    plain = model(ids, labels=labels.masked_fill(labels == -1, -100)).loss
    assert torch.equal(model(ids, labels=labels, ignore_index=-1).loss, plain)
    shifted = torch.cat((labels[:, 1:], torch.full((2, 1), -1)), dim=1)
    assert torch.equal(model(ids, shift_labels=shifted, ignore_index=-1).loss, plain)


def test_a_tuple_instead_of_an_output():
    model = lively(GptOssForCausalLM(small_settings()))
    ids = torch.tensor([[1, 2, 3]])
    loss, logits, cache = model(ids, labels=ids, return_dict=False)
    assert loss.ndim == 0
    assert logits.shape == (1, 3, 97)
    assert cache.get_seq_length() == 3
    (hidden,) = model.model(ids, use_cache=False, return_dict=False)
    assert hidden.shape == (1, 3, 64)


def test_the_config_decides_what_is_not_said():
    model = lively(GptOssForCausalLM(small_settings(output_hidden_states=True, use_cache=False)))
    output = model(torch.tensor([[1, 2, 3]]))
    assert len(output.hidden_states) == 5
    assert output.past_key_values is None
    model.config.output_router_logits = True
    assert model(torch.tensor([[1, 2, 3]])).aux_loss is not None


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("num_labels", "problem", "labels"),
    [
        (3, None, torch.tensor([0, 2])),
        (1, None, torch.tensor([0.5, -1.0])),
        (2, "regression", torch.randn(2, 2)),
        (3, None, torch.tensor([[0.0, 1, 1], [1, 0, 0]])),
    ],
)
def test_sequence_classifier(side, num_labels, problem, labels):
    config = small_settings(num_labels=num_labels, problem_type=problem, pad_token_id=5)
    model = lively(GptOssForSequenceClassification(config), 3).train()
    twin = twin_of(model)
    ids = torch.randint(6, 97, (2, 12))
    mask = torch.ones(2, 12, dtype=torch.long)
    padding = slice(0, 5) if side == "left" else slice(7, 12)
    ids[1, padding], mask[1, padding] = 5, 0
    ours, theirs = model(ids, mask, labels=labels), twin(ids, mask, labels=labels)
    assert_close(ours.logits, theirs.logits)
    assert_close(ours.loss, theirs.loss)
    assert model.config.problem_type == twin.config.problem_type
    ours.loss.backward()
    theirs.loss.backward()
    assert_same_gradients(model, twin)


def test_sequence_classifier_takes_the_mask_where_there_is_no_pad_token():
    model = lively(GptOssForSequenceClassification(small_settings(num_labels=3)))
    ids = torch.randint(0, 97, (2, 6))
    mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    logits = model(ids, mask).logits
    assert torch.allclose(logits[1:], model(ids[1:, :4]).logits, atol=1e-5)
    embeds = model.get_input_embeddings()(ids)
    assert torch.allclose(model(inputs_embeds=embeds, attention_mask=mask).logits, logits)
    with pytest.raises(RequestError, match="pad_token_id"):
        model(ids)


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        ("single_label_classification", torch.tensor([0.0, 1.0])),
        ("single_label_classification", torch.tensor([0])),
        ("multi_label_classification", torch.tensor([0.0, 1.0])),
        ("ranking", torch.zeros(2, 3)),
    ],
)
def test_labels_that_do_not_fit_are_refused(problem, labels):
    config = small_settings(num_labels=3, pad_token_id=0, problem_type=problem)
    model = GptOssForSequenceClassification(config)
    with pytest.raises(RequestError, match="problem_type"):
        model(torch.ones(2, 3).long(), labels=labels)


@pytest.mark.parametrize("side", ["left", "right"])
def test_token_classifier(side):
    config = small_settings(num_labels=4, classifier_dropout=0.0)
    model = lively(GptOssForTokenClassification(config), 3).train()
    twin = twin_of(model)
    ids, labels = torch.randint(0, 97, (2, 12)), torch.randint(0, 4, (2, 12))
    mask = torch.ones(2, 12, dtype=torch.long)
    padding = slice(0, 5) if side == "left" else slice(7, 12)
    mask[1, padding], labels[1, padding] = 0, -100
    ours, theirs = model(ids, mask, labels=labels), twin(ids, mask, labels=labels)
    assert_close(ours.logits[mask.bool()], theirs.logits[mask.bool()])
    assert_close(ours.loss, theirs.loss)
    ours.loss.backward()
    theirs.loss.backward()
    assert_same_gradients(model, twin)


def test_token_classifier_gives_no_cache_back():
    model = lively(GptOssForTokenClassification(small_settings(num_labels=4)))
    twin = twin_of(model)
    ids = torch.randint(0, 97, (1, 12))
    for use_cache in (None, False, True):
        own, other = DynamicCache(), transformers.DynamicCache(config=twin.config)
        ours = model(ids, past_key_values=own, use_cache=use_cache)
        theirs = twin(ids, past_key_values=other, use_cache=use_cache)
        assert list(ours) == list(theirs) == ["logits"]
        assert_close(ours.logits, theirs.logits)
        assert own.get_seq_length() == other.get_seq_length() == 12


def test_dropout_is_active_in_training_only():
    model = lively(GptOssForTokenClassification(small_settings(num_labels=4)))
    ids = torch.randint(0, 97, (1, 12))
    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)
