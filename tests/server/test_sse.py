from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from ossia.server.api_error import ApiError
from ossia.server.pacing import Pacing
from ossia.server.sse import DONE, EventStream, event


class _Client:
    """Takes what is sent; goes away when told to."""

    def __init__(self, *, reads: bool = True) -> None:
        self.sent: list[bytes] = []
        self.complete = False
        self.gone = asyncio.Event()
        self._reads = reads

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if not self._reads:
            await asyncio.Event().wait()
        if message["type"] == "http.response.body":
            self.sent.append(message["body"])
            self.complete = not message["more_body"]

    @property
    def text(self) -> bytes:
        return b"".join(self.sent)


def _run(stream, client):
    return stream({"type": "http"}, client.receive, client.send)


async def _pieces(*pieces, closed=None):
    try:
        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif isinstance(piece, Exception):
                raise piece
            else:
                yield piece
    finally:
        if closed is not None:
            closed.append(True)


def test_everything_arrives_in_order():
    async def run():
        client = _Client()
        await _run(EventStream(_pieces(b"a", b"b", 0.01, b"c")), client)
        assert client.text == b"abc"
        assert client.sent[0] == b"ab", "what is ready at once goes out together"
        assert client.complete

    asyncio.run(run())


def test_silence_is_filled_with_comments():
    async def run():
        client = _Client()
        await _run(EventStream(_pieces(0.08, b"a"), keep_alive=0.02), client)
        assert client.text.startswith(b": keep-alive\n\n")
        assert client.text.endswith(b"a")

    asyncio.run(run())


@pytest.mark.timeout(20)
def test_a_client_that_goes_away_closes_the_source():
    async def run():
        client, closed = _Client(), []
        stream = EventStream(_pieces(b"a", 60.0, b"b", closed=closed))
        task = asyncio.create_task(_run(stream, client))
        await asyncio.sleep(0.02)
        client.gone.set()
        await task
        assert closed
        assert client.text == b"a"

    asyncio.run(run())


@pytest.mark.timeout(20)
def test_a_client_that_does_not_read_is_dropped():
    async def endless():
        while True:
            yield b"x" * 1000

    async def run():
        client = _Client(reads=False)
        await _run(EventStream(endless(), max_waiting=100_000), client)
        assert not client.complete

    asyncio.run(run())


def test_an_exception_becomes_the_last_event():
    async def run():
        client = _Client()
        await _run(EventStream(_pieces(b"a", ApiError("no", code="c"))), client)
        assert client.text == b"a" + event(ApiError("no", code="c").to_dict()) + DONE
        assert client.complete

    asyncio.run(run())


def test_events_are_named():
    assert event({"a": 1}, "x") == b'event: x\ndata: {"a":1}\n\n'


def test_with_many_streams_open_pieces_wait_for_each_other():
    async def run():
        pacing, client = Pacing(), _Client()
        with ExitStack() as others:
            for _ in range(500):
                others.enter_context(pacing.open())
            pieces = [piece for _ in range(20) for piece in (b"a", 0.002)]
            await _run(EventStream(_pieces(*pieces), pacing=pacing), client)
        assert client.text == b"a" * 20
        assert client.sent[0] == b"a", "the first one does not wait"
        assert len(client.sent) < 10

    asyncio.run(run())
