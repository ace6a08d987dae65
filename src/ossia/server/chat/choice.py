"""ChoiceFold: the events of one answer, folded to a choice of a chat completion."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from ossia.api.events import (
    Done,
    Ending,
    Event,
    MessageDone,
    ReasoningDelta,
    TextDelta,
    TokenDrawn,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from ossia.server.api_error import ApiError
from ossia.server.chat.intake import ChatPlan
from ossia.server.logprobs import AnswerTokens, logprob_entry
from ossia.server.reasoning_memory import ReasoningMemory
from ossia.tokenizer import Tokenizer

JsonObject = dict[str, Any]

_FINISH_REASONS: Final = {
    Ending.STOP: "stop",
    Ending.LENGTH: "length",
    Ending.TOOL_CALLS: "tool_calls",
    Ending.DEADLINE: "length",  # the nearest that clients know: it was cut off
}
_BETWEEN = "\n\n"  # where a second message of a kind follows the first


class PieceKind(IntEnum):
    """What a piece of a stream is about."""

    REASONING = 0
    CONTENT = 1
    CALL = 2
    END = 3


class Piece(NamedTuple):
    """A part of a choice that a stream has to show.

    Args:
        kind: What it is about.
        text: What is added.
        logprobs: Of the tokens of `text`.
        call: Which call it belongs to.
        opens: Whether it is the first of its call.
    """

    kind: PieceKind
    text: str = ""
    logprobs: list[JsonObject] | None = None
    call: CallFold | None = None
    opens: bool = False


@dataclass(slots=True)
class CallFold:
    """A call that is being written.

    Args:
        index: Among the calls of the choice.
        call_id: Under which its result is to come.
        name: As the client knows the tool.
        is_custom: Whether it takes text instead of JSON.
        arguments: So far.
    """

    index: int
    call_id: str
    name: str
    is_custom: bool
    arguments: list[str] = field(default_factory=list[str])

    def to_dict(self) -> JsonObject:
        """The call as a member of `tool_calls`."""
        text = "".join(self.arguments)
        if self.is_custom:
            custom = {"name": self.name, "input": text}
            return {"id": self.call_id, "type": "custom", "custom": custom}
        function = {"name": self.name, "arguments": text}
        return {"id": self.call_id, "type": "function", "function": function}


class ChoiceFold:
    """Takes in the events of one answer.

    Args:
        plan: Of the request.
        tokenizer: Of the model.
        memory: Where the reasoning before calls is kept.

    Attributes:
        num_tokens: Drawn so far.
        usage: Of the whole answer; known at its end.
        finish_reason: Why it ended, in the API's words; None while it goes on.
    """

    def __init__(self, plan: ChatPlan, tokenizer: Tokenizer, memory: ReasoningMemory) -> None:
        self.num_tokens = 0
        self.usage = Usage()
        self.finish_reason: str | None = None
        self._plan = plan
        self._tokenizer = tokenizer
        self._memory = memory
        self._tokens = AnswerTokens() if plan.body.logprobs else None
        self._reasoning: list[str] = []
        self._content: list[str] = []
        self._logprobs: list[JsonObject] = []
        self._calls: list[CallFold] = []
        self._open_call: CallFold | None = None
        self._between = False

    def push(self, event: Event) -> Piece | None:
        """Take in an event; what a stream has to show of it.

        Raises:
            ApiError: the answer was broken off.
        """
        match event:
            case TokenDrawn():
                self.num_tokens += 1
                if self._tokens is not None:
                    self._tokens.drawn(event)
            case TextDelta():
                return self._text(event)
            case ReasoningDelta(text=text):
                return self._reason(text)
            case ToolCallDelta(name=name, arguments=arguments):
                return self._call_delta(name, arguments)
            case ToolCall():
                return self._call(event)
            case MessageDone():
                self._between = True
            case Done():
                return self._done(event)
            case _:  # results of tools that the server runs, of which a chat has none
                pass
        return None

    def message(self) -> JsonObject:
        """The assistant's message, as far as it has come."""
        content = "".join(self._content)
        message: JsonObject = {
            "role": "assistant",
            "content": content if content or not self._calls else None,
            "refusal": None,
            "annotations": [],
        }
        if self._reasoning and self._plan.show_reasoning:
            reasoning = "".join(self._reasoning)
            message |= {"reasoning": reasoning, "reasoning_content": reasoning}
        if self._calls and self._plan.as_functions:
            message["function_call"] = self._calls[0].to_dict()["function"]
        elif self._calls:
            message["tool_calls"] = [call.to_dict() for call in self._calls]
        return message

    def to_dict(self, index: int) -> JsonObject:
        """The choice."""
        logprobs = {"content": self._logprobs, "refusal": None}
        return {
            "index": index,
            "message": self.message(),
            "logprobs": None if self._tokens is None else logprobs,
            "finish_reason": self.finish_reason,
        }

    def _text(self, event: TextDelta) -> Piece:
        entries = None
        if self._tokens is not None:
            if event.preamble:
                self._tokens.drop()
            entries = [
                logprob_entry(self._tokenizer, token.logprob)
                for token in self._tokens.take()
                if token.logprob is not None
            ]
            self._logprobs += entries
        return Piece(PieceKind.CONTENT, self._joined(self._content, event.text), entries)

    def _reason(self, text: str) -> Piece | None:
        if self._tokens is not None:
            self._tokens.drop()
        text = self._joined(self._reasoning, text)
        return Piece(PieceKind.REASONING, text) if self._plan.show_reasoning else None

    def _joined(self, texts: list[str], text: str) -> str:
        if self._between:
            self._between = False
            text = _BETWEEN + text if texts else text
        texts.append(text)
        return text

    def _call_delta(self, name: str, arguments: str) -> Piece:
        if self._tokens is not None:
            self._tokens.drop()
        call, opens = self._open_call, False
        if call is None:
            call, opens = self._opened(name), True
        call.arguments.append(arguments)
        return Piece(PieceKind.CALL, arguments, call=call, opens=opens)

    def _call(self, event: ToolCall) -> Piece | None:
        """A call is complete; it may have had no arguments at all."""
        call, self._open_call = self._open_call, None
        piece = None
        if call is None:
            call = self._opened(event.name)
            call.arguments.append(event.arguments)
            piece = Piece(PieceKind.CALL, event.arguments, call=call, opens=True)
            self._open_call = None
        self._memory.put(call.call_id, "".join(self._reasoning))
        return piece

    def _opened(self, name: str) -> CallFold:
        tool = self._plan.tools.get(name)
        call = CallFold(
            index=len(self._calls),
            call_id=f"call_{uuid.uuid4().hex}",
            name=name if tool is None else tool.name,
            is_custom=tool is not None and tool.is_custom,
        )
        self._calls.append(call)
        self._open_call = call
        return call

    def _done(self, event: Done) -> Piece:
        self.usage = event.usage
        reason = _FINISH_REASONS.get(event.finish_reason)
        if reason is None:
            raise ApiError.unavailable("the answer was broken off by the server")
        if reason == "tool_calls" and self._plan.as_functions:
            reason = "function_call"
        self.finish_reason = reason
        return Piece(PieceKind.END)
