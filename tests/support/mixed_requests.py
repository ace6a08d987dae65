"""Requests of every kind, at random, from clients that behave and from those that do not."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from random import Random
from typing import Any

import httpx2
from websockets.asyncio.client import connect

Json = dict[str, Any]

_TOOL = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
_SCHEMA = {
    "type": "object",
    "properties": {"is_good": {"type": "boolean"}},
    "required": ["is_good"],
    "additionalProperties": False,
}
_NUM_TEXTS = 64
_MOST_KEPT = 50  # ids that are remembered for later requests


class MixedRequests:
    """Makes one request after the other, each of a random kind.

    Every answer must have a status that its kind can have.

    Args:
        address: Of the server.
        model: That it serves.
        draw: What decides.
        max_tokens: Of an answer at most.
        leaving: Part of the streams that are left in the middle, at a random moment.

    Attributes:
        done: How many there were of each kind and of each status, how many were left in the
            middle, and how many requests that were in all.
    """

    def __init__(
        self, address: str, model: str, draw: Random, *, max_tokens: int, leaving: float
    ) -> None:
        self.done: Counter[str] = Counter()
        hooks = {"request": [self._count]}
        self._address = address
        self._model = model
        self._draw = draw
        self._max_tokens = max_tokens
        self._leaving = leaving
        self._responses: deque[str] = deque(maxlen=_MOST_KEPT)
        self._client = httpx2.AsyncClient(
            base_url=address,
            timeout=300,
            limits=httpx2.Limits(max_connections=None),
            event_hooks=hooks,
        )
        self._kinds: dict[Callable[[], Awaitable[None]], int] = {
            self._chat: 6,
            self._kept_chat: 2,
            self._response: 8,
            self._background: 3,
            self._look_back: 3,
            self._socket: 2,
            self._conversation: 2,
            self._completion: 2,
            self._message: 2,
            self._nonsense: 3,
            self._small: 3,
        }

    async def close(self) -> None:
        """Close what connections there are."""
        await self._client.aclose()

    async def one(self) -> None:
        """One request, or a few that belong together."""
        (kind,) = self._draw.choices(list(self._kinds), list(self._kinds.values()))
        self.done[kind.__name__.strip("_")] += 1
        try:
            await kind()
        except httpx2.TimeoutException as error:
            sent = error.request
            raise AssertionError(f"no answer to {sent.method} {sent.url} {sent.content}") from error

    async def _count(self, request: httpx2.Request) -> None:
        del request
        self.done["requests"] += 1

    async def _chat(self) -> None:
        draw = self._draw
        body: Json = {"messages": self._messages(), "max_completion_tokens": self._limit()}
        match draw.randrange(5):
            case 0:
                body["tools"] = [{"type": "function", "function": _TOOL}]
                body["tool_choice"] = draw.choice(["auto", "required", "none"])
            case 1:
                schema = {"name": "s", "schema": _SCHEMA, "strict": True}
                body["response_format"] = {"type": "json_schema", "json_schema": schema}
            case 2:
                body |= {"n": 2, "logprobs": True, "top_logprobs": 2}
            case _:
                body["stop"] = ["e"]
        await self._ask("/v1/chat/completions", body)

    async def _kept_chat(self) -> None:
        body = {"messages": self._messages(), "store": True, "max_completion_tokens": self._limit()}
        answer = await self._post("/v1/chat/completions", body)
        path = f"/v1/chat/completions/{answer['id']}"
        await self._send("GET", path, {200, 404})
        if self._draw.random() < 0.5:
            await self._send("DELETE", path, {200, 404})

    async def _response(self) -> None:
        draw = self._draw
        body: Json = {
            "input": self._words(),
            "max_output_tokens": self._limit(),
            "store": draw.random() < 0.6,
        }
        match draw.randrange(5):
            case 0:
                body["tools"] = [{"type": "function", **_TOOL, "strict": True}]
                body["tool_choice"] = draw.choice(["auto", "required"])
            case 1:
                form = {"type": "json_schema", "name": "s", "schema": _SCHEMA, "strict": True}
                body["text"] = {"format": form}
            case 2 if self._responses:
                body["previous_response_id"] = draw.choice(self._responses)
            case _:
                pass
        # What it goes on from may have been deleted, or may not have ended.
        response_id = await self._ask("/v1/responses", body, {200, 400})
        if response_id is not None and body["store"]:
            self._responses.append(response_id)

    async def _background(self) -> None:
        body = {"input": self._words(), "background": True, "max_output_tokens": self._limit()}
        response = await self._post("/v1/responses", body)
        path = f"/v1/responses/{response['id']}"
        self._responses.append(response["id"])
        match self._draw.randrange(3):
            case 0:
                await self._send("POST", f"{path}/cancel", {200, 404})
            case 1:
                await self._read("GET", f"{path}?stream=true&starting_after=1", None, {200, 404})
            case _:
                pass  # nobody asks for it again

    async def _look_back(self) -> None:
        if not self._responses:
            return
        path = f"/v1/responses/{self._draw.choice(self._responses)}"
        match self._draw.randrange(4):
            case 0:
                await self._send("GET", path, {200, 404})
            case 1:
                await self._send("GET", f"{path}/input_items", {200, 404})
            case 2:
                await self._read("GET", f"{path}?stream=true", None, {200, 400, 404})
            case _:
                await self._send("DELETE", path, {200, 404})

    async def _socket(self) -> None:
        address = self._address.replace("http", "ws", 1) + "/v1/responses"
        async with connect(address, max_size=None) as socket:
            for _ in range(self._draw.randint(1, 3)):
                asked = {"type": "response.create", "input": self._words()}
                limit = {"max_output_tokens": self._limit(), "store": self._draw.random() < 0.5}
                self.done["requests"] += 1
                await socket.send(json.dumps(asked | limit))
                left = self._left_after()
                while True:
                    event = json.loads(await socket.recv())
                    left -= 1
                    if left == 0:
                        return
                    if event["type"] in ("response.completed", "response.incomplete"):
                        break
                    assert event["type"] not in ("error", "response.failed"), event

    async def _conversation(self) -> None:
        item = {"role": "user", "content": self._words()}
        made = await self._post("/v1/conversations", {"items": [item]})
        path = f"/v1/conversations/{made['id']}"
        body = {"input": self._words(), "max_output_tokens": self._limit()}
        # Where things are kept for a short time only, it may be gone by now.
        statuses = {200, 404}
        await self._ask("/v1/responses", {**body, "conversation": made["id"]}, statuses)
        await self._send("GET", f"{path}/items", statuses)
        if self._draw.random() < 0.5:
            await self._send("DELETE", path, statuses)

    async def _completion(self) -> None:
        body = {"prompt": self._words(), "max_tokens": self._limit(), "logprobs": 1}
        await self._ask("/v1/completions", body)

    async def _message(self) -> None:
        body = {"model": self._model, "messages": self._messages(), "max_tokens": self._limit()}
        await self._ask("/v1/messages", body)

    async def _nonsense(self) -> None:
        match self._draw.randrange(5):
            case 0:
                await self._send("POST", "/v1/responses", {400}, content=b'{"input": "a')
            case 1:
                await self._send("POST", "/v1/responses", {400}, json={"input": 7})
            case 2:
                await self._send("GET", "/v1/nothing/of/that/name", {404})
            case 3:
                body = {"messages": self._messages(), "temperature": -1}
                await self._send("POST", "/v1/chat/completions", {400}, json=body)
            case _:
                form = {"type": "json_schema", "name": "s", "schema": {"type": "nothing"}}
                body = {"input": "a", "text": {"format": form}}
                await self._send("POST", "/v1/responses", {400}, json=body)

    async def _small(self) -> None:
        path = self._draw.choice(["/health", "/metrics", "/v1/models", "/v1/responses/resp_none"])
        await self._send("GET", path, {404} if path.endswith("none") else {200})
        await self._send("POST", "/tokenize", {200}, json={"prompt": self._words()})

    async def _ask(self, path: str, body: Json, statuses: set[int] | None = None) -> str | None:
        """With a stream or without, to its end or not; gives the id that the answer has."""
        if self._draw.random() < 0.65:
            return await self._read("POST", path, {**body, "stream": True}, statuses or {200})
        sent = asyncio.create_task(self._client.post(path, json=body))
        if self._draw.random() < self._leaving:
            await asyncio.wait((sent,), timeout=self._draw.uniform(0, 0.3))
            sent.cancel()
            await asyncio.gather(sent, return_exceptions=True)
            self.done["left"] += 1
            return None
        answer = await sent
        self._judge(answer.status_code, statuses or {200}, answer.text)
        return answer.json().get("id")

    async def _read(
        self, method: str, path: str, body: Json | None, statuses: set[int]
    ) -> str | None:
        """A stream, to its end or to where it is left."""
        left = self._left_after()
        last, first_id = "", None
        async with (
            self._client.stream(method, path, json=body) as answer,
            aclosing(answer.aiter_lines()) as lines,
        ):
            if answer.status_code != 200:
                self._judge(answer.status_code, statuses, (await answer.aread()).decode())
                return None
            self.done["200"] += 1
            async for line in lines:
                last = line or last
                left -= 1
                if left == 0:
                    return first_id
                if first_id is None and line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    first_id = event.get("response", event).get("id")
        assert "[DONE]" in last or "message_stop" in last, last
        return first_id

    def _left_after(self) -> int:
        """Lines or events after which a stream is left; below 0 for none."""
        if self._draw.random() < self._leaving:
            self.done["left"] += 1
            return self._draw.randint(1, 20)
        return -1

    async def _post(self, path: str, body: Json) -> Json:
        answer = await self._client.post(path, json=body)
        self._judge(answer.status_code, {200}, answer.text)
        return answer.json()

    async def _send(self, method: str, path: str, statuses: set[int], **more: Any) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await self._client.request(method, path, headers=headers, **more)
        self._judge(answer.status_code, statuses, answer.text)

    def _judge(self, status: int, statuses: set[int], text: str) -> None:
        self.done[str(status)] += 1
        assert status in statuses, (status, text)

    def _messages(self) -> list[Json]:
        return [{"role": "user", "content": self._words()}]

    def _words(self) -> str:
        """One of so few texts that caches of prompts are soon full of them."""
        draw = Random(self._draw.randrange(_NUM_TEXTS))
        return " ".join(draw.choice(("one", "two", "three")) for _ in range(draw.randint(1, 60)))

    def _limit(self) -> int:
        return self._draw.randint(1, self._max_tokens)
