"""Asker: sends one question to a server and notes when its answer came."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from ossia.bench.request_timing import RequestTiming
from ossia.bench.serve.answer import StreamedAnswer, told
from ossia.bench.serve.exchange import Target, post
from ossia.bench.serve.workload import Question
from ossia.errors import RequestError, ServerError
from ossia.tokenizer import Tokenizer


class Api(StrEnum):
    """Of which routes questions are asked."""

    COMPLETIONS = "completions"
    CHAT = "chat"


_PATHS = {Api.COMPLETIONS: "/completions", Api.CHAT: "/chat/completions"}


def parse_api(name: str) -> Api:
    """The API of that name.

    Raises:
        RequestError: there is none.
    """
    if name not in list(Api):
        raise RequestError(f"{name!r} is not one of {', '.join(Api)}", field="api")
    return Api(name)


def tls_for(address: str) -> ssl.SSLContext | None:
    """What https addresses need, and no others; it takes long to make."""
    return ssl.create_default_context() if address.startswith("https:") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Knows a server and how to ask it.

    Args:
        target: Where it is.
        model: Its name there.
        api: Which route.
        ignore_eos: Ask for outputs of full length, in the words of vLLM, SGLang and Ossia.
        timeout: Seconds that an answer may take.
        tls: For https addresses.

    Raises:
        RequestError: the timeout is none; names the field.
    """

    target: Target
    model: str
    api: Api = Api.COMPLETIONS
    ignore_eos: bool = False
    timeout: float = 600.0
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise RequestError(f"{self.timeout} is no number of seconds", field="timeout")

    def body(self, question: Question) -> dict[str, Any]:
        """What is sent: greedy, streamed, with token counts at the end."""
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": question.output_tokens,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.api is Api.CHAT:
            body["messages"] = [{"role": "user", "content": question.prompt}]
        else:
            body["prompt"] = question.prompt
        if self.ignore_eos:
            body["ignore_eos"] = True
        return body

    async def ask(self, question: Question) -> RequestTiming:
        """Ask and wait for the end; a failure is noted, not raised."""
        answer, body = StreamedAnswer(), orjson.dumps(self.body(question))
        timing = RequestTiming(
            started=time.perf_counter(), input_tokens=question.input_tokens, pieces=answer.pieces
        )
        try:
            async with asyncio.timeout(self.timeout):
                status = await post(self.target, _PATHS[self.api], body, answer.feed, self.tls)
        except TimeoutError:
            timing.error = f"no end within {self.timeout:g} seconds"
        except (ServerError, OSError) as error:
            timing.error = str(error) or type(error).__name__
        else:
            timing.error = _why_failed(status, answer)
        _count(timing, answer)
        return timing


def _why_failed(status: int, answer: StreamedAnswer) -> str | None:
    if status != 200:
        return f"answered {status}: {_refusal(answer.refusal)}"
    if answer.error is not None:
        return f"told of an error: {answer.error}"
    if not answer.ended:
        return "broke off in the middle of the answer" if answer.pieces else "sent no event stream"
    return None


def _refusal(body: bytes) -> str:
    try:
        return told(orjson.loads(body))
    except orjson.JSONDecodeError:
        return told(body.decode(errors="replace")) or "nothing more"


def _count(timing: RequestTiming, answer: StreamedAnswer) -> None:
    """Tokens as the server tells them; what it keeps to itself is counted by gpt-oss's tokenizer."""
    usage = answer.usage or {}
    told_input, told_output = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if isinstance(told_input, int):
        timing.input_tokens = told_input
    if isinstance(told_output, int):
        timing.output_tokens = told_output
    elif timing.error is None:
        timing.output_tokens = len(Tokenizer.o200k_harmony().encode("".join(answer.text)))
