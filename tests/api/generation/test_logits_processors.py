"""Each processor against transformers' own on random scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers.generation import logits_process as oracle

import ossia
from ossia.errors import RequestError

VOCAB = 12


@st.composite
def texts_and_scores(draw: st.DrawFn, vocab: int = VOCAB) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (rows, seq) and scores (rows, vocab), some of them -inf, many of them equal."""
    rows, seq = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    ids = draw(st.lists(st.integers(0, vocab - 1), min_size=rows * seq, max_size=rows * seq))
    number = st.one_of(
        st.floats(-8, 8, width=32), st.integers(-2, 2).map(float), st.just(-float("inf"))
    )
    scores = draw(st.lists(number, min_size=rows * vocab, max_size=rows * vocab))
    tensor = torch.tensor(scores).view(rows, vocab)
    assume(bool(tensor.isfinite().any(dim=-1).all()))
    return torch.tensor(ids).view(rows, seq), tensor


def compare(name: str, ids: torch.Tensor, scores: torch.Tensor, *args: Any, **kwargs: Any) -> None:
    kept = scores.clone()
    ours = getattr(ossia, name)(*args, **kwargs)(ids, scores)
    assert torch.equal(scores, kept), "the argument is left alone"
    theirs = getattr(oracle, name)(*args, **kwargs)(ids, scores.clone())
    torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=1e-6, atol=1e-6)


ids_strategy = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=4, unique=True)


@given(texts_and_scores(), ids_strategy, st.integers(0, 9), st.integers(0, 9))
def test_lengths(text, eos, least, prompt_len):
    compare("MinLengthLogitsProcessor", *text, least, eos)
    compare("MinNewTokensLengthLogitsProcessor", *text, prompt_len, least, eos)
    compare("ForcedEOSTokenLogitsProcessor", *text, least, eos)
    compare("ForcedBOSTokenLogitsProcessor", *text, eos[0])


@given(texts_and_scores(), ids_strategy, st.integers(0, 9))
def test_suppression(text, tokens, begin):
    compare("SuppressTokensLogitsProcessor", *text, tokens)
    compare("SuppressTokensAtBeginLogitsProcessor", *text, tokens, begin)


@given(texts_and_scores(), ids_strategy, st.integers(-3, 3), st.floats(0.5, 2), st.integers(0, 3))
def test_length_penalty(text, eos, start, factor, prompt_len):
    compare("ExponentialDecayLengthPenalty", *text, (start, factor), eos, prompt_len)


@given(texts_and_scores(), st.floats(0.3, 3), st.data())
def test_repetition_penalty(text, penalty, data):
    ids, scores = text
    ignored = data.draw(
        st.one_of(
            st.none(),
            st.integers(0, 9),
            st.lists(st.integers(0, 9), min_size=len(ids), max_size=len(ids)).map(torch.tensor),
        )
    )
    compare("RepetitionPenaltyLogitsProcessor", ids, scores, penalty, ignored)


@given(texts_and_scores(vocab=4), st.integers(1, 4))
def test_no_repeated_ngrams(text, size):
    compare("NoRepeatNGramLogitsProcessor", *text, size)


sequences = st.lists(st.integers(0, 3), min_size=1, max_size=3)


@given(texts_and_scores(vocab=4), st.lists(sequences, min_size=1, max_size=5), st.data())
def test_biases_of_sequences(text, found, data):
    biases = {tuple(one): data.draw(st.floats(-3, 3, width=32)) for one in found}
    compare("SequenceBiasLogitsProcessor", *text, biases)
    compare("SequenceBiasLogitsProcessor", *text, [[list(k), v] for k, v in biases.items()])


@given(texts_and_scores(vocab=4), st.lists(sequences, min_size=1, max_size=5))
def test_bad_words(text, words):
    ids, scores = text
    assume(any(len(word) > 1 or word[0] != 2 for word in words))
    compare("NoBadWordsLogitsProcessor", ids, scores, words, [2])


def test_bad_words_that_are_all_end_tokens():
    ids, scores = torch.tensor([[1]]), torch.zeros(1, 4)
    assert torch.equal(ossia.NoBadWordsLogitsProcessor([[2]], 2)(ids, scores), scores)


@given(texts_and_scores(), st.integers(1, 2), st.data())
def test_prefixes(text, beams, data):
    ids, scores = (x.repeat_interleave(beams, 0) for x in text)
    allowed = {
        (row // beams, tuple(one.tolist())): data.draw(ids_strategy) for row, one in enumerate(ids)
    }

    def follow(batch_id: int, sent: torch.Tensor) -> list[int]:
        return allowed[batch_id, tuple(sent.tolist())]

    compare("PrefixConstrainedLogitsProcessor", ids, scores, follow, beams)


def test_a_prefix_that_allows_nothing():
    nothing = ossia.PrefixConstrainedLogitsProcessor(lambda batch_id, sent: [], 1)
    with pytest.raises(RequestError, match="prefix_allowed_tokens_fn"):
        nothing(torch.tensor([[1]]), torch.zeros(1, 3))


@given(texts_and_scores())
def test_invalid_values_and_normalisation(text):
    ids, scores = text
    compare("LogitNormalization", ids, scores)
    scores[0, 0], scores[0, 1] = float("nan"), float("inf")
    ours = ossia.InfNanRemoveLogitsProcessor()(ids, scores)
    theirs = oracle.InfNanRemoveLogitsProcessor()(ids, scores)
    assert torch.equal(ours, theirs)


kept = st.integers(1, 3)


@given(texts_and_scores(), st.floats(0.1, 5), st.integers(1, 15), kept)
def test_temperature_and_top_k(text, temperature, top_k, min_kept):
    compare("TemperatureLogitsWarper", *text, temperature)
    compare("TopKLogitsWarper", *text, top_k, min_tokens_to_keep=min_kept)


@given(texts_and_scores(), st.floats(0, 1), kept)
def test_top_p(text, top_p, min_kept):
    compare("TopPLogitsWarper", *text, top_p, min_tokens_to_keep=min_kept)


@given(texts_and_scores(), st.floats(0, 1), kept)
def test_min_p(text, min_p, min_kept):
    compare("MinPLogitsWarper", *text, min_p, min_tokens_to_keep=min_kept)


shares = st.floats(0.01, 0.99)


@given(texts_and_scores(), shares, kept)
def test_typical(text, mass, min_kept):
    compare("TypicalLogitsWarper", *text, mass, min_tokens_to_keep=min_kept)


@given(texts_and_scores(), st.floats(1e-4, 0.5), kept)
def test_epsilon_and_eta(text, epsilon, min_kept):
    compare("EpsilonLogitsWarper", *text, epsilon, min_tokens_to_keep=min_kept)
    ids, scores = text
    # With -inf transformers' entropy is NaN and nothing is dropped; ours counts it as 0.
    compare(
        "EtaLogitsWarper", ids, scores.nan_to_num(neginf=-9.0), epsilon, min_tokens_to_keep=min_kept
    )


@given(texts_and_scores(), st.floats(0.05, 1))
def test_top_h(text, top_h):
    ids, scores = text
    finite = scores.nan_to_num(neginf=-9.0)  # as above
    # Where the entropy of a prefix equals the bound, rounding decides.
    terms = torch.special.entr(finite.sort(dim=-1, descending=True).values.softmax(-1))
    distance = (terms.cumsum(-1) - top_h * terms.sum(-1, keepdim=True)).abs()
    assume(bool((distance[:, 1:] > 1e-5).all()) or top_h == 1)
    if top_h < 1:
        compare("TopHLogitsWarper", ids, finite, top_h)


def test_lists_pass_on_what_a_processor_takes_besides():
    class Adds(ossia.LogitsProcessor):
        def __call__(self, input_ids, scores, amount):
            return scores + amount

    class TakesAll(ossia.LogitsProcessor):
        def __call__(self, input_ids, scores, **kwargs):
            return scores * kwargs["amount"]

    both = ossia.LogitsProcessorList([Adds(), ossia.TemperatureLogitsWarper(2.0), TakesAll()])
    scores = both(torch.tensor([[1]]), torch.zeros(1, 2), amount=4.0)
    assert scores.tolist() == [[8.0, 8.0]]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("TemperatureLogitsWarper", (0,)),
        ("TopKLogitsWarper", (0,)),
        ("TopPLogitsWarper", (1.5,)),
        ("MinPLogitsWarper", (-0.1,)),
        ("TypicalLogitsWarper", (1.0,)),
        ("EpsilonLogitsWarper", (0.0,)),
        ("EtaLogitsWarper", (1.0,)),
        ("TopHLogitsWarper", (0.0,)),
        ("RepetitionPenaltyLogitsProcessor", (0.0,)),
        ("NoRepeatNGramLogitsProcessor", (0,)),
        ("SequenceBiasLogitsProcessor", ({},)),
        ("SequenceBiasLogitsProcessor", ({(1,): "much"},)),
        ("NoBadWordsLogitsProcessor", ([],)),
        ("NoBadWordsLogitsProcessor", ([[-1]],)),
        ("MinLengthLogitsProcessor", (-1, 2)),
    ],
)
def test_both_refuse_the_same(name, args):
    with pytest.raises(ValueError, match=r".+"):
        getattr(oracle, name)(*args)
    with pytest.raises(RequestError):
        getattr(ossia, name)(*args)


def test_biased_ids_outside_the_vocabulary():
    with pytest.raises(RequestError, match="99"):
        ossia.SequenceBiasLogitsProcessor({(99,): 1.0})(torch.tensor([[1]]), torch.zeros(1, 4))


def test_names_are_those_of_transformers():
    for name in dir(ossia):
        if name.endswith(("Processor", "Warper", "Criteria", "Streamer", "CriteriaList")):
            assert hasattr(transformers, name) or hasattr(transformers.generation, name), name
