"""Reply: what a model has said in answer to a chat, in its parts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ossia.api.events import ToolCall, ToolResult
from ossia.api.tools import function_name
from ossia.harmony import (
    Channel,
    Event,
    Header,
    Message,
    MessageEnd,
    MessageStart,
    Role,
    StreamParser,
)
from ossia.tokenizer import Tokenizer, special


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An assistant's reply.

    Args:
        content: Text for the user.
        reasoning: The chain of thought; not for the user.
        tool_calls: Calls in order.
        tool_results: Results of the calls that were run.
        messages: Everything that the conversation has gained, as harmony messages.
    """

    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()
    messages: tuple[Message, ...] = ()

    @classmethod
    def of(cls, tokenizer: Tokenizer, prompt_ids: Sequence[int], ids: Iterable[int]) -> Reply:
        """Read what a model wrote behind a prompt; whatever it wrote, this does not fail.

        Args:
            tokenizer: Of the model.
            prompt_ids: A chat as a prompt. A message that it leaves open is part of the reply.
            ids: What the model wrote.
        """
        opened = _open_message(prompt_ids)
        parser = StreamParser(tokenizer, None if opened else Role.ASSISTANT)
        reader = _Reader()
        for token in (*opened, *ids):
            reader.take(parser.push(token))
        reader.take(parser.finish())
        return cls(
            content=joined(reader.content),
            reasoning=joined(reader.reasoning),
            tool_calls=tuple(reader.calls),
            messages=tuple(reader.messages),
        )

    def to_message(self, reasoning_name: str = "thinking") -> dict[str, Any]:
        """The reply as a message of a chat, for templates and APIs.

        Args:
            reasoning_name: Under which name the reasoning stands.

        Returns:
            `role` and `content`; the reasoning and `tool_calls` if there are any. Arguments of a
            call are an object if they are one in JSON, else text.
        """
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message[reasoning_name] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [_call_to_dict(call) for call in self.tool_calls]
        return message


class _Reader:
    """Sorts what a parser reports."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.messages: list[Message] = []
        self._header: Header | None = None

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case MessageStart(header=header):
                    self._header = header
                case _ if self._header is None or self._header.author.role is not Role.ASSISTANT:
                    continue
                case MessageEnd(message=message):
                    self._end(message, self._header)
                case _:
                    pass

    def _end(self, message: Message, header: Header) -> None:
        self.messages.append(message)
        if header.calls_tool and message.recipient:
            name = function_name(message.recipient)
            call_id = f"call_{uuid.uuid4().hex}"
            self.calls.append(ToolCall(call_id, name, message.text, message.recipient))
        elif header.channel == Channel.ANALYSIS:
            self.reasoning.append(message.text)
        else:
            self.content.append(message.text)


def joined(texts: Iterable[str]) -> str:
    """Texts of several messages as one."""
    return "\n\n".join(text for text in texts if text)


def _open_message(prompt_ids: Sequence[int]) -> Sequence[int]:
    """The prompt from its last `<|start|>` on, if it leaves a message open."""
    for place in range(len(prompt_ids) - 1, -1, -1):
        if prompt_ids[place] in special.STOP_TOKENS:
            break
        if prompt_ids[place] == special.START:
            return prompt_ids[place:]
    return ()


def _call_to_dict(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = None
    function = {
        "name": call.name,
        "arguments": arguments if isinstance(arguments, dict) else call.arguments,
    }
    return {"type": "function", "id": call.call_id, "function": function}
