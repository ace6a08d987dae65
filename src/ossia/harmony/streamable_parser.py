"""StreamableParser: the streaming parser under the names of the `openai_harmony` package.

`StreamParser` hands out events; this one is asked after each token. Asking costs next to nothing,
whatever the length of the message.
"""

from __future__ import annotations

from enum import Enum
from operator import index
from typing import Any, Final

from ossia.harmony.encoding import HarmonyEncoding
from ossia.harmony.events import MessageEnd, MessageStart
from ossia.harmony.messages import Message, Role
from ossia.harmony.parser import ParserState, StreamParser
from ossia.harmony.repairs import Repair


class StreamState(Enum):
    """Where in a message the parser is."""

    EXPECT_START = "ExpectStart"
    HEADER = "Header"
    CONTENT = "Content"


_STATES: Final = {state: StreamState[state.name] for state in ParserState}


class StreamableParser:
    """Reads what a model writes, token by token.

    Args:
        encoding: The vocabulary.
        role: Whose header the output begins in, where the prompt ended in `<|start|>role`; None
            if the output begins with `<|start|>` itself.
        strict: Raise where the format is broken; else mend it and say so in `repairs`.
    """

    def __init__(
        self, encoding: HarmonyEncoding, role: Role | None, *, strict: bool = True
    ) -> None:
        self._parser = StreamParser(
            encoding.tokenizer,
            None if role is None else Role(role),
            strict=strict,
            channel_required=False,
        )
        self._tokens: list[int] = []
        self._content_start = 0
        self._delta: str | None = None

    def process(self, token: int) -> StreamableParser:
        """Take the next token.

        Raises:
            HarmonyError: in strict parsing, the token breaks the format.
        """
        token = index(token)  # an element of a tensor or array is no int
        self._tokens.append(token)
        self._delta = None
        for event in self._parser.push(token):
            if isinstance(event, MessageStart):
                self._content_start = len(self._tokens)
            elif isinstance(event, MessageEnd):
                self._delta = None
            else:
                self._delta = event.text
        return self

    def process_eos(self) -> StreamableParser:
        """The output has ended.

        Raises:
            HarmonyError: in strict parsing, it ended inside a header.
        """
        self._delta = None
        self._parser.finish()
        return self

    @property
    def messages(self) -> list[Message]:
        """The messages that are complete."""
        return list(self._parser.messages)

    @property
    def repairs(self) -> list[Repair]:
        """What had to be mended so far; always empty in strict parsing."""
        return list(self._parser.repairs)

    @property
    def tokens(self) -> list[int]:
        """All tokens so far."""
        return list(self._tokens)

    @property
    def state(self) -> StreamState:
        """Where in a message the parser is."""
        return _STATES[self._parser.state]

    @property
    def state_data(self) -> dict[str, Any]:
        """The state with what has been read of the message, as plain data."""
        data: dict[str, Any] = {"state": self.state.value}
        header = self._parser.header
        if self.state is StreamState.HEADER:
            data["header_tokens"] = list(self._parser.header_tokens)
        elif header is not None:
            author = {"role": header.author.role.value, "name": header.author.name}
            data["header"] = {
                "author": {name: value for name, value in author.items() if value is not None},
                "recipient": header.recipient,
                "channel": header.channel,
                "content_type": header.content_type,
            }
            data["content_tokens"] = self._tokens[self._content_start :]
        return data

    @property
    def last_content_delta(self) -> str | None:
        """The text that the last token completed; None if it completed none."""
        return self._delta

    @property
    def current_content(self) -> str:
        """The text so far of the message whose content is being read."""
        return self._parser.text

    @property
    def current_role(self) -> Role | None:
        """Whose message is being read, as soon as that is known."""
        return self._parser.role

    @property
    def current_channel(self) -> str | None:
        """The channel of the message whose content is being read."""
        return None if self._parser.header is None else self._parser.header.channel

    @property
    def current_recipient(self) -> str | None:
        """The recipient of the message whose content is being read."""
        return None if self._parser.header is None else self._parser.header.recipient

    @property
    def current_content_type(self) -> str | None:
        """The content type of the message whose content is being read."""
        return None if self._parser.header is None else self._parser.header.content_type
