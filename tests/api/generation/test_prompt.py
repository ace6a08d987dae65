"""The forms in which a prompt may be given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

import ossia
from ossia.errors import RequestError
from support.generation import EOS, PAD, left_padded, prompts, shared_pair, small_lm

LISTS = [[10, 11, 12, 13], [20], [30, 31]]


def test_all_forms_of_one_prompt_give_the_same():
    model, _ = shared_pair()
    row = [10, 11, 12, 13]
    expected = model.generate(torch.tensor([row]), max_new_tokens=5)
    assert expected.dtype == torch.int64
    forms = [
        row,
        [row],
        (row,),
        [torch.tensor(row)],
        torch.tensor(row),
        torch.tensor([row], dtype=torch.int32),
        np.array([row]),
        {"input_ids": torch.tensor([row])},
        {"input_ids": [row], "attention_mask": [[1, 1, 1, 1]]},
        transformers.BatchEncoding({"input_ids": torch.tensor([row])}),
    ]
    for form in forms:
        assert torch.equal(model.generate(form, max_new_tokens=5), expected)
        if not isinstance(form, dict | transformers.BatchEncoding):
            assert torch.equal(model.generate(input_ids=form, max_new_tokens=5), expected)
    batch = transformers.BatchEncoding({"input_ids": torch.tensor([row])})
    assert torch.equal(model.generate(**batch, max_new_tokens=5), expected)


@pytest.mark.parametrize("cache", [None, "dynamic"])
def test_lists_of_different_lengths_are_padded_in_front(cache):
    model, twin = shared_pair()
    padded = left_padded(LISTS)
    ours = model.generate(LISTS, max_new_tokens=9, cache_implementation=cache)
    assert torch.equal(ours, twin.generate(**padded, max_new_tokens=9))


def test_a_row_is_continued_the_same_alone_and_beside_others():
    model = small_lm(1, dtype=torch.float64)
    for cache in (None, "dynamic"):
        together = model.generate(LISTS, max_new_tokens=12, cache_implementation=cache)
        for row, ids in zip(together, LISTS, strict=True):
            alone = model.generate([ids], max_new_tokens=12, cache_implementation=cache)[0]
            new = row[4:].tolist()
            assert new[: len(alone) - len(ids)] == alone[len(ids) :].tolist()
            assert set(new[len(alone) - len(ids) :]) <= {PAD}


def test_padding_is_recognised_as_transformers_does():
    model, twin = shared_pair()
    ids = left_padded(LISTS)["input_ids"]
    assert torch.equal(model.generate(ids, max_new_tokens=6), twin.generate(ids, max_new_tokens=6))
    # A padding token that also ends texts cannot be told from the end of a text.
    same = {"pad_token_id": EOS[0], "max_new_tokens": 6}
    ends = ids.where(ids != PAD, EOS[0])
    assert torch.equal(model.generate(ends, **same), twin.generate(ends, **same))


def test_masks_with_holes_and_padding_behind():
    model, twin = shared_pair()
    ids = prompts(2, 6)
    for mask in (
        [[1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]],
        [[0, 1, 1, 1, 1, 1], [1, 0, 0, 1, 1, 1]],
    ):
        inputs = {"input_ids": ids, "attention_mask": torch.tensor(mask)}
        assert torch.equal(
            model.generate(**inputs, max_new_tokens=12), twin.generate(**inputs, max_new_tokens=12)
        )


def test_positions_of_the_callers_own():
    model, twin = shared_pair()
    ids, positions = prompts(1, 5), torch.arange(3, 8)[None]
    ours = model.generate(ids, position_ids=positions, max_new_tokens=8)
    assert torch.equal(ours, twin.generate(ids, position_ids=positions, max_new_tokens=8))


def test_without_a_prompt_the_first_token_is_bos():
    model, twin = shared_pair()
    ours = model.generate(bos_token_id=9, max_new_tokens=4)
    assert torch.equal(ours, twin.generate(bos_token_id=9, max_new_tokens=4))
    with pytest.raises(RequestError, match="inputs"):
        model.generate(max_new_tokens=4)


@pytest.mark.parametrize("cache", [None, "dynamic"])
def test_a_cache_is_used_again(cache):
    model, twin = shared_pair()
    first, more = prompts(1, 5), prompts(1, 3, seed=9)
    options = {"max_new_tokens": 4, "return_dict_in_generate": True}
    outputs = []
    for one in (model, twin):
        begun = one.generate(first, **options)
        text = torch.cat((begun.sequences, more), dim=1)
        ended = one.generate(text, past_key_values=begun.past_key_values, **options)
        outputs.append((begun.sequences, ended.sequences, ended.past_key_values.get_seq_length()))
    for own, other in zip(*outputs, strict=True):
        assert torch.equal(torch.as_tensor(own), torch.as_tensor(other))
    text = outputs[0][1][:, :12]
    assert torch.equal(
        outputs[0][1], model.generate(text, max_new_tokens=4, cache_implementation=cache)
    )


def test_a_cache_and_only_the_new_tokens():
    model, _ = shared_pair()
    first, more = prompts(1, 5), prompts(1, 3, seed=9)
    whole = model.generate(torch.cat((first, more), 1), max_new_tokens=4)
    for extra in ({}, {"attention_mask": torch.ones(1, 8)}):
        cache = ossia.DynamicCache()
        model(first, past_key_values=cache, use_cache=True)
        new = model.generate(more, past_key_values=cache, max_new_tokens=4, **extra)
        assert torch.equal(new, whole[:, 5:])


def test_a_cache_of_one_row_serves_several_continuations():
    model, _ = shared_pair()
    ids = prompts(1, 5)
    for options in ({"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}):
        cache = ossia.DynamicCache()
        model(ids[:, :4], past_key_values=cache, use_cache=True)
        torch.manual_seed(0)
        ours = model.generate(ids, past_key_values=cache, max_new_tokens=5, **options)
        torch.manual_seed(0)
        fresh = model.generate(ids, max_new_tokens=5, cache_implementation="dynamic", **options)
        assert torch.equal(ours, fresh)


def test_a_cache_that_knows_everything_already():
    model, _ = shared_pair()
    cache = ossia.DynamicCache()
    ids = prompts(1, 4)
    model(ids, past_key_values=cache, use_cache=True)
    with pytest.raises(RequestError, match="past_key_values"):
        model.generate(
            ids, past_key_values=cache, attention_mask=torch.ones(1, 4), max_new_tokens=2
        )


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"inputs": "text"}, "inputs"),
        ({"inputs": ["text"]}, "inputs"),
        ({"inputs": [[1.5]]}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [[]]}, "inputs"),
        ({"inputs": [[10], []]}, "inputs"),
        ({"inputs": torch.zeros(1, 0, dtype=torch.int64)}, "inputs"),
        ({"inputs": torch.zeros(1, 2)}, "inputs"),
        ({"inputs": torch.zeros(1, 2, 3, dtype=torch.int64)}, "inputs"),
        ({"inputs": [10], "input_ids": [10]}, "input_ids"),
        ({"inputs": [[10], [11, 12]], "attention_mask": [[1], [1]]}, "attention_mask"),
        ({"inputs": [[10, 11]], "attention_mask": [[1, 1, 1]]}, "attention_mask"),
        ({"inputs": [[10, 11]], "attention_mask": [[[1, 1]]]}, "attention_mask"),
        ({"inputs": [[10, 11]], "position_ids": [[1, 2, 3]]}, "position_ids"),
        ({"inputs": [10], "past_key_values": 3}, "past_key_values"),
    ],
)
def test_what_is_no_prompt_is_refused_by_name(arguments, field):
    model, _ = shared_pair()
    with pytest.raises(RequestError) as caught:
        model.generate(max_new_tokens=2, **arguments)
    assert caught.value.field == field
