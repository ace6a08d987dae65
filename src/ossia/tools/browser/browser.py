"""Browser: what a model sees of the web in one answer; its functions search, open and find."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.finding import find_in
from ossia.tools.browser.html_text import host_of
from ossia.tools.browser.page import (
    Page,
    Source,
    TokenCounter,
    html_page,
    plain_page,
    results_page,
)
from ossia.tools.browser.search_engine import MAX_HITS, SearchQuery
from ossia.tools.browser.web import Web

_AHEAD: Final = 4  # lines that are shown before a match
_LARGE: Final = 50_000  # characters of a page
_MAX_LARGE: Final = 8  # such pages of one answer
_MAX_WORDS: Final = 2000  # characters of a query or a pattern

ActionKind = Literal["search", "open_page", "find_in_page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserOptions:
    """How a browser behaves.

    Args:
        num_tokens: Tokens of a page that are shown at once, about; 1024 in training.
        domains: Only these hosts and those below them are searched and opened; empty is all.
        country: Where the user is, as two letters of ISO 3166.
        fetches: Whether pages may be opened; searching goes on without.
        deadline: `time.monotonic()` value after which nothing is waited for.
        step_timeout: Seconds for one step.
    """

    num_tokens: int = 1024
    domains: tuple[str, ...] = ()
    country: str | None = None
    fetches: bool = True
    deadline: float = float("inf")
    step_timeout: float = 30.0

    def allows(self, host: str) -> bool:
        """Whether pages of a host may be shown."""
        host = host.lower().rstrip(".")
        return not self.domains or any(
            host == one or host.endswith(f".{one}") for one in self.domains
        )


@dataclass(slots=True, kw_only=True)
class Step:
    """What the browser did when it was called.

    Args:
        kind: What it was asked to do.
        text: What the model reads of it.
        failed: Whether it came to nothing.
        query: What was searched for.
        pattern: What was looked for in a page.
        url: The page that was opened or looked through, as far as it is known.
        found: The pages that a search found.
        page: What is shown now; None if there is nothing new to show.
    """

    kind: ActionKind
    text: str = ""
    failed: bool = False
    query: str | None = None
    pattern: str | None = None
    url: str | None = None
    found: tuple[str, ...] = ()
    page: Page | None = None


@dataclass(slots=True)
class Browser:
    """One answer's view of the web. Each display has a number, its cursor; links go by theirs.

    Args:
        web: The world outside.
        count_tokens: Counts the tokens of a text.
        options: How it behaves.
        pages: What was shown before, oldest first; the last one is the current page.
    """

    web: Web
    count_tokens: TokenCounter
    options: BrowserOptions = field(default_factory=BrowserOptions)
    pages: list[Page] = field(default_factory=list[Page])

    async def search(
        self, query: object = None, topn: object = 10, source: object = None, **_: object
    ) -> Step:
        """Search for pages; shows the results with links."""
        step = Step(kind="search", query=query if isinstance(query, str) else None)
        return await self._attempt(step, lambda: self._search(step, query, topn, source))

    async def open(
        self,
        id: object = -1,
        cursor: object = -1,
        loc: object = -1,
        num_lines: object = -1,
        view_source: object = False,
        source: object = None,
        **_: object,
    ) -> Step:
        """Open a link of a page, a URL, or go to another place of a page."""
        step = Step(kind="open_page")

        async def act() -> None:
            _check_source(source)
            line, count = _whole(loc, "loc"), _whole(num_lines, "num_lines")
            await self._open(step, id, _whole(cursor, "cursor"), line, count, view_source is True)

        return await self._attempt(step, act)

    async def find(self, pattern: object = None, cursor: object = -1, **_: object) -> Step:
        """Find a text in a page; shows the places with links to them."""
        step = Step(kind="find_in_page", pattern=pattern if isinstance(pattern, str) else None)
        return await self._attempt(step, lambda: self._find(step, pattern, cursor))

    def source_of(self, cursor: int, line: int) -> Source | None:
        """What a citation leads to; None if there is no such thing."""
        if not 0 <= cursor < len(self.pages):
            return None
        return self.pages[cursor].source_at(line)

    async def _attempt(self, step: Step, act: Callable[[], Awaitable[None]]) -> Step:
        seconds = min(self.options.step_timeout, self.options.deadline - time.monotonic())
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await act()
        except TimeoutError:
            step.failed, step.text = True, "Error: it took too long"
        except BrowserError as error:
            step.failed, step.text = True, f"Error: {error}"
        return step

    async def _search(self, step: Step, query: object, topn: object, source: object) -> None:
        text = _words(query, "query")
        _check_source(source)
        num_hits = max(1, min(_whole(topn, "topn"), MAX_HITS))
        options = self.options
        wanted = SearchQuery(
            text=text, num_hits=num_hits, domains=options.domains, country=options.country
        )
        hits = [hit for hit in await self.web.search(wanted) if options.allows(host_of(hit.url))]
        step.found = tuple(dict.fromkeys(hit.url for hit in hits))
        self._show(step, results_page(text, hits), 0, -1)

    async def _open(
        self, step: Step, link_id: object, cursor: int, loc: int, num_lines: int, as_source: bool
    ) -> None:
        if isinstance(link_id, str):
            step.url = link_id.removeprefix("view-source:")
            page = await self._fetched(step.url, as_source or step.url != link_id)
        else:
            number = _whole(link_id, "id")
            page = self._page(cursor)
            if number >= 0:
                page, jump = await self._follow(step, page, number, as_source)
                loc = jump if loc < 0 else loc
            elif page.is_stub or as_source:
                step.url = page.url
                page = await self._fetched(page.url, as_source)
        step.url = page.url or None
        self._show(step, page, max(loc, 0), num_lines)

    async def _follow(
        self, step: Step, page: Page, number: int, as_source: bool
    ) -> tuple[Page, int]:
        """The page that a link leads to, and the line there."""
        if number >= len(page.links):
            raise BrowserError(f"the page has no link {number}")
        target = step.url = page.links[number]
        if not page.jumps:
            return await self._fetched(target, as_source), 0
        jump = max(page.jumps[number] - _AHEAD, 0)
        known = next((one for one in reversed(self.pages) if one.url == target), None)
        if known is not None and not known.is_stub and not as_source:
            return known, jump
        return await self._fetched(target, as_source), jump

    async def _find(self, step: Step, pattern: object, cursor: object) -> None:
        text = _words(pattern, "pattern")
        page = self._page(_whole(cursor, "cursor"))
        step.url = page.url or None
        if page.jumps:
            raise BrowserError("these are places that were found; open one of them, or the page")
        if page.is_stub:
            page = await self._fetched(page.url, as_source=False)
        found = await asyncio.to_thread(find_in, page, text)
        if found is None:
            step.text = f"No `find` results for pattern: `{text}`"
        else:
            self._show(step, found, 0, -1)

    async def _fetched(self, url: str, as_source: bool) -> Page:
        if not url:
            raise BrowserError("that page is no longer at hand; search again")
        if not self.options.fetches:
            raise BrowserError("pages cannot be opened now, only searched for")
        document = await self.web.fetch(url, self.options.allows)
        if document.is_html and not as_source:
            page = html_page(document.url, await self.web.read(document))
        else:
            page = plain_page(document)
        await asyncio.to_thread(lambda: page.lines)  # which takes its time
        return page

    def _page(self, cursor: int) -> Page:
        if not self.pages:
            raise BrowserError("no page is open; search first")
        if cursor >= len(self.pages):
            raise BrowserError(f"there is no cursor {cursor}; those are 0 to {len(self.pages) - 1}")
        return self.pages[cursor if cursor >= 0 else -1]

    def _show(self, step: Step, page: Page, loc: int, num_lines: int) -> None:
        step.text = page.show(
            len(self.pages),
            loc,
            num_lines,
            num_tokens=self.options.num_tokens,
            count_tokens=self.count_tokens,
        )
        step.page = page
        self.pages.append(page)
        self._forget()

    def _forget(self) -> None:
        """Keep the texts of the last large pages only; the others would have to be fetched anew."""
        large = [one for one in dict.fromkeys(reversed(self.pages)) if len(one.text) > _LARGE]
        for old in large[_MAX_LARGE:]:
            stub = replace(old, text="", is_stub=True)
            self.pages = [stub if one is old else one for one in self.pages]


def _words(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BrowserError(f"`{name}` must be a text that is not empty")
    if len(value) > _MAX_WORDS:
        raise BrowserError(f"`{name}` is too long")
    return value


def _whole(value: object, name: str) -> int:
    """A number of the model's, which may come as 3.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise BrowserError(f"`{name}` must be a whole number")
    return int(value)


def _check_source(source: object) -> None:
    if source not in (None, "", "web"):
        raise BrowserError("there is no such `source`; the only one is web")
