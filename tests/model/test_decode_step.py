"""A decode step as one CUDA graph against the modules it stands for."""

from __future__ import annotations

from array import array
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.cpu_precision import divergences, paged_logits

from ossia.config import PRESETS, LayerType, ModelConfig
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.randomness import uniform
from ossia.engine.sync_engine import SyncEngine
from ossia.kernels.decode.draw import CHANCE_NUMBERS, Chance, chances, of_sets
from ossia.model import decode_step
from ossia.model.batch import ForwardBatch
from ossia.model.decode_step import (
    _CHANCES,
    _POSITIONS,
    _TABLE,
    _WIDTH,
    DecodeStep,
    _fill,
    why_not,
)
from ossia.model.heads import CausalLM
from ossia.types import Request, SamplingParams
from support.draws import check_draws, packed
from support.models import exact_twin, packed_model


def _requests(config: ModelConfig, count: int, **sampling) -> list[Request]:
    return [
        Request(
            request_id=str(i),
            prompt_ids=tuple(torch.randint(0, config.vocab_size, (3 + 40 * (i % 16),)).tolist()),
            sampling=SamplingParams(**{"temperature": 0.0, "max_tokens": 40 - i % 16, **sampling}),
        )
        for i in range(count)
    ]


def _serve(model: CausalLM, requests: list[Request], **options) -> dict[str, list]:
    engine = EngineCore(model, EngineConfig(num_pages=30_000, max_sequences=512, **options))
    for request in requests:
        engine.submit(request)
    outputs: dict[str, list] = {}
    while engine.has_work:
        for output in engine.step():
            assert output.error is None, output.error
            outputs.setdefault(output.request_id, []).append(output)
    engine.check()
    return outputs


def _error(outputs: dict[str, list], requests: list[Request], exact: CausalLM) -> float:
    """Mean distance of the reported log-probabilities from those of a float32 model."""
    distances = []
    for request in requests:
        made = outputs[request.request_id]
        ids = [*request.prompt_ids, *(one.token_id for one in made)]
        logits = exact(ForwardBatch.from_sequences([ids], "cuda"))
        scores = logits.log_softmax(-1)[len(request.prompt_ids) - 1 : -1]
        for row, one in zip(scores, made, strict=True):
            distances.append(abs(float(row[one.token_id]) - one.logprob.logprob))
    return sum(distances) / len(distances)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 17, 40, 128, 129, 200, 512])
def test_as_near_the_exact_model_as_the_modules_are(count):
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    exact = exact_twin(model)
    requests = _requests(config, count, logprobs=1)
    slow = _serve(model, requests, cuda_graphs=False)
    assert not model.model.layers[0].mlp.experts.relaid
    fast = _serve(model, requests)
    assert model.model.layers[0].mlp.experts.relaid
    assert _error(fast, requests, exact) < 1.2 * _error(slow, requests, exact) < 0.2


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 3, 7, 17, 40, 129, 300])
def test_keys_and_values_of_full_layers_in_fp8(count):
    """Steps and passes over such pages are as near the exact model as the modules over them are."""
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    exact = exact_twin(model)
    requests = _requests(config, count, logprobs=1)
    slow = _serve(model, requests, cuda_graphs=False, kv_dtype="fp8")
    fast = _serve(model, requests, kv_dtype="fp8")
    assert model.model.layers[0].mlp.experts.relaid
    assert _error(fast, requests, exact) < 1.5 * _error(slow, requests, exact) < 0.4


@pytest.mark.gpu
def test_fp8_changes_logits_a_little():
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    plain, rounded = (
        EngineCore(model, EngineConfig(num_pages=4000, max_sequences=4, kv_dtype=kv_dtype))
        for kv_dtype in ("auto", "fp8")
    )
    runner: Any = rounded._runner
    kinds = {pages.dtype for pages in runner._pool.k_pages}
    assert kinds == {torch.bfloat16, torch.float8_e4m3fn}
    assert runner._fast is not None
    assert runner._graphs is not None
    for length in (3, 40, 700, 1500):
        prompt = tuple(torch.randint(0, config.vocab_size, (length,)).tolist())
        answer = torch.randint(0, config.vocab_size, (5,)).tolist()
        ours, theirs = (paged_logits(core, prompt, answer).float() for core in (plain, rounded))
        change = divergences(ours, theirs)
        assert 0 < float(change.mean()) < 1e-2, (length, change)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("num_pages", "count", "side_by_side", "least", "kv_dtype"),
    [
        (40, 60, 24, 5, "auto"),
        (4000, 60, 24, 5, "auto"),
        (6000, 500, 400, 16, "auto"),
        (60, 60, 24, 5, "fp8"),
        (9000, 500, 400, 16, "fp8"),
    ],
)
def test_steps_ahead_while_sequences_come_and_go(num_pages, count, side_by_side, least, kv_dtype):
    """Greedy ids stay those of the exact model, whoever's pages are taken and given meanwhile."""
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    exact = exact_twin(model)
    stem = torch.randint(0, config.vocab_size, (100,)).tolist()
    requests = [
        Request(
            request_id=str(i),
            prompt_ids=(*stem[: 7 * (i % 13)], *torch.randint(0, config.vocab_size, (1 + i % 5,)).tolist()),
            sampling=SamplingParams(temperature=0.0, max_tokens=least + 11 * (i % 7)),
        )
        for i in range(count)
    ]  # fmt: skip
    engine = EngineCore(
        model, EngineConfig(num_pages=num_pages, max_sequences=side_by_side, kv_dtype=kv_dtype)
    )
    made: dict[str, list[int]] = {request.request_id: [] for request in requests}
    aborted: set[str] = set()
    waiting, steps, each = list(requests), 0, 1 + count // 100
    while waiting or engine.has_work:
        for request in waiting[: steps % 3 * each]:
            engine.submit(request)
        del waiting[: steps % 3 * each]
        if steps % 17 == 16 and engine.live_requests:
            aborted.add(engine.live_requests[0])
            engine.abort(engine.live_requests[0])
        for output in engine.step():
            assert output.error is None, output.error
            if output.token_id is not None:
                made[output.request_id].append(output.token_id)
        engine.check()
        steps += 1
    worst = 0.0
    for request in requests:
        ids = made[request.request_id]
        assert request.request_id in aborted or len(ids) == request.sampling.max_tokens
        if ids:
            logits = exact(ForwardBatch.from_sequences([[*request.prompt_ids, *ids]], "cuda"))
            logits = logits[len(request.prompt_ids) - 1 : -1].float()
            chosen = logits.gather(1, torch.tensor(ids, device="cuda")[:, None])[:, 0]
            worst = max(worst, float(((logits.amax(1) - chosen) / logits.std(1)).mean()))
    assert worst < 0.2, worst


@pytest.mark.gpu
def test_greedy_and_drawn_ids_are_the_same_again():
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    for sampling in ({}, {"temperature": 1.0, "seed": 5}, {"presence_penalty": 0.5}):
        requests = _requests(config, 5, **sampling)
        runs = [_serve(model, requests, prefix_reuse=False) for _ in range(2)]
        ids = [
            {name: [one.token_id for one in outputs] for name, outputs in run.items()}
            for run in runs
        ]
        assert ids[0] == ids[1]


@pytest.mark.gpu
def test_the_state_keeps_the_order_of_checkpoints():
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine = SyncEngine(EngineCore(model, EngineConfig(num_pages=8)))
    del engine
    assert model.model.layers[0].mlp.experts.relaid
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model.load_state_dict(before)
    assert not model.model.layers[0].mlp.experts.relaid


def test_relaid_experts_say_the_same():
    config = PRESETS["tiny"]()
    model = packed_model(config, "cpu")
    experts = model.model.layers[0].mlp
    x = torch.randn(9, config.hidden_size, dtype=torch.bfloat16)
    before, state = experts(x), {k: v.clone() for k, v in model.state_dict().items()}
    experts.experts.relay()
    assert torch.equal(experts(x), before)
    after = model.state_dict()
    assert all(torch.equal(state[name], after[name]) for name in state)
    model.load_state_dict(after)
    assert torch.equal(experts(x), before)
    experts.experts.relay()
    experts.experts.restore()
    assert torch.equal(experts(x), before)


def test_models_that_cannot_say_why(monkeypatch):
    model = packed_model(PRESETS["tiny"](), "cpu")
    assert why_not(model, torch.bfloat16) == "needs a CUDA device"
    monkeypatch.setattr(decode_step, "choose", lambda *_: SimpleNamespace(passed_over=()))
    assert why_not(model, torch.bfloat16) is why_not(model, torch.float8_e4m3fn) is None
    assert why_not(model, torch.float16) == "needs a KV cache in bfloat16, or fp8 for full layers"
    assert why_not(model.float(), torch.bfloat16) == "needs bfloat16 weights"


@pytest.mark.gpu
def test_a_warm_engine_captures_nothing_more():
    config = PRESETS["tiny"]()
    core = EngineCore(packed_model(config, "cuda"), EngineConfig(num_pages=4000, max_sequences=10))
    core.warm_up()
    runner: Any = core._runner
    steps, graphs = runner._fast._step._ready, runner._graphs._ready
    before = set(steps), set(graphs)
    assert before[0] == set(product((1, 2, 4, 8, 16), (False, True)))
    assert {shape.tokens for shape in before[1]} == {32, 64, 128, 256, 512, 768, 1024}
    for request in [*_requests(config, 5), *_requests(config, 5, temperature=0.8)]:
        core.submit(replace(request, request_id=str(id(request))))
        core.step()
    while core.has_work:
        assert all(output.error is None for output in core.step())
    assert (set(steps), set(graphs)) == before


@pytest.mark.gpu
def test_steps_of_all_sizes_share_their_memory():
    config = PRESETS["tiny"]()
    core = EngineCore(packed_model(config, "cuda"), EngineConfig(num_pages=4000, max_sequences=512))
    before = torch.cuda.memory_allocated()
    core.warm_up()
    rows = 4 * config.vocab_size * 512  # bytes of the logits of the largest step, there before
    assert torch.cuda.memory_allocated() - before < rows
    runner: Any = core._runner
    addresses = {chain.logits.data_ptr() for _, chain in runner._fast._step._ready.values()}
    assert len(addresses) == 1


def _page_each(
    config: ModelConfig, rows: int
) -> tuple[list[tuple[torch.Tensor, ...]], list[LayerType], list[list[array[int]]]]:
    """Random keys and values of so many pages, the groups, and tables in which each row has one page."""
    shape = (2, rows, 16, config.num_key_value_heads, 64)
    pages = [
        tuple(torch.randn(shape, dtype=torch.bfloat16, device="cuda"))
        for _ in range(config.num_hidden_layers)
    ]
    groups = sorted(set(config.layer_types))
    return pages, groups, [[array("i", [row])] * len(groups) for row in range(rows)]


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [129, 200, 257, 512])
def test_rows_without_a_sequence_change_nothing(rows):
    """The same sequences with others beside them, with rows at position -1, and in a smaller graph."""
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    generator = torch.Generator().manual_seed(0)
    pages, groups, tables = _page_each(config, rows)
    step = DecodeStep(model, pages, groups, 16, config.vocab_size)
    ids = torch.randint(0, config.vocab_size, (rows,), generator=generator).tolist()
    present = [row % 3 > 0 for row in range(rows)]

    def logits(there: list[bool]) -> torch.Tensor:
        positions = [5 if one else -1 for one in there]
        kept = [table if one else None for table, one in zip(tables, there, strict=True)]
        step._memory.logits(512).fill_(torch.nan)
        return step.run(ids, positions, kept).logits.clone()

    whole, some = logits([True] * rows), logits(present)
    assert torch.equal(some[present], whole[present])
    # The experts of fewer rows are other kernels; now and then a token goes to another expert there.
    small = DecodeStep(model, pages, groups, 16, config.vocab_size, 32)
    alone = small.run(ids[:32], [5] * 32, tables[:32]).logits
    apart = (alone - whole[:32]).norm(dim=1) / alone.norm(dim=1)
    assert float(apart.median()) < 0.02
    assert not apart.isnan().any()


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("likely", [{}, {"top_p": 0.8}, {"top_k": 50, "min_p": 0.02}])
def test_steps_draw_as_the_sampler_does(rows, likely):
    """Step after step without the host in between, some rows by chance, of a set's ids or of all, and some greedily."""
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    pages, groups, tables = _page_each(config, rows)
    step = DecodeStep(model, pages, groups, 16, config.vocab_size)
    every = range(rows)
    how = [
        Chance(row, row % 2, 3, 0.0 if row % 4 == 3 else 0.5 + row % 3, **likely) for row in every
    ]
    ids: list[int] | None = [7] * rows
    for position in range(4, 12):
        if position % 2 == 0:
            sets = torch.rand(2, config.vocab_size) < 0.5
        told = [bytes(one.tolist()) for one in packed(sets)]
        chosen = [(None, 0, 1)[row % 3] for row in every]
        places = step.sets.places([None if one is None else told[one] for one in chosen])
        output = step.run(ids, [position] * rows, tables, None, of_sets(chances(how), places))
        torch.cuda.synchronize()
        drawn = output.drawn[position & 1, :, :rows]
        numbers = [uniform(row, row % 2, position - 3) for row in every]
        logits = output.logits.cpu().clone()
        for row, one in enumerate(chosen):
            if one is not None:
                logits[row, ~sets[one]] = -torch.inf
        check_draws(logits, drawn[0].tolist(), how, numbers)
        assert torch.equal(drawn[1].view(torch.float32), logits.amax(1))
        ids = None


@pytest.mark.gpu
def test_a_graph_that_is_captured_between_steps_goes_on_from_their_ids():
    config = PRESETS["tiny"]()
    model = packed_model(config, "cuda")
    pages, groups, tables = _page_each(config, 3)
    kept = [tuple(one.clone() for one in pair) for pair in pages]
    drawing = chances([Chance(0, 0, 0, 0.0)] * 3)  # greedily, but by the graph that draws
    outputs: list[torch.Tensor] = []
    for is_warm in (True, False):
        for pair, before in zip(pages, kept, strict=True):
            for one, then in zip(pair, before, strict=True):
                one.copy_(then)
        step = DecodeStep(model, pages, groups, 16, config.vocab_size, 3)
        if is_warm:
            step.warm_up(3)
        step.run([7, 8, 9], [4] * 3, tables)
        logits = step.run(None, [5] * 3, tables, None, drawing).logits.clone()
        torch.cuda.synchronize()
        outputs.append(logits)
    assert torch.equal(*outputs)


class _Copies:
    """Pinned memory and its event, on the CPU."""

    def __init__(self, size: int) -> None:
        self.tensor = torch.zeros(size, dtype=torch.int32)
        self.host = self.tensor.numpy()
        self.copied = self

    def wait(self) -> None: ...
    def record(self) -> None: ...


class _Replay:
    """What a graph does to the device's inputs."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.positions = inputs[_POSITIONS:_WIDTH]
        self.logits, self.drawn = torch.zeros(8, 1), torch.zeros(2, 2, 8)
        self.seen: list[torch.Tensor] = []
        self.inputs = inputs

    def replay(self) -> None:
        self.seen.append(self.inputs.clone())
        self.positions += self.positions >= 0


def _table(*pages: int) -> tuple[array, array]:
    return array("i", pages), array("i", [page + 20 for page in pages])


CHANCES = np.arange(3 * CHANCE_NUMBERS, dtype=np.int32).reshape(3, CHANCE_NUMBERS) + 1
STEPS: list[tuple[list[int] | None, list[int], list, np.ndarray | None, bool]] = [
    ([7, 8, 9], [17, 18, 3], [_table(4, 5), _table(1, 2), _table(8)], None, True),
    (None, [18, 19, 4], [_table(4, 5), _table(1, 2), _table(8)], None, False),
    (None, [19, 20, 5], [_table(4, 5), _table(1, 2), _table(8)], None, False),
    (None, [20, -1, 6], [_table(4, 5), None, _table(8)], None, True),  # one has ended
    (None, [21, -1, 7], [_table(4, 5), None, _table(8)], None, False),
    (None, [22, -1, 8], [_table(4, 5, 6), None, _table(8)], None, True),  # a page more
    (None, [23, -1, 9], [_table(9, 5, 6), None, _table(8)], None, True),  # another in its middle
    (None, [24, -1, 10], [_table(9, 5, 6), None, _table(8)], None, False),
    ([1, 2, 3], [24, 4, 10], [_table(9, 5, 6), _table(3), _table(8)], None, True),
    ([1, 2, 3], [24, 4, 10], [_table(9, 5, 6), _table(3), _table(8)], None, True),
    ([1, 2, 3], [24, 4, 10], [_table(9, 5, 6), _table(3), _table(8)], CHANCES, True),
    (None, [25, 5, 11], [_table(9, 5, 6), _table(3), _table(8)], CHANCES, False),
    (None, [26, -1, 12], [_table(9, 5, 6), None, _table(8)], CHANCES, True),
    (None, [27, -1, 13], [_table(9, 5, 6), None, _table(8)], CHANCES, False),
    ([1, 2, 3], [27, 5, 13], [_table(9, 5, 6), _table(3), _table(8)], CHANCES + 1, True),
    ([1, 2, 3], [27, 5, 13], [_table(9, 5, 6), _table(3), _table(8)], None, True),
]


def test_graphs_of_one_size(monkeypatch):
    """What engines need whose rows must be alike."""
    step: Any = object.__new__(DecodeStep)
    step._ready = {}
    monkeypatch.setattr(DecodeStep, "_capture", lambda self, *kind: kind)
    step.warm_up(8, only=8)
    assert set(step._ready) == {(8, False), (8, True)}
    step.warm_up(3)
    assert set(step._ready) == set(product((1, 2, 4, 8), (False, True)))


def test_inputs_are_copied_where_the_device_has_others():
    step: Any = object.__new__(DecodeStep)
    step._inputs = torch.zeros(_TABLE + 100, dtype=torch.int32)
    step._staging, step._left = [_Copies(_TABLE + 100) for _ in range(2)], None
    graph = _Replay(step._inputs)
    step._ready = {(8, draws): (graph, graph) for draws in (False, True)}
    fresh = np.zeros(_TABLE + 100, dtype=np.int32)
    for ids, positions, tables, drawing, copied in STEPS:
        last_sent = step._staging[0]
        step.run(ids, positions, tables, 8, drawing)
        used = _fill(fresh, ids, positions, tables, drawing)
        given = fresh[_CHANCES:_TABLE].reshape(-1, CHANCE_NUMBERS)
        assert np.array_equal(given[:3], 0 * CHANCES if drawing is None else drawing)
        assert not given[3:].any()
        assert graph.seen[-1][_POSITIONS:used].tolist() == fresh[_POSITIONS:used].tolist()
        assert (step._staging[0] is not last_sent) is copied
