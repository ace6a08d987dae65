"""merge: several streams as one, each item with the number of its stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def merge(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """All items of all streams, as they come.

    Closing it closes the streams; when one raises, the others are closed and it is raised here.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as stream:
            async for item in stream:
                yield 0, item
        return
    queue: asyncio.Queue[tuple[int, T] | BaseException | None] = asyncio.Queue()
    tasks = [
        asyncio.create_task(_pump(stream, index, queue)) for index, stream in enumerate(streams)
    ]
    open_streams = len(tasks)
    try:
        while open_streams:
            got = await queue.get()
            if got is None:
                open_streams -= 1
            elif isinstance(got, BaseException):
                raise got
            else:
                yield got
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    stream: AsyncGenerator[T, None],
    index: int,
    queue: asyncio.Queue[tuple[int, T] | BaseException | None],
) -> None:
    async with aclosing(stream):
        try:
            async for item in stream:
                queue.put_nowait((index, item))
        except Exception as error:
            queue.put_nowait(error)
        else:
            queue.put_nowait(None)
