"""Turn: one run of the model in an answer, from drawn tokens to events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ossia.api.events import (
    Event,
    MessageDone,
    ReasoningDelta,
    TextDelta,
    TokenDrawn,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from ossia.api.failure import failure
from ossia.api.stop import StopStrings
from ossia.api.tools import function_name
from ossia.errors import HarmonyError
from ossia.harmony import (
    Channel,
    Header,
    Message,
    RenderOptions,
    Repair,
    Role,
    StreamParser,
    TextContent,
)
from ossia.harmony import events as parsed
from ossia.harmony.layout import message_pieces
from ossia.tokenizer import Tokenizer
from ossia.types import FinishReason, TokenOutput

_CHANNELS = frozenset(channel.value for channel in Channel)


class Turn:
    """Reads the engine's outputs for one prompt; never fails on what the model writes.

    Args:
        tokenizer: Gives tokens their text.
        prompt_len: Tokens of the prompt.
        stop: Strings that end the text for the user. They are looked for neither in reasoning
            nor in tool calls.
        call_id: For the tool call in which the turn may end.

    Attributes:
        messages: Messages that are complete, or were cut off.
        call: The tool call that ended the turn.
        finish_reason: Why the engine stopped; None while it runs.
        over: Nothing more is wanted of the engine.
        stop_string: The stop string that ended the text.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, prompt_len: int, stop: Sequence[str], call_id: str
    ) -> None:
        self.messages: list[Message] = []
        self.call: ToolCall | None = None
        self.finish_reason: FinishReason | None = None
        self.over = False
        self.stop_string: str | None = None
        self._parser = StreamParser(tokenizer)
        self._header: Header | None = None
        self._stop_strings = tuple(stop)
        self._stop = StopStrings(stop)
        self._shown: list[str] = []
        self._call_id = call_id
        self._prompt_len = prompt_len
        self._num_cached = self._num_drawn = self._num_reasoning = 0

    @property
    def usage(self) -> Usage:
        """Token counts so far."""
        return Usage(
            input_tokens=self._prompt_len,
            cached_tokens=self._num_cached,
            output_tokens=self._num_drawn,
            reasoning_tokens=self._num_reasoning,
        )

    @property
    def repairs(self) -> Sequence[Repair]:
        """What had to be mended to read the model's output."""
        return self._parser.repairs

    def push(self, output: TokenOutput) -> Iterator[Event]:
        """What one token brings about.

        Raises:
            EngineClosedError: the engine failed.
            GrammarCostError: what the text must look like is too costly.
        """
        if output.finish_reason is FinishReason.ERROR:
            raise failure(output.error)
        self.finish_reason = output.finish_reason
        self.over = output.finish_reason is not None
        self._num_cached = output.cached_tokens
        if output.token_id is None:
            return
        yield TokenDrawn(output.token_id, output.logprob)
        before = self._parser.header
        events = self._parser.push(output.token_id)
        is_reasoning = (
            before is not None
            and self._parser.header is before
            and before.channel == Channel.ANALYSIS
            and not before.calls_tool
        )
        self._num_drawn += 1
        self._num_reasoning += is_reasoning
        yield from self._translate(events, complete=True)

    def finish(self) -> Iterator[Event]:
        """What is left once the engine has ended, or is no longer listened to."""
        yield from self._translate(self._parser.finish(), complete=False)

    def _translate(self, events: Iterable[parsed.Event], *, complete: bool) -> Iterator[Event]:
        for event in events:
            match event:  # by keyword: positional patterns cost a string each until Python 3.13
                case parsed.MessageStart(header=header):
                    self._begin_message(header)
                case parsed.MessageEnd(message=message):
                    yield from self._end_message(message, complete=complete)
                case _ if not self._is_own:
                    continue
                case parsed.ReasoningDelta(text=text):
                    yield ReasoningDelta(text)
                case parsed.ToolCallDelta(text=text):
                    yield ToolCallDelta(function_name(self._recipient), text)
                case parsed.TextDelta(text=text):
                    yield from self._show(self._stop.push(text))
                    self.stop_string = self._stop.found
                    self.over |= self.stop_string is not None

    @property
    def _is_own(self) -> bool:
        """Whether the message is the assistant's, not one that it puts in another's mouth."""
        return self._header is not None and self._header.author.role is Role.ASSISTANT

    @property
    def _recipient(self) -> str:
        return (self._header.recipient if self._header is not None else None) or ""

    def _begin_message(self, header: Header) -> None:
        self._header = header
        self._stop, self._shown = StopStrings(self._stop_strings), []
        # When it goes on in another's name, its own turn is over.
        self.over |= not self._is_own

    def _show(self, text: str) -> Iterator[Event]:
        if text:
            self._shown.append(text)
            preamble = self._header is not None and self._header.channel == Channel.COMMENTARY
            yield TextDelta(text, preamble=preamble)

    def _end_message(self, message: Message, *, complete: bool) -> Iterator[Event]:
        yield from self._show(self._stop.flush())
        if self._stop.found is not None:
            message.content = [TextContent("".join(self._shown))]
        cut_off_in_header = not message.text and not complete
        if cut_off_in_header or not self._is_own:
            return
        message = _writable(message)
        self.messages.append(message)
        yield MessageDone(message)
        recipient = message.recipient
        if (
            complete
            and recipient is not None
            and self._header is not None
            and self._header.calls_tool
        ):
            # Whatever token ended the call: the model has no more to say before the result.
            self.call = ToolCall(self._call_id, function_name(recipient), message.text, recipient)
            self.over = True
            yield self.call


def _writable(message: Message) -> Message:
    """The message as later prompts can hold it: without a header that the format has no place for."""
    try:
        for _ in message_pieces(message, RenderOptions()):
            pass
    except HarmonyError:
        channel = message.channel if message.channel in _CHANNELS else None
        return replace(message, channel=channel, recipient=None, content_type=None)
    return message
