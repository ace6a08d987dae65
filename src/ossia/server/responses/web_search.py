"""Web search in a request: how it is asked for, and the tools that the model gets for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from ossia.api.tools import Tool, ToolOutput
from ossia.harmony import ToolDescription, ToolNamespaceConfig
from ossia.server.body import validated
from ossia.server.responses.tool_schemas import WebSearchKind, WebSearchTool
from ossia.structured import Grammar
from ossia.tokenizer import Tokenizer
from ossia.tools.browser.browser import Browser, BrowserOptions
from ossia.tools.browser.page import Page
from ossia.tools.browser.web import Web

JsonObject = dict[str, Any]

WEB_SEARCH_KINDS: Final = frozenset(get_args(WebSearchKind))
"""Types of the tool; they differ in their options only."""

BROWSER: Final = "browser"
SEARCH: Final = f"{BROWSER}.search"
OPEN: Final = f"{BROWSER}.open"
FIND: Final = f"{BROWSER}.find"
BROWSER_CALLS: Final = frozenset({SEARCH, OPEN, FIND})

SOURCES: Final = "web_search_call.action.sources"
"""The value of `include` that asks for what a search has found."""

_TOKENS: Final = {"low": 512, "medium": 1024, "high": 2048}
"""Tokens of a page that are shown at once; the model was trained with 1024."""


@dataclass(frozen=True, slots=True)
class WebSearch:
    """A web search that a request offers.

    Args:
        tool: As the request has it.
        web: What is searched.
    """

    tool: WebSearchTool
    web: Web

    @property
    def grammars(self) -> dict[str, Grammar]:
        """What arguments must look like, by recipient."""
        return {
            f"{BROWSER}.{each.name}": Grammar.json_schema(
                {**(each.parameters or {}), "additionalProperties": False}, field="tools"
            )
            for each in _descriptions()
        }

    def browser(
        self, tokenizer: Tokenizer, *, deadline: float, shown: Sequence[Page] = ()
    ) -> Browser:
        """The browser for one answer.

        Args:
            tokenizer: Tells how much of a page is shown.
            deadline: `time.monotonic()` value after which nothing is waited for.
            shown: Pages of the conversation so far.
        """
        given = self.tool
        location, filters = given.user_location, given.filters
        options = BrowserOptions(
            num_tokens=_TOKENS[given.search_context_size or "medium"],
            domains=tuple(one.lower() for one in (filters and filters.allowed_domains) or ()),
            country=location.country.upper() if location and location.country else None,
            fetches=given.external_web_access is not False,
            deadline=deadline,
        )
        return Browser(self.web, lambda text: len(tokenizer.encode(text)), options, list(shown))

    def notes(self, path: str) -> list[str]:
        """What of the tool cannot be met."""
        given, location = self.tool, self.tool.user_location
        notes: list[str] = []
        if location is not None:
            names = ["city", "region", "timezone"]
            names += [] if self.web.takes_country else ["country"]
            notes += [
                f"{path}.user_location.{name}" for name in sorted(names) if getattr(location, name)
            ]
        if "image" in (given.search_content_types or ()):
            notes.append(f"{path}.search_content_types (image)")
        return notes


def read_web_search(raw: JsonObject, path: str, web: Web) -> tuple[WebSearch, JsonObject]:
    """The tool, and how the response shows it.

    Raises:
        ApiError: an option is malformed.
    """
    tool = validated(raw, WebSearchTool, path)
    echo = {"search_context_size": "medium", "user_location": None, **raw}
    if tool.user_location is not None:
        echo["user_location"] = {**tool.user_location.model_dump(), "type": "approximate"}
    return WebSearch(tool, web), echo


def browser_tools(browser: Browser) -> list[Tool]:
    """The browser's functions as tools that an answer runs."""
    return [_tool(browser, each) for each in _descriptions()]


def _descriptions() -> list[ToolDescription]:
    return ToolNamespaceConfig.browser().tools


def _tool(browser: Browser, described: ToolDescription) -> Tool:
    act = getattr(browser, described.name)

    async def run(**arguments: object) -> ToolOutput:
        step = await act(**arguments)
        return ToolOutput(step.text, failed=step.failed, about=step)

    return Tool(described, run, BROWSER)
