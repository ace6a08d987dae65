"""ToolTable: the tools of a request as the model is told of them, and as calls are given back."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ossia.api.tools import Tool, function_name
from ossia.harmony import ToolDescription, ToolNamespaceConfig
from ossia.server.api_error import ApiError
from ossia.server.body import validated
from ossia.server.responses.tool_schemas import (
    CallerFields,
    CustomTool,
    FreeFormat,
    FunctionTool,
    GrammarFormat,
    NamespaceTool,
    NestedFormat,
    WebSearchTool,
)
from ossia.server.responses.web_search import (
    BROWSER_CALLS,
    SEARCH,
    WEB_SEARCH_KINDS,
    WebSearch,
    read_web_search,
)
from ossia.structured import Grammar
from ossia.tools.browser.web import Web

JsonObject = dict[str, Any]

FUNCTIONS: Final = "functions"
_NAME: Final = re.compile(r"[A-Za-z0-9_.:/@$+-]{1,128}")
_MAX_TOOLS: Final = 1024
_FREE_TEXT: Final = "Takes free text, written as it is, without quotes or JSON around it."

REFUSED_TOOLS: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
    }
)
"""Tools that the hosted API runs, and this server does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableTool:
    """A tool that the model may call and the client runs.

    Args:
        name: As the client knows it.
        namespace: The group that the client has put it in.
        is_custom: Whether it takes text instead of JSON.
        description: What the model is told.
        grammar: What the arguments must look like.
    """

    name: str
    namespace: str | None = None
    is_custom: bool = False
    description: ToolDescription
    grammar: Grammar | None = None

    @property
    def recipient(self) -> str:
        """How the model addresses it."""
        return recipient_of(self.name, self.namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTable:
    """The tools of a request.

    Args:
        tools: In the order given, those of namespaces too.
        echo: As the response object shows them.
        ignored: What was left out, and where it stood.
        about: Descriptions of namespaces.
        web_search: The search that is offered; None if there is none.
    """

    tools: tuple[CallableTool, ...] = ()
    echo: list[JsonObject] = field(default_factory=list[JsonObject])
    ignored: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict[str, str])
    web_search: WebSearch | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to call."""
        return not self.tools and self.web_search is None

    @property
    def groups(self) -> dict[str, ToolNamespaceConfig]:
        """As the developer message offers them."""
        groups: dict[str, ToolNamespaceConfig] = {}
        for tool in self.tools:
            name = tool.namespace or FUNCTIONS
            group = groups.setdefault(name, ToolNamespaceConfig(name, self.about.get(name)))
            group.tools.append(tool.description)
        return groups

    @property
    def grammars(self) -> dict[str, Grammar]:
        """What arguments must look like, by recipient."""
        own = {tool.recipient: tool.grammar for tool in self.tools if tool.grammar is not None}
        return own if self.web_search is None else {**own, **self.web_search.grammars}

    @property
    def by_event_name(self) -> dict[str, CallableTool]:
        """The tools by the names that the events of an answer give them."""
        return {function_name(tool.recipient): tool for tool in self.tools}

    @property
    def handed_on(self) -> list[Tool]:
        """The tools that the client runs."""
        return [Tool(one.description, None, one.namespace or FUNCTIONS) for one in self.tools]

    def only(self, recipients: Collection[str]) -> ToolTable:
        """The same with fewer tools on offer."""
        kept = tuple(tool for tool in self.tools if tool.recipient in recipients)
        search = self.web_search if SEARCH in recipients else None
        return replace(self, tools=kept, web_search=search)


def recipient_of(name: str, namespace: str | None) -> str:
    """How the model addresses a tool."""
    return f"{namespace or FUNCTIONS}.{name}"


def read_tools(
    raw: Sequence[JsonObject], web: Web | None = None, *, member: str = "tools"
) -> ToolTable:
    """The tools of a request.

    Args:
        raw: As the client sent them.
        web: What a web search searches; None leaves it out, since clients send it in any case.
        member: Of the request, that holds them.

    Raises:
        ApiError: one is malformed, of a kind that is not offered, or named as another.
    """
    table = _Reading(web)
    for position, tool in enumerate(raw):
        table.read(tool, f"{member}[{position}]")
    if table.web_search is not None and (taken := BROWSER_CALLS & table.tools.keys()):
        raise ApiError(
            f"Invalid value for 'tools': {min(taken)!r} is what web search goes by; give yours "
            "another name.",
            param="tools",
        )
    return ToolTable(
        tools=tuple(table.tools.values()),
        echo=table.echo,
        ignored=tuple(table.ignored),
        about=table.about,
        web_search=table.web_search,
    )


@dataclass(slots=True)
class _Reading:
    """The table in the making; `tools` goes by the names that events give them."""

    web: Web | None
    web_search: WebSearch | None = None
    tools: dict[str, CallableTool] = field(default_factory=dict[str, CallableTool])
    echo: list[JsonObject] = field(default_factory=list[JsonObject])
    ignored: list[str] = field(default_factory=list[str])
    about: dict[str, str] = field(default_factory=dict[str, str])

    def read(self, raw: JsonObject, path: str) -> None:
        kind = raw.get("type")
        if kind == "namespace":
            self.echo.append(self._namespace(raw, path))
        elif kind in ("function", "custom"):
            self.echo.append(self._tool(raw, path, None))
        elif isinstance(kind, str) and kind in WEB_SEARCH_KINDS:
            self._web_search(raw, path)
        else:
            raise _refused(kind, path)

    def _web_search(self, raw: JsonObject, path: str) -> None:
        if self.web is None:
            validated(raw, WebSearchTool, path)
            self.ignored.append(f"{path} ({raw['type']}: start the server with --web-search)")
            return
        if self.web_search is not None:
            raise _twice("web search", f"{path}.type")
        self.web_search, echo = read_web_search(raw, path, self.web)
        self.ignored += self.web_search.notes(path)
        self.echo.append(echo)

    def _namespace(self, raw: JsonObject, path: str) -> JsonObject:
        group = validated(raw, NamespaceTool, path)
        _check_name(group.name, f"{path}.name")
        if group.description:
            self.about[group.name] = group.description
        inner: list[JsonObject] = []
        for position, tool in enumerate(group.tools):
            where = f"{path}.tools[{position}]"
            if tool.get("type") not in ("function", "custom"):
                raise _refused(tool.get("type"), where)
            inner.append(self._tool(tool, where, group.name))
        return {**raw, "description": group.description or "", "tools": inner}

    def _tool(self, raw: JsonObject, path: str, namespace: str | None) -> JsonObject:
        kind = raw["type"]
        if isinstance(inner := raw.get(kind), dict):  # the form of Chat Completions is taken too
            raw, path = {**inner, "type": kind}, f"{path}.{kind}"
        if kind == "custom":
            tool, echo = _custom(raw, path, namespace), raw
        else:
            tool = _function(raw, path, namespace)
            echo = {"description": None, "parameters": None, "strict": None, **raw}
        if len(self.tools) == _MAX_TOOLS:
            raise ApiError(f"Invalid value for 'tools': more than {_MAX_TOOLS}.", param="tools")
        name = function_name(tool.recipient)
        if name in self.tools:
            raise _twice(repr(name), f"{path}.name")
        self.tools[name] = tool
        return echo


def _function(raw: JsonObject, path: str, namespace: str | None) -> CallableTool:
    tool = validated(raw, FunctionTool, path)
    _check_name(tool.name, f"{path}.name")
    _check_callers(tool, path)
    schema = tool.parameters or None
    where = f"{path}.parameters"
    if schema is None:
        grammar = Grammar.json_object(field=where)
    else:
        grammar = Grammar.json_schema(schema, strict=bool(tool.strict), field=where)
    description = ToolDescription(tool.name, tool.description or "", schema)
    return CallableTool(
        name=tool.name, namespace=namespace, description=description, grammar=grammar
    )


def _custom(raw: JsonObject, path: str, namespace: str | None) -> CallableTool:
    where = f"{path}.format"
    given = raw.get("format")
    if isinstance(given, dict) and isinstance(
        given.get("grammar"), dict
    ):  # so Chat Completions has it
        inner = validated(given, NestedFormat, where).grammar
        raw = {**raw, "format": {"type": "grammar", **inner.model_dump()}}
        where += ".grammar"
    tool = validated(raw, CustomTool, path)
    _check_name(tool.name, f"{path}.name")
    _check_callers(tool, path)
    grammar = _grammar(tool.format, where)
    lines = [tool.description or "", _FREE_TEXT]
    if grammar is not None:
        lines += [f"The text must follow this {grammar.kind.value} grammar:", grammar.source]
    told = "\n".join(line for line in lines if line)
    return CallableTool(
        name=tool.name,
        namespace=namespace,
        is_custom=True,
        description=ToolDescription(tool.name, told, {"type": "string"}),
        grammar=grammar,
    )


def _grammar(given: FreeFormat | GrammarFormat | None, path: str) -> Grammar | None:
    if not isinstance(given, GrammarFormat):
        return None
    make = Grammar.lark if given.syntax == "lark" else Grammar.regex
    return make(given.definition, field=f"{path}.definition")


def _check_name(name: str, path: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ApiError(
            f"Invalid value for '{path}': a name is 1 to 128 letters, digits or any of "
            "_ . : / @ $ + -",
            param=path,
            code="invalid_value",
        )


def _check_callers(tool: CallerFields, path: str) -> None:
    if tool.async_:
        where, why = f"{path}.async", "calls are never asynchronous here"
    elif tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
        where, why = f"{path}.allowed_callers", "no program calls tools here, only the model does"
    else:
        return
    raise ApiError(
        f"Invalid value for '{where}': {why}; leave it out.", param=where, code="unsupported"
    )


def _twice(what: str, where: str) -> ApiError:
    return ApiError(f"Invalid value for '{where}': {what} is given twice.", param=where)


def _refused(kind: object, path: str) -> ApiError:
    where = f"{path}.type"
    if isinstance(kind, str) and kind in REFUSED_TOOLS:
        return ApiError(
            f"Invalid value for '{where}': this server runs no {kind!r} tool; leave it out, or "
            "offer it as a function that your program runs.",
            param=where,
            code="unsupported_tool",
        )
    return ApiError(
        f"Invalid value for '{where}': {str(kind)[:64]!r} is none of 'function', 'custom', "
        "'namespace' and 'web_search'.",
        param=where,
        code="invalid_value",
    )
