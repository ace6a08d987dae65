"""The blocks of messages, each kind as a model of its own; `transcript` reads them."""

from __future__ import annotations

from typing import Any, Literal

from ossia.server.body import RequestModel


class TextBlock(RequestModel):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ThinkingBlock(RequestModel):
    """What the model thought."""

    type: Literal["thinking"]
    thinking: str


class ToolUseBlock(RequestModel):
    """A tool that the model called."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any] | None = None


class ImageBlock(RequestModel):
    """An image: refused, or a note in its place, as the server is set up."""

    type: Literal["image"]


class TextSource(RequestModel):
    """The text of a document."""

    type: Literal["text"]
    data: str


class BlocksSource(RequestModel):
    """The text of a document, in blocks."""

    type: Literal["content"]
    content: str | list[TextBlock] | None = None


class DocumentBlock(RequestModel):
    """A document."""

    type: Literal["document"]
    source: TextSource | BlocksSource
    title: str | None = None


class SearchResultBlock(RequestModel):
    """What a search found."""

    type: Literal["search_result"]
    source: str | None = None
    title: str | None = None
    content: str | list[TextBlock] | None = None


class ToolResultBlock(RequestModel):
    """What a tool gave back."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None


class ForeignBlock(RequestModel):
    """What a tool that Anthropic runs left behind; it is left out.

    The answer that was made with it stands in the history too.
    """

    type: Literal[
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "redacted_thinking",
        "server_tool_use",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "web_fetch_tool_result",
        "web_search_tool_result",
    ]


Block = (
    TextBlock
    | ThinkingBlock
    | ToolUseBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ToolResultBlock
    | ForeignBlock
)
