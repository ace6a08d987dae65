from __future__ import annotations

import asyncio

from ossia.server.write_watch import WriteWatch


class _Transport:
    """Has these sizes of its buffer, one after the other; the last one stays."""

    def __init__(self, *sizes: int) -> None:
        self._sizes = list(sizes)
        self.aborted = asyncio.Event()
        self.looks = 0

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        return self._sizes.pop(0) if len(self._sizes) > 1 else self._sizes[0]

    def abort(self) -> None:
        self.aborted.set()


def _watched(transport: _Transport) -> WriteWatch:
    watch = WriteWatch(transport, 0.001)  # type: ignore[arg-type]
    watch.begin()
    return watch


def test_a_client_that_takes_something_is_left_alone():
    async def run():
        # asked twice at the beginning and whenever it is waited for again
        transport = _Transport(9, 9, 8, 8, 7, 7, 0)
        _watched(transport)
        while transport.looks < 7:  # noqa: ASYNC110 - a timer does it
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert not transport.aborted.is_set()

    asyncio.run(asyncio.wait_for(run(), 10))


def test_one_that_takes_nothing_is_cut_off():
    async def run():
        transport = _Transport(9)
        _watched(transport)
        await transport.aborted.wait()

    asyncio.run(asyncio.wait_for(run(), 10))


def test_nothing_happens_where_nothing_waits_or_all_is_over():
    async def run():
        idle, over = _Transport(0), _Transport(9)
        _watched(idle)
        _watched(over).end()
        await asyncio.sleep(0.02)
        assert not idle.aborted.is_set()
        assert not over.aborted.is_set()

    asyncio.run(run())
