"""The response object, its usage and its input items, as JSON."""

from __future__ import annotations

from typing import Any, Final

from ossia.api.events import Usage
from ossia.server.effort import effective_effort, may_reason
from ossia.server.responses import ids
from ossia.server.responses.items import kind_of
from ossia.server.responses.sampling import asked_effort
from ossia.server.responses.schemas import ResponseRequest
from ossia.server.responses.text_format import text_echo
from ossia.server.responses.tool_choice import ToolChoice

JsonObject = dict[str, Any]

_PREFIXES: Final = {
    "message": ids.MESSAGE,
    "reasoning": ids.REASONING,
    "function_call": ids.FUNCTION_CALL,
    "function_call_output": ids.FUNCTION_OUTPUT,
    "custom_tool_call": ids.CUSTOM_CALL,
    "custom_tool_call_output": ids.CUSTOM_OUTPUT,
    "web_search_call": ids.WEB_SEARCH,
    "compaction": ids.COMPACTION,
}


def response_object(
    request: ResponseRequest,
    *,
    model: str,
    tools: list[JsonObject],
    choice: ToolChoice,
    store: bool,
) -> JsonObject:
    """A response of which nothing is known yet but what was asked; its id and dates are empty.

    Args:
        request: What was asked.
        model: Who answers.
        tools: As they are to be shown.
        choice: Which of them may and must be called.
        store: Whether it is kept.
    """
    response: JsonObject = {
        "id": "",
        "object": "response",
        "created_at": 0,
        "completed_at": None,
        "status": "in_progress",
        "background": bool(request.background),
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.output_limit,
        "max_tool_calls": request.max_tool_calls,
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": _reasoning(request),
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": store,
        "temperature": _or(request.temperature, 1.0),
        "text": text_echo(request.text),
        "tool_choice": choice.echo,
        "tools": tools,
        "top_logprobs": request.top_logprobs or 0,
        "top_p": _or(request.top_p, 1.0),
        "presence_penalty": _or(request.presence_penalty, 0.0),
        "frequency_penalty": _or(request.frequency_penalty, 0.0),
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
    }
    if request.conversation_id is not None:
        response["conversation"] = {"id": request.conversation_id}
    if request.prompt_cache_retention is not None:
        response["prompt_cache_retention"] = request.prompt_cache_retention
    return response


def usage_object(usage: Usage) -> JsonObject:
    """Token counts as clients get them."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": max(0, usage.input_tokens - usage.cached_tokens),
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def stored_item(raw: JsonObject, path: str) -> JsonObject:
    """An input item as it is kept and listed: with an id, a type and its content in parts.

    Raises:
        ApiError: it is of no known kind.
    """
    kind = kind_of(raw, path)
    item: JsonObject = {**raw, "type": kind}
    if not ids.is_sane(item.get("id")):
        item["id"] = ids.new_id(_PREFIXES.get(kind, "item"))
    if kind not in ("reasoning", "compaction"):
        item["status"] = item.get("status") or "completed"
    if kind == "message":
        item["content"] = _parts(item.get("content"), item.get("role"))
    return item


def _parts(content: object, role: object) -> object:
    if isinstance(content, list):
        return content
    text = content if isinstance(content, str) else ""
    if role == "assistant":
        return [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return [{"type": "input_text", "text": text}]


def _reasoning(request: ResponseRequest) -> JsonObject:
    given = request.reasoning
    asked = asked_effort(given)
    echo: JsonObject = {
        "effort": effective_effort(asked).value.lower() if may_reason(asked) else asked,
        "summary": given.wanted_summary if given is not None else None,
    }
    if given is not None and given.context is not None:
        # Reasoning of turns that are over is always left out: the model was trained so.
        echo["context"] = "current_turn"
    if given is not None and given.mode is not None:
        echo["mode"] = "standard"
    return echo


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
