"""A ModelService that says what it is told to, can stall, die in mid-stream or refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from ossia.api.answer import Answer
from ossia.api.conversation import respond_async
from ossia.api.events import Event
from ossia.api.question import Question
from ossia.engine.stats import EngineStats
from ossia.errors import EngineClosedError, OssiaError
from ossia.server.api_error import ApiError
from ossia.server.service import ServiceState, ServiceStatus
from ossia.types import FinishReason, Request, TokenLogprob, TokenOutput
from support.scripted_engine import TOKENIZER

HELLO = "<|channel|>analysis<|message|>Greet.<|end|><|start|>assistant<|channel|>final<|message|>Hello there.<|return|>"


class ScriptedService:
    """Answers the n-th request to the engine with the n-th script; the last one again and again.

    Args:
        scripts: Model output as text, control tokens by name; or as token ids.
        model: The name under which it is served.
        refuse: What every request is refused with.
        dies_after: Tokens after which the engine fails.
        stalls_after: Tokens after which nothing comes until `go_on` is set.
        pause: Seconds between tokens.
        ends: What happens when a script runs out before a stop token.
        state: How it stands with the model.
        max_context: Prompts of more tokens are refused.

    Attributes:
        questions: What was asked.
        requests: What the engine was asked to run.
        failure: What the engine says when `ends` is an error.
        running: Requests under way.
        closed_early: Requests that were given up before their end.
        stalled: Set when a request stalls.
        go_on: Set it to end stalling.
    """

    def __init__(
        self,
        *scripts: str | list[int],
        model: str = "gpt-oss-test",
        refuse: ApiError | None = None,
        dies_after: int | None = None,
        stalls_after: int | None = None,
        pause: float | None = None,
        ends: FinishReason = FinishReason.LENGTH,
        state: ServiceState = ServiceState.READY,
        max_context: int = 131_072,
    ) -> None:
        self.model = model
        self.created = 1_750_000_000
        self.tokenizer = TOKENIZER
        self.max_context = max_context
        self.vocab_size = TOKENIZER.vocab_size
        self.state = state
        self.questions: list[Question] = []
        self.requests: list[Request] = []
        self.failure = "boom"
        self.running = 0
        self.closed_early = 0
        self.stalled = asyncio.Event()
        self.go_on = asyncio.Event()
        self._scripts = [_ids(script) for script in scripts or (HELLO,)]
        self._refuse = refuse
        self._dies_after = dies_after
        self._stalls_after = stalls_after
        self._pause = pause
        self._ends = ends

    def status(self) -> ServiceStatus:
        engine = EngineStats(num_running=self.running, pages_held=self.running, num_pages=100)
        return ServiceStatus(state=self.state, running=self.running, engine=engine)

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        self.questions.append(question)
        self._admit()
        try:
            self._check(Answer(TOKENIZER, question).next_request())
        except OssiaError as error:
            raise ApiError.of(error) from error
        return respond_async(self, TOKENIZER, question)

    async def generate(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        self._admit()
        self._check(request)
        return self.stream(request)

    async def stream(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """As an AsyncTokenEngine; continuations come one after the other."""
        self.requests.append(request)
        self.running += 1
        finished = False
        try:
            for index in range(request.sampling.n):
                ids = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                async for output in self._continuation(request, index, ids):
                    finished = output.finish_reason is not None and index + 1 == request.sampling.n
                    yield output
        finally:
            self.running -= 1
            self.closed_early += not finished

    async def _continuation(
        self, request: Request, index: int, ids: list[int]
    ) -> AsyncGenerator[TokenOutput, None]:
        sampling = request.sampling
        limit = sampling.max_tokens or 10**9
        stops = frozenset(sampling.stop_token_ids)
        prompt = None
        if sampling.prompt_logprobs is not None:
            prompt = (
                None,
                *(_logprob(one, sampling.prompt_logprobs) for one in request.prompt_ids[1:]),
            )
        for count, token_id in enumerate(ids, start=1):
            await self._wait(count - 1)
            reason = None
            if token_id in stops:
                reason = FinishReason.STOP
            elif count == limit:
                reason = FinishReason.LENGTH
            yield TokenOutput(
                request_id=request.request_id,
                index=index,
                token_id=token_id,
                logprob=None
                if sampling.logprobs is None
                else _logprob(token_id, sampling.logprobs),
                prompt_logprobs=prompt if count == 1 else None,
                finish_reason=reason,
                cached_tokens=3,
            )
            if reason is not None:
                return
        yield TokenOutput(
            request_id=request.request_id,
            index=index,
            finish_reason=self._ends,
            error=self.failure if self._ends is FinishReason.ERROR else None,
            cached_tokens=3,
        )

    async def _wait(self, num_drawn: int) -> None:
        if num_drawn == self._dies_after:
            raise EngineClosedError("the engine failed: boom")
        if num_drawn == self._stalls_after:
            self.stalled.set()
            await self.go_on.wait()
        if self._pause is not None:
            await asyncio.sleep(self._pause)

    def _admit(self) -> None:
        if self._refuse is not None:
            raise self._refuse
        if self.state is not ServiceState.READY:
            raise ApiError.unavailable(f"the model is {self.state.value}")

    def _check(self, request: Request | None) -> None:
        if request is not None and len(request.prompt_ids) >= self.max_context:
            raise ApiError("the prompt is too long", code="context_length_exceeded")


def _ids(script: str | list[int]) -> list[int]:
    return TOKENIZER.encode_with_special(script) if isinstance(script, str) else script


def _logprob(token_id: int, num_top: int) -> TokenLogprob:
    top = tuple((token_id + position, -0.5 - position) for position in range(num_top))
    return TokenLogprob(token_id, -0.5, top)
