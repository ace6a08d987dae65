from __future__ import annotations

import asyncio

import pytest

from ossia.server.merge import merge


async def _items(*items, closed):
    try:
        for item in items:
            await asyncio.sleep(0)
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        closed.append(items[0])


@pytest.mark.parametrize("streams", [[(1, 2, 3)], [(1, 2, 3), (4,), (5, 6)]])
def test_all_items_come_in_the_order_of_their_stream(streams):
    async def run():
        closed, got = [], {}
        async for index, item in merge([_items(*items, closed=closed) for items in streams]):
            got.setdefault(index, []).append(item)
        assert got == {index: list(items) for index, items in enumerate(streams)}
        assert sorted(closed) == sorted(items[0] for items in streams)

    asyncio.run(run())


def test_an_exception_of_one_closes_all():
    async def run():
        closed = []
        streams = [
            _items(1, ValueError("boom"), closed=closed),
            _items(*range(2, 1000), closed=closed),
        ]
        with pytest.raises(ValueError, match="boom"):
            async for _ in merge(streams):
                pass
        assert sorted(closed) == [1, 2]

    asyncio.run(run())


def test_closing_it_closes_all():
    async def run():
        closed = []
        merged = merge([_items(*range(begin, 1000), closed=closed) for begin in (1, 2)])
        await anext(merged)
        await merged.aclose()
        assert sorted(closed) == [1, 2]

    asyncio.run(run())
