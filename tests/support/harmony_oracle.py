"""The openai_harmony package, fed with our objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import openai_harmony as library

from ossia import harmony


def to_library(message: harmony.Message) -> library.Message:
    """The same message as the library's object; nothing goes through its lossy to_dict."""
    author = library.Author(role=library.Role(message.author.role.value), name=message.author.name)
    return library.Message(
        author=author,
        content=[_content(part) for part in message.content],
        channel=message.channel,
        recipient=message.recipient,
        content_type=message.content_type,
    )


def _content(part: harmony.Content) -> library.Content:
    raw: dict[str, Any] = part.to_dict()
    kind = raw.pop("type")
    if kind == "text":
        return library.TextContent(**raw)
    return (library.SystemContent if kind == "system_content" else library.DeveloperContent)(**raw)


@dataclass(frozen=True)
class Oracle:
    encoding: library.HarmonyEncoding

    def render(self, messages: list[harmony.Message], how: str, *, drop: bool = True) -> list[int]:
        """`how` is completion, training or conversation."""
        conversation = library.Conversation.from_messages([to_library(each) for each in messages])
        config = library.RenderConversationConfig(auto_drop_analysis=drop)
        if how == "completion":
            return self.encoding.render_conversation_for_completion(
                conversation, library.Role.ASSISTANT, config
            )
        if how == "training":
            return self.encoding.render_conversation_for_training(conversation, config)
        return self.encoding.render_conversation(conversation, config)

    def parse(self, tokens: list[int], role: str | None = None) -> list[dict[str, Any]]:
        parsed = self.encoding.parse_messages_from_completion_tokens(
            tokens, None if role is None else library.Role(role)
        )
        return [message.to_dict() for message in parsed]

    def text(self, tokens: list[int]) -> str:
        return self.encoding.decode(tokens)
