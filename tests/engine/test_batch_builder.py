"""The tensors of a plan, against the same written out position by position."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.runner import ModelRunner
from ossia.model.batch import PagedKV
from support.engines import double_model, greedy


def test_an_idle_batch_is_as_others_are_but_goes_nowhere():
    core = EngineCore(double_model(), EngineConfig(num_pages=30, page_size=5, prefill_chunk=16))
    core.submit(greedy("it", tuple(range(12)), 1))
    runner = core._runner
    assert isinstance(runner, ModelRunner)
    real = runner._builder.build(core._scheduler.schedule()).forward
    idle = runner._builder.idle(12)
    assert isinstance(real.kv, PagedKV)
    assert isinstance(idle.kv, PagedKV)
    for mine, theirs in (
        (idle.input_ids, real.input_ids),
        (idle.positions, real.positions),
        (idle.logits_rows, real.logits_rows),
        *((idle.kv.slots[kind], slots) for kind, slots in real.kv.slots.items()),
        *((idle.kv.page_tables[kind], table) for kind, table in real.kv.page_tables.items()),
    ):
        assert mine.dtype is theirs.dtype
        assert mine.shape == theirs.shape
    assert idle.seq_lens == idle.kv.context_lens == [12]
    assert all((slots == -1).all() for slots in idle.kv.slots.values())
    assert (idle.kv.k_pages, idle.kv.v_pages) == (real.kv.k_pages, real.kv.v_pages)


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    steps=st.integers(0, 6),
    page_size=st.integers(1, 5),
    scored=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_batches_say_what_the_plan_says(lengths, steps, page_size, scored):
    config = EngineConfig(num_pages=300, page_size=page_size, prefill_chunk=7, max_sequences=8)
    core = EngineCore(double_model(), config)
    for number, length in enumerate(lengths):
        more = {"prompt_logprobs": 0} if scored and number == 0 else {}
        prompt = tuple(range(number, number + length))
        core.submit(greedy(str(number), prompt, 9, n=1 + number % 2, **more))
    for _ in range(steps):
        core.step()
    plan = core._scheduler.schedule()
    runner = core._runner
    assert isinstance(runner, ModelRunner)
    if not plan.entries:
        return
    built = runner._builder.build(plan)
    forward, kv = built.forward, built.forward.kv
    assert kv is not None
    token, rows = 0, forward.logits_rows.tolist()
    draw_rows = iter(built.draw_rows)
    for number, entry in enumerate(plan.entries):
        seq = entry.sequence
        assert forward.seq_lens[number] == entry.num_tokens
        assert kv.context_lens[number] == entry.end
        for position in range(seq.num_computed, entry.end):
            assert int(forward.input_ids[token]) == seq.token_ids[position]
            assert int(forward.positions[token]) == position
            for group, kind in enumerate(("full_attention", "sliding_attention")):
                page = seq.pages.tables[group][position // page_size]
                assert int(kv.page_tables[kind][number, position // page_size]) == page
                assert int(kv.slots[kind][token]) == page * page_size + position % page_size
            token += 1
        for _ in entry.draws:
            assert rows[next(draw_rows)] == token - 1
        first, count = built.scored_rows[number]
        if seq.wants_prompt_logprobs:
            begin = token - entry.num_tokens
            assert rows[first : first + count] == list(range(begin, begin + count))
            assert seq.num_computed + count == min(entry.end, len(seq.request.prompt_ids) - 1)
        else:
            assert count == 0
    assert token == len(forward.input_ids) == len(forward.positions)
    assert next(draw_rows, None) is None
    wanted = set(built.draw_rows)
    wanted |= {row for first, count in built.scored_rows for row in range(first, first + count)}
    assert len(rows) - len(wanted) in (0, 1), "logits that nobody reads"
