"""`kill -9` of the engine process under a real server: every way of waiting for an answer hears of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from support.scripted_engine import TOKENIZER
from support.scripted_serve import command
from support.scripted_worker import Script
from support.serve_process import ServerProcess, started

_CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
_KILLED = "the engine process was ended by SIGKILL"
_SCRIPT = Script(
    scripts=[TOKENIZER.encode_with_special("<|channel|>final<|message|>" + " word" * 5_000)],
    rate=100,
)


def _engine_of(server: ServerProcess) -> int:
    pid = server.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


class _Waiting:
    """Somebody who waits in each way; knows when all answers have begun."""

    def __init__(self, client: httpx2.AsyncClient, socket: ClientConnection) -> None:
        self._client = client
        self._socket = socket
        self._writing = [asyncio.Event() for _ in range(5)]
        self._tasks = [
            asyncio.create_task(one)
            for one in (
                self._stream("/v1/chat/completions", _CHAT, 0),
                self._stream("/v1/responses", {"input": "Hi"}, 1),
                self._stream("/v1/completions", {"prompt": "Hi", "max_tokens": 9_999}, 2),
                self._stream("/v1/messages", {**_CHAT, "model": "demo", "max_tokens": 9_999}, 3),
                self._socket_events(4),
                self._whole("/v1/chat/completions", _CHAT),
                self._whole("/v1/responses", {"input": "Hi"}),
                self._background(),
            )
        ]

    async def all_writing(self) -> None:
        await asyncio.gather(*(event.wait() for event in self._writing))
        running = f"ossia:num_requests_running {len(self._tasks)}.0"
        while running not in (await self._client.get("/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def ends(self) -> list[Any]:
        return await asyncio.gather(*self._tasks)

    async def _stream(self, path: str, body: dict[str, Any], place: int) -> list[Any]:
        events: list[Any] = []
        async with self._client.stream("POST", path, json={**body, "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    data = line.removeprefix("data: ")
                    events.append(json.loads(data) if data.startswith("{") else data)
                if "word" in line:
                    self._writing[place].set()
        return events

    async def _socket_events(self, place: int) -> list[Any]:
        await self._socket.send(json.dumps({"type": "response.create", "input": "Hi"}))
        events: list[Any] = []
        while not events or events[-1]["type"] != "response.failed":
            events.append(json.loads(await self._socket.recv()))
            if "delta" in events[-1]:
                self._writing[place].set()
        return events

    async def _whole(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = await self._client.post(path, json=body)
        return answer.status_code, answer.json()

    async def _background(self) -> Any:
        body = {"input": "Hi", "background": True}
        response = (await self._client.post("/v1/responses", json=body)).json()
        while response["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
            response = (await self._client.get(f"/v1/responses/{response['id']}")).json()
        return response


def _check(ends: list[Any]) -> None:
    chat, response, completion, message, socket, whole_chat, whole_response, background = ends
    for stream in (chat, completion):
        assert stream[-1] == "[DONE]"
        assert stream[-2]["error"]["message"] == _KILLED
    assert response.pop() == "[DONE]"
    for stream in (response, socket):
        assert [event["type"] for event in stream[-2:]] == ["error", "response.failed"]
        assert stream[-2]["message"] == _KILLED
        assert stream[-1]["response"]["error"] == {"code": "server_error", "message": _KILLED}
        assert stream[-1]["response"]["output"][0]["status"] == "incomplete"
    assert message[-1]["type"] == "error"
    assert message[-1]["error"]["message"] == _KILLED
    for status, body in (whole_chat, whole_response):
        assert status == 500
        assert body["error"]["message"] == _KILLED
    assert background["status"] == "failed"
    assert background["error"]["message"] == _KILLED


async def _kill_twice(server: ServerProcess, number: signal.Signals) -> None:
    socket_address = server.address.replace("http", "ws", 1) + "/v1/responses"
    async with (
        httpx2.AsyncClient(base_url=server.address, timeout=30) as client,
        connect(socket_address, max_size=None) as socket,
    ):
        for _ in range(2):
            waiting = _Waiting(client, socket)
            await waiting.all_writing()
            killed = _engine_of(server)
            os.kill(killed, number)
            ends = await waiting.ends()
            if number == signal.SIGKILL:
                _check(ends)
            else:
                _check(json.loads(json.dumps(ends).replace(_HUNG, _KILLED)))
            while (await client.get("/ready")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert _engine_of(server) != killed
            answer = await client.post("/v1/chat/completions", json={**_CHAT, "max_tokens": 5})
            assert answer.json()["choices"][0]["finish_reason"] == "length"


_HUNG = "the engine process hung: no step ended in 1 s; it was killed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_everybody_hears_of_it_and_the_next_request_is_served(tmp_path, number):
    start = command(_SCRIPT.command(), "--engine-timeout", "1")
    with started(start, tmp_path / "log") as server:
        asyncio.run(asyncio.wait_for(_kill_twice(server, number), 60))
        server.end()
