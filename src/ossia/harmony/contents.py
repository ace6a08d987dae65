"""What a message can hold: text, or the settings of a system or developer message.

Names and JSON forms are those of the `openai_harmony` package. Its builders (`with_...`) change
the object and return it, and so do these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, cast

from ossia.errors import HarmonyDataError
from ossia.harmony.json_value import optional_text
from ossia.harmony.tools import ToolDescription, ToolNamespaceConfig


class ReasoningEffort(StrEnum):
    """How long the model thinks; the value is the JSON form."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"

    @classmethod
    def _missing_(cls, value: object) -> ReasoningEffort | None:
        """Accept the form of the OpenAI APIs too: "low", "medium", "high"."""
        by_word = {member.value.lower(): member for member in cls}
        return by_word.get(value) if isinstance(value, str) else None


@dataclass(slots=True)
class TextContent:
    """Plain text."""

    text: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"type": "text", "text": self.text}


@dataclass(slots=True)
class ChannelConfig:
    """Which channels the model may write to, and whether it must name one."""

    valid_channels: list[str]
    channel_required: bool

    @classmethod
    def require_channels(cls, channels: Sequence[str]) -> ChannelConfig:
        """These channels, one of which every message must name."""
        return cls(list(channels), channel_required=True)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"valid_channels": self.valid_channels, "channel_required": self.channel_required}

    @classmethod
    def from_dict(cls, raw: object) -> ChannelConfig:
        """Read the JSON form.

        Raises:
            HarmonyDataError: a field is missing, unknown or of the wrong type.
        """
        fields: Mapping[str, object] = {}
        if isinstance(raw, Mapping):
            fields = cast("Mapping[str, object]", raw)
        names, required = fields.get("valid_channels"), fields.get("channel_required")
        channels = cast("list[object]", names) if isinstance(names, list) else [None]
        texts = [each for each in channels if isinstance(each, str)]
        if len(fields) != 2 or len(texts) != len(channels) or not isinstance(required, bool):
            raise HarmonyDataError(
                "channel_config needs valid_channels, a list of texts, and channel_required"
            )
        return cls(texts, required)


class _WithTools:
    """The builder that system and developer contents share."""

    __slots__ = ()
    tools: dict[str, ToolNamespaceConfig] | None

    def with_tools(self, ns_config: ToolNamespaceConfig) -> Self:
        """Offer a group of tools, in place of one of the same name."""
        self.tools = {**(self.tools or {}), ns_config.name: ns_config}
        return self


@dataclass(slots=True)
class SystemContent(_WithTools):
    """The settings that open a conversation. A part that is None is not written."""

    model_identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    reasoning_effort: ReasoningEffort | None = ReasoningEffort.MEDIUM
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = "2024-06"
    channel_config: ChannelConfig | None = field(
        default_factory=lambda: ChannelConfig.require_channels(["analysis", "commentary", "final"])
    )
    tools: dict[str, ToolNamespaceConfig] | None = None

    @classmethod
    def new(cls) -> SystemContent:
        """The defaults."""
        return cls()

    def with_model_identity(self, model_identity: str) -> SystemContent:
        """Say who the model is."""
        self.model_identity = model_identity
        return self

    def with_reasoning_effort(self, reasoning_effort: ReasoningEffort) -> SystemContent:
        """Say how long to think."""
        self.reasoning_effort = reasoning_effort
        return self

    def with_conversation_start_date(self, conversation_start_date: str) -> SystemContent:
        """Say what day it is, as YYYY-MM-DD."""
        self.conversation_start_date = conversation_start_date
        return self

    def with_knowledge_cutoff(self, knowledge_cutoff: str) -> SystemContent:
        """Say where the model's knowledge ends, as YYYY-MM."""
        self.knowledge_cutoff = knowledge_cutoff
        return self

    def with_channel_config(self, channel_config: ChannelConfig) -> SystemContent:
        """Say which channels there are."""
        self.channel_config = channel_config
        return self

    def with_required_channels(self, channels: Sequence[str]) -> SystemContent:
        """Say which channels there are; every message must name one."""
        self.channel_config = ChannelConfig.require_channels(channels)
        return self

    def with_browser_tool(self) -> SystemContent:
        """Offer the built-in browser."""
        return self.with_tools(ToolNamespaceConfig.browser())

    def with_python_tool(self) -> SystemContent:
        """Offer the built-in Python interpreter."""
        return self.with_tools(ToolNamespaceConfig.python())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; null for a part that is not to be written although it has a default."""
        effort, channels = self.reasoning_effort, self.channel_config
        raw: dict[str, Any] = {
            "type": "system_content",
            "model_identity": self.model_identity,
            "reasoning_effort": None if effort is None else effort.value,
            "knowledge_cutoff": self.knowledge_cutoff,
            "channel_config": None if channels is None else channels.to_dict(),
        }
        if self.conversation_start_date is not None:
            raw["conversation_start_date"] = self.conversation_start_date
        return raw | _tools_to_dict(self.tools)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SystemContent:
        """Read the JSON form; what is missing takes the default, what is null is not written.

        Raises:
            HarmonyDataError: a value is malformed.
        """
        content = cls(tools=_tools_from_dict(raw))
        for name in ("model_identity", "conversation_start_date", "knowledge_cutoff"):
            if name in raw:
                setattr(content, name, optional_text(raw, name, "a system message"))
        if "reasoning_effort" in raw:
            content.reasoning_effort = _effort(raw["reasoning_effort"])
        if "channel_config" in raw:
            channels = raw["channel_config"]
            content.channel_config = None if channels is None else ChannelConfig.from_dict(channels)
        return content


@dataclass(slots=True)
class DeveloperContent(_WithTools):
    """The developer's instructions ("system prompt" elsewhere) and functions."""

    instructions: str | None = None
    tools: dict[str, ToolNamespaceConfig] | None = None

    @classmethod
    def new(cls) -> DeveloperContent:
        """Nothing yet."""
        return cls()

    def with_instructions(self, instructions: str) -> DeveloperContent:
        """Say how to behave."""
        self.instructions = instructions
        return self

    def with_function_tools(self, tools: Sequence[ToolDescription]) -> DeveloperContent:
        """Offer functions."""
        return self.with_tools(ToolNamespaceConfig.functions(tools))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what is not set."""
        raw: dict[str, Any] = {"type": "developer_content"}
        if self.instructions is not None:
            raw["instructions"] = self.instructions
        return raw | _tools_to_dict(self.tools)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DeveloperContent:
        """Read the JSON form.

        Raises:
            HarmonyDataError: a tool is malformed.
        """
        instructions = optional_text(raw, "instructions", "a developer message")
        return cls(instructions, _tools_from_dict(raw))


Content = TextContent | SystemContent | DeveloperContent


def content_from_dict(raw: Mapping[str, Any]) -> Content:
    """Read the JSON form of any content, told apart by its `type`.

    Raises:
        HarmonyDataError: the type is unknown, or a value is malformed.
    """
    match raw.get("type"):
        case "text" if isinstance(raw.get("text"), str):
            return TextContent(raw["text"])
        case "system_content":
            return SystemContent.from_dict(raw)
        case "developer_content":
            return DeveloperContent.from_dict(raw)
        case other:
            raise HarmonyDataError(
                f"content of type {other!r} is none of text, system_content, developer_content"
            )


def _tools_to_dict(tools: Mapping[str, ToolNamespaceConfig] | None) -> dict[str, Any]:
    if tools is None:
        return {}
    return {"tools": {name: group.to_dict() for name, group in tools.items()}}


def _tools_from_dict(raw: Mapping[str, Any]) -> dict[str, ToolNamespaceConfig] | None:
    tools: object = raw.get("tools")
    if tools is None:
        return None
    groups: Mapping[str, object] = {"": None}
    if isinstance(tools, Mapping):
        groups = cast("Mapping[str, object]", tools)
    if not all(isinstance(group, Mapping) for group in groups.values()):
        raise HarmonyDataError("tools must map names to tool namespaces, which are objects")
    return {
        name: ToolNamespaceConfig.from_dict(group)
        for name, group in cast("Mapping[str, Mapping[str, Any]]", groups).items()
    }


def _effort(value: object) -> ReasoningEffort | None:
    if value is None:
        return None
    try:
        return ReasoningEffort(value)
    except ValueError:
        raise HarmonyDataError(f"reasoning effort {value!r} is none of low, medium, high") from None
