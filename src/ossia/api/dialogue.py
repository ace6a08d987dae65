"""Dialogue: a conversation with memory, one question after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

from ossia.api.conversation import respond
from ossia.api.events import Done, Event, TextDelta
from ossia.api.opening import answer_message, user_message
from ossia.api.question import Question
from ossia.api.runtime import Runtime
from ossia.api.tools import Tool
from ossia.harmony import Message
from ossia.types import SamplingParams


class Dialogue:
    """Remembers what was said.

    Args:
        runtime: The model.
        opening: From `opening_messages`; must offer the tools.
        sampling: For every answer.
        tools: What the functions offered in the opening do.
        reasoning: Whether the model may think before it answers.
    """

    def __init__(
        self,
        runtime: Runtime,
        opening: Sequence[Message],
        *,
        sampling: SamplingParams | None = None,
        tools: Sequence[Tool] = (),
        reasoning: bool = True,
    ) -> None:
        self._runtime = runtime
        self._opening = tuple(opening)
        self._sampling = sampling or SamplingParams()
        self._tools = tools
        self._reasoning = reasoning
        self._history: list[Message] = []

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said since the opening."""
        return tuple(self._history)

    def reset(self) -> None:
        """Forget what was said."""
        self._history.clear()

    def ask(self, text: str) -> Generator[Event, None, None]:
        """Answer a question, and remember both.

        If the iterator is closed before `Done`, the text so far counts as the answer; if there is
        none, the question is forgotten.

        Raises:
            OssiaError: what `respond` raises; the question is then forgotten likewise.
        """
        asked = user_message(text)
        gained: Sequence[Message] | None = None
        shown = ""
        question = Question(
            [*self._opening, *self._history, asked],
            sampling=self._sampling,
            tools=self._tools,
            reasoning=self._reasoning,
        )
        events = respond(self._runtime.engine, self._runtime.tokenizer, question)
        try:
            with closing(events):
                for event in events:
                    match event:
                        case TextDelta(text=piece):
                            shown += piece
                        case Done(messages=messages):
                            gained = messages
                    yield event
        finally:
            if gained is None and shown:
                gained = [answer_message(shown)]
            if gained:
                self._history += [asked, *gained]
