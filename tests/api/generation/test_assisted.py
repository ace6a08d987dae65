"""Assisted generation: greedy ids do not change, sampled ones have the right distribution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia import GenerationConfig
from ossia.api.generation.assisted import speculative_sample
from ossia.api.generation.candidates import PromptLookup
from ossia.errors import RequestError
from support.generation import assert_same_outputs, prompts, shared_pair, small_lm

DRAFT = small_lm(5)
options_ = st.fixed_dictionaries(
    {"max_new_tokens": st.integers(1, 20), "num_assistant_tokens": st.integers(1, 6)},
    optional={
        "num_assistant_tokens_schedule": st.sampled_from(
            ["constant", "heuristic", "heuristic_transient"]
        ),
        "assistant_confidence_threshold": st.floats(0, 1),
        "repetition_penalty": st.just(1.3),
        "eos_token_id": st.lists(st.integers(0, 96), min_size=1, max_size=12),
        "min_new_tokens": st.integers(1, 4),
    },
)


@settings(max_examples=12)
@given(options_, st.integers(0, 20), st.sampled_from(["draft", "itself", "lookup"]))
def test_greedy_ids_do_not_change(options, seed, kind):
    model, _ = shared_pair()
    ids = prompts(1, 6, seed=seed)
    plain = {k: v for k, v in options.items() if "assistant" not in k}
    expected = model.generate(ids, cache_implementation="dynamic", **plain)
    if kind == "lookup":
        ids = torch.cat((ids, expected[:, 6:], ids), dim=1)  # something to look up
        expected = model.generate(ids, cache_implementation="dynamic", **plain)
        got = model.generate(
            ids,
            prompt_lookup_num_tokens=options["num_assistant_tokens"],
            max_matching_ngram_size=3,
            **plain,
        )
    else:
        DRAFT.generation_config = GenerationConfig()
        got = model.generate(ids, assistant_model=DRAFT if kind == "draft" else model, **options)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("kind", ["assistant_model", "prompt_lookup_num_tokens"])
def test_all_that_is_returned_is_what_greedy_decoding_returns(kind):
    model, twin = shared_pair()
    model.generation_config.num_assistant_tokens = None
    wanted = {
        "return_dict_in_generate": True, "output_scores": True, "output_logits": True,
        "output_attentions": True, "output_hidden_states": True,
    }  # fmt: skip
    ids = prompts(1, 4).repeat(1, 2)
    extra = {kind: DRAFT if kind == "assistant_model" else 3}
    got = model.generate(ids, max_new_tokens=9, **extra, **wanted)
    assert_same_outputs(got, twin.generate(ids, max_new_tokens=9, **wanted))
    routed = [
        model.generate(
            ids, max_new_tokens=9, return_dict_in_generate=True, output_router_logits=True, **some
        ).router_logits
        for some in ({}, extra)
    ]
    for own, other in zip(*routed, strict=True):
        torch.testing.assert_close(own, other, atol=2e-4, rtol=1e-4)


def test_fewer_passes_than_tokens_when_the_proposals_are_right():
    model = small_lm(1)
    passes = []
    model.model.register_forward_hook(lambda *args: passes.append(1))
    ids = prompts(1, 4)
    model.generate(ids, max_new_tokens=20, eos_token_id=None, cache_implementation="dynamic")
    plain = len(passes)
    passes.clear()
    model.generate(
        ids, max_new_tokens=20, eos_token_id=None, assistant_model=small_lm(1),
        num_assistant_tokens=4, assistant_confidence_threshold=0.0,
    )  # fmt: skip
    assert (plain, len(passes)) == (20, 4)


def test_the_streamer_gets_all_tokens():
    class Notes:
        def __init__(self):
            self.ids = []

        def put(self, value):
            self.ids += value.flatten().tolist()

        def end(self):
            self.ids.append(-1)

    model, _ = shared_pair()
    notes = Notes()
    got = model.generate(prompts(1, 4), max_new_tokens=9, assistant_model=DRAFT, streamer=notes)
    assert notes.ids == [*got[0].tolist(), -1]


def test_lengths_of_proposals_follow_success_and_stay():
    model, draft = small_lm(1), small_lm(1)
    draft.generation_config.num_assistant_tokens = 2
    draft.generation_config.num_assistant_tokens_schedule = "heuristic"
    draft.generation_config.assistant_confidence_threshold = 0.0
    model.generate(prompts(1, 4), max_new_tokens=15, eos_token_id=None, assistant_model=draft)
    assert draft.generation_config.num_assistant_tokens > 2
    draft.generation_config.num_assistant_tokens_schedule = "heuristic_transient"
    before = draft.generation_config.num_assistant_tokens
    model.generate(prompts(1, 4), max_new_tokens=15, eos_token_id=None, assistant_model=draft)
    assert draft.generation_config.num_assistant_tokens == before


def test_lookup_finds_the_longest_match_first():
    lookup = PromptLookup(3, 2)
    ids = torch.tensor([[1, 2, 9, 8, 2, 7, 7, 1, 2]])
    assert lookup.propose(ids, 10)[0].tolist() == [[9, 8, 2]]
    assert lookup.propose(ids, 2)[0].tolist() == [[9, 8]]
    assert lookup.propose(torch.tensor([[1, 2, 3]]), 5)[0].shape == (1, 0)
    assert lookup.propose(torch.tensor([[1]]), 5)[0].shape == (1, 0)


def test_speculative_sampling_has_the_targets_distribution():
    torch.manual_seed(0)
    target = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.1, 0.1, 0.4, 0.4], [0.25, 0.25, 0.25, 0.25]])
    draft = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.1, 0.1]])
    num = 4000
    first, second = torch.zeros(4), torch.zeros(4)
    proposals = torch.stack([torch.multinomial(row, num, replacement=True) for row in draft], 1)
    for proposed in proposals:
        drawn = speculative_sample(proposed, target, draft)
        first[drawn[0]] += 1
        if len(drawn) > 1:
            second[drawn[1]] += 1
    # Four standard deviations of a share, at most.
    assert (first / num - target[0]).abs().max() < 4 * 0.5 / num**0.5
    # A second token comes only behind an accepted first one, but does not depend on which.
    assert (second / second.sum() - target[1]).abs().max() < 4 * 0.5 / second.sum().sqrt()


@pytest.mark.parametrize(
    "extra",
    [
        {"assistant_model": DRAFT, "assistant_confidence_threshold": 0.5},
        {"prompt_lookup_num_tokens": 2},
    ],
)
def test_sampled_tokens_are_distributed_as_without_assistance(extra):
    model, _ = shared_pair()
    ids, num = prompts(1, 2).repeat(1, 2), 150
    with torch.no_grad():
        exact = model(ids).logits[0, -1].softmax(-1)
    torch.manual_seed(0)
    counts = torch.zeros(97)
    for _ in range(num):
        counts[model.generate(ids, max_new_tokens=2, do_sample=True, **extra)[0, 4]] += 1
    likely = exact > 0.02
    deviation = (counts / num - exact).abs() / (exact * (1 - exact) / num).sqrt()
    assert deviation[likely].max() < 4.5
    rest = exact[~likely].sum()
    assert (counts[~likely].sum() / num - rest).abs() < 4.5 * (rest * (1 - rest) / num).sqrt()


def test_what_cannot_be_assisted_is_refused_by_name():
    model, _ = shared_pair()
    other = small_lm(vocab_size=90)
    for inputs, extra in (
        (prompts(2, 3), {}),
        (prompts(1, 3), {"num_beams": 2}),
        (prompts(1, 3), {"do_sample": True, "num_return_sequences": 2}),
    ):
        with pytest.raises(RequestError, match=r"^assistant_model: "):
            model.generate(inputs, assistant_model=DRAFT, max_new_tokens=2, **extra)
        with pytest.raises(RequestError, match=r"^prompt_lookup_num_tokens: "):
            model.generate(inputs, prompt_lookup_num_tokens=2, max_new_tokens=2, **extra)
    with pytest.raises(RequestError, match=r"^assistant_model: has 90 tokens"):
        model.generate(prompts(1, 3), assistant_model=other, max_new_tokens=2)
    with pytest.raises(RequestError, match=r"^assistant_tokenizer: "):
        model.generate(
            prompts(1, 3), assistant_model=DRAFT, assistant_tokenizer=1, max_new_tokens=2
        )
