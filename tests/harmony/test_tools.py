"""Tools in the forms of the OpenAI APIs."""

from __future__ import annotations

from typing import Any

import openai_harmony as library
import pytest

from ossia.errors import HarmonyError
from ossia.harmony import ToolDescription, ToolNamespaceConfig

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": FUNCTION},
        {"type": "function", **FUNCTION, "strict": True},
        {"function": FUNCTION},
        FUNCTION,
    ],
)
def test_both_forms_mean_the_same(tool: dict[str, Any]) -> None:
    assert ToolDescription.from_openai(tool) == ToolDescription("f", "d", SCHEMA)


def test_what_may_be_missing() -> None:
    assert ToolDescription.from_openai({"name": "f"}) == ToolDescription("f", "", None)
    assert ToolDescription.from_openai(
        {"name": "f", "description": None, "parameters": {}}
    ) == ToolDescription.new("f", "")


@pytest.mark.parametrize(
    ("tool", "complaint"),
    [
        ({"type": "web_search"}, "'web_search' is no function"),
        ({"type": "function", "function": "f"}, "must be an object"),
        ({"description": "d"}, "needs a 'name'"),
        ({"name": ""}, "needs a 'name'"),
        ({"name": 5}, "needs a 'name'"),
        ({"name": "f", "description": 5}, "description of tool 'f'"),
        ({"name": "f", "parameters": []}, "parameters of tool 'f'"),
        ({"name": "f", "parameters": "{}"}, "parameters of tool 'f'"),
    ],
)
def test_malformed_tools_are_refused(tool: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HarmonyError, match=complaint):
        ToolDescription.from_openai(tool)


@pytest.mark.parametrize("name", ["browser", "python"])
def test_builtin_tools_are_the_library_s(name: str) -> None:
    ours = getattr(ToolNamespaceConfig, name)().to_dict()
    theirs = getattr(library.ToolNamespaceConfig, name)().model_dump(exclude_none=True)
    assert ours == theirs
