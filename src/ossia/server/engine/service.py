"""EngineService: the ModelService whose engine is a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from ossia.api.answer import Answer
from ossia.api.conversation import go_on
from ossia.api.events import Event
from ossia.api.model_source import ModelSource
from ossia.api.question import Question
from ossia.errors import EngineClosedError, OssiaError
from ossia.harmony import Message
from ossia.server.api_error import ApiError
from ossia.server.engine.admission import AdmissionControl, Ticket
from ossia.server.engine.client import EngineClient
from ossia.server.engine.remote_stream import RemoteStream
from ossia.server.engine.reports import Ready
from ossia.server.engine.supervisor import RestartPolicy, Supervisor
from ossia.server.service import ServiceState, ServiceStatus
from ossia.server.settings import ServerSettings
from ossia.tokenizer import Tokenizer
from ossia.types import Request, TokenOutput

_LONG_TEXT = 20_000  # characters from which a prompt is encoded beside the event loop
_POLL = 0.02  # seconds


class EngineService:
    """Serves one model. For one event loop; `start` and `close` it there.

    Args:
        model: The name under which the server offers it.
        command: Starts the engine process; `WorkerSpec.command` gives one.
        settings: Limits of the queue and of time.
        policy: When a failed engine process is started again.
    """

    def __init__(
        self,
        model: str,
        command: Sequence[str],
        settings: ServerSettings | None = None,
        *,
        policy: RestartPolicy | None = None,
    ) -> None:
        settings = settings or ServerSettings()
        self.model = model
        self.created = int(time.time())
        self.admission = AdmissionControl(
            max_queue=settings.max_queue, max_queued_tokens=settings.max_queued_tokens
        )
        self._timeout = settings.request_timeout
        self._supervisor = Supervisor(
            command,
            policy=policy,
            step_timeout=settings.engine_timeout,
            on_found=self._find,
            on_ready=self._note_ready,
        )
        self._tokenizer: Tokenizer | None = None
        self._tokenizer_task: asyncio.Task[None] | None = None
        self._tokenizer_error: str | None = None
        self._ready: Ready | None = None
        self._draining = False
        self._num_open = 0  # answers that are being read

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the model; as in ModelService."""
        if self._tokenizer is None:
            raise self._not_ready()
        return self._tokenizer

    @property
    def max_context(self) -> int:
        """Tokens of a request; as in ModelService."""
        return self._known.max_context

    @property
    def vocab_size(self) -> int:
        """Ids of the model; as in ModelService."""
        return self._known.vocab_size

    @property
    def device(self) -> str | None:
        """Where the model runs, in torch's words; None until it is loaded."""
        return None if self._ready is None else self._ready.device

    @property
    def worker_pid(self) -> int | None:
        """The engine process's number; None while there is none."""
        return self._supervisor.pid

    def start(self) -> None:
        """Load the model, in the background."""
        self._supervisor.start()

    async def wait_ready(self) -> None:
        """Wait until requests are taken.

        Raises:
            ApiError: 503; the model cannot be loaded, or the server ends.
        """
        while (state := self.status().state) is not ServiceState.READY:
            if state in (ServiceState.FAILED, ServiceState.DRAINING):
                raise self._not_ready()
            await asyncio.sleep(_POLL)

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, and let what runs come to its end.

        Args:
            seconds: To wait at most.

        Returns:
            Whether everything has ended.
        """
        self._draining = True
        end = time.monotonic() + seconds
        while self._is_busy and time.monotonic() < end:  # noqa: ASYNC110 - happens once in a life
            await asyncio.sleep(_POLL)
        return not self._is_busy

    async def close(self) -> None:
        """End the engine process; open answers fail with 500."""
        self._draining = True
        await self._supervisor.close()
        if self._tokenizer_task is not None:
            await self._tokenizer_task

    def status(self) -> ServiceStatus:
        """How it stands with the model."""
        supervisor, client = self._supervisor, self._supervisor.client
        state, message = supervisor.state, supervisor.message
        if self._tokenizer_error is not None:
            state, message = ServiceState.FAILED, self._tokenizer_error
        elif self._draining:
            state, message = ServiceState.DRAINING, "the server ends"
        elif state is ServiceState.READY and self._tokenizer is None:
            state, message = ServiceState.LOADING, "the tokenizer is being read"
        return ServiceStatus(
            state=state,
            message=message,
            waiting=self.admission.waiting,
            running=self.admission.running,
            engine=None if client is None else client.stats,
            restarts=supervisor.restarts,
            progress=dict(supervisor.progress),
        )

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """Admit a question; as in ModelService."""
        self._require_ready()
        question = replace(question, deadline=self._deadline(question.deadline))
        try:
            if _is_long(question.messages):
                answer, request = await asyncio.to_thread(self._first_request, question)
            else:
                answer, request = self._first_request(question)
        except OssiaError as error:
            raise ApiError.of(error) from error
        stream = await self._admit(request)
        return self._events(answer, stream)

    async def generate(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """The same for a prompt of token ids; as in ModelService."""
        self._require_ready()
        request = replace(request, deadline=self._deadline(request.deadline))
        return self._outputs(await self._admit(request))

    def _first_request(self, question: Question) -> tuple[Answer, Request]:
        answer = Answer(self.tokenizer, question)
        request = answer.next_request()
        assert request is not None, "an answer has at least one turn"
        return answer, request

    async def _admit(self, request: Request) -> RemoteStream:
        """Count a request, send it, and wait until the engine has queued it."""
        client = self._client()
        ticket = self.admission.admit(len(request.prompt_ids))
        try:
            stream = self._send(client, request, ticket)
            await stream.accepted()
        except OssiaError as error:
            if self._supervisor.client is not client:  # it was the engine, not the request
                raise self._not_ready() from error
            raise ApiError.of(error) from error
        return stream

    def stream(self, request: Request) -> RemoteStream:
        """Run a further request of an answer that was admitted; `go_on` asks for this.

        Raises:
            EngineClosedError: there is no engine.
        """
        client = self._supervisor.client
        if client is None:
            raise EngineClosedError(self._supervisor.message)
        return self._send(client, request, self.admission.note(len(request.prompt_ids)))

    def _send(self, client: EngineClient, request: Request, ticket: Ticket) -> RemoteStream:
        try:
            return client.stream(request, ticket=ticket)
        except BaseException:
            ticket.end()
            raise

    async def _events(self, answer: Answer, first: RemoteStream) -> AsyncGenerator[Event, None]:
        self._num_open += 1
        try:
            async with aclosing(go_on(self, answer, first)) as events:
                async for event in events:
                    yield event
        except OssiaError as error:
            raise ApiError.of(error) from error
        finally:
            self._num_open -= 1

    async def _outputs(self, stream: RemoteStream) -> AsyncGenerator[TokenOutput, None]:
        try:
            async with aclosing(stream):
                async for output in stream:
                    yield output
        except OssiaError as error:
            raise ApiError.of(error) from error

    @property
    def _is_busy(self) -> bool:
        return bool(self.admission.waiting or self.admission.running or self._num_open)

    @property
    def _known(self) -> Ready:
        if self._ready is None:
            raise self._not_ready()
        return self._ready

    def _deadline(self, asked: float) -> float:
        return min(asked, time.monotonic() + self._timeout)

    def _require_ready(self) -> None:
        if self.status().state is not ServiceState.READY:
            raise self._not_ready()

    def _client(self) -> EngineClient:
        client = self._supervisor.client
        if client is None:
            raise self._not_ready()
        return client

    def _not_ready(self) -> ApiError:
        status = self.status()
        return ApiError.unavailable(f"the model is not ready: {status.message or status.state}")

    def _note_ready(self, ready: Ready) -> None:
        self._ready = ready
        self.created = int(time.time())
        self.admission.max_running = ready.max_running

    def _find(self, name: str, folder: Path | None) -> None:
        """The engine process has found the model: read its tokenizer, if that was not done."""
        if self._tokenizer is None and self._tokenizer_task is None:
            source = ModelSource(name=name, folder=folder)
            self._tokenizer_task = asyncio.create_task(self._read_tokenizer(source))

    async def _read_tokenizer(self, source: ModelSource) -> None:
        try:
            self._tokenizer = await asyncio.to_thread(_read, source)
        except OssiaError as error:
            self._tokenizer_error = str(error)


def _read(source: ModelSource) -> Tokenizer:
    """A tokenizer with its tables: the first request waits for none, and memory stays as it is."""
    tokenizer = source.tokenizer()
    _ = tokenizer.ordinary_tokens
    return tokenizer


def _is_long(messages: Sequence[Message]) -> bool:
    """Whether to encode these takes longer than an event loop should be held up."""
    return sum(len(message.text) for message in messages) > _LONG_TEXT
