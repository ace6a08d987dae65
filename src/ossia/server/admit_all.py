"""admit_all: several requests that are all taken, or none of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def admit_all(
    admissions: Iterable[Awaitable[AsyncGenerator[T, None]]],
) -> list[AsyncGenerator[T, None]]:
    """What all of them give, once all are admitted.

    Args:
        admissions: Such as `service.answer` makes; each is awaited before the next is made.

    Raises:
        ApiError: one is refused; those that were admitted before it are ended.
    """
    admitted: list[AsyncGenerator[T, None]] = []
    try:
        for admission in admissions:
            admitted.append(await admission)
    except BaseException:
        for generator in admitted:
            await generator.aclose()
        raise
    return admitted
