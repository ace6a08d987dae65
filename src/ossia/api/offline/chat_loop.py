"""ChatLoop: chats answered side by side, running the functions that the model calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ossia.api.answer import Answer
from ossia.api.conversation import end_turn
from ossia.api.events import Done, Event, MessageDone, TokenDrawn, ToolCall, ToolResult
from ossia.api.offline.request_output import CompletionOutput, RequestOutput
from ossia.api.offline.sampling_params import SamplingParams
from ossia.api.question import Question
from ossia.api.reply import Reply, joined
from ossia.api.tools import Tool
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import RequestError
from ossia.harmony import FINAL, Channel, ToolDescription
from ossia.harmony.chat_messages import conversation_from_chat
from ossia.harmony.function_schema import function_schema
from ossia.tokenizer import Tokenizer

_VARIABLES = frozenset({"reasoning_effort", "model_identity", "builtin_tools"})
_UNKNOWN_TO_ANSWERS = (
    "bad_words",
    "allowed_token_ids",
    "prompt_logprobs",
    "truncate_prompt_tokens",
)


@dataclass(slots=True)
class _Gathered:
    """What has come of one chat."""

    prompt_ids: list[int] = field(default_factory=list[int])
    ids: list[int] = field(default_factory=list[int])
    reasoning: list[str] = field(default_factory=list[str])
    content: list[str] = field(default_factory=list[str])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    results: list[ToolResult] = field(default_factory=list[ToolResult])
    done: Done | None = None

    def take(self, event: Event) -> None:
        match event:
            case TokenDrawn(token_id=token_id):
                self.ids.append(token_id)
            case MessageDone(message=message) if message.recipient is None:
                thinks = message.channel == Channel.ANALYSIS
                (self.reasoning if thinks else self.content).append(message.text)
            case ToolCall():
                self.calls.append(event)
            case ToolResult():
                self.results.append(event)
                self.content.clear()  # what was said before a call is no answer
            case Done():
                self.done = event
            case _:
                pass

    def output(self, request_id: str) -> RequestOutput:
        assert self.done is not None, "every answer ends with Done"
        content = joined(self.content)
        reply = Reply(
            content=content,
            reasoning=joined(self.reasoning),
            tool_calls=tuple(self.calls),
            tool_results=tuple(self.results),
            messages=self.done.messages,
        )
        completion = CompletionOutput(
            index=0,
            text=content,
            token_ids=self.ids,
            finish_reason=self.done.finish_reason.value,
            reply=reply,
        )
        return RequestOutput(
            request_id=request_id,
            prompt=None,
            prompt_token_ids=self.prompt_ids,
            outputs=[completion],
            finished=True,
            num_cached_tokens=self.done.usage.cached_tokens,
        )


class ChatLoop:
    """Runs chats to their end.

    Args:
        engine: Runs the model.
        tokenizer: Of the model.
        tools: Functions, and JSON schemas of tools that the caller runs.
        tool_choice: "auto", "none", "required" or a function's name.

    Raises:
        HarmonyError: a function whose docstring or hints do not describe it.
    """

    def __init__(
        self, engine: SyncEngine, tokenizer: Tokenizer, tools: Sequence[Any], tool_choice: str
    ) -> None:
        self._engine, self._tokenizer = engine, tokenizer
        self._schemas = [function_schema(tool) if callable(tool) else tool for tool in tools]
        self._tools = [
            Tool(ToolDescription.from_openai(schema), tool if callable(tool) else None)
            for tool, schema in zip(tools, self._schemas, strict=True)
        ]
        names = {tool.description.name: tool.recipient for tool in self._tools}
        self._choice = names.get(tool_choice, tool_choice)

    def run(
        self,
        chats: Sequence[Sequence[Mapping[str, Any]]],
        params: Sequence[SamplingParams],
        variables: Mapping[str, Any],
        advance: Callable[[int, int], None],
    ) -> list[RequestOutput]:
        """Answer chats.

        Args:
            chats: Lists of messages.
            params: How to sample, for each.
            variables: `reasoning_effort`, `model_identity` and `builtin_tools`.
            advance: Told of (chats, tokens) that are done.

        Raises:
            RequestError: a variable or setting that is not supported here.
            HarmonyError: a message is not as described.
            EngineClosedError: the engine failed.
        """
        if unknown := variables.keys() - _VARIABLES:
            raise RequestError("is no variable of a chat with functions", field=min(unknown))
        answers = [self._answer(*pair, variables) for pair in zip(chats, params, strict=True)]
        gathered = [_Gathered() for _ in answers]
        for place, event in self._events(answers, gathered):
            gathered[place].take(event)
            advance(int(isinstance(event, Done)), int(isinstance(event, TokenDrawn)))
        return [one.output(str(place)) for place, one in enumerate(gathered)]

    def _answer(
        self,
        chat: Sequence[Mapping[str, Any]],
        params: SamplingParams,
        variables: Mapping[str, Any],
    ) -> Answer:
        for name in _UNKNOWN_TO_ANSWERS:
            if getattr(params, name):
                raise RequestError("is not supported where functions are run", field=name)
        conversation = conversation_from_chat(
            chat,
            tools=self._schemas,
            date=datetime.now().astimezone().date().isoformat(),
            **variables,
        )
        structured = params.structured_outputs
        question = Question(
            conversation.messages,
            sampling=params.to_engine(),
            stop=list(params.stop or ()),
            tools=self._tools,
            tool_choice=self._choice,
            grammars={} if structured is None else {FINAL: structured.to_grammar()},
        )
        return Answer(self._tokenizer, question)

    def _events(
        self, answers: Sequence[Answer], gathered: Sequence[_Gathered]
    ) -> Iterator[tuple[int, Event]]:
        """All events, of whichever chat; in rounds, between which functions are run."""
        live = list(range(len(answers)))
        while live:
            requests = {place: answers[place].next_request() for place in live}
            for place in live:
                answers[place].prepare_masks()
            for place in [place for place in live if requests[place] is None]:
                yield place, answers[place].done()
            running = {one.request_id: place for place, one in requests.items() if one is not None}
            live = list(running.values())
            asked = [one for one in requests.values() if one is not None]
            for place, request in zip(live, asked, strict=True):
                gathered[place].prompt_ids = gathered[place].prompt_ids or list(request.prompt_ids)
            for output in self._engine.stream_all(asked):
                place = running[output.request_id]
                for event in answers[place].push(output):
                    yield place, event
                if answers[place].turn_over and output.finish_reason is None:
                    self._engine.abort(output.request_id)
            for place in live:
                for event in end_turn(answers[place]):
                    yield place, event
