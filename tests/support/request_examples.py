"""A pair of requests for every row of docs/server_fields.md: without what it names, and with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

SHARED_KEY = bytes(range(32))
SEALED = "the sealed reasoning"  # these stand for what the server itself has sealed
SEALED_SUMMARY = "the sealed summary"
OTHER_SUMMARY = "another sealed summary"
BEFORE = "resp_before"
CONVERSATION = "conv_before"
ITEM = "msg_before"

_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
_FLAT = {"type": "function", "name": "f", "parameters": _SCHEMA}
_CUSTOM = {"type": "custom", "name": "g"}
_NESTED = {"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}
_TOOL = {"name": "f", "input_schema": _SCHEMA}
_HI = {"role": "user", "content": "Hi"}


@dataclass(frozen=True)
class Example:
    """Two bodies for one route, which differ in what is looked at."""

    path: str
    plain: Body
    given: Body


def example(section: str, name: str) -> Example:
    """The pair for a row of a table."""
    match section.split(": "):
        case ["POST /v1/responses"]:
            return _top("/responses", {"model": "m", "input": "Hi"}, name, _RESPONSE, _AROUND)
        case ["POST /v1/responses/input_tokens"]:
            base = {"model": "m", "input": "Hi"}
            return _top("/responses/input_tokens", base, name, _RESPONSE | _COUNT, _AROUND)
        case ["POST /v1/responses/compact"]:
            return _top("/responses/compact", {"model": "m", "input": "Hi"}, name, _RESPONSE, {})
        case ["POST /v1/chat/completions"]:
            return _top("/chat/completions", _CHAT_BASE, name, _CHAT, _AROUND_CHAT)
        case ["POST /v1/completions"]:
            base = {"model": "m", "prompt": "Hi"}
            return _top("/completions", base, name, _COMPLETION, _AROUND)
        case ["POST /v1/messages"]:
            return _top(
                "/messages", _MESSAGE_BASE, name, _MESSAGE, {"tool_choice": {"tools": [_TOOL]}}
            )
        case ["Responses", about]:
            return _response(about, name)
        case ["Chat", about]:
            return _chat(about, name)
        case ["Messages", about]:
            return _message(about, name)
    raise KeyError(section)


def _top(path: str, base: Body, name: str, values: Body, around: Mapping[str, Body]) -> Example:
    plain = base | around.get(name, {})
    return Example(path, plain, plain | {name: values[name]})


_AROUND: dict[str, Body] = {
    "stream_options": {"stream": True},
    "tool_choice": {"tools": [_FLAT]},
    "background_options": {"background": True},
}
_RESPONSE: Body = {
    "access_programs": {"cyber": "daybreak_red"},
    "background": True,
    "background_options": {"completion_window": "8h"},
    "context_management": [{"type": "compaction"}],
    "conversation": CONVERSATION,
    "image": {"context_compression": "enabled"},
    "include": ["message.output_text.logprobs"],
    "input": "Another",
    "instructions": "Be brief.",
    "max_output_tokens": 7,
    "max_tool_calls": 3,
    "metadata": {"a": "b"},
    "model": "another",
    "moderation": {"model": "x"},
    "parallel_tool_calls": False,
    "previous_response_id": BEFORE,
    "prompt": {"id": "pmpt_1"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"prewarm": True},
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low"},
    "safety_identifier": "s",
    "service_tier": "flex",
    "store": False,
    "stream": True,
    "stream_options": {"include_obfuscation": True},
    "temperature": 0.5,
    "text": {"verbosity": "low"},
    "tool_choice": "none",
    "tools": [_FLAT],
    "top_logprobs": 2,
    "top_p": 0.5,
    "truncation": "auto",
    "user": "u",
}
_COUNT: Body = {
    "personality": "friendly",
    "input": "Quite another",
    "reasoning": {"effort": "nonsense"},
    "truncation": "nonsense",
    "tool_choice": "nonsense",
}
_CHAT_BASE: Body = {"model": "m", "messages": [_HI]}
_AROUND_CHAT: dict[str, Body] = {
    "stream_options": {"stream": True},
    "tool_choice": {"tools": [_NESTED]},
    "function_call": {"functions": [{"name": "f", "parameters": _SCHEMA}]},
    "top_logprobs": {"logprobs": True},
    "metadata": {"store": True},
}
_CHAT: Body = {
    "audio": {"voice": "v", "format": "mp3"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "logit_bias": {"5": 1.0},
    "logprobs": True,
    "max_completion_tokens": 7,
    "max_tokens": 7,
    "messages": [{"role": "user", "content": "Another"}],
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "model": "another",
    "moderation": {"model": "x"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "Hello there."},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "s",
    "seed": 3,
    "service_tier": "auto",
    "stop": "x",
    "store": True,
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "tool_choice": "required",
    "tools": [_NESTED],
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {},
}
_COMPLETION: Body = {
    name: value for name, value in _CHAT.items() if name not in ("messages", "logprobs")
} | {"prompt": "Another", "stop": "there", "best_of": 2, "echo": True, "logprobs": 2, "suffix": "x"}
_MESSAGE_BASE: Body = {"model": "m", "max_tokens": 50, "messages": [_HI]}
_MESSAGE: Body = {
    "cache_control": {"type": "ephemeral"},
    "container": "c",
    "diagnostics": {"previous_message_id": "msg_1"},
    "inference_geo": "us",
    "max_tokens": 7,
    "messages": [{"role": "user", "content": "Another"}],
    "metadata": {"user_id": "u"},
    "model": "another",
    "output_config": {"effort": "low"},
    "service_tier": "auto",
    "speed": "fast",
    "stop_sequences": ["x"],
    "stream": True,
    "system": "Be brief.",
    "thinking": {"type": "disabled"},
    "tool_choice": {"type": "any"},
    "tools": [_TOOL],
    "user_profile_id": "u",
    "workspace_id": "w",
}


# Responses ----------------------------------------------------------------------------------------

_OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "1"}
_CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
_ITEMS: dict[str, Body] = {
    "message": {"type": "message", "role": "assistant", "content": "Well."},
    "reasoning": {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]},
    "function_call": _CALL,
    "function_call_output": _OUTPUT,
    "custom_tool_call": {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "x"},
    "custom_tool_call_output": _OUTPUT | {"type": "custom_tool_call_output"},
    "item_reference": {"type": "item_reference", "id": ITEM},
    "compaction": {"type": "compaction", "encrypted_content": SEALED_SUMMARY},
}
_ITEM_VALUES: Body = {
    "content": [{"type": "output_text", "text": "Another."}],
    "id": "mine",
    "phase": "commentary",
    "status": "incomplete",
    "encrypted_content": SEALED,
    "summary": [{"type": "summary_text", "text": "Another."}],
    "arguments": '{"a": 1}',
    "async": True,
    "call_id": "d",
    "caller": {"type": "direct"},
    "name": "h",
    "namespace": "there",
    "output": "2",
    "input": "y",
}
_TOOL_VALUES: Body = {
    "allowed_callers": ["programmatic"],
    "async": True,
    "defer_loading": True,
    "description": "It does.",
    "format": {"type": "grammar", "syntax": "regex", "definition": "a+"},
    "name": "h",
    "output_schema": {"type": "object"},
    "parameters": {"type": "object"},
    "strict": True,
    "tools": [_CUSTOM],
}
_STRICT = _SCHEMA | {"additionalProperties": False}
_FORMAT = {"type": "json_schema", "name": "n", "schema": _STRICT}


def _response(about: str, name: str) -> Example:
    base = {"model": "m", "input": "Hi"}
    kind, _, field = name.partition(".")

    def pair(plain: Body, given: Body) -> Example:
        return Example("/responses", base | plain, base | given)

    match about:
        case "items of `input`":
            return pair(*_items(kind, field))
        case "parts of a content":
            part = {"type": kind, "text": "Hi"}
            values = {"text": "Another", "prompt_cache_breakpoint": {"type": "x"}}
            changed = part | ({field: values[field]} if field else {})
            before = [part] if field else [{"type": "input_text", "text": "Different"}]
            return pair(_said(before), _said([changed]))
        case "`tools`":
            tool = {"namespace": {"type": kind, "name": "n", "tools": [_FLAT]}, "function": _FLAT,
                    "custom": _CUSTOM}.get(kind, {"type": kind})  # fmt: skip
            if field == "strict":
                tool = tool | {"parameters": _STRICT}
            changed = tool | ({field: _TOOL_VALUES[field]} if field else {})
            return pair({"tools": [tool]} if field else {}, {"tools": [changed]})
        case "`tool_choice`":
            choice = {"type": kind, "name": {"custom": "g"}.get(kind, "f"), "mode": "required"}
            choice["tools"] = [{"type": "function", "name": "f"}]
            tools = {"tools": [_FLAT, _CUSTOM]}
            return pair(tools, tools | {"tool_choice": choice})
        case "`text.format`":
            values = {
                "description": "It is.",
                "name": "o",
                "schema": {"type": "object"},
                "strict": True,
            }
            plain = {"text": {"format": _FORMAT}} if field or kind == "text" else {}
            form = _FORMAT | {"type": kind} | ({field: values[field]} if field else {})
            return pair(plain, {"text": {"format": form}})
    raise KeyError(about)


def _said(parts: list[Body]) -> Body:
    return {"input": [{"role": "user", "content": parts}]}


def _items(kind: str, field: str) -> tuple[Body, Body]:
    """Inputs without and with an item, or one of its fields."""
    item = _ITEMS.get(kind, {"type": kind, "id": "x"})
    if kind == "reasoning" and field in ("summary", "encrypted_content"):
        item = {"type": "reasoning"}
    before, after = [_HI], [_HI]
    if kind in ("function_call", "custom_tool_call"):
        call_id = "d" if field == "call_id" else "c"
        after = [_ITEMS[f"{kind}_output"] | {"call_id": call_id}, *after]
    elif kind in ("function_call_output", "custom_tool_call_output"):
        before = [_ITEMS[kind.removesuffix("_output")], _HI]
    value = BEFORE if kind == "reasoning" and field == "id" else _ITEM_VALUES.get(field)
    if kind == "reasoning" and field == "id":
        item, value = {"type": "reasoning"}, "rs_before"
    if kind == "compaction" and field == "encrypted_content":
        value = OTHER_SUMMARY
    if kind == "item_reference" and field:
        value = "nothing"
    given = [*before, item | ({field: value} if field else {}), *after]
    if not field:
        without = [one for one in (*before, *after) if "role" in one]
        return {"input": without}, {"input": given}
    if kind in ("function_call", "custom_tool_call") and field == "call_id":
        plain = [*before, item, after[0] | {"call_id": "c"}, _HI]
    else:
        plain = [*before, item, *after]
    return {"input": plain}, {"input": given}


# Chat ---------------------------------------------------------------------------------------------

_TOOL_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_ROLES: dict[str, list[Body]] = {
    "assistant": [_HI, {"role": "assistant", "content": "Well."}, _HI],
    "developer": [{"role": "developer", "content": "Be brief."}, _HI],
    "system": [{"role": "system", "content": "Be brief."}, _HI],
    "function": [_HI, {"role": "function", "name": "f", "content": "1"}],
    "tool": [
        _HI,
        {"role": "assistant", "tool_calls": [_TOOL_CALL, _TOOL_CALL | {"id": "d"}]},
        {"role": "tool", "tool_call_id": "d", "content": "2"},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ],
    "user": [{"role": "user", "content": "How"}],
}
_ROLE_VALUES: Body = {
    "audio": {"id": "a"},
    "content": "Another.",
    "function_call": {"name": "f", "arguments": "{}"},
    "name": "h",
    "refusal": "No.",
    "tool_calls": [_TOOL_CALL],
    "tool_call_id": "nothing",
}


def _chat(about: str, name: str) -> Example:
    base = {"model": "m"}
    kind, _, field = name.partition(".")

    def pair(plain: Body, given: Body) -> Example:
        return Example("/chat/completions", base | plain, base | given)

    hi = {"messages": [_HI]}
    match about:
        case "`messages`":
            messages = _ROLES[kind]
            if not field:
                return pair(hi, {"messages": messages})
            changed = [
                one | {field: _ROLE_VALUES[field]} if one["role"] == kind else one
                for one in messages
            ]
            if field == "refusal":
                changed[1] = changed[1] | {"content": None}
            answered = [_ROLES["tool"][-1]] if field == "tool_calls" else []
            changed[2:2] = answered
            return pair({"messages": messages}, {"messages": changed})
        case "parts of a content":
            part = {"type": kind, "text": "Hi"}
            values = {"text": "Another", "prompt_cache_breakpoint": {"type": "x"}}
            changed = part | ({field: values[field]} if field else {})
            before = [part] if field else [{"type": "text", "text": "Different"}]
            return pair(
                {"messages": [{"role": "user", "content": before}]},
                {"messages": [{"role": "user", "content": [changed]}]},
            )
        case "`tools`":
            tool = {"type": kind, kind: {"name": "f", "parameters": _SCHEMA}}
            return pair(hi, hi | {"tools": [tool]})
        case "`tool_choice`":
            custom = {"type": "custom", "custom": {"name": "g"}}
            tools = hi | {"tools": [_NESTED, custom]}
            choice: Body = {"type": kind, kind: {"name": {"custom": "g"}.get(kind, "f")}}
            if kind == "allowed_tools":
                choice[kind] = {"mode": "required", "tools": [custom]}
            return pair(tools, tools | {"tool_choice": choice})
        case "`response_format`":
            form = {"type": kind, "json_schema": {"name": "n", "schema": _SCHEMA}}
            plain = {"response_format": form | {"type": "json_object"}} if kind == "text" else {}
            return pair(hi | plain, hi | {"response_format": form})
    raise KeyError(about)


# Messages -----------------------------------------------------------------------------------------

_USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
_RESULT = {"type": "tool_result", "tool_use_id": "c", "content": "1"}
_BLOCKS: dict[str, Body] = {
    "text": {"type": "text", "text": "Hi"},
    "document": {
        "type": "document", "title": "T", "source": {"type": "text", "data": "D", "media_type": "text/plain"},
    },
    "search_result": {
        "type": "search_result", "source": "s", "title": "", "content": [{"type": "text", "text": "x"}],
    },
    "thinking": {"type": "thinking", "thinking": "Hm.", "signature": ""},
    "tool_use": _USE,
    "tool_result": _RESULT,
}  # fmt: skip
_BLOCK_VALUES: Body = {
    "cache_control": {"type": "ephemeral"},
    "caller": {"type": "direct"},
    "citations": {"enabled": True},
    "content": [{"type": "text", "text": "Another"}],
    "context": "From here.",
    "id": "d",
    "input": {"a": 1},
    "is_error": True,
    "name": "h",
    "signature": "s",
    "source": {"type": "text", "data": "Another", "media_type": "text/plain"},
    "text": "Another",
    "thinking": "Another.",
    "title": "Another",
    "tool_use_id": "nothing",
    "toolset_name": "t",
}
_MESSAGE_TOOL_VALUES: Body = {
    "allowed_callers": ["code_execution_20260120"],
    "cache_control": {"type": "ephemeral"},
    "defer_loading": True,
    "description": "It does.",
    "eager_input_streaming": True,
    "input_examples": [{"a": 1}],
    "input_schema": {"type": "object"},
    "name": "h",
    "strict": True,
}


def _message(about: str, name: str) -> Example:
    kind, _, field = name.partition(".")

    def pair(plain: Body, given: Body) -> Example:
        return Example("/messages", _MESSAGE_BASE | plain, _MESSAGE_BASE | given)

    match about:
        case "blocks of a content":
            return pair(*_blocks(kind, field))
        case "`tools`":
            tool = _TOOL if kind == "custom" else {"type": kind, "name": "f"}
            changed = tool | ({field: _MESSAGE_TOOL_VALUES[field]} if field else {})
            return pair({"tools": [tool]} if field else {}, {"tools": [changed]})
        case "`tool_choice`":
            plain = {"tools": [_TOOL], "tool_choice": {"type": "any" if kind == "auto" else "auto"}}
            return pair(plain, plain | {"tool_choice": {"type": kind, "name": "f"}})
        case "`thinking`":
            other = {"type": "enabled" if kind == "disabled" else "disabled", "budget_tokens": 1024}
            return pair({"thinking": other}, {"thinking": {"type": kind, "budget_tokens": 1024}})
    raise KeyError(about)


def _blocks(kind: str, field: str) -> tuple[Body, Body]:
    block = _BLOCKS.get(kind, {"type": kind})
    value = _BLOCK_VALUES.get(field)
    if (kind, field) == ("text", "citations"):
        value = []
    if (kind, field) == ("search_result", "source"):
        value = "another"
    changed = block | ({field: value} if field else {})

    def messages(*blocks: Body) -> Body:
        if kind == "tool_result":
            turns = [_HI, _by("assistant", _USE), _by("user", *blocks)]
        elif kind == "tool_use":
            turns = [
                _HI,
                _by("assistant", *blocks),
                _by("user", _RESULT if blocks else _BLOCKS["text"]),
            ]
        elif kind == "thinking":
            turns = [_HI, _by("assistant", *blocks, _USE), _by("user", _RESULT)]
        else:
            turns = [_by("user", {"type": "text", "text": "Look"}, *blocks)]
        return {"messages": turns}

    return messages(block) if field else messages(), messages(changed)


def _by(role: str, *blocks: Body) -> Body:
    return {"role": role, "content": list(blocks) or "Well."}
