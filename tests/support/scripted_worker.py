"""An engine process that plays scripts: `python scripted_worker.py JSON`, see `Script`.

It is the real worker around a core without a model, so what stands above the wire cannot tell.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ossia.engine.stats import EngineStats
from ossia.errors import CapacityError, ConfigError, ContextLengthError, RequestError
from ossia.server.engine.outbox import Outbox
from ossia.server.engine.reports import Ready, found_frame, progress_frame
from ossia.server.engine.worker import Loaded, serve
from ossia.tokenizer import Tokenizer
from ossia.types import FinishReason, Request, TokenLogprob, TokenOutput

VOCAB_SIZE = 201_088
MAX_CONTEXT = 131_072
REFUSED_ID = VOCAB_SIZE - 1
"""A prompt that ends in this is refused for want of room."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the process does.

    Args:
        scripts: The n-th request gets the n-th of these ids, and so on from the first again; with
            none a request gets its own prompt back.
        opening: Ids that are played once, before those.
        repeat: How often a request's ids are played.
        rate: Tokens a second for each request; 0 plays as fast as it can.
        max_running: Requests that run side by side.
        load_seconds: How long the model takes to load.
        load_error: A ConfigError's message that ends the loading.
        crash_after: Tokens of all requests after which the process dies; None never.
        crash_once: A file whose absence makes `crash_after` count; it is made at the crash.
        stall_after: Tokens of all requests after which it does nothing any more.
        fail_step_after: Tokens after which every step ends all requests with ERROR.
        ignore_stop: Stop tokens do not end a request.
        vocabulary: Masks are made with the real vocabulary, which takes a second to read; without it
            nothing may be masked.
    """

    scripts: list[list[int]] = field(default_factory=list)
    opening: list[int] = field(default_factory=list)
    repeat: int = 1
    rate: float = 0.0
    max_running: int = 4096
    load_seconds: float = 0.0
    load_error: str | None = None
    crash_after: int | None = None
    crash_once: str | None = None
    stall_after: int | None = None
    fail_step_after: int | None = None
    ignore_stop: bool = False
    vocabulary: bool = False

    def command(self) -> tuple[str, ...]:
        """The command line that plays this."""
        return (sys.executable, __file__, json.dumps(asdict(self)))


@dataclass
class _Playing:
    request: Request
    token_ids: list[int]
    limit: int
    place: int = 0


class ScriptedCore:
    """Plays scripts to all requests at once, a token each in a step."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._live: dict[str, _Playing] = {}
        self._num_requests = 0
        self._stats = EngineStats(num_pages=script.max_running)
        self._next_step = 0.0

    @property
    def has_work(self) -> bool:
        return bool(self._live)

    def check(self, request: Request) -> None:
        """What an engine would have against a request."""
        if not request.prompt_ids:
            raise RequestError("is empty; give at least one token id", field="prompt_ids")
        if max(request.prompt_ids) >= VOCAB_SIZE:
            raise RequestError("holds an id beyond the vocabulary", field="prompt_ids")
        if len(request.prompt_ids) >= MAX_CONTEXT:
            raise ContextLengthError("leaves no room for output", field="prompt_ids")
        if request.prompt_ids[-1] == REFUSED_ID:
            raise CapacityError("exceeds the cache", field="max_tokens")

    def ids_for(self, request: Request) -> list[int]:
        """What a request gets."""
        scripts = self._script.scripts
        one = scripts[self._num_requests % len(scripts)] if scripts else list(request.prompt_ids)
        self._num_requests += 1
        return self._script.opening + one * self._script.repeat

    def submit(self, request: Request) -> None:
        token_ids = self.ids_for(request)
        limit = min(len(token_ids), request.sampling.max_tokens or len(token_ids))
        self._live[request.request_id] = _Playing(request, token_ids, limit)
        self._stats.prompt_tokens += len(request.prompt_ids)

    def abort(self, request_id: str) -> None:
        self._stats.finished += self._live.pop(request_id, None) is not None

    def step(self) -> list[TokenOutput]:
        if self._script.rate:
            time.sleep(max(0.0, self._next_step - time.monotonic()))
            self._next_step = time.monotonic() + 1 / self._script.rate
        self._misbehave()
        self._stats.steps += 1
        failed = self._script.fail_step_after
        if failed is not None and self._stats.output_tokens >= failed:
            self._stats.failed_steps += 1
            return [self._end(name, FinishReason.ERROR, "boom") for name in list(self._live)]
        now = time.monotonic()
        return [
            self._end(name, FinishReason.DEADLINE)
            if playing.request.deadline <= now
            else self._play(name, playing)
            for name, playing in list(self._live.items())[: self._script.max_running]
        ]

    def stats(self) -> EngineStats:
        running = min(len(self._live), self._script.max_running)
        self._stats.num_running = self._stats.pages_held = running
        self._stats.num_waiting = len(self._live) - running
        return self._stats

    def _play(self, name: str, playing: _Playing) -> TokenOutput:
        token_id = playing.token_ids[playing.place]
        playing.place += 1
        self._stats.output_tokens += 1
        reason = None
        sampling = playing.request.sampling
        if token_id in sampling.stop_token_ids and not self._script.ignore_stop:
            reason = FinishReason.STOP
        elif playing.place == playing.limit:
            reason = FinishReason.LENGTH
        if reason is not None:
            del self._live[name]
            self._stats.finished += 1
        logprob = None
        if sampling.logprobs is not None:
            top = tuple((token_id + rank, -0.5 - rank) for rank in range(sampling.logprobs))
            logprob = TokenLogprob(token_id, -0.5, top)
        return TokenOutput(
            request_id=name, token_id=token_id, logprob=logprob, finish_reason=reason
        )

    def _end(self, name: str, reason: FinishReason, error: str | None = None) -> TokenOutput:
        del self._live[name]
        self._stats.finished += 1
        return TokenOutput(request_id=name, finish_reason=reason, error=error)

    def _misbehave(self) -> None:
        script, played = self._script, self._stats.output_tokens
        if script.crash_after is not None and played >= script.crash_after:
            if script.crash_once is None:
                os._exit(7)
            if not Path(script.crash_once).exists():
                Path(script.crash_once).touch()
                os._exit(7)
        if script.stall_after is not None and played >= script.stall_after:
            time.sleep(3600)


class _Encoder:
    """Stands for the tokenizer, which takes a second to read: nothing that is played is masked."""

    def encode(self, text: str) -> list[int]:
        return [len(text)]


def load(
    script: Script, outbox: Outbox, core_of: Callable[[Script], ScriptedCore] = ScriptedCore
) -> Loaded:
    """Pretend to load a model."""
    outbox.send(found_frame("scripted", None))
    if script.load_error is not None:
        raise ConfigError(script.load_error)
    if script.load_seconds:
        outbox.send(progress_frame("loading scripted", 1, 2))
        time.sleep(script.load_seconds)
    core = core_of(script)
    ready = Ready(
        max_context=MAX_CONTEXT,
        vocab_size=VOCAB_SIZE,
        max_running=script.max_running,
        device="script",
    )
    tokenizer = Tokenizer.o200k_harmony if script.vocabulary else _Encoder
    return Loaded(core=core, check=core.check, tokenizer=tokenizer, ready=ready)  # type: ignore[arg-type]


if __name__ == "__main__":
    played = Script(**json.loads(sys.argv[1]))
    os._exit(serve(lambda outbox: load(played, outbox)))
