"""The `# Tools` section of a system or developer message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ossia.errors import HarmonyError
from ossia.harmony.differences import NONE, Difference
from ossia.harmony.tools import ToolDescription, ToolNamespaceConfig
from ossia.harmony.typescript import TypeWriter

_NAME: Final = re.compile(r"[\w.:/@$+-]+")


def tools_section(
    tools: Mapping[str, ToolNamespaceConfig], as_library: frozenset[Difference] = NONE
) -> str:
    """All tools, grouped, in alphabetical order of the groups' keys.

    Args:
        tools: Groups by name.
        as_library: Differences that are switched back to the library's behaviour.

    Raises:
        HarmonyError: a name could be mistaken for something else, or a schema is too deep.
    """
    groups = [_group(tools[name], as_library) for name in sorted(tools)]
    return "\n\n".join(["# Tools", *groups])


def tool_type(tool: ToolDescription, as_library: frozenset[Difference] = NONE) -> str:
    """One tool's description and type, ending in a line break.

    Raises:
        HarmonyError: the name could be mistaken for something else, or the schema is too deep.
    """
    _check_name(tool.name, as_library)
    writer = TypeWriter(tool.parameters, as_library)
    comments = "".join(f"// {line}\n" for line in _lines(tool.description, as_library))
    if tool.parameters is None:
        return f"{comments}type {tool.name} = () => any;\n"
    return f"{comments}type {tool.name} = (_: {writer.write(tool.parameters)}) => any;\n"


def _group(group: ToolNamespaceConfig, as_library: frozenset[Difference]) -> str:
    _check_name(group.name, as_library)
    lines = [f"## {group.name}\n"]
    prefix = "// " if group.tools else ""
    lines += [f"{prefix}{line}" for line in _lines(group.description or "", as_library)]
    if group.tools:
        lines.append(f"namespace {group.name} {{\n")
        lines += [tool_type(tool, as_library) for tool in group.tools]
        lines.append(f"}} // namespace {group.name}")
    return "\n".join(lines)


def _check_name(name: str, as_library: frozenset[Difference]) -> None:
    if Difference.NAMES not in as_library and not _NAME.fullmatch(name):
        raise HarmonyError(
            f"the tool name {name!r} may hold only letters, digits and any of _ . : / @ $ + -"
        )


def _lines(text: str, as_library: frozenset[Difference]) -> list[str]:
    if Difference.LINE_BREAKS not in as_library:
        return text.splitlines()
    *ended, rest = text.split("\n")
    lines = [line.removesuffix("\r") for line in ended]
    return [*lines, rest] if rest else lines
