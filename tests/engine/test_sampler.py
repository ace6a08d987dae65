"""Every sampling parameter, through the whole engine, against what the model says by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.randomness import uniform
from ossia.types import FinishReason, Request, SamplingParams, TokenOutput
from support.engines import double_model, greedy, naive_greedy, naive_logits, run_to_end, tokens_of

_PROMPT = (5, 80, 13, 42, 7)


def run(
    sampling: SamplingParams,
    prompt: tuple[int, ...] = _PROMPT,
    beside: tuple[Request, ...] = (),
    make_mask: Callable | None = None,
    **config: object,
) -> list[TokenOutput]:
    core = EngineCore(double_model(), EngineConfig(**({"num_pages": 400} | config)))  # type: ignore[arg-type]
    for other in beside:
        core.submit(other)
    core.submit(Request(request_id="it", prompt_ids=prompt, sampling=sampling, make_mask=make_mask))
    return [output for output in run_to_end(core) if output.request_id == "it"]


def run_preempted(sampling: SamplingParams, make_mask: Callable | None = None) -> list[TokenOutput]:
    """The same, with more urgent requests that take the only place again and again."""
    config = EngineConfig(num_pages=200, page_size=2, max_sequences=1, prefill_chunk=2)
    core = EngineCore(double_model(), config)
    request = Request(
        request_id="it", prompt_ids=_PROMPT, sampling=sampling, priority=1, make_mask=make_mask
    )
    core.submit(request)
    outputs: list[TokenOutput] = []
    for other in others():
        for _ in range(5):
            outputs += core.step()
        core.submit(other)
        while other.request_id in core.live_requests:
            outputs += core.step()
    outputs += run_to_end(core)
    assert core.stats().preemptions == 3
    assert {output.cached_tokens for output in outputs if output.request_id == "it"} == {0}
    return [output for output in outputs if output.request_id == "it"]


def sampled(**parameters: object) -> list[int]:
    return tokens_of(run(SamplingParams(**parameters)), "it")  # type: ignore[arg-type]


def probabilities(token_ids: tuple[int, ...], temperature: float = 1.0) -> np.ndarray:
    logits = naive_logits(double_model(), token_ids)[-1].numpy() / temperature
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def others(count: int = 3) -> tuple[Request, ...]:
    return tuple(
        Request(
            request_id=f"other {idx}",
            prompt_ids=tuple(range(idx, idx + 9)),
            sampling=SamplingParams(max_tokens=9, seed=idx),
        )
        for idx in range(count)
    )


def test_each_token_inverts_the_distribution_at_the_requests_own_number():
    token_ids = _PROMPT
    for position, token_id in enumerate(sampled(seed=3, max_tokens=12, temperature=0.7)):
        cumulated = np.cumsum(probabilities(token_ids, 0.7))
        assert token_id == np.searchsorted(cumulated, uniform(3, 0, position), side="right")
        token_ids += (token_id,)


@pytest.mark.parametrize(
    "config",
    [{"prefill_chunk": 2}, {"page_size": 3}, {"max_sequences": 2, "max_batch_tokens": 3}],
    ids=str,
)
def test_a_seeded_request_repeats_whatever_runs_beside_it(config):
    sampling = SamplingParams(seed=11, max_tokens=15, n=2)
    alone, beside = run(sampling), run(sampling, beside=others(), **config)
    for index in range(2):
        assert tokens_of(alone, "it", index) == tokens_of(beside, "it", index)
    assert tokens_of(alone, "it", 0) != tokens_of(alone, "it", 1)


def test_a_seeded_request_repeats_after_preemption():
    sampling = SamplingParams(seed=11, max_tokens=15)
    assert tokens_of(run_preempted(sampling), "it") == tokens_of(run(sampling), "it")


def test_requests_without_a_seed_differ():
    assert len({tuple(sampled(max_tokens=12)) for _ in range(4)}) == 4


def test_different_seeds_differ():
    assert sampled(seed=1, max_tokens=12) != sampled(seed=2, max_tokens=12)


def test_defaults_reach_past_the_most_likely_token():
    greedy_ids = naive_greedy(double_model(), _PROMPT, 12)
    assert sampled(temperature=0.0, max_tokens=12) == greedy_ids
    assert sampled(seed=1, max_tokens=12) != greedy_ids


@pytest.mark.parametrize(
    "parameters",
    [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}],
    ids=str,
)
def test_extreme_truncation_is_greedy(parameters):
    greedy_ids = naive_greedy(double_model(), _PROMPT, 8)
    assert sampled(seed=1, max_tokens=8, **parameters) == greedy_ids


@pytest.mark.parametrize(
    ("parameters", "is_kept"),
    [
        ({"top_k": 3}, lambda probs, token: (probs > probs[token]).sum() < 3),
        ({"top_p": 0.5}, lambda probs, token: probs[probs > probs[token]].sum() < 0.5),
        ({"min_p": 0.3}, lambda probs, token: probs[token] >= 0.3 * probs.max()),
    ],
    ids=["top_k", "top_p", "min_p"],
)
def test_truncation_keeps_to_its_set_and_uses_it(parameters, is_kept):
    drawn_second = violated = 0
    for seed in range(8):
        token_ids = _PROMPT
        for token_id in sampled(seed=seed, max_tokens=6, temperature=1.0, **parameters):
            probs = probabilities(token_ids)
            assert is_kept(probs, token_id)
            drawn_second += token_id != probs.argmax()
            token_ids += (token_id,)
        token_ids = _PROMPT
        for token_id in sampled(seed=seed, max_tokens=6):
            violated += not is_kept(probabilities(token_ids), token_id)
            token_ids += (token_id,)
    assert drawn_second > 0, "truncation left the most likely token only"
    assert violated > 0, "the parameter made no difference"


def penalised_greedy(prompt, count, repetition=1.0, presence=0.0, frequency=0.0) -> list[int]:
    output: list[int] = []
    for _ in range(count):
        logits = naive_logits(double_model(), (*prompt, *output))[-1].numpy().copy()
        for token_id in {*prompt, *output}:
            positive = logits[token_id] > 0
            logits[token_id] *= 1 / repetition if positive else repetition
        for token_id in set(output):
            logits[token_id] -= presence + frequency * output.count(token_id)
        output.append(int(logits.argmax()))
    return output


@pytest.mark.parametrize(
    "parameters",
    [
        {"repetition": 5.0},
        {"repetition": 0.2},
        {"presence": 2.0},
        {"presence": -2.0},
        {"frequency": 2.0},
        {"frequency": -2.0},
        {"repetition": 1.3, "presence": 0.5, "frequency": 0.7},
    ],
    ids=str,
)
def test_penalties_act_on_what_was_seen(parameters):
    prompts = [_PROMPT, (1,), (30, 31, 32), (77, 12), (60, 3, 9, 27)]
    changed = 0
    for prompt in prompts:
        named = {f"{name}_penalty": value for name, value in parameters.items()}
        outputs = run(SamplingParams(temperature=0.0, max_tokens=20, **named), prompt)
        assert tokens_of(outputs, "it") == penalised_greedy(prompt, 20, **parameters)
        changed += tokens_of(outputs, "it") != naive_greedy(double_model(), prompt, 20)
    assert changed > 0, "the parameter made no difference"


def test_penalties_survive_preemption():
    sampling = SamplingParams(temperature=0.0, max_tokens=15, frequency_penalty=1.5)
    outputs = run_preempted(sampling)
    assert tokens_of(outputs, "it") == penalised_greedy(_PROMPT, 15, frequency=1.5)


def test_logit_bias_forbids_and_forces():
    greedy_ids = naive_greedy(double_model(), _PROMPT, 1)
    forbidden = sampled(temperature=0.0, max_tokens=1, logit_bias={greedy_ids[0]: -100.0})
    assert forbidden != greedy_ids
    assert sampled(max_tokens=6, logit_bias={77: 100.0}) == [77] * 6


def test_a_stop_token_ends_the_output_and_belongs_to_it():
    greedy_ids = naive_greedy(double_model(), _PROMPT, 8)
    position = next(idx for idx in range(2, 8) if greedy_ids[idx] not in greedy_ids[:idx])
    stop = greedy_ids[position]
    outputs = run(SamplingParams(temperature=0.0, max_tokens=20, stop_token_ids=(96, stop)))
    assert tokens_of(outputs, "it") == greedy_ids[: position + 1]
    assert outputs[-1].finish_reason is FinishReason.STOP


def test_min_tokens_keeps_stop_tokens_away_exactly_so_long():
    # Where each greedy step's first choice is a stop token, the second is taken while it must be.
    stops = tuple(range(0, 97, 2))
    for least in (0, 1, 3, 6):
        expected: list[int] = []
        while not expected or expected[-1] not in stops:
            logits = naive_logits(double_model(), (*_PROMPT, *expected))[-1].clone()
            if len(expected) < least:
                logits[list(stops)] = -torch.inf
            expected.append(int(logits.argmax()))
        found = sampled(
            temperature=0.0,
            max_tokens=50,
            stop_token_ids=stops,
            min_tokens=least,
            logit_bias={0: 0.0},  # changes nothing, but keeps the step from the short way
        )
        assert found == expected
        assert len(found) > least


def test_max_tokens_ends_with_length():
    outputs = run(SamplingParams(max_tokens=3))
    assert [output.finish_reason for output in outputs] == [None, None, FinishReason.LENGTH]


def test_rows_without_a_token_are_never_drawn():
    core = EngineCore(double_model(), EngineConfig(num_pages=90, valid_token_ids_end=20))
    core.submit(
        Request(
            request_id="it",
            prompt_ids=_PROMPT,
            sampling=SamplingParams(max_tokens=40, temperature=3.0, logprobs=20, seed=1),
        )
    )
    outputs = run_to_end(core)
    assert max(tokens_of(outputs, "it")) < 20
    for output in outputs:
        assert output.logprob is not None
        total = sum(math.exp(logprob) for _, logprob in output.logprob.top)
        assert total == pytest.approx(1.0)


def test_logprobs_are_of_the_untempered_unpenalised_distribution():
    sampling = SamplingParams(
        seed=1, max_tokens=6, logprobs=4, temperature=0.3, top_k=2, logit_bias={50: 3.0}
    )
    token_ids = _PROMPT
    for output in run(sampling):
        expected = np.log(probabilities(token_ids))
        assert output.logprob is not None
        assert output.logprob.token_id == output.token_id
        assert output.logprob.logprob == pytest.approx(expected[output.token_id])
        best = np.argsort(-expected)[:4]
        assert [token_id for token_id, _ in output.logprob.top] == best.tolist()
        assert [value for _, value in output.logprob.top] == pytest.approx(expected[best].tolist())
        token_ids += (output.token_id,)


def test_logprobs_are_per_request():
    counts = {"none": None, "zero": 0, "two": 2, "five": 5}
    core = EngineCore(double_model(), EngineConfig(num_pages=400))
    for name, count in counts.items():
        core.submit(greedy(name, _PROMPT, 2, logprobs=count))
    for output in run_to_end(core):
        count = counts[output.request_id]
        found = None if output.logprob is None else len(output.logprob.top)
        assert found == count


@pytest.mark.parametrize("chunk", [1, 3, 512])
def test_prompt_logprobs_come_with_the_first_token_only(chunk):
    sampling = SamplingParams(temperature=0.0, max_tokens=3, prompt_logprobs=2, n=2)
    for _ in range(2):  # the second time must not start from the prefix cache
        outputs = run(sampling, prefill_chunk=chunk, page_size=2)
    first, later = outputs[:2], outputs[2:]
    assert all(output.prompt_logprobs is None for output in later)
    for output in first:
        scored = output.prompt_logprobs
        assert scored is not None
        assert scored[0] is None
        assert len(scored) == len(_PROMPT)
        logits = naive_logits(double_model(), _PROMPT)
        for position in range(1, len(_PROMPT)):
            one = scored[position]
            assert one is not None
            expected = logits[position - 1].log_softmax(-1)
            assert one.token_id == _PROMPT[position]
            assert one.logprob == pytest.approx(float(expected[_PROMPT[position]]))
            assert [idx for idx, _ in one.top] == expected.topk(2).indices.tolist()


def test_prompt_logprobs_do_not_use_the_prefix_cache_but_feed_it():
    core = EngineCore(double_model(), EngineConfig(num_pages=90, page_size=2))
    sampling = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
    for name in ("one", "two"):
        core.submit(Request(request_id=name, prompt_ids=_PROMPT, sampling=sampling))
        outputs = run_to_end(core)
        assert outputs[0].cached_tokens == 0
        assert len(outputs[0].prompt_logprobs or ()) == len(_PROMPT)
    core.submit(Request(request_id="three", prompt_ids=_PROMPT))
    assert core.step()[0].cached_tokens == 4
    core.abort("three")


def test_prompt_logprobs_survive_preemption_within_the_prompt():
    core = EngineCore(double_model(), EngineConfig(num_pages=200, max_sequences=1, prefill_chunk=2))
    sampling = SamplingParams(temperature=0.0, max_tokens=2, prompt_logprobs=1)
    core.submit(Request(request_id="it", prompt_ids=_PROMPT, sampling=sampling, priority=1))
    assert core.step() == []
    core.submit(others(1)[0])
    outputs = run_to_end(core)
    assert core.stats().preemptions == 1
    (scored,) = [one.prompt_logprobs for one in outputs if one.prompt_logprobs is not None]
    logits = naive_logits(double_model(), _PROMPT)
    expected = [float(logits[idx - 1].log_softmax(-1)[_PROMPT[idx]]) for idx in range(1, 5)]
    assert [one.logprob for one in scored if one is not None] == pytest.approx(expected)


class Countdown:
    """A mask that allows one token after the other from a list, then anything."""

    def __init__(self, token_ids: list[int]) -> None:
        self.token_ids = token_ids

    def allowed(self) -> bytes | None:
        if not self.token_ids:
            return None
        bits = bytearray(self.token_ids[0] // 8 + 1)  # ids behind the end are not allowed
        bits[-1] |= 1 << self.token_ids[0] % 8
        return bytes(bits)

    def accept(self, token_id: int) -> None:
        if self.token_ids:
            assert self.token_ids.pop(0) == token_id


def test_a_mask_decides_what_may_come_next_for_each_continuation():
    wanted = {0: [9, 96, 0], 1: [11, 11, 8]}
    outputs = run(
        SamplingParams(max_tokens=6, n=2, seed=1),
        make_mask=lambda index: Countdown(list(wanted[index])),
        beside=others(),
    )
    for index in range(2):
        assert tokens_of(outputs, "it", index)[:3] == wanted[index]
        assert len(tokens_of(outputs, "it", index)) == 6


class Alternating:
    """A mask that gives the same two sets again and again, in bytes or in what can change."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.turn = 0
        self.shared = bytearray(13)

    def allowed(self):
        bits = bytes([1, 0, 1]) if self.turn % 2 else bytes([2])
        if self.kind is bytes:
            return bits
        self.shared[:] = bits.ljust(13, b"\0")
        return self.kind(self.shared)

    def accept(self, token_id: int) -> None:
        assert token_id in ((0, 16) if self.turn % 2 else (1,))
        self.turn += 1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sets_that_come_again_are_told_apart(kind):
    outputs = run(SamplingParams(max_tokens=8, seed=1), make_mask=lambda _: Alternating(kind))
    tokens = tokens_of(outputs, "it")
    assert tokens[::2] == [1, 1, 1, 1]
    assert set(tokens[1::2]) <= {0, 16}


class AllBut:
    """A mask that always gives the same set: all but some."""

    def __init__(self, forbidden: list[int], vocab: int) -> None:
        number = (1 << vocab) - 1 - sum(1 << token for token in forbidden)
        self.bits = number.to_bytes(vocab // 8 + 1, "little")

    def allowed(self) -> bytes:
        return self.bits

    def accept(self, token_id: int) -> None:
        pass


def test_few_ids_are_ruled_out_as_many_are():
    plain = tokens_of(run(SamplingParams(max_tokens=12, temperature=0)), "it")
    likely = plain[0]
    few = run(
        SamplingParams(max_tokens=12, temperature=0), make_mask=lambda _: AllBut([likely], 128)
    )
    assert likely not in tokens_of(few, "it")
    many = [likely, *range(0, 60, 2)]
    rest = run(SamplingParams(max_tokens=12, temperature=0), make_mask=lambda _: AllBut(many, 128))
    assert not set(many) & set(tokens_of(rest, "it"))
    nothing = run(SamplingParams(max_tokens=12, temperature=0), make_mask=lambda _: AllBut([], 128))
    assert tokens_of(nothing, "it") == plain


def test_a_mask_outlives_preemption():
    wanted = list(range(20, 34))
    outputs = run_preempted(SamplingParams(max_tokens=14), lambda _: Countdown(list(wanted)))
    assert tokens_of(outputs, "it") == wanted


class Broken:
    """A mask that fails where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def allowed(self) -> bytes:
        if self.where == "allowed":
            raise ValueError("no grammar")
        if self.where == "words":
            return "all of them"  # type: ignore[return-value]
        return b"" if self.where == "nothing" else b"\xff" * 13

    def accept(self, token_id: int) -> None:
        raise ValueError("no grammar")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("allowed", "the token mask failed: ValueError('no grammar')"),
        ("accept", "the token mask failed: ValueError('no grammar')"),
        ("nothing", "no token is allowed to come next"),
        (
            "words",
            "the token mask failed: "
            "TypeError(\"memoryview: a bytes-like object is required, not 'str'\")",
        ),
    ],
)
def test_a_failing_mask_ends_its_own_request_only(where, message):
    core = EngineCore(double_model(), EngineConfig(num_pages=90))
    core.submit(Request(request_id="it", prompt_ids=_PROMPT, make_mask=lambda _: Broken(where)))
    other = others(1)[0]
    core.submit(other)
    outputs = run_to_end(core)
    (failed,) = [output for output in outputs if output.request_id == "it"]
    assert (failed.finish_reason, failed.error) == (FinishReason.ERROR, message)
    assert len(tokens_of(outputs, other.request_id)) == 9


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_end_the_request_with_an_error(temperature):
    model = double_model(seed=1)
    with torch.no_grad():
        kept = model.lm_head.weight.clone()
        model.lm_head.weight[3] = torch.nan
    core = EngineCore(model, EngineConfig(num_pages=90))
    core.submit(
        Request(
            request_id="it",
            prompt_ids=_PROMPT,
            sampling=SamplingParams(temperature=temperature, max_tokens=3),
        )
    )
    (failed,) = run_to_end(core)
    assert failed.error == "the model produced logits that are not finite"
    with torch.no_grad():
        model.lm_head.weight.copy_(kept)


def test_greedy_and_random_rows_share_a_step():
    core = EngineCore(double_model(), EngineConfig(num_pages=400))
    for other in others():
        core.submit(other)
    core.submit(greedy("it", _PROMPT, 9))
    outputs = run_to_end(core)
    assert tokens_of(outputs, "it") == naive_greedy(double_model(), _PROMPT, 9)
    for other in others():
        alone = tokens_of(run(other.sampling, other.prompt_ids), "it")
        assert tokens_of(outputs, other.request_id) == alone
        assert alone != naive_greedy(double_model(), other.prompt_ids, 9)
