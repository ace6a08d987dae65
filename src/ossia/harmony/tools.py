"""Tools as a conversation offers them: ToolDescription, and ToolNamespaceConfig, a group of them.

The names are those of the `openai_harmony` package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ossia.errors import HarmonyDataError
from ossia.harmony.builtin_tools import BROWSER, PYTHON
from ossia.harmony.json_value import optional_text


@dataclass(slots=True)
class ToolDescription:
    """One function the model may call.

    Args:
        name: What the model calls it.
        description: What it does, in prose.
        parameters: A JSON schema of its one argument, an object; None when it takes none.
    """

    name: str
    description: str
    parameters: dict[str, Any] | None = None

    @classmethod
    def new(
        cls, name: str, description: str, parameters: dict[str, Any] | None = None
    ) -> ToolDescription:
        """The same as the constructor."""
        return cls(name, description, parameters)

    @classmethod
    def from_openai(cls, tool: Mapping[str, Any]) -> ToolDescription:
        """Read a tool as the OpenAI APIs take it.

        Args:
            tool: `{"type": "function", "function": {"name": ...}}` (Chat Completions) or
                `{"type": "function", "name": ...}` (Responses); `type` may be missing. A
                function whose `parameters` are `{}` takes none.

        Raises:
            HarmonyDataError: it is not a function, or a field is missing or of the wrong type.
        """
        if tool.get("type", "function") != "function":
            raise HarmonyDataError(f"a tool of type {tool['type']!r} is no function")
        function = tool.get("function", tool)
        if not isinstance(function, Mapping):
            raise HarmonyDataError("the 'function' of a tool must be an object")
        described = cls.from_dict(function)  # pyright: ignore[reportUnknownArgumentType]
        described.parameters = described.parameters or None
        return described

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ToolDescription:
        """Read `{"name", "description", "parameters"}`; the last two may be missing.

        Raises:
            HarmonyDataError: a field is missing or of the wrong type.
        """
        name, description = raw.get("name"), raw.get("description")
        if not isinstance(name, str) or not name:
            raise HarmonyDataError("a tool needs a 'name', a string that is not empty")
        if not isinstance(description, str | None):
            raise HarmonyDataError(f"the description of tool {name!r} must be a string")
        parameters: object = raw.get("parameters")
        if not isinstance(parameters, dict | None):
            raise HarmonyDataError(f"the parameters of tool {name!r} must be a JSON schema object")
        return cls(name, description or "", cast("dict[str, Any] | None", parameters))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what is not set."""
        raw: dict[str, Any] = {"name": self.name, "description": self.description}
        if self.parameters is not None:
            raw["parameters"] = self.parameters
        return raw


def _no_tools() -> list[ToolDescription]:
    return []


@dataclass(slots=True)
class ToolNamespaceConfig:
    """A group of tools that share the first half of their name, as in `browser.search`."""

    name: str
    description: str | None = None
    tools: list[ToolDescription] = field(default_factory=_no_tools)

    @classmethod
    def functions(cls, tools: Sequence[ToolDescription]) -> ToolNamespaceConfig:
        """The group in which a developer's own functions stand."""
        return cls("functions", None, list(tools))

    @classmethod
    def browser(cls) -> ToolNamespaceConfig:
        """The browser the model was trained with: search, open, find."""
        return cls.from_dict(BROWSER)

    @classmethod
    def python(cls) -> ToolNamespaceConfig:
        """The Python interpreter the model was trained with; it takes bare code."""
        return cls.from_dict(PYTHON)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ToolNamespaceConfig:
        """Read the JSON form.

        Raises:
            HarmonyDataError: the name is missing, or a tool is malformed.
        """
        name = raw.get("name")
        if not isinstance(name, str) or not name:
            raise HarmonyDataError("a tool namespace needs a 'name', a string that is not empty")
        listed: object = raw.get("tools", [])
        tools = cast("Sequence[object]", listed) if isinstance(listed, list | tuple) else [None]
        if not all(isinstance(tool, Mapping) for tool in tools):
            raise HarmonyDataError(f"the tools of namespace {name!r} must be a list of objects")
        described = map(ToolDescription.from_dict, cast("Sequence[Mapping[str, Any]]", tools))
        return cls(name, optional_text(raw, "description", f"namespace {name!r}"), list(described))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without what is not set."""
        raw: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            raw["description"] = self.description
        return raw | {"tools": [tool.to_dict() for tool in self.tools]}
