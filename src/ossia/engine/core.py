"""EngineCore: submit, step, abort. One thread at a time; the fronts see to that."""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replaced

from ossia.cache.allocator import PageAllocator
from ossia.engine.admission import Admission
from ossia.engine.config import EngineConfig
from ossia.engine.deterministic import DeterministicScheduler, reuse_unit
from ossia.engine.kv_budget import layout_for
from ossia.engine.plan import Drawn, StepPlan, StepResult
from ossia.engine.randomness import fresh_seed
from ossia.engine.runner import ModelRunner, Runner
from ossia.engine.scheduler import Scheduler
from ossia.engine.sequence import Sequence
from ossia.engine.stats import EngineStats
from ossia.errors import RequestError
from ossia.model.heads import CausalLM
from ossia.types import FinishReason, Request, TokenOutput

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Live:
    """A request that has not ended, and its continuations that have not."""

    arrival: int
    sequences: list[Sequence]


class EngineCore:
    """Serves requests, one forward pass for all of them at a time.

    Args:
        model: Already on its device; it is only read.
        config: Limits and switches.
        make_runner: What computes the plans.
        clock: What deadlines refer to.

    Raises:
        ConfigError: the config does not suit the model.
    """

    def __init__(
        self,
        model: CausalLM,
        config: EngineConfig | None = None,
        *,
        make_runner: Callable[[CausalLM, EngineConfig], Runner] = ModelRunner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config or EngineConfig()
        self._runner = make_runner(model, self.config)
        model_config = self._runner.model_config
        self.limits = self._runner.limits
        chunk, is_deterministic = self.limits.prefill_chunk, self.config.deterministic
        layout = layout_for(self.config, model_config)
        self._allocator = PageAllocator(
            windows=layout.windows,
            page_size=layout.page_size,
            page_sizes=layout.page_sizes,
            num_pages=self._runner.num_pages,
            prefix_reuse=self.config.prefix_reuse,
            reuse_unit=reuse_unit(chunk, layout.page_size) if is_deterministic else 1,
        )
        self.admission = Admission(
            self.config,
            max_sequences=self.limits.max_sequences,
            vocab_size=model_config.vocab_size,
            max_position_embeddings=model_config.max_position_embeddings,
            allocator=self._allocator,
            least_step=chunk if is_deterministic else 1,
        )
        self._scheduler = self._make_scheduler()
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._deadlines: list[tuple[float, int, str]] = []  # heap: when, arrival, request id
        self._num_arrivals = 0
        self._stats = EngineStats(num_pages=self._runner.num_pages)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._live)

    @property
    def live_requests(self) -> tuple[str, ...]:
        """Ids of requests that have not ended."""
        return tuple(self._live)

    def is_live(self, request_id: str) -> bool:
        """Whether a request was submitted and has not ended."""
        return request_id in self._live

    def warm_up(self) -> None:
        """Prepare everything now, so that the first requests wait for nothing but their tokens."""
        self._runner.warm_up()

    def stats(self) -> EngineStats:
        """A copy of the counters as they are now."""
        return replaced(
            self._stats,
            preemptions=self._scheduler.num_preemptions,
            num_waiting=self._scheduler.num_waiting,
            num_running=self._scheduler.num_running,
            pages_held=self._allocator.num_held,
        )

    def validate(self, request: Request) -> int:
        """Refuse a request that `submit` would refuse; else say how long its output may get.

        Raises:
            RequestError: it can never be served as asked; the message names the field.
        """
        if request.request_id in self._live:
            raise RequestError(f"{request.request_id!r} is in use", field="request_id")
        return self.admission.output_limit(request)

    def submit(self, request: Request) -> None:
        """Queue a request; its tokens come out of `step`.

        Raises:
            RequestError: it can never be served as asked; the message names the field.
        """
        max_new_tokens = self.validate(request)
        sampling = request.sampling
        sequence = Sequence(
            request=request,
            arrival=self._num_arrivals,
            max_new_tokens=max_new_tokens,
            seed=fresh_seed() if sampling.seed is None else sampling.seed,
            token_ids=list(request.prompt_ids),
            pending_forks=sampling.n - 1,
        )
        self._num_arrivals += 1
        self._live[request.request_id] = _Live(sequence.arrival, [sequence])
        self._scheduler.add(sequence)
        if request.deadline < math.inf:
            self._note_deadline(request, sequence.arrival)

    def abort(self, request_id: str) -> list[TokenOutput]:
        """End a request now, whatever its state.

        Returns:
            The last output of each continuation; nothing if the request has ended before.
        """
        return self._end_request(request_id, FinishReason.ABORT)

    def step(self) -> list[TokenOutput]:
        """End what is overdue, run one forward pass and hand out its tokens.

        If the pass raises, every live request ends with ERROR and the engine can go on.
        """
        outputs = self._end_overdue()
        plan = self._scheduler.schedule()
        if not plan.entries:
            return outputs
        try:
            result = self._runner.execute(plan)
        except Exception as error:
            _log.exception("a forward pass failed; all live requests end")
            self._stats.failed_steps += 1
            return outputs + self._end_all(f"{type(error).__name__}: {error}")
        self._count(plan)
        self._scheduler.commit(plan)
        return outputs + self._apply(plan, result)

    def check(self) -> None:
        """Assert that the books are in order: pages in equal pages out."""
        self._scheduler.check()
        if not self._live:
            assert self._allocator.num_held == 0, "pages are held for nobody"
            assert self._scheduler.num_waiting == 0, "a sequence waits for nobody"

    def _make_scheduler(self) -> Scheduler:
        given, looks_ahead = (self.limits, self._allocator), self._runner.looks_ahead
        if self.config.deterministic:
            rows = self._runner.rows_alike
            return DeterministicScheduler(*given, looks_ahead=looks_ahead, rows=rows)
        return Scheduler(*given, looks_ahead=looks_ahead)

    def _count(self, plan: StepPlan) -> None:
        stats = self._stats
        stats.steps += 1
        stats.computed_tokens += plan.num_tokens
        for sequence in plan.draws:
            if sequence.num_outputs == 0 and sequence.index == 0:  # its prompt is computed now
                stats.prompt_tokens += len(sequence.request.prompt_ids)
                stats.cached_tokens += sequence.cached_tokens or 0

    def _apply(self, plan: StepPlan, result: StepResult) -> list[TokenOutput]:
        for entry, scored in zip(plan.entries, result.prompt_logprobs, strict=True):
            if scored:
                entry.sequence.prompt_logprobs += scored
            if len(entry.draws) > 1:
                self._live[entry.sequence.request.request_id].sequences += entry.draws[1:]
        return [
            self._advance(sequence, drawn)
            for sequence, drawn in zip(plan.draws, result.drawn, strict=True)
        ]

    def _advance(self, sequence: Sequence, drawn: Drawn) -> TokenOutput:
        """Append a drawn token and see whether it was the last."""
        request, sampling = sequence.request, sequence.request.sampling
        if drawn.token_id is None:
            return self._end(sequence, FinishReason.ERROR, drawn.error)
        num_outputs = sequence.num_outputs + 1
        sequence.token_ids.append(drawn.token_id)
        self._stats.output_tokens += 1
        reason = None
        if drawn.token_id in sampling.stop_token_ids:
            reason = FinishReason.STOP
        elif num_outputs >= sequence.max_new_tokens:
            reason = FinishReason.LENGTH
        if reason is not None:
            self._end(sequence, reason)
        scored = num_outputs == 1 and sampling.prompt_logprobs is not None
        return TokenOutput(
            request_id=request.request_id,
            index=sequence.index,
            token_id=drawn.token_id,
            logprob=drawn.logprob,
            prompt_logprobs=(None, *sequence.prompt_logprobs) if scored else None,
            finish_reason=reason,
            cached_tokens=sequence.cached_tokens or 0,
        )

    def _note_deadline(self, request: Request, arrival: int) -> None:
        if len(self._deadlines) > 2 * len(self._live) + 64:  # most belong to ended requests
            arrivals = {live.arrival for live in self._live.values()}
            self._deadlines = [entry for entry in self._deadlines if entry[1] in arrivals]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (request.deadline, arrival, request.request_id))

    def _end_overdue(self) -> list[TokenOutput]:
        outputs: list[TokenOutput] = []
        now = self._clock() if self._deadlines else -math.inf
        while self._deadlines and self._deadlines[0][0] <= now:
            _, arrival, request_id = heapq.heappop(self._deadlines)
            live = self._live.get(request_id)
            if live is not None and live.arrival == arrival:  # ids may be used again
                outputs += self._end_request(request_id, FinishReason.DEADLINE)
        return outputs

    def _end_all(self, error: str) -> list[TokenOutput]:
        return [
            output
            for request_id in list(self._live)
            for output in self._end_request(request_id, FinishReason.ERROR, error)
        ]

    def _end_request(
        self, request_id: str, reason: FinishReason, error: str | None = None
    ) -> list[TokenOutput]:
        live = self._live.get(request_id)
        outputs: list[TokenOutput] = []
        for sequence in list(live.sequences) if live else ():
            last = self._end(sequence, reason, error)
            outputs.append(last)
            outputs += [  # those that were still to split off
                replaced(last, index=sequence.index + offset) for offset in range(1, sequence.width)
            ]
        return outputs

    def _end(
        self, sequence: Sequence, reason: FinishReason, error: str | None = None
    ) -> TokenOutput:
        """Take a sequence out of everything; an output without a token that says why."""
        request_id = sequence.request.request_id
        sequence.finish_reason = reason
        self._stats.finished += sequence.width
        self._scheduler.remove(sequence)
        self._runner.release(sequence)
        live = self._live[request_id]
        live.sequences.remove(sequence)
        if not live.sequences:
            del self._live[request_id]
        return TokenOutput(
            request_id=request_id,
            index=sequence.index,
            finish_reason=reason,
            error=error,
            cached_tokens=sequence.cached_tokens or 0,
        )
