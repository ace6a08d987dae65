"""The sections of docs/server_fields.md: what SDKs can send, as names that its tables must hold."""

from __future__ import annotations

from collections.abc import Callable

from anthropic.types import message_create_params as message
from openai.types import completion_create_params as completion
from openai.types.chat import completion_create_params as chat
from openai.types.chat.chat_completion_content_part_param import ChatCompletionContentPartParam
from openai.types.conversations import conversation_create_params, item_create_params
from openai.types.responses import (
    input_token_count_params,
    response_compact_params,
    response_create_params,
)
from openai.types.responses.response_format_text_config_param import ResponseFormatTextConfigParam
from openai.types.responses.response_input_content_param import ResponseInputContentParam
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam

from support.sdk_fields import fields, kinds

_RESPONSE = response_create_params.ResponseCreateParamsNonStreaming
_CHAT = chat.CompletionCreateParamsNonStreaming
_COMPLETION = completion.CompletionCreateParamsNonStreaming
_MESSAGE = message.MessageCreateParamsNonStreaming


def _with_fields(found: dict[str, set[str]], *taken: str) -> set[str]:
    """Kinds, and for those that are taken their fields, too."""
    return {*found} | {
        f"{kind}.{name}" for kind in taken for name in found[kind] if name not in ("type", "role")
    }


SECTIONS: dict[str, Callable[[], set[str]]] = {
    "POST /v1/responses": lambda: {*fields(_RESPONSE)},
    "Responses: items of `input`": lambda: _with_fields(
        kinds(ResponseInputItemParam),
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "item_reference",
        "compaction",
    ),
    "Responses: parts of a content": lambda: _with_fields(
        kinds(ResponseInputContentParam), "input_text"
    ),
    "Responses: `tools`": lambda: _with_fields(kinds(ToolParam), "function", "custom", "namespace"),
    "Responses: `tool_choice`": lambda: {*kinds(fields(_RESPONSE)["tool_choice"])},
    "Responses: `text.format`": lambda: _with_fields(
        kinds(ResponseFormatTextConfigParam), "json_schema"
    ),
    "POST /v1/responses/input_tokens": lambda: {
        *fields(input_token_count_params.InputTokenCountParams)
    },
    "POST /v1/responses/compact": lambda: {*fields(response_compact_params.ResponseCompactParams)},
    "POST /v1/conversations": lambda: {
        *fields(conversation_create_params.ConversationCreateParams)
    },
    "POST /v1/conversations/{id}/items": lambda: {*fields(item_create_params.ItemCreateParams)},
    "POST /v1/chat/completions": lambda: {*fields(_CHAT)},
    "Chat: `messages`": lambda: _with_fields(
        found := kinds(fields(_CHAT)["messages"], "role"), *found
    ),
    "Chat: parts of a content": lambda: _with_fields(kinds(ChatCompletionContentPartParam), "text"),
    "Chat: `tools`": lambda: {*kinds(fields(_CHAT)["tools"])},
    "Chat: `tool_choice`": lambda: {*kinds(fields(_CHAT)["tool_choice"])},
    "Chat: `response_format`": lambda: {*kinds(fields(_CHAT)["response_format"])},
    "POST /v1/completions": lambda: {*fields(_COMPLETION)},
    "POST /v1/messages": lambda: {*fields(_MESSAGE)},
    "Messages: blocks of a content": lambda: _with_fields(
        kinds(message_blocks()),
        "text",
        "document",
        "search_result",
        "thinking",
        "tool_use",
        "tool_result",
    ),
    "Messages: `tools`": lambda: _with_fields(kinds(fields(_MESSAGE)["tools"]), "custom"),
    "Messages: `tool_choice`": lambda: {*kinds(fields(_MESSAGE)["tool_choice"])},
    "Messages: `thinking`": lambda: {*kinds(fields(_MESSAGE)["thinking"])},
}
"""By the headings of the document."""


def message_blocks() -> object:
    """What a content of the Messages API may hold."""
    from anthropic.types.content_block_param import ContentBlockParam

    return ContentBlockParam
