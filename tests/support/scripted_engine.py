"""Engines that say what they are told to, for tests of what stands above the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable

from ossia.tokenizer import Tokenizer
from ossia.types import FinishReason, Request, TokenLogprob, TokenOutput

TOKENIZER = Tokenizer.o200k_harmony()


class ScriptedEngine:
    """Answers the n-th request with the n-th script, stopping as a real engine would.

    Args:
        scripts: Model output as text, control tokens by name; or as token ids.
        ends: What happens when a script runs out before a stop token.
    """

    def __init__(self, *scripts: str | list[int], ends: FinishReason = FinishReason.LENGTH) -> None:
        self._scripts = list(scripts)
        self._ends = ends
        self.requests: list[Request] = []
        self.closed_early = 0

    def stream(self, request: Request) -> Generator[TokenOutput, None, None]:
        self.requests.append(request)
        finished = False
        try:
            for output in self._outputs(request):
                finished = output.finish_reason is not None
                yield output
        finally:
            self.closed_early += not finished

    def stream_all(self, requests: Iterable[Request]) -> Generator[TokenOutput, None, None]:
        """In turns, as a real engine would; an aborted one has no further outputs."""
        self.aborted: set[str] = set()
        streams = {request.request_id: self.stream(request) for request in requests}
        while streams:
            for request_id, stream in list(streams.items()):
                output = None if request_id in self.aborted else next(stream, None)
                if output is None:
                    stream.close()
                    del streams[request_id]
                else:
                    yield output

    def abort(self, request_id: str) -> None:
        self.aborted.add(request_id)

    def _outputs(self, request: Request) -> Generator[TokenOutput, None, None]:
        script = self._scripts.pop(0)
        ids = TOKENIZER.encode_with_special(script) if isinstance(script, str) else script
        limit = request.sampling.max_tokens or 10**9
        for count, token_id in enumerate(ids, start=1):
            reason = None
            if token_id in request.sampling.stop_token_ids:
                reason = FinishReason.STOP
            elif count == limit:
                reason = FinishReason.LENGTH
            logprob = None
            if request.sampling.logprobs is not None:
                logprob = TokenLogprob(token_id, -0.5)
            yield TokenOutput(
                request_id=request.request_id,
                token_id=token_id,
                logprob=logprob,
                finish_reason=reason,
                cached_tokens=3,
            )
            if reason is not None:
                return
        yield TokenOutput(
            request_id=request.request_id, finish_reason=self._ends, error="boom", cached_tokens=3
        )


class ScriptedAsyncEngine(ScriptedEngine):
    """The same for event loops."""

    async def stream(self, request: Request) -> AsyncGenerator[TokenOutput, None]:  # type: ignore[override]
        outputs = super().stream(request)
        try:
            for output in outputs:
                yield output
        finally:
            outputs.close()
