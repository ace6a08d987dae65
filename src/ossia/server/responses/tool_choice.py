"""tool_choice in all its forms: which tools are on offer, and whether one must be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ossia.server.api_error import ApiError
from ossia.server.responses.tools import REFUSED_TOOLS, ToolTable, recipient_of
from ossia.server.responses.web_search import SEARCH, WEB_SEARCH_KINDS

_PATH: Final = "tool_choice"
_WORDS: Final = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What the model may and must call.

    Args:
        table: The tools that are on offer.
        choice: As `Question.tool_choice` has it: a word, or a recipient.
        echo: As the response object shows it.
    """

    table: ToolTable
    choice: str
    echo: str | dict[str, Any]


def read_tool_choice(given: str | dict[str, Any] | None, table: ToolTable) -> ToolChoice:
    """What a request says of the tools that are to be called.

    Raises:
        ApiError: it is of no known form, or names a tool that is not on offer.
    """
    if given is None:
        return ToolChoice(table, "auto", "auto")
    if isinstance(given, str):
        return _word(given, table)
    kind = given.get("type")
    if kind in ("function", "custom"):
        recipient = _named(given, table, _PATH)
        return ToolChoice(table, recipient, {"type": kind, "name": _name(given, _PATH)})
    if kind == "allowed_tools":
        return _allowed(given, table)
    if _is_web_search(given):
        if table.web_search is None:
            raise _refusal(
                "no web search is on offer; it must be in 'tools', and the server be started with "
                "--web-search",
                f"{_PATH}.type",
            )
        # Responses know only the older names in this place.
        echo = kind if str(kind).startswith("web_search_preview") else "web_search_preview"
        return ToolChoice(table, SEARCH, {"type": echo})
    if isinstance(kind, str) and kind in REFUSED_TOOLS:
        raise _refusal(f"this server runs no {kind!r} tool", f"{_PATH}.type")
    raise _refusal(
        f"{str(kind)[:64]!r} is none of 'function', 'custom', 'allowed_tools' and 'web_search'",
        f"{_PATH}.type",
    )


def _word(word: str, table: ToolTable) -> ToolChoice:
    if word not in _WORDS:
        raise _refusal(f"{word[:64]!r} is none of {', '.join(_WORDS)}, and no object", _PATH)
    if word == "required" and table.is_empty:
        raise _refusal("a call is required, but 'tools' offers nothing to call", _PATH)
    return ToolChoice(table, word, word)


def _allowed(given: dict[str, Any], table: ToolTable) -> ToolChoice:
    """A subset: the others are not offered at all, so that they cannot be called."""
    # Chat Completions nests them.
    inner = given.get("allowed_tools")
    body = inner if isinstance(inner, dict) else given
    where = f"{_PATH}.allowed_tools" if body is inner else _PATH
    mode, listed = body.get("mode"), body.get("tools")
    if mode not in ("auto", "required"):
        raise _refusal(f"{str(mode)[:64]!r} is neither 'auto' nor 'required'", f"{where}.mode")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise _refusal("it must be a list of objects", f"{where}.tools")
    recipients: set[str] = set()
    for position, one in enumerate(listed):
        path = f"{where}.tools[{position}]"
        if not _is_web_search(one):
            recipients |= _meant(one, table, path)
        elif table.web_search is not None:
            recipients.add(SEARCH)
    if mode == "required" and not recipients:
        raise _refusal("a call is required, but no tool is allowed", f"{where}.tools")
    echo = {"type": "allowed_tools", "mode": mode, "tools": listed}
    return ToolChoice(table.only(recipients), mode, echo)


def _is_web_search(one: dict[str, Any]) -> bool:
    kind = one.get("type")
    return isinstance(kind, str) and kind in WEB_SEARCH_KINDS


def _meant(one: dict[str, Any], table: ToolTable, path: str) -> set[str]:
    if one.get("type") != "namespace":
        return {_named(one, table, path)}
    name = _name(one, path)
    members = {tool.recipient for tool in table.tools if tool.namespace == name}
    if not members:
        raise _refusal(f"no namespace named {name!r} is on offer", f"{path}.name")
    return members


def _named(one: dict[str, Any], table: ToolTable, path: str) -> str:
    name, namespace = _name(one, path), one.get("namespace")
    if isinstance(namespace, str):
        wanted = [recipient_of(name, namespace)]
        found = [tool.recipient for tool in table.tools if tool.recipient in wanted]
    else:
        found = [tool.recipient for tool in table.tools if tool.name == name]
    if not found:
        raise _refusal(
            f"no tool named {name[:128]!r} is on offer in 'tools'", f"{_body(one, path)[1]}.name"
        )
    return found[0]


def _name(one: dict[str, Any], path: str) -> str:
    body, where = _body(one, path)
    name = body.get("name")
    if not isinstance(name, str):
        raise _refusal("it must be a string", f"{where}.name")
    return name


def _body(one: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """What names a tool, and where it stands: Chat Completions nests it."""
    kind = str(one.get("type"))
    inner = one.get(kind)
    return (inner, f"{path}.{kind}") if isinstance(inner, dict) else (one, path)


def _refusal(why: str, path: str) -> ApiError:
    return ApiError(f"Invalid value for '{path}': {why}.", param=path, code="invalid_value")
