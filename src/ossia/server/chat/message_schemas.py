"""The messages of a chat, as clients send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ossia.server.body import RequestModel
from ossia.server.openapi.described import DescribedAs


class ContentPart(RequestModel):
    """A piece of a message; which members it has depends on its type.

    `prompt_cache_breakpoint` is a hint that the prefix cache does not need.
    """

    type: str
    prompt_cache_breakpoint: dict[str, Any] | None = None
    text: str | None = None
    refusal: str | None = None


class TextPart(RequestModel):
    """A piece of text."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class RefusalPart(RequestModel):
    """Words with which a model refused."""

    type: Literal["refusal"]
    refusal: str | None = None


class ImagePart(RequestModel):
    """An image: refused, or a note in its place, as the server is set up."""

    type: Literal["image_url", "input_image"]


_Part = TextPart | RefusalPart | ImagePart
Content = str | Annotated[list[ContentPart], DescribedAs(list[_Part])] | None


class FunctionCall(RequestModel):
    """A call of a function, as the model wrote it."""

    name: str
    arguments: str | dict[str, Any] | None = None


class CustomCall(RequestModel):
    """A call of a tool that takes free text."""

    name: str
    input: str = ""


class ToolCallParam(RequestModel):
    """A call in an assistant's message; of either type."""

    id: str | None = None
    type: Literal["function", "custom"] | None = None
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class InstructionMessage(RequestModel):
    """What the developer says; a system message of the API is the developer's in harmony.

    Harmony has no names of developers, so `name` is taken without effect.
    """

    role: Literal["system", "developer"]
    content: Content = None
    name: str | None = None


class UserMessage(RequestModel):
    """What the user says."""

    role: Literal["user"]
    content: Content = None
    name: str | None = None


class AssistantMessage(RequestModel):
    """What the model has said; `reasoning` has several names among clients.

    The model has no name in harmony, so `name` is taken without effect.
    """

    role: Literal["assistant"]
    content: Content = None
    name: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCallParam] | None = None
    function_call: FunctionCall | None = None
    audio: dict[str, Any] | None = None


class ToolMessage(RequestModel):
    """What a tool gave back."""

    role: Literal["tool"]
    content: Content = None
    tool_call_id: str | None = None
    name: str | None = None


class FunctionMessage(RequestModel):
    """What a function gave back, as it was written before there were tools."""

    role: Literal["function"]
    content: Content = None
    name: str


ChatMessageParam = Annotated[
    InstructionMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]
