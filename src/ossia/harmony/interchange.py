"""Conversations and token ids as files hold them, told apart by what they look like.

A conversation is harmony's own JSON (`Conversation.to_json`), or a chat as the Chat Completions API
takes it: a list of messages, or a request body. Tokens are ids, or text with the special tokens by
name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, cast

from ossia.errors import HarmonyDataError, RequestError
from ossia.harmony.chat_messages import conversation_from_chat
from ossia.harmony.messages import Conversation, Message, Role
from ossia.tokenizer import Tokenizer, special

_HARMONY_FIELDS: Final = frozenset({"channel", "recipient", "content_type"})
_HARMONY_CONTENTS: Final = frozenset({"system_content", "developer_content"})
_CHAT_SETTINGS: Final = ("tools", "builtin_tools", "model_identity", "reasoning_effort")
_HARMONY_BODY: Final = ("messages", "repairs", "repair_counts")  # as `ossia parse` writes it
_PARTED: Final = re.compile(r"[\s,]+")
_ID: Final = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True, slots=True)
class ReadConversation:
    """What a file held.

    Args:
        conversation: The messages.
        unused: Fields of a request body that say nothing about the prompt.
    """

    conversation: Conversation
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """What a chat does not say itself, or is to say otherwise; None leaves it to the chat.

    Args:
        tools: Functions, in either form of the OpenAI APIs.
        builtin_tools: `browser`, `python`, or both.
        reasoning_effort: low, medium or high.
        date: What day it is, as YYYY-MM-DD; None is the day here and now.
    """

    tools: Sequence[Mapping[str, Any]] | None = None
    builtin_tools: Collection[str] | None = None
    reasoning_effort: str | None = None
    date: str | None = None

    def given(self) -> dict[str, object]:
        """Those that are not left to the chat, by the names of `conversation_from_chat`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def read_conversation(payload: str, settings: ChatSettings | None = None) -> ReadConversation:
    """Read a conversation from JSON.

    Args:
        payload: Harmony's own JSON if a message has a channel, a recipient, a content type or the
            content of a system or developer message; else a chat.
        settings: For a chat.

    Raises:
        HarmonyError: it is no JSON, or neither form.
        RequestError: there are settings for a conversation that is no chat.
    """
    data = _json(payload)
    body = cast("dict[str, Any]", data) if isinstance(data, dict) else {"messages": data}
    messages = _objects(body.get("messages"), "not a conversation: no list of messages")
    given = {} if settings is None else settings.given()
    if any(map(_is_harmony, messages)):
        for name in given:
            raise RequestError(
                "only for chats; this conversation is in harmony's own form and says it itself",
                field=name,
            )
        conversation = Conversation([Message.from_dict(each) for each in messages])
        return ReadConversation(conversation, _others(body, _HARMONY_BODY))
    said = {name: body[name] for name in _CHAT_SETTINGS if body.get(name) is not None}
    chat: dict[str, Any] = {"date": _today(), **said, **given}
    return ReadConversation(
        conversation_from_chat(messages, **chat), _others(body, ("messages", *_CHAT_SETTINGS))
    )


def read_tools(payload: str) -> list[dict[str, Any]]:
    """Read functions from JSON: a list of them, one, or an object whose `tools` they are.

    Raises:
        HarmonyDataError: it is no JSON, or no such thing.
    """
    data = _json(payload)
    if isinstance(data, dict):
        body = cast("dict[str, object]", data)
        data = body.get("tools", [body])
    return _objects(data, "not a list of tools")


def without_next_start(ids: Sequence[int], tokenizer: Tokenizer) -> tuple[list[int], Role | None]:
    """Ids of a prompt without the start of the message that is to be written, and its role."""
    for role in Role:
        start = [special.START, *tokenizer.encode(role.value)]
        if list(ids[-len(start) :]) == start:
            return list(ids[: -len(start)]), role
    return list(ids), None


def read_tokens(text: str, tokenizer: Tokenizer, *, as_ids: bool | None = None) -> list[int]:
    """Read token ids.

    Args:
        text: Ids parted by white space or commas, with or without brackets, or a JSON object whose
            `tokens` they are; else text, in which special tokens stand by name.
        tokenizer: Encodes text.
        as_ids: Whether it is ids, where that is known.

    Raises:
        HarmonyDataError: it was to be ids, and is not.
    """
    if as_ids is False:
        return tokenizer.encode_with_special(text)
    words = [word for word in _PARTED.split(text.strip().strip("[]")) if word]
    if all(map(_ID.fullmatch, words)):
        return [int(word) for word in words]
    if (ids := _ids_in_json(text)) is not None:
        return ids
    if as_ids:
        raise HarmonyDataError("not a list of token ids")
    return tokenizer.encode_with_special(text)


def _json(payload: str) -> object:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise HarmonyDataError(f"not JSON: {error}") from error


def _ids_in_json(text: str) -> list[int] | None:
    try:
        data: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    ids = cast("dict[str, object]", data).get("tokens") if isinstance(data, dict) else data
    listed = cast("list[object]", ids) if isinstance(ids, list) else [None]
    numbers = [each for each in listed if type(each) is int]
    return numbers if len(numbers) == len(listed) else None


def _is_harmony(message: dict[str, Any]) -> bool:
    if not _HARMONY_FIELDS.isdisjoint(message):
        return True
    content: object = message.get("content")
    parts = cast("list[object]", content) if isinstance(content, list) else []
    kinds = [cast("dict[str, Any]", part).get("type") for part in parts if isinstance(part, dict)]
    return any(isinstance(kind, str) and kind in _HARMONY_CONTENTS for kind in kinds)


def _objects(value: object, complaint: str) -> list[dict[str, Any]]:
    listed = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(each, dict) for each in listed):
        raise HarmonyDataError(f"{complaint}, which are objects")
    return cast("list[dict[str, Any]]", listed)


def _today() -> str:
    return datetime.now().astimezone().date().isoformat()


def _others(body: Mapping[str, Any], known: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in body if name not in known)
