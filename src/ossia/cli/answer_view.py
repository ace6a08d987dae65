"""Ways to show an answer while it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from ossia.api.events import Done, Ending, Event, ReasoningDelta, TextDelta, TokenDrawn
from ossia.cli.output import Output
from ossia.tokenizer import IncrementalDetokenizer

if TYPE_CHECKING:
    from ossia.tokenizer import Tokenizer


class AnswerView:
    """Prints the answer as it comes, its reasoning before it if that is wanted.

    Attributes:
        text: The answer so far.
        done: The last event, once it has come.
    """

    def __init__(self, output: Output, *, show_reasoning: bool) -> None:
        self.text = ""
        self.done: Done | None = None
        self._output = output
        self._show_reasoning = show_reasoning
        self._last: type[ReasoningDelta | TextDelta] | None = None

    def show(self, events: Iterable[Event]) -> Iterator[None]:
        """Show events one by one, handing control back after each."""
        for event in with_status(self._output, events, lambda: self._last is not None):
            match event:
                case ReasoningDelta(text) if self._show_reasoning:
                    self._part_from(ReasoningDelta)
                    self._output.text(text, dim=True)
                case TextDelta(text):
                    self._part_from(TextDelta)
                    self._output.text(text)
                    self.text += text
                case Done():
                    self.done = event
            yield
        self.end_line()
        if self.done is not None and self.done.finish_reason is Ending.LENGTH:
            self._output.note("(cut off at the token limit; --max-tokens sets it)")

    def end_line(self) -> None:
        """Whatever comes next begins on a line of its own."""
        if self._last is not None:
            self._output.line()
            self._last = None

    def _part_from(self, kind: type[ReasoningDelta | TextDelta]) -> None:
        """An empty line between reasoning and answer."""
        if self._last is not None and self._last is not kind:
            self._output.line("\n")
        self._last = kind


def with_status(
    output: Output, events: Iterable[Event], is_shown: Callable[[], bool]
) -> Iterator[Event]:
    """Events, with a status line that counts tokens until something is shown.

    Args:
        output: Where.
        events: Passed on as they are.
        is_shown: Whether something is.
    """
    num_tokens = 0
    with output.waiting("reading the question"):
        for event in events:
            if isinstance(event, TokenDrawn) and not is_shown():
                num_tokens += 1
                output.status(f"thinking: {num_tokens} tokens")
            yield event


def show_raw(output: Output, tokenizer: Tokenizer, events: Iterable[Event]) -> None:
    """Print the model's tokens as text, control tokens by name."""
    detokenizer = IncrementalDetokenizer(tokenizer, show_special=True)
    with output.waiting("reading the question"):
        for event in events:
            if isinstance(event, TokenDrawn):
                output.text(detokenizer.push(event.token_id))
    output.line(detokenizer.flush())


def show_json(output: Output, events: Iterable[Event]) -> None:
    """Print one object when the answer is complete."""
    answer = reasoning = ""
    for event in with_status(output, events, lambda: False):
        match event:
            case ReasoningDelta(text):
                reasoning += text
            case TextDelta(text):
                answer += text
            case Done(finish_reason=finish_reason, usage=usage, repairs=repairs):
                output.json(
                    {
                        "answer": answer,
                        "reasoning": reasoning,
                        "finish_reason": finish_reason.value,
                        "usage": asdict(usage),
                        "repairs": repairs,
                    }
                )
