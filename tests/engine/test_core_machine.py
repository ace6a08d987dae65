"""Whatever order of submitting, stepping, aborting and failing: right tokens, no page lost."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ossia.errors import RequestError
from ossia.types import FinishReason, Request, SamplingParams, TokenOutput
from support.engines import fake_core
from support.fake_model import expected_output

_VOCAB = 3  # so small that prompts often start alike
_STEM = (0, 1, 2, 2, 1, 0, 0, 2, 1, 1, 2, 0, 2, 2, 0, 1, 0, 1, 1, 0, 2, 1, 2, 0, 0, 0, 1, 2, 2, 2)
_PROMPTS = st.tuples(st.integers(1, 30), st.lists(st.integers(0, 2), max_size=2)).map(
    lambda parts: (*_STEM[: parts[0]], *parts[1])
)
_ASKED = st.tuples(_PROMPTS, st.integers(1, 14), st.integers(1, 3), st.integers(0, 2))


class EngineMachine(RuleBasedStateMachine):
    @initialize(
        page_size=st.sampled_from([1, 2, 4, 7]),
        tokens=st.integers(20, 60),
        window=st.sampled_from([1, 2, 5, 9, 64]),
        layers=st.integers(1, 3),
        max_sequences=st.integers(1, 5),
        chunk=st.integers(1, 40),
        extra=st.integers(0, 20),
        prefix_reuse=st.booleans(),
        looks_ahead=st.booleans(),
        deterministic=st.booleans(),
        kv_dtype=st.sampled_from(["auto", "fp8"]),  # the latter with pages of unequal sizes
    )
    def start(
        self, page_size, tokens, window, layers, max_sequences, chunk, extra, prefix_reuse,
        looks_ahead, deterministic, kv_dtype,
    ) -> None:  # fmt: skip
        page_size *= 2 if kv_dtype == "fp8" else 1
        self.core, self.runner, self.clock = fake_core(
            window=window,
            layers=layers,
            context=40,
            vocab=_VOCAB,
            page_size=page_size,
            num_pages=(3 if kv_dtype == "fp8" else 2) * -(-tokens // page_size),
            kv_dtype=kv_dtype,
            max_sequences=max_sequences,
            max_batch_tokens=max_sequences + extra,
            prefill_chunk=chunk,
            prefix_reuse=prefix_reuse,
            looks_ahead=looks_ahead,
            deterministic=deterministic,
        )
        self.requests: dict[str, Request] = {}
        self.produced: dict[tuple[str, int], list[int]] = {}
        self.reasons: dict[tuple[str, int], FinishReason] = {}

    @rule(asked=st.lists(_ASKED, min_size=1, max_size=6), time=st.sampled_from([None, None, 9]))
    def submit(self, asked, time) -> None:
        for prompt, max_tokens, n, priority in asked:
            self.submit_one(prompt, max_tokens, n, priority, time)

    def submit_one(self, prompt, max_tokens, n, priority, time) -> None:
        request = Request(
            request_id=str(len(self.requests)),
            prompt_ids=prompt,
            sampling=SamplingParams(max_tokens=max_tokens, n=n),
            deadline=float("inf") if time is None else self.clock.now + time,
            priority=priority,
        )
        try:
            self.core.submit(request)
        except RequestError:
            return
        self.requests[request.request_id] = request
        for index in range(n):
            self.produced[request.request_id, index] = []

    @rule(steps=st.integers(1, 20))
    def step(self, steps) -> None:
        for _ in range(steps):
            before, live = self.core.stats().steps, self.core.has_work
            self.clock.now += 1
            self.take(self.core.step())
            assert self.core.stats().steps > before or not live or not self.core.has_work

    @precondition(lambda self: self.core.has_work)
    @rule(data=st.data())
    def abort(self, data) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.core.live_requests)))
        outputs = self.core.abort(request_id)
        assert {output.finish_reason for output in outputs} == {FinishReason.ABORT}
        self.take(outputs)
        assert request_id not in self.core.live_requests
        assert self.core.abort(request_id) == []

    @precondition(lambda self: self.core.has_work)
    @rule()
    def fail(self) -> None:
        self.runner.fail_next = True
        outputs = self.core.step()
        self.runner.fail_next = False
        self.take(outputs)
        assert not self.core.has_work

    def take(self, outputs: list[TokenOutput]) -> None:
        for output in outputs:
            key = (output.request_id, output.index)
            assert key not in self.reasons, "an output behind the last one"
            if output.token_id is not None:
                self.produced[key].append(output.token_id)
            if output.finish_reason is not None:
                self.reasons[key] = output.finish_reason
            # The runner's own assertions would arrive here as errors, too.
            failed = output.finish_reason is FinishReason.ERROR
            assert output.error == ("RuntimeError: injected" if failed else None)

    @invariant()
    def books_are_in_order(self) -> None:
        if hasattr(self, "core"):
            self.core.check()

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for _ in range(3000):
            if not self.core.has_work:
                break
            self.take(self.core.step())
            self.core.check()
        assert not self.core.has_work
        assert self.core.stats().pages_held == 0
        for key, produced in self.produced.items():
            request = self.requests[key[0]]
            expected = expected_output(request.prompt_ids, key[1], len(produced), _VOCAB)
            assert produced == expected
            if self.reasons[key] is FinishReason.LENGTH:
                limit = min(request.sampling.max_tokens or 0, 40 - len(request.prompt_ids))
                assert len(produced) == limit
        released = set(self.runner.released)
        assert set(self.reasons) >= released


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(
    deadline=None,
    max_examples=120,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
