"""What a conversation looks like to the model, without asking it anything."""

from __future__ import annotations

from collections.abc import Sequence

from ossia.api.rendering import renderer_of
from ossia.errors import OssiaError
from ossia.harmony import Conversation, Message
from ossia.server.api_error import ApiError
from ossia.tokenizer import Tokenizer


def prompt_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The token ids of a conversation that waits for an answer.

    Raises:
        ApiError: a message cannot be written in the format.
    """
    try:
        conversation = Conversation(list(messages))
        return renderer_of(tokenizer).render_conversation_for_completion(conversation)
    except OssiaError as error:
        raise ApiError.of(error) from error
