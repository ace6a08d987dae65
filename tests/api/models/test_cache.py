"""The cache: however a padded batch is cut up and wherever its padding is, the logits are the same."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia import DynamicCache, GptOssForCausalLM, GptOssModel
from ossia.errors import RequestError
from ossia.model.batch import ForwardBatch
from support.models import (
    assume_clear_routing,
    lively_,
    model_configs,
    small_model,
    transformers_twin,
)

TOLERANCE = 2e-4


def _lively(config, seed: int) -> GptOssForCausalLM:
    model = GptOssForCausalLM(config)
    lively_(model, seed)
    return model.eval()


def _twin(model: GptOssForCausalLM):
    return transformers_twin(model.as_engine_model())


@st.composite
def masks(draw, batch: int, seq: int) -> torch.Tensor:
    """Left padding, right padding, or holes anywhere."""
    kind = draw(st.sampled_from(["none", "left", "right", "anywhere"]))
    if kind == "anywhere":
        row = st.lists(st.integers(0, 1), min_size=seq, max_size=seq)
        return torch.tensor(draw(st.lists(row, min_size=batch, max_size=batch)))
    mask = torch.ones(batch, seq, dtype=torch.long)
    for row in mask:
        count = 0 if kind == "none" else draw(st.integers(0, seq - 1))
        row[:count] = 0
    return mask.flip(1) if kind == "right" else mask


def _bounds(draw, seq: int) -> list[int]:
    cuts = draw(st.sets(st.integers(1, max(1, seq - 1)), max_size=4)) if seq > 1 else set()
    tail = set(range(max(1, seq - draw(st.integers(0, 6))), seq))  # token by token
    return [0, *sorted(cuts | tail), seq]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), config=model_configs(), seed=st.integers(0, 999))
def test_pieces_give_the_logits_of_the_whole(data, config, seed):
    batch, seq = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 60))
    model = _lively(config, seed)
    ids = torch.randint(0, config.vocab_size, (batch, seq))
    mask = data.draw(masks(batch, seq))
    cache, pieces = DynamicCache(), []
    with torch.inference_mode():
        expected = _twin(model)(input_ids=ids, attention_mask=mask).logits
        for begin, end in pairwise(_bounds(data.draw, seq)):
            output = model(ids[:, begin:end], mask[:, :end], past_key_values=cache)
            assert output.past_key_values is cache
            assert cache.get_seq_length() == end
            pieces.append(output.logits)
        whole = model(ids, mask, output_router_logits=True)
    assume_clear_routing(whole.router_logits, config.experts_per_token)
    kept, logits = mask.bool(), torch.cat(pieces, dim=1)
    assert not logits[~kept].any()
    if kept.any():
        assert (logits[kept] - expected[kept]).abs().max() <= TOLERANCE


def test_token_by_token_as_transformers_with_its_own_cache():
    """Both go on from their own caches, past window and original length, left padded."""
    model = _lively(small_model().config, 3)
    twin = _twin(model)
    ids = torch.randint(0, 97, (2, 50))
    mask = torch.ones(2, 50, dtype=torch.long)
    mask[1, :9] = 0
    ours = theirs = None
    for begin, end in pairwise([0, 20, *range(21, 51)]):
        positions = (mask[:, :end].cumsum(1) - 1).clamp(min=0)[:, begin:end]
        arguments = {
            "input_ids": ids[:, begin:end],
            "attention_mask": mask[:, :end],
            "position_ids": positions,
            "use_cache": True,
        }
        with torch.inference_mode():
            actual = model(**arguments, past_key_values=ours)
            expected = twin(**arguments, past_key_values=theirs)
        ours, theirs = actual.past_key_values, expected.past_key_values
        kept = mask[:, begin:end].bool()
        assert (actual.logits[kept] - expected.logits[kept]).abs().max() <= TOLERANCE


@pytest.fixture(scope="module")
def model() -> GptOssForCausalLM:
    return _lively(small_model().config, 1).double()


@pytest.fixture
def filled(model):
    """A cache of 12 columns and 2 rows, the second left padded."""
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, :5] = 0
    ids = torch.arange(24).view(2, 12)
    return ids, mask, model(ids, mask).past_key_values


def _more(mask: torch.Tensor, new: int) -> torch.Tensor:
    return torch.cat((mask, mask.new_ones(len(mask), new)), dim=1)


def test_shapes_are_those_of_transformers(filled):
    _, _, cache = filled
    assert len(cache) == 4
    assert cache.layers[0].keys.shape == (2, 2, 12, 16)
    assert cache.layers[3].values.shape == (2, 2, 12, 16)
    assert cache.get_max_cache_shape() == -1


@pytest.mark.parametrize("length", [7, -5])
def test_a_cropped_cache_goes_on_from_there(model, filled, length):
    ids, mask, cache = filled
    new = torch.tensor([[5, 6], [7, 8]])
    cache.crop(length)
    assert cache.get_seq_length() == 7
    actual = model(new, _more(mask[:, :7], 2), past_key_values=cache).logits
    whole = torch.cat((ids[:, :7], new), dim=1)
    expected = model(whole, _more(mask[:, :7], 2)).logits[:, 7:]
    assert torch.allclose(actual, expected)


def test_rows_can_be_reordered_selected_and_repeated(model, filled):
    ids, mask, cache = filled
    new = torch.tensor([[5], [6], [7], [8]])
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([3, 0, 0, 2]))
    rows = torch.tensor([1, 0, 0, 1])
    actual = model(new, _more(mask[rows], 1), past_key_values=cache).logits
    expected = model(torch.cat((ids[rows], new), 1), _more(mask[rows], 1)).logits[:, -1:]
    assert torch.allclose(actual, expected)
    cache.batch_select_indices(torch.tensor([2]))
    assert cache.layers[0].keys.shape[0] == 1
    cache.reset()
    assert len(cache) == cache.get_seq_length() == 0


def test_padding_is_remembered_where_no_mask_is_given(model, filled):
    _, mask, cache = filled
    new = torch.tensor([[5], [6]])
    expected = model(new, _more(mask, 1), past_key_values=copy.deepcopy(cache)).logits
    assert torch.equal(model(new, past_key_values=cache).logits, expected)


def test_a_token_can_be_hidden_for_one_pass(model, filled):
    _, mask, cache = filled
    new, hiding = torch.tensor([[5], [6]]), _more(mask, 1)
    hiding[0, 11] = 0
    plain = model(new, _more(mask, 1), past_key_values=copy.deepcopy(cache)).logits
    hidden = model(new, hiding, past_key_values=cache).logits
    assert not torch.allclose(plain[0], hidden[0])
    cache.crop(-1)
    assert torch.equal(model(new, _more(mask, 1), past_key_values=cache).logits, plain)


def test_a_failed_pass_leaves_the_cache_as_it_was(model, filled):
    _, mask, cache = filled
    before = [keys for keys, _ in cache]
    with pytest.raises(RequestError, match="ids must be"):
        model(torch.tensor([[5], [97]]), _more(mask, 1), past_key_values=cache)
    assert all(keys is old for (keys, _), old in zip(cache, before, strict=True))
    with pytest.raises(RequestError, match="attention_mask: its shape"):
        model(torch.tensor([[5], [6]]), mask[:, :1], past_key_values=cache)
    with pytest.raises(RequestError, match="holds 2 rows, the input has 1"):
        model(torch.tensor([[5]]), past_key_values=cache)


def test_use_cache_decides_what_comes_back(model):
    ids = torch.tensor([[1, 2, 3]])
    assert model(ids, use_cache=False).past_key_values is None
    cache = DynamicCache()
    assert model(ids, past_key_values=cache, use_cache=False).past_key_values is None
    assert cache.get_seq_length() == 3


def test_update_appends():
    cache = DynamicCache()
    piece = torch.ones(1, 2, 3, 4)
    cache.update(piece, piece, 0)
    keys, values = cache.update(2 * piece, 3 * piece, 0)
    assert keys.shape == values.shape == (1, 2, 6, 4)
    assert values[0, 0, 5, 0] == 3


def test_gradients_pass_through_a_cache(model):
    ids = torch.arange(10)[None]
    model.zero_grad()
    model(ids).logits[:, 6:].square().sum().backward()
    expected = model.model.layers[0].self_attn.k_proj.weight.grad.clone()
    model.zero_grad()
    cache = model(ids[:, :6]).past_key_values
    model(ids[:, 6:], past_key_values=cache).logits.square().sum().backward()
    assert torch.allclose(model.model.layers[0].self_attn.k_proj.weight.grad, expected)
    model.zero_grad()


def test_the_engine_model_shares_the_weights(model):
    engine_model = model.as_engine_model()
    assert engine_model.lm_head is model.lm_head
    ids = [3, 1, 4, 1, 5]
    actual = engine_model(ForwardBatch.from_sequences([ids]))
    assert torch.allclose(actual, model(torch.tensor([ids])).logits[0])


def test_the_decoder_alone_gives_the_hidden_states(model):
    decoder = model.model
    assert isinstance(decoder, GptOssModel)
    output = decoder(torch.tensor([[3, 1, 4]]))
    assert torch.equal(
        model.lm_head(output.last_hidden_state), model(torch.tensor([[3, 1, 4]])).logits
    )
