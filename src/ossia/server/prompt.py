"""What a conversation looks like to the model, without asking it anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from ossia.api.rendering import renderer_of
from ossia.errors import OssiaError
from ossia.harmony import Conversation, Message
from ossia.server.api_error import ApiError
from ossia.tokenizer import Tokenizer

T = TypeVar("T")

_LONG: Final = 20_000  # characters from which the tokenizer works beside the event loop


async def beside(length: int, work: Callable[[], T]) -> T:
    """What some work on a text gives; where the text is long, others are served meanwhile.

    Args:
        length: Of the text, in characters.
        work: Needs the tokenizer only.
    """
    return await asyncio.to_thread(work) if length > _LONG else work()


async def prompt_ids_beside(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """As `prompt_ids`, without holding others up."""
    length = sum(len(message.text) for message in messages)
    return await beside(length, lambda: prompt_ids(tokenizer, messages))


def prompt_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The token ids of a conversation that waits for an answer.

    Raises:
        ApiError: a message cannot be written in the format.
    """
    try:
        conversation = Conversation(list(messages))
        return renderer_of(tokenizer).render_conversation_for_completion(conversation)
    except OssiaError as error:
        raise ApiError(str(error), param="messages") from error
