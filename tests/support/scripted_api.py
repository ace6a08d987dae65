"""ScriptedApi: answers on 127.0.0.1 byte by byte as scripted, with every way to fail."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class Scripted:
    """One answer.

    Args:
        events: Of the stream, in order; each is sent by itself.
        status: Of the answer.
        body: Sent in place of events.
        end: What happens behind the last event: the answer is ended, the connection closed without
            an end, or nothing at all.
        chunked: Whether the body comes in HTTP's chunks; else the connection's end ends it.
        raw: Sent in place of everything.
    """

    events: list[bytes] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    end: Literal["done", "cut", "stall"] = "done"
    chunked: bool = True
    raw: bytes | None = None


@dataclass
class ScriptedApi:
    """What the server does, and what it saw.

    Args:
        answers: One after the other, the last one for all further requests.
        together: Answers wait until so many requests are open.
        asked: (path, body, headers) of each request.
        most_open: Requests that were open at the same time.
    """

    answers: list[Scripted]
    together: int = 1
    asked: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)
    most_open: int = 0
    address: str = ""
    _open: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        if self.most_open >= self.together:
            self._enough.set()
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split()[1]
        if path.endswith("/models"):
            text = b'{"data": [{"id": "first/model"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            return
        self.asked.append((path, json.loads(body), headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await self._enough.wait()
        if answer.raw is not None:
            writer.write(answer.raw)
            return
        kind = "Transfer-Encoding: chunked" if answer.chunked else "Connection: close"
        writer.write(f"HTTP/1.1 {answer.status} Told\r\n{kind}\r\n\r\n".encode())
        for event in answer.events if answer.body is None else [answer.body]:
            writer.write(b"%x\r\n%s\r\n" % (len(event), event) if answer.chunked else event)
            await writer.drain()
            await asyncio.sleep(0)
        if answer.end == "stall":
            await reader.read()  # until the client goes away
        elif answer.end == "done" and answer.chunked:
            writer.write(b"0\r\n\r\n")


@contextmanager
def scripted_api(
    *answers: Scripted, together: int = 1, tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedApi]:
    """Serve until the block ends."""
    api = ScriptedApi(list(answers), together)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(api.handle, "127.0.0.1", 0, ssl=tls))
    scheme = "http" if tls is None else "https"
    api.address = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(timeout=20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=20)
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def sse(value: object) -> bytes:
    """An event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def text_event(text: str, finish_reason: str | None = None) -> bytes:
    """Of a completion."""
    return sse({"choices": [{"index": 0, "text": text, "finish_reason": finish_reason}]})


def chat_event(finish_reason: str | None = None, **delta: object) -> bytes:
    """Of a chat."""
    return sse({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def usage_event(prompt: int, completion: int) -> bytes:
    """The last one, with token counts."""
    return sse({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


DONE = b"data: [DONE]\n\n"
