"""`deterministic`: a request's ids and log-probabilities are the same bits, whatever runs beside it."""

from __future__ import annotations

import functools
from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.cache.allocator import PageAllocator
from ossia.engine.config import EngineConfig, StepLimits
from ossia.engine.core import EngineCore
from ossia.engine.deterministic import DeterministicScheduler, reuse_unit
from ossia.errors import CapacityError
from ossia.model.heads import CausalLM
from ossia.types import FinishReason, Request, SamplingParams
from support.engines import fake_core, greedy, run_to_end
from support.fake_model import expected_output

_STEM = tuple(Random(1).choices(range(1000), k=70))
_CHUNK = 16
Outputs = dict[tuple[str, int], list[tuple]]


@functools.cache
def _model(name: str, dtype: str, device: str = "cpu") -> CausalLM:
    return load_module(CausalLM, find_model(name), dtype=dtype, device=device)


def _core(model: CausalLM, **config: object) -> EngineCore:
    given = {"num_pages": 2000, "prefill_chunk": _CHUNK, "deterministic": True, **config}
    return EngineCore(model, EngineConfig(**given))  # type: ignore[arg-type]


def _request(number: int, draw: Random, longest: int, most: int) -> Request:
    """Of any kind that says what it wants: greedy or seeded, with prompts that often start alike."""
    prompt = (*_STEM[: draw.randrange(longest)], *draw.choices(range(1000), k=draw.randint(1, 9)))
    sampling = SamplingParams(
        temperature=draw.choice([0.0, 0.0, 1.0]),
        top_p=draw.choice([1.0, 0.9]),
        top_k=draw.choice([0, 20]),
        seed=number,
        max_tokens=draw.randint(1, most),
        logprobs=draw.choice([None, 0, 3]),
        prompt_logprobs=draw.choice([None] * 5 + [1]),
        presence_penalty=draw.choice([0.0] * 5 + [0.5]),
        n=draw.choice([1] * 6 + [3]),
    )
    return Request(request_id=str(number), prompt_ids=prompt, sampling=sampling)


def _requests(count: int, seed: int = 0, longest: int = 60, most: int = 12) -> list[Request]:
    draw = Random(seed)
    return [_request(number, draw, longest, most) for number in range(count)]


def _take(core: EngineCore, into: Outputs) -> None:
    for output in core.step():
        assert output.error is None, output.error
        told = (output.token_id, output.logprob, output.prompt_logprobs)
        into.setdefault((output.request_id, output.index), []).append(told)


def _alone(model: CausalLM, requests: list[Request], **config: object) -> Outputs:
    """Each in an engine that has never seen another."""
    outputs: Outputs = {}
    for request in requests:
        core = _core(model, **config)
        core.submit(request)
        while core.has_work:
            _take(core, outputs)
    return outputs


def _together(
    core: EngineCore, requests: list[Request], arrivals: list[int], aborts: dict[int, int]
) -> Outputs:
    """All of them in one engine.

    Args:
        core: Of nobody else.
        requests: In the order in which they are submitted.
        arrivals: Steps before each.
        aborts: Step -> which of the live requests is aborted then.
    """
    outputs: Outputs = {}
    aborted: set[str] = set()
    step, due = 0, 0
    waiting = list(zip(requests, arrivals, strict=True))
    while waiting or core.has_work:
        while waiting and due + waiting[0][1] <= step:
            request, gap = waiting.pop(0)
            due += gap
            core.submit(request)
        if step in aborts and core.live_requests:
            name = core.live_requests[aborts[step] % len(core.live_requests)]
            aborted.add(name)
            core.abort(name)
        _take(core, outputs)
        core.check()
        step += 1
        assert step < 20_000, "they hinder each other for ever"
    return {key: made for key, made in outputs.items() if key[0] not in aborted}


def _assert_same(outputs: Outputs, expected: Outputs) -> None:
    assert outputs
    for key, made in outputs.items():
        assert made == expected[key], key


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["demo", "random:tiny"])
def test_alone_and_in_a_batch_of_64(name, dtype):
    model, requests, draw = _model(name, dtype), _requests(64, longest=40, most=6), Random(2)
    core = _core(model)
    aborts = {draw.randrange(100): draw.randrange(64) for _ in range(6)}
    arrivals = [0] * 40 + [draw.randrange(4) for _ in range(24)]
    outputs = _together(core, requests, arrivals, aborts)
    assert len({key[0] for key in outputs}) >= 58
    assert core.stats().cached_tokens > 0, "prompts that start alike share whole chunks"
    _assert_same(outputs, _alone(model, requests))


@pytest.mark.parametrize("config", [{"kv_dtype": "int8"}, {"page_size": 3}, {"max_sequences": 5}])
def test_other_settings_too(config):
    model, requests = _model("random:tiny", "bfloat16"), _requests(16, seed=3)
    outputs = _together(_core(model, **config), requests, [1] * 16, {})
    _assert_same(outputs, _alone(model, requests, **config))


_POOL = _requests(24, seed=4)


@functools.cache
def _pool_alone() -> Outputs:
    return _alone(_model("random:tiny", "bfloat16"), _POOL)


@given(
    chosen=st.permutations(range(24)).flatmap(
        lambda order: st.integers(2, 12).map(lambda count: order[:count])
    ),
    arrivals=st.lists(st.integers(0, 9), min_size=12, max_size=12),
    aborts=st.dictionaries(st.integers(0, 40), st.integers(0, 11), max_size=3),
    pages=st.sampled_from([26, 40, 2000]),
    max_sequences=st.integers(3, 12),
)
def test_whenever_they_arrive(chosen, arrivals, aborts, pages, max_sequences):
    """Few pages make them take each other's; on the CPU a step holds one sequence in any case."""
    core = _core(_model("random:tiny", "bfloat16"), num_pages=pages, max_sequences=max_sequences)
    requests = [_POOL[number] for number in chosen]
    outputs = _together(core, requests, arrivals[: len(requests)], aborts)
    for key, made in outputs.items():
        assert made == _pool_alone()[key]


def test_preempted_sequences_compute_the_same_bits_again():
    model, requests = _model("random:tiny", "bfloat16"), _requests(12, seed=5, longest=30)
    requests = [
        replace(one, sampling=replace(one.sampling, max_tokens=40, logprobs=2)) for one in requests
    ]
    core = _core(model, num_pages=40)
    outputs = _together(core, requests, [0] * 12, {})
    assert core.stats().preemptions > 3
    _assert_same(outputs, _alone(model, requests))


def test_nothing_is_shared_but_what_each_would_have_computed():
    """Outputs, and prompts in other chunks, do not stand in for a prompt."""
    model, core = _model("random:tiny", "bfloat16"), _core(_model("random:tiny", "bfloat16"))
    first: Outputs = {}
    core.submit(greedy("first", _STEM[:20], 40))
    while core.has_work:
        _take(core, first)
    answer = [token for token, _, _ in first["first", 0]]
    longer = greedy("longer", (*_STEM[:20], *answer, 7), 8, logprobs=2)
    core.submit(greedy("scored", _STEM, 2, prompt_logprobs=1))
    run_to_end(core)
    outputs: Outputs = {}
    for request in (longer, greedy("whole", (*_STEM, 3), 8, logprobs=2)):
        core.submit(request)
        while core.has_work:
            _take(core, outputs)
    assert core.stats().cached_tokens == 2 * _CHUNK, "the first one's only whole chunk, twice"
    assert outputs["longer", 0] == _alone(model, [longer])["longer", 0]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_pass_is_a_chunk_or_a_step_of_so_many(rows):
    allocator = PageAllocator(windows=(None,), page_size=4, num_pages=500, prefix_reuse=False)
    limits = StepLimits(max_batch_tokens=8, prefill_chunk=8, max_sequences=8)
    core, runner, _ = fake_core(
        num_pages=500, page_size=4, deterministic=True, prefill_chunk=8, max_sequences=8
    )
    core._scheduler = DeterministicScheduler(limits, allocator, rows=rows)
    core._allocator = allocator
    for number in range(6):
        core.submit(greedy(str(number), tuple(range(3 + 5 * number)), 4))
    run_to_end(core)
    served = dict.fromkeys(range(6), 0)
    for plan in runner.plans:
        if any(entry.num_tokens > 1 for entry in plan.entries):
            assert len(plan.entries) == 1
            (entry,) = plan.entries
            assert entry.num_tokens <= 8
            assert entry.end % 8 == 0 or entry.draws
        else:
            assert 0 < len(plan.entries) <= rows
            for entry in plan.entries:
                served[int(entry.sequence.request.request_id)] += 1
    assert set(served.values()) == {3}


def test_many_that_decode_take_turns():
    core, runner, _ = fake_core(num_pages=500, deterministic=True, max_sequences=8)
    for number in range(7):
        core.submit(greedy(str(number), (number, 1, 2), 9))
    outputs = run_to_end(core)
    assert {
        output.request_id: output.finish_reason for output in outputs if output.finish_reason
    } == {str(number): FinishReason.LENGTH for number in range(7)}
    decoding = [plan for plan in runner.plans if len(plan.entries) > 1]
    assert max(len(plan.entries) for plan in decoding) == runner.rows_alike == 3
    for number in range(7):
        made = [one.token_id for one in outputs if one.request_id == str(number)]
        assert made == expected_output((number, 1, 2), 0, 9, 97)


def test_what_has_no_room_for_a_whole_chunk_is_refused():
    options = {"num_pages": 8, "page_size": 4, "window": 8, "prefill_chunk": 12, "context": 64}
    core, _, _ = fake_core(deterministic=True, **options)
    with pytest.raises(CapacityError):
        core.submit(greedy("long", tuple(range(14)), 8))
    core.submit(greedy("short", tuple(range(14)), 2))
    assert len(run_to_end(core)) == 2
    core, _, _ = fake_core(**options)
    core.submit(greedy("long", tuple(range(14)), 5))
    assert len(run_to_end(core)) == 5


@pytest.mark.parametrize(
    ("chunk", "page_size", "pages"), [(16, 16, 1), (64, 16, 4), (10, 4, 5), (3, 4, 3)]
)
def test_pages_of_whole_chunks(chunk, page_size, pages):
    assert reuse_unit(chunk, page_size) == pages


def test_limits_of_a_deterministic_pass():
    def limits(device: str, room: int | None = None, **config: object) -> tuple[int, int, int]:
        found = EngineConfig(deterministic=True, **config).step_limits(device, room)  # type: ignore[arg-type]
        return found.max_batch_tokens, found.prefill_chunk, found.max_sequences

    assert limits("cuda") == limits("cuda", room=1000) == limits("cuda", room=3) == (2048, 2048, 64)
    assert limits("cpu") == (512, 512, 64)
    assert limits("cpu", prefill_chunk=300, max_batch_tokens=100) == (100, 100, 64)
    assert limits("cuda", prefill_chunk=16, max_sequences=200) == (200, 16, 200)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_without_it_one_run_is_like_the_next(dtype):
    """The same requests at the same steps: their passes are the same, and so are their sums."""
    model, requests, draw = _model("demo", dtype), _requests(40, seed=6), Random(6)
    arrivals = [draw.randrange(3) for _ in requests]
    runs = [
        _together(_core(model, deterministic=False), requests, arrivals, {9: 2, 20: 5})
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "max_sequences", "kv_dtype"),
    [
        ("demo", 64, "auto"),
        ("random:tiny", 64, "auto"),
        ("random:tiny", 64, "fp8"),
        ("random:tiny", 3, "auto"),
        ("random:tiny", 100, "auto"),
    ],
)
def test_on_a_gpu_alone_and_in_a_batch_of_64(name, max_sequences, kv_dtype):
    """Prompts of one chunk and of several, in graphs and without, each alone and with all others."""
    model, draw = _model(name, "bfloat16", "cuda"), Random(7)
    requests = [
        Request(
            request_id=str(number),
            prompt_ids=tuple(draw.choices(range(1000), k=1 + 2 * draw.randrange(900))),
            sampling=SamplingParams(
                temperature=draw.choice([0.0, 0.0, 1.0]), top_p=draw.choice([1.0, 0.9]), seed=number,
                max_tokens=draw.randint(20, 50), logprobs=draw.choice([None, 2]),
            ),
        )
        for number in range(64)
    ]  # fmt: skip
    config = {
        "num_pages": 20_000, "prefill_chunk": 640, "max_sequences": max_sequences, "kv_dtype": kv_dtype
    }  # fmt: skip
    alone: Outputs = {}
    single = _core(model, prefix_reuse=False, **config)
    assert name == "demo" or single._runner.rows_alike == max_sequences, "kernels for decoding run"
    for request in requests:
        single.submit(request)
        while single.has_work:
            _take(single, alone)
    core = _core(model, **config)
    arrivals = [0] * 50 + [draw.randrange(5) for _ in range(14)]
    _assert_same(_together(core, requests, arrivals, {}), alone)
    again = _together(_core(model, **config), requests[::-1], [1] * 64, {7: 3, 30: 9})
    _assert_same(again, alone)


@pytest.mark.gpu
def test_on_a_gpu_preempted_sequences_compute_the_same_bits_again():
    model, requests = _model("random:tiny", "bfloat16", "cuda"), _requests(24, seed=8)
    requests = [
        replace(one, sampling=replace(one.sampling, max_tokens=60, logprobs=2)) for one in requests
    ]
    core = _core(model, num_pages=60)
    outputs = _together(core, requests, [0] * 24, {})
    assert core.stats().preemptions > 3
    alone: Outputs = {}
    single = _core(model, prefix_reuse=False)
    for request in requests:
        single.submit(request)
        while single.has_work:
            _take(single, alone)
    _assert_same(outputs, alone)


@pytest.mark.gpu
@torch.no_grad()
def test_on_a_gpu_one_run_is_like_the_next_without_it():
    model, requests, draw = _model("demo", "bfloat16", "cuda"), _requests(40, seed=9), Random(9)
    arrivals = [draw.randrange(3) for _ in requests]
    runs = [
        _together(_core(model, deterministic=False), requests, arrivals, {9: 2, 20: 5})
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
