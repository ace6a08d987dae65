"""generate against transformers on equal weights in float32: ids, scores, types and shapes."""

from __future__ import annotations

import itertools

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import ossia
from support.generation import (
    assert_same_outputs,
    assert_same_tensors,
    left_padded,
    prompts,
    shared_pair,
)
from support.transformers_version import only_5

ROWS = left_padded([[10, 11, 12, 13, 14], [20, 21], [30, 31, 32]])
EVERYTHING = {
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_attentions": True,
    "output_hidden_states": True,
}


def both(inputs, **kwargs):
    """Outputs of ours and of transformers; sampling with the same numbers and all tokens."""
    ours, theirs = shared_pair()
    outputs = []
    for model in (ours, theirs):
        extra = {"top_k": 0} if model is theirs and "top_k" not in kwargs else {}
        torch.manual_seed(7)
        outputs.append(model.generate(**inputs, **kwargs, **extra))
    return outputs


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cache_implementation": "dynamic"},
        {"use_cache": False},
        {"eos_token_id": None},
        {"eos_token_id": 40, "pad_token_id": 2},
        {"repetition_penalty": 1.4},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[15], [16, 17]]},
        {"sequence_bias": {(44,): 5.0, (44, 45): -9.0}},
        {"suppress_tokens": list(range(30, 60))},
        {"begin_suppress_tokens": list(range(7, 50))},
        {"min_new_tokens": 9},
        {"min_length": 20},
        {"forced_eos_token_id": 6},
        {"exponential_decay_length_penalty": (2, 1.5)},
        {"remove_invalid_values": True},
        {"renormalize_logits": True},
        {"prefill_chunk_size": 2, "cache_implementation": "dynamic"},
    ],
)
def test_greedy(rows, options):
    inputs = {"input_ids": prompts(rows, 6, seed=rows)}
    if "prefill_chunk_size" in options:
        ours, _ = both(inputs, max_new_tokens=14, **options)
        theirs, _ = both(inputs, max_new_tokens=14)  # transformers' own needs a cache from outside
    else:
        ours, theirs = both(inputs, max_new_tokens=14, **options)
    assert_same_outputs(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_return_sequences": 3},
        {"temperature": 0.5, "top_k": 5},
        {"top_p": 0.6},
        {"min_p": 0.2, "temperature": 2.0},
        {"typical_p": 0.5},
        {"epsilon_cutoff": 0.02},
        {"eta_cutoff": 0.02},
        pytest.param({"top_h": 0.5}, marks=only_5("has no top_h")),
        {"use_cache": False, "num_return_sequences": 2},
    ],
)
def test_sampling_on_the_module_draws_what_transformers_draws(options):
    options = {"cache_implementation": "dynamic"} | options
    if options.get("use_cache") is False:
        del options["cache_implementation"]
    ours, theirs = both(ROWS, max_new_tokens=12, do_sample=True, **options)
    assert_same_outputs(ours, theirs)


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam", "beam_sample"])
@pytest.mark.parametrize("padded", [False, True])
def test_everything_that_can_be_returned(strategy, padded):
    inputs = ROWS if padded else {"input_ids": prompts(2, 5)}
    options = {
        "greedy": {},
        "sample": {"do_sample": True, "num_return_sequences": 2, "top_k": 9},
        "beam": {"num_beams": 3, "num_return_sequences": 2},
        "beam_sample": {"num_beams": 2, "do_sample": True, "top_k": 20},
    }[strategy]
    ours, theirs = both(inputs, max_new_tokens=7, **options, **EVERYTHING)
    if padded:
        # At padding transformers computes something that nobody reads; ours are zeros there.
        for name in ("attentions", "hidden_states"):
            for own, other in zip(ours[name], theirs[name], strict=True):
                for one, twin in zip(own, other, strict=True):
                    assert_same_tensors(one[..., -1:, :], twin[..., -1:, :], name)
    skip = ("attentions", "hidden_states") if padded else ()
    assert_same_outputs(ours, theirs, skip=skip)


flags = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")


@pytest.mark.parametrize(
    ("wanted", "beams", "cache"),
    list(itertools.product([(), flags[:1], flags[1:2], flags[2:]], [1, 2], [True, False])),
)
def test_types_and_fields_over_a_grid(wanted, beams, cache):
    ours, theirs = both(
        {"input_ids": prompts(2, 4)},
        max_new_tokens=4,
        num_beams=beams,
        use_cache=cache,
        return_dict_in_generate=True,
        **dict.fromkeys(wanted, True),
    )
    assert_same_outputs(ours, theirs)
    assert ours.to_tuple()[0] is ours[0] is ours.sequences is ours["sequences"]


beam_settings = st.fixed_dictionaries(
    {
        "num_beams": st.integers(2, 4),
        "early_stopping": st.sampled_from([True, False, "never"]),
        "length_penalty": st.sampled_from([-1.0, 0.0, 0.7, 1.0, 2.5]),
        "max_new_tokens": st.integers(1, 14),
        "eos_token_id": st.sampled_from([[5, 6], 40, list(range(10, 30)), None]),
        "seed": st.integers(0, 40),
        "rows": st.integers(1, 3),
    },
    optional={
        "repetition_penalty": st.just(1.3),
        "min_new_tokens": st.integers(1, 6),
        "no_repeat_ngram_size": st.just(2),
        "renormalize_logits": st.just(True),
    },
)


@pytest.mark.filterwarnings("ignore:Unfeasible length constraints")
@settings(max_examples=20)
@given(beam_settings, st.data())
def test_beam_search(options, data):
    inputs = {"input_ids": prompts(options.pop("rows"), 4, seed=options.pop("seed"))}
    wanted = data.draw(st.integers(1, options["num_beams"]))
    ours, theirs = both(
        inputs,
        num_return_sequences=wanted,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    assert_same_outputs(ours, theirs)


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_beams": 3, "use_cache": False}])
def test_beams_over_padded_rows(options):
    ours, theirs = both(ROWS, max_new_tokens=10, **options)
    assert_same_outputs(ours, theirs)


def test_sampled_beams_draw_what_transformers_draws():
    for penalty in (0.5, 1.0):
        ours, theirs = both(
            ROWS, max_new_tokens=10, num_beams=3, do_sample=True, length_penalty=penalty
        )
        assert_same_outputs(ours, theirs)


def test_transition_scores():
    for options in ({}, {"num_beams": 3, "num_return_sequences": 2}):
        ours, theirs = both(
            ROWS, max_new_tokens=9, return_dict_in_generate=True, output_scores=True, **options
        )
        models = shared_pair()
        for normalize in (False, True):
            got = [
                model.compute_transition_scores(
                    output.sequences, output.scores, output.get("beam_indices"), normalize
                )
                for model, output in zip(models, (ours, theirs), strict=True)
            ]
            torch.testing.assert_close(*got, atol=2e-4, rtol=1e-4)


def test_prompts_of_embeddings():
    model, twin = shared_pair()
    ids = prompts(2, 5)
    embeds = (
        model.get_input_embeddings()(ids)
        if hasattr(model, "get_input_embeddings")
        else (model.model.embed_tokens(ids))
    )
    for extra in ({}, {"input_ids": ids}):
        ours = model.generate(inputs_embeds=embeds, max_new_tokens=6, **extra)
        assert torch.equal(ours, twin.generate(inputs_embeds=embeds, max_new_tokens=6, **extra))
    alone = model.generate(inputs_embeds=embeds, max_new_tokens=6)
    assert torch.equal(alone, model.generate(ids, max_new_tokens=6)[:, 5:])


def test_stop_strings_end_where_transformers_ends():
    tokenizer = _letter_tokenizer()
    model, twin = shared_pair()
    ids = prompts(1, 5, seed=2)
    plain = model.generate(ids, max_new_tokens=20)[0, 5:].tolist()
    stop = tokenizer.decode(plain[3:5])
    for cache in (None, "dynamic"):
        ours = model.generate(
            ids,
            max_new_tokens=20,
            stop_strings=stop,
            tokenizer=tokenizer,
            cache_implementation=cache,
        )
        theirs = twin.generate(ids, max_new_tokens=20, stop_strings=stop, tokenizer=tokenizer)
        assert torch.equal(ours, theirs)


def _letter_tokenizer():
    """A transformers tokenizer whose 97 tokens are characters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[:97]
    vocab = {letter: number for number, letter in enumerate(letters)}
    inner = Tokenizer(models.BPE(vocab, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner)


def test_classes_of_transformers_work_as_they_are():
    model, twin = shared_pair()

    class Favours(transformers.LogitsProcessor):
        def __call__(self, input_ids, scores):
            scores[:, 50] += 4.0
            return scores

    class Ends(transformers.StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return input_ids[:, -1] == 50

    ids = prompts(2, 4)
    outputs = [
        one.generate(
            ids,
            max_new_tokens=15,
            logits_processor=transformers.LogitsProcessorList([Favours()]),
            stopping_criteria=transformers.StoppingCriteriaList([Ends()]),
            generation_config=transformers.GenerationConfig(min_new_tokens=2, **config),
        )
        for one, config in ((model, {}), (twin, {}))
    ]
    assert torch.equal(*outputs)
    assert isinstance(ossia.LogitsProcessorList([Favours()]), list)
