"""Clients of a server that is killed under them: what they were told, and whether it still holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx2

Json = dict[str, Any]


@dataclass
class Ledger:
    """What was acknowledged. What was asked for and not acknowledged may be there or not.

    Args:
        responses: Whole ones, by id.
        events: Of streams that came to their end, by the response's id.
        begun: Responses whose id was told.
        chats: Whole ones, by id.
        conversations: Ids of items that are in them, in order.
        deleted: Paths of what was deleted.
        leaving: Paths of what was to be deleted.
    """

    responses: dict[str, Json] = field(default_factory=dict)
    events: dict[str, list[Json]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    chats: dict[str, Json] = field(default_factory=dict)
    conversations: dict[str, list[str]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)

    def take_in(self, other: Ledger) -> None:
        """Know what another knows, too."""
        for name in vars(self):
            getattr(self, name).update(getattr(other, name))


class Lanes:
    """Clients that go on until the server does not.

    Args:
        client: Has the server's address.
    """

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.ledger = Ledger()
        self._client = client

    async def run(self) -> None:
        """All of them, to the end of the server; raises what else goes wrong."""
        lanes: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self.streamed,
            self.streamed,
            self.streamed_in_background,
            self.whole,
            self.followed,
            self.conversation,
            self.deleting,
            self.chat_streamed,
            self.chat_deleting,
        ]
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(self._repeat(lane))

    async def _repeat(self, lane: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            while True:
                await lane()
        except httpx2.TransportError:
            return

    async def streamed(self, **more: Any) -> None:
        """A response as a stream."""
        body = {"input": "Go.", "stream": True, **more}
        events: list[Json] = []
        async with self._client.stream("POST", "/v1/responses", json=body) as answer:
            async for event in _events(answer):
                events.append(event)
                if event["type"] == "response.created":
                    self.ledger.begun.add(event["response"]["id"])
                elif event["type"] == "response.completed":
                    response = event["response"]
                    self.ledger.responses[response["id"]] = response
                    self.ledger.events[response["id"]] = events

    async def streamed_in_background(self) -> None:
        """The same, and it could be left alone."""
        await self.streamed(background=True)

    async def whole(self, **more: Any) -> Json:
        """A response without a stream."""
        answer = await self._client.post("/v1/responses", json={"input": "Go.", **more})
        assert answer.status_code == 200, answer.text
        response = answer.json()
        self.ledger.begun.add(response["id"])
        if response["status"] == "completed":
            self.ledger.responses[response["id"]] = response
        return response

    async def followed(self) -> None:
        """A response in the background that is asked for until it is complete."""
        response = await self.whole(background=True)
        while response["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0.01)
            response = (await self._client.get(f"/v1/responses/{response['id']}")).json()
        assert response["status"] == "completed"
        self.ledger.responses[response["id"]] = response

    async def conversation(self) -> None:
        """A conversation with items, and a response in it; some are deleted."""
        items = [{"role": "user", "content": f"Item {number}"} for number in range(3)]
        made = await self._client.post("/v1/conversations", json={"items": items[:1]})
        path = f"/v1/conversations/{made.json()['id']}"
        known = self.ledger.conversations[path] = []
        known += await self._items(path)
        added = await self._client.post(f"{path}/items", json={"items": items[1:]})
        known += [item["id"] for item in added.json()["data"]]
        response = await self.whole(conversation=made.json()["id"])
        listed = await self._items(path)
        known += listed[len(known) :]
        assert response["output"][-1]["id"] == known[-1]
        if len(self.ledger.conversations) % 2:
            await self._delete(path)

    async def deleting(self) -> None:
        """A response that does not stay."""
        response = await self.whole()
        await self._delete(f"/v1/responses/{response['id']}")

    async def chat_streamed(self) -> None:
        """A chat as a stream, which is kept."""
        body = {"messages": [{"role": "user", "content": "Go."}], "store": True, "stream": True}
        text, chat_id, ended = "", "", False
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                data = line.removeprefix("data: ")
                ended |= data == "[DONE]"
                if data.startswith("{"):
                    chunk = json.loads(data)
                    chat_id = chunk["id"]
                    text += "".join(one["delta"].get("content") or "" for one in chunk["choices"])
        assert ended
        self.ledger.chats[chat_id] = {"text": text}

    async def chat_deleting(self) -> None:
        """A chat that is kept, and deleted every second time."""
        body = {"messages": [{"role": "user", "content": "Go."}], "store": True}
        chat = (await self._client.post("/v1/chat/completions", json=body)).json()
        self.ledger.chats[chat["id"]] = {"text": chat["choices"][0]["message"]["content"]}
        if len(self.ledger.chats) % 2:
            await self._delete(f"/v1/chat/completions/{chat['id']}")

    async def _items(self, path: str) -> list[str]:
        listed = await self._client.get(f"{path}/items", params={"order": "asc", "limit": 100})
        return [item["id"] for item in listed.json()["data"]]

    async def _delete(self, path: str) -> None:
        self.ledger.leaving.add(path)
        answer = await self._client.delete(path)
        assert answer.status_code == 200, answer.text
        self.ledger.deleted.add(path)


async def check(client: httpx2.AsyncClient, ledger: Ledger, texts: set[str]) -> dict[str, int]:
    """Ask a server that was started again for all of it.

    Args:
        client: Has the server's address.
        ledger: What was acknowledged.
        texts: That a whole answer may have.

    Returns:
        How many of each kind were looked at.
    """
    failed = 0
    for response_id in ledger.begun:
        path = f"/v1/responses/{response_id}"
        answer = await client.get(path)
        if path in ledger.leaving:
            assert path not in ledger.deleted or answer.status_code == 404, path
            continue
        assert answer.status_code == 200, (path, answer.text)
        response = answer.json()
        failed += response["status"] == "failed"
        if response_id in ledger.responses:
            told = ledger.responses[response_id]
            assert response == told, (response["status"], told)
        assert is_whole_or_failed(response, texts), response
        inputs = (await client.get(f"{path}/input_items")).json()["data"]
        assert len(inputs) == 1, inputs
    for response_id, events in ledger.events.items():
        async with client.stream("GET", f"/v1/responses/{response_id}?stream=true") as answer:
            assert [event async for event in _events(answer)] == events
    await _check_chats(client, ledger, texts)
    await _check_conversations(client, ledger)
    return {
        "acknowledged": len(ledger.responses),
        "begun": len(ledger.begun),
        "failed": failed,
        "streams": len(ledger.events),
        "chats": len(ledger.chats),
        "conversations": len(ledger.conversations),
        "deleted": len(ledger.deleted),
    }


async def _check_chats(client: httpx2.AsyncClient, ledger: Ledger, texts: set[str]) -> None:
    for chat_id, chat in ledger.chats.items():
        path = f"/v1/chat/completions/{chat_id}"
        answer = await client.get(path)
        if path in ledger.leaving:
            assert path not in ledger.deleted or answer.status_code == 404, path
            continue
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json()["choices"][0]["message"]["content"] == chat["text"]
        assert chat["text"] in texts


async def _check_conversations(client: httpx2.AsyncClient, ledger: Ledger) -> None:
    for path, known in ledger.conversations.items():
        answer = await client.get(f"{path}/items", params={"order": "asc", "limit": 100})
        if path in ledger.leaving:
            assert path not in ledger.deleted or answer.status_code == 404, path
            if answer.status_code == 404:
                continue
        items = answer.json()["data"]
        assert [item["id"] for item in items][: len(known)] == known
        # One item at first, two that were added, then a question, a thought and an answer.
        assert len(items) in (1, 3, 6), items


def is_whole_or_failed(response: Json, texts: set[str]) -> bool:
    """Whether a response from the store is one or the other."""
    if response["status"] == "failed":
        return response["error"]["code"] == "server_error"
    said = [item["content"][0]["text"] for item in response["output"] if item["type"] == "message"]
    return response["status"] == "completed" and bool(response["usage"]) and set(said) <= texts


async def _events(answer: httpx2.Response) -> AsyncIterator[Json]:
    assert answer.status_code == 200, await answer.aread()
    async for line in answer.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))
