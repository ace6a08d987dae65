"""The items that may stand in `input`, each kind as a model of its own."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from ossia.server.api_error import ApiError
from ossia.server.body import RequestModel, validated
from ossia.server.responses.contents import OnImages, Parts, content_text

Content = str | Parts


class Item(RequestModel):
    """What all items share."""

    id: str | None = None
    status: str | None = None


class MessageItem(Item):
    """What somebody says."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class ReasoningItem(Item):
    """What the model thought, in the clear, sealed, or only by its id."""

    type: Literal["reasoning"]
    content: Parts | None = None
    summary: Parts | None = None
    encrypted_content: str | None = None


class FunctionCallItem(Item):
    """A function that the model called."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str | dict[str, Any] | None = None
    namespace: str | None = None


class CustomToolCallItem(Item):
    """A tool of free text that the model called."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str | None = None
    namespace: str | None = None


class CallOutputItem(Item):
    """What a function or a tool of free text gave back."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str | None = None
    output: Content | None = None


class CompactionItem(Item):
    """What a conversation was before it was made short, sealed."""

    type: Literal["compaction"]
    encrypted_content: str


class ItemReference(Item):
    """An item that was stored before."""

    type: Literal["item_reference"] | None = None
    id: str  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]


class ForeignItem(RequestModel):
    """What a tool of the hosted API left in a history.

    It is left out, and that is noted: the answer that was made with it stands in the history too.
    Searches are read all the same where this server made them and knows what they have found.
    """

    type: Literal[
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
    ]


InputItem = (
    MessageItem
    | ReasoningItem
    | FunctionCallItem
    | CustomToolCallItem
    | CallOutputItem
    | CompactionItem
    | ItemReference
    | ForeignItem
)
"""Any of them; `kind_of` tells which is meant."""


ITEM_MODELS: Final[dict[str, type[Item]]] = {
    "message": MessageItem,
    "reasoning": ReasoningItem,
    "function_call": FunctionCallItem,
    "function_call_output": CallOutputItem,
    "custom_tool_call": CustomToolCallItem,
    "custom_tool_call_output": CallOutputItem,
    "compaction": CompactionItem,
    "item_reference": ItemReference,
}

FOREIGN_ITEMS: Final = frozenset(get_args(ForeignItem.model_fields["type"].annotation))


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


def check_item(raw: dict[str, Any], path: str, on_images: OnImages) -> None:
    """Refuse what could not be read later, when it stands in a history.

    Raises:
        ApiError: as `kind_of`, `read_item` and `content_text`.
    """
    kind = kind_of(raw, path)
    if kind in FOREIGN_ITEMS:
        return
    match read_item(raw, kind, path):
        case MessageItem(content=content):
            content_text(content, f"{path}.content", on_images)
        case ReasoningItem(content=content, summary=summary):
            content_text(content, f"{path}.content", on_images)
            content_text(summary, f"{path}.summary", on_images)
        case CallOutputItem(output=output):
            content_text(output, f"{path}.output", on_images)
        case _:
            pass
