"""Transcript: items of a conversation to harmony messages."""

from __future__ import annotations

from typing import Any, Final

import orjson

from ossia.harmony import Author, Channel, DeveloperContent, Message, Role, TextContent
from ossia.server.api_error import ApiError
from ossia.server.responses.contents import OnImages, content_text
from ossia.server.responses.items import (
    CallOutputItem,
    CompactionItem,
    CustomToolCallItem,
    FunctionCallItem,
    Item,
    MessageItem,
    ReasoningItem,
    kind_of,
    read_item,
)
from ossia.server.responses.sealing import COMPACTION, REASONING, Sealer, SealError
from ossia.server.responses.search_steps import STEP, shown_page, step_messages
from ossia.server.responses.tools import recipient_of
from ossia.server.word import check_word
from ossia.tools.browser.page import Page

_JSON: Final = "<|constrain|>json"
_MAX_OPENED: Final = 32 * 2**20  # characters of sealed content in one request
_SUMMARY: Final = "Summary of the conversation so far:\n\n"


class Transcript:
    """Reads items, oldest first.

    Args:
        sealer: Opens reasoning that clients carried.
        on_images: What to do with images and files.

    Attributes:
        messages: What was read so far.
        notes: What was left out.
        pages: What the browser has shown in it.
    """

    def __init__(self, sealer: Sealer, on_images: OnImages) -> None:
        self.messages: list[Message] = []
        self.notes: list[str] = []
        self.pages: list[Page] = []
        self._sealer = sealer
        self._on_images: OnImages = on_images
        self._recipients: dict[str, str] = {}  # of all calls, by call id
        self._waiting: dict[str, str] = {}  # paths of calls without an output, by call id
        self._unphased: Message | None = None
        self._num_opened = 0

    def add(self, raw: dict[str, Any], path: str) -> None:
        """Read an item; references must have been resolved.

        Args:
            raw: As the client sent it, or as it was stored.
            path: Where it stands in the request.

        Raises:
            ApiError: it is malformed, of an unknown kind, answers no call, or is forged.
        """
        kind = kind_of(raw, path)
        if (step := raw.get(STEP)) is not None and kind == "web_search_call":
            self._add_step(step)
            return
        if kind not in _READERS:
            self.notes.append(f"{path} ({kind})")
            return
        _READERS[kind](self, read_item(raw, kind, path), path)

    def finish(self) -> list[Message]:
        """All messages, once every item was read.

        Raises:
            ApiError: a call has no output.
        """
        for call_id in self._waiting:
            raise ApiError(
                f"No tool output found for function call {call_id[:128]}.", param="input"
            )
        return self.messages

    def _add_step(self, step: dict[str, Any]) -> None:
        """A call of the browser, as the store has it."""
        for message in step_messages(step):
            self._add(message)
        if (page := shown_page(step)) is not None:
            self.pages.append(page)

    def _add_message(self, item: Item, path: str) -> None:
        assert isinstance(item, MessageItem)
        text = content_text(item.content, f"{path}.content", self._on_images)
        match item.role:
            case "assistant":
                self._add_assistant(text, item.phase)
            case "user":
                self._add(Message.from_role_and_content(Role.USER, text))
            case _:
                content = DeveloperContent(text)
                self._add(Message.from_role_and_content(Role.DEVELOPER, content))

    def _add_assistant(self, text: str, phase: str | None) -> None:
        channel = Channel.COMMENTARY if phase == "commentary" else Channel.FINAL
        message = Message.from_role_and_content(Role.ASSISTANT, text).with_channel(channel.value)
        self._add(message)
        # Clients that drop the phase send words before a call like an answer; the call will tell.
        self._unphased = message if phase is None else None

    def _add_reasoning(self, item: Item, path: str) -> None:
        assert isinstance(item, ReasoningItem)
        text = self._thoughts(item, path)
        if text:
            thought = Message.from_role_and_content(Role.ASSISTANT, text)
            self.messages.append(thought.with_channel(Channel.ANALYSIS.value))

    def _thoughts(self, item: ReasoningItem, path: str) -> str:
        if item.content:
            return content_text(item.content, f"{path}.content", self._on_images)
        if item.encrypted_content:
            return self._opened(item.encrypted_content, item, path)
        # Summaries made here are the reasoning, word for word; some clients keep nothing else.
        return content_text(item.summary, f"{path}.summary", self._on_images)

    def _opened(self, sealed: str, item: Item, path: str, purpose: str = REASONING) -> str:
        where = f"{path}.encrypted_content"
        try:
            text = self._sealer.open(sealed, purpose)
            self._num_opened += len(text)
            if self._num_opened > _MAX_OPENED:
                raise SealError(f"the request holds more than {_MAX_OPENED} characters of it")
        except SealError as error:
            name = f"item {item.id[:128]!r}" if item.id else f"the item at {path}"
            raise ApiError(
                f"The encrypted content of {name} could not be verified: {error}. "
                "Leave 'encrypted_content' out, or the item.",
                param=where,
                code="invalid_encrypted_content",
            ) from None
        return text

    def _add_compaction(self, item: Item, path: str) -> None:
        assert isinstance(item, CompactionItem)
        summary = self._opened(item.encrypted_content, item, path, COMPACTION)
        # The model's own words, so that what users and tools said gains no authority by it.
        self._add_assistant(_SUMMARY + summary, "final_answer")

    def _add_function_call(self, item: Item, path: str) -> None:
        assert isinstance(item, FunctionCallItem)
        arguments = item.arguments
        if isinstance(arguments, dict):
            arguments = orjson.dumps(arguments).decode()
        self._add_call(item, arguments or "", path, _JSON)

    def _add_custom_call(self, item: Item, path: str) -> None:
        assert isinstance(item, CustomToolCallItem)
        self._add_call(item, item.input or "", path, None)

    def _add_call(
        self,
        item: FunctionCallItem | CustomToolCallItem,
        text: str,
        path: str,
        content_type: str | None,
    ) -> None:
        if item.status == "incomplete":
            return  # it was cut off while it was written, so nobody has run it
        for name, value in (("name", item.name), ("namespace", item.namespace)):
            if value is not None:
                check_word(value, f"{path}.{name}")
        recipient = recipient_of(item.name, item.namespace)
        if self._unphased is not None:
            self._unphased.channel = Channel.COMMENTARY.value
        self._recipients[item.call_id] = recipient
        self._waiting[item.call_id] = path
        self._add(
            Message(
                Author(Role.ASSISTANT),
                [TextContent(text)],
                Channel.COMMENTARY.value,
                recipient,
                content_type,
            )
        )

    def _add_output(self, item: Item, path: str) -> None:
        assert isinstance(item, CallOutputItem)
        recipient = self._answered(item, path)
        text = content_text(item.output, f"{path}.output", self._on_images)
        self._add(
            Message(
                Author(Role.TOOL, recipient),
                [TextContent(text)],
                Channel.COMMENTARY.value,
                Role.ASSISTANT.value,
            )
        )

    def _answered(self, item: CallOutputItem, path: str) -> str:
        """The recipient of the call that an output belongs to; without an id, the oldest one's."""
        call_id = item.call_id
        if call_id is None:
            call_id = next(iter(self._waiting), None)
        recipient = self._recipients.get(call_id) if call_id is not None else None
        if call_id is None or recipient is None:
            raise ApiError(
                f"No tool call found for function call output with call_id {call_id or ''}."[:256],
                param=f"{path}.call_id" if path.startswith("input[") else "input",
            )
        self._waiting.pop(call_id, None)
        return recipient

    def _add(self, message: Message) -> None:
        self._unphased = None
        self.messages.append(message)


_READERS: Final = {
    "message": Transcript._add_message,
    "reasoning": Transcript._add_reasoning,
    "function_call": Transcript._add_function_call,
    "function_call_output": Transcript._add_output,
    "custom_tool_call": Transcript._add_custom_call,
    "custom_tool_call_output": Transcript._add_output,
    "compaction": Transcript._add_compaction,
}
