"""A request of the Messages API to a Question."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from ossia.api.question import Question
from ossia.api.turn_masks import FINAL
from ossia.errors import OssiaError
from ossia.harmony import Message
from ossia.harmony.chat_messages import conversation_from_chat
from ossia.server.anthropic.schemas import CountTokens, CreateMessage, ToolParam
from ossia.server.anthropic.transcript import Transcript
from ossia.server.api_error import ApiError
from ossia.server.reasoning_memory import ReasoningMemory
from ossia.server.sampling_fields import SMALLEST_TOP_P
from ossia.server.settings import ServerSettings
from ossia.structured import Grammar
from ossia.types import SamplingParams

_NAMESPACE: Final = "functions."
_EFFORTS: Final = {"xhigh": "high", "max": "high"}
# Budgets are given in tokens, gpt-oss knows three degrees. These are where people draw lines.
_LOW_BUDGET: Final = 4096
_MEDIUM_BUDGET: Final = 16384

_REFUSED: Final = {
    "container": "this server runs no code and has no containers; leave it out",
    "inference_geo": "this server knows no regions; leave it out",
}

ThoughtDisplay = Literal["shown", "omitted", "hidden"]


@dataclass(frozen=True, slots=True)
class Intake:
    """What a request amounts to.

    Args:
        question: For the model.
        thoughts: Whether thinking blocks are given with their text, without it, or not at all.
    """

    question: Question
    thoughts: ThoughtDisplay


def messages_of(
    body: CountTokens, settings: ServerSettings, memory: ReasoningMemory
) -> list[Message]:
    """The conversation as harmony messages.

    Raises:
        ApiError: a message, block or tool cannot be given to the model.
    """
    if not body.messages:
        raise ApiError("messages: at least one message is required", param="messages")
    plain = Transcript(settings.images, memory).read(body.system, body.messages)
    try:
        conversation = conversation_from_chat(
            plain,
            tools=_functions(body.tools or []),
            reasoning_effort=_effort(body),
            date=datetime.now().astimezone().date().isoformat(),
        )
    except OssiaError as error:
        raise ApiError.of(error) from error
    return conversation.messages


def take_in(body: CreateMessage, settings: ServerSettings, memory: ReasoningMemory) -> Intake:
    """A request as a question.

    Raises:
        ApiError: as `messages_of`, or a setting is out of range.
    """
    for name, why in _REFUSED.items():
        if getattr(body, name) is not None:
            raise ApiError(f"{name}: {why}", param=name)
    grammars: dict[str, Grammar] = {}
    if (answer := _answer_grammar(body)) is not None:
        grammars[FINAL] = answer
    for position, tool in enumerate(body.tools or ()):
        if tool.strict and tool.input_schema is not None:
            grammars[f"{_NAMESPACE}{tool.name}"] = Grammar.json_schema(
                tool.input_schema, field=f"tools[{position}].input_schema"
            )
    try:
        question = Question(
            messages_of(body, settings, memory),
            sampling=_sampling(body),
            stop=body.stop_sequences or (),
            tool_choice=_tool_choice(body),
            reasoning=body.thinking is None or body.thinking.type != "disabled",
            grammars=grammars,
            deadline=time.monotonic() + settings.request_timeout,
            cache_salt=body.cache_salt or "",
        )
    except OssiaError as error:
        raise ApiError.of(error) from error
    return Intake(question, _display(body, settings))


def _functions(tools: list[ToolParam]) -> list[dict[str, Any]]:
    """Tools that the client runs. What Anthropic would run cannot be had here."""
    functions: list[dict[str, Any]] = []
    for position, tool in enumerate(tools):
        if tool.type not in (None, "custom"):
            raise ApiError(
                f"tools[{position}].type: {tool.type[:60]!r} is run or defined by Anthropic and "
                "not offered here; give a tool with an input_schema",
                param=f"tools[{position}].type",
            )
        if not tool.name:
            raise ApiError(
                f"tools[{position}].name: a name is required", param=f"tools[{position}].name"
            )
        if tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
            raise ApiError(
                f"tools[{position}].allowed_callers: no program calls tools here, only the model",
                param=f"tools[{position}].allowed_callers",
            )
        functions.append(
            {
                "name": tool.name,
                "description": _described(tool),
                "parameters": tool.input_schema or {},
            }
        )
    return functions


def _described(tool: ToolParam) -> str:
    """What the model is told of a tool, examples of calls with it."""
    lines = [tool.description] if tool.description else []
    lines += [f"Example: {orjson.dumps(one).decode()}" for one in tool.input_examples or ()]
    return "\n".join(lines)


def _effort(body: CountTokens) -> str:
    config = body.output_config
    if config is not None and config.effort is not None:
        return _EFFORTS.get(config.effort, config.effort)
    budget = body.thinking.budget_tokens if body.thinking is not None else None
    if budget is None:
        return "medium"
    if budget < _LOW_BUDGET:
        return "low"
    return "medium" if budget < _MEDIUM_BUDGET else "high"


def _tool_choice(body: CreateMessage) -> str:
    choice = body.tool_choice
    match choice.type if choice is not None else "auto":
        case "any":
            return "required"
        case "tool":
            return f"{_NAMESPACE}{choice.name if choice is not None else ''}"
        case kind:
            return kind


def _sampling(body: CreateMessage) -> SamplingParams:
    given = {
        name: value
        for name in ("temperature", "top_k")
        if (value := getattr(body, name)) is not None
    }
    if body.top_p is not None:
        given["top_p"] = max(body.top_p, SMALLEST_TOP_P)
    return SamplingParams(max_tokens=body.max_tokens, **given)


def _answer_grammar(body: CreateMessage) -> Grammar | None:
    wanted = body.output_config.format if body.output_config is not None else None
    if wanted is None:
        return None
    schema = wanted.get("schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
        raise ApiError(
            'output_config.format: must be {"type": "json_schema", "schema": {...}}',
            param="output_config.format",
        )
    return Grammar.json_schema(schema, field="output_config.format.schema")


def _display(body: CreateMessage, settings: ServerSettings) -> ThoughtDisplay:
    thinking = body.thinking
    if thinking is None or thinking.type == "disabled":
        return "hidden"
    if settings.reasoning == "hidden" or thinking.display == "omitted":
        return "omitted"
    return "shown"
