"""The items that may stand in `input`, each kind as a model of its own."""

from __future__ import annotations

from typing import Any, Final, Literal

from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel, validated

Content = str | list[dict[str, Any]]


class Item(RequestModel):
    """What all items share."""

    id: str | None = None
    status: str | None = None


class MessageItem(Item):
    """What somebody says."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class ReasoningItem(Item):
    """What the model thought, in the clear, sealed, or only by its id."""

    content: list[dict[str, Any]] | None = None
    summary: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


class FunctionCallItem(Item):
    """A function that the model called."""

    call_id: str
    name: str
    arguments: str | dict[str, Any] | None = None
    namespace: str | None = None


class CustomToolCallItem(Item):
    """A tool of free text that the model called."""

    call_id: str
    name: str
    input: str | None = None
    namespace: str | None = None


class CallOutputItem(Item):
    """What a function or a tool of free text gave back."""

    call_id: str | None = None
    output: Content | None = None


class ItemReference(Item):
    """An item that was stored before."""


ITEM_MODELS: Final[dict[str, type[Item]]] = {
    "message": MessageItem,
    "reasoning": ReasoningItem,
    "function_call": FunctionCallItem,
    "function_call_output": CallOutputItem,
    "custom_tool_call": CustomToolCallItem,
    "custom_tool_call_output": CallOutputItem,
    "item_reference": ItemReference,
}

FOREIGN_ITEMS: Final = frozenset(
    {
        "code_interpreter_call",
        "computer_call",
        "computer_call_output",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""What tools of the hosted API leave in a history. They are left out, and that is noted: the
answer that was made with them stands in the history too."""


def as_object(raw: object, path: str) -> dict[str, Any]:
    """What stands in a list of items.

    Raises:
        ApiError: it is no object.
    """
    if not isinstance(raw, dict):
        raise ApiError(f"Invalid value for '{path}': an item must be an object.", param=path)
    return raw


def kind_of(raw: dict[str, Any], path: str) -> str:
    """The kind of an item; those without `type` are messages, or references if they have only an id.

    Raises:
        ApiError: it is of a kind that is not taken.
    """
    kind = raw.get("type")
    if kind is None:
        kind = "item_reference" if "role" not in raw and "id" in raw else "message"
    if not isinstance(kind, str) or (kind not in ITEM_MODELS and kind not in FOREIGN_ITEMS):
        known = ", ".join(sorted(ITEM_MODELS))
        raise ApiError(
            f"Invalid value for '{path}.type': {str(kind)[:64]!r} items are not taken; use {known}.",
            param=f"{path}.type",
            code="invalid_value",
        )
    return kind


def read_item(raw: dict[str, Any], kind: str, path: str) -> Item:
    """An item as a model.

    Raises:
        ApiError: a field is missing or of the wrong kind.
    """
    return validated(raw, ITEM_MODELS[kind], path)
