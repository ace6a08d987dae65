"""Page: what the browser shows, as numbered lines with links; and how a part of it is displayed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import unquote

from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.fetching import Document
from ossia.tools.browser.html_text import MAX_TEXT, PageText, host_of, link, plain
from ossia.tools.browser.search_engine import SearchHit

_WIDTH: Final = 80  # characters of a line, as in training
_MAX_SHOWN_URL: Final = 1024
_MOST_WINDOWS: Final = 4  # times the usual tokens, however many lines are asked for
_SHORT: Final = 1024  # characters of text that are always shown whole

TokenCounter = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Source:
    """What a citation leads to."""

    url: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """Something to read.

    Args:
        url: Where it is; empty for results of a search.
        title: What it is called.
        text: What it says.
        links: Where its links lead to, by their ids.
        sources: What a citation leads to where that is not the page: (from which line, source), in
            order.
        jumps: Lines that links lead to on another page, by the links' ids.
        is_stub: The text is no longer at hand; all else is.
    """

    url: str
    title: str
    text: str
    links: tuple[str, ...] = ()
    sources: tuple[tuple[int, Source], ...] = ()
    jumps: tuple[int, ...] = ()
    is_stub: bool = False

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The text in lines, as they are numbered."""
        return wrapped(self.text)

    def source_at(self, line: int) -> Source | None:
        """What a citation of a line leads to; None if that is nothing on the web."""
        for first, source in reversed(self.sources):
            if first <= line:
                return source
        return Source(self.url, self.title or host_of(self.url)) if self.url else None

    def show(
        self,
        cursor: int,
        loc: int,
        num_lines: int,
        *,
        num_tokens: int,
        count_tokens: TokenCounter,
    ) -> str:
        """A part of the page as the model reads it.

        Args:
            cursor: The number of the display.
            loc: The first line.
            num_lines: How many, within limits; 0 or less takes as many as `num_tokens` allow.
            num_tokens: Tokens of lines, about.
            count_tokens: Counts them.

        Raises:
            BrowserError: there is no such line.
        """
        last = len(self.lines) - 1
        if not 0 <= loc <= max(last, 0):
            raise BrowserError(f"there is no line {loc}; the page has lines 0 to {max(last, 0)}")
        if num_lines > 0:
            most = _window(self.lines, loc, _MOST_WINDOWS * num_tokens, count_tokens)
            end = min(loc + num_lines, most)
        else:
            end = _window(self.lines, loc, num_tokens, count_tokens)
        where = f" ({unquote(self.url)[:_MAX_SHOWN_URL]})" if self.url else ""
        numbered = "\n".join(f"L{i}: {self.lines[i]}" for i in range(loc, end))
        return (
            f"[{cursor}] {self.title}{where}\n"
            f"**viewing lines [{loc} - {max(end - 1, loc)}] of {max(last, 0)}**\n\n{numbered}"
        )


def wrapped(text: str) -> tuple[str, ...]:
    """Lines of at most 80 characters; empty ones stay."""
    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) <= _WIDTH:
            lines.append(line)
            continue
        lines += textwrap.wrap(
            line, _WIDTH, replace_whitespace=False, drop_whitespace=False, expand_tabs=False
        )
    return tuple(lines)


def html_page(url: str, found: PageText) -> Page:
    """The text of an HTML page as a page."""
    return _page(url, found.title, found.text, found.links)


def plain_page(document: Document) -> Page:
    """A document as it is written."""
    return _page(document.url, "", _decoded(document), ())


def _page(url: str, title: str, text: str, links: tuple[str, ...]) -> Page:
    text = f"URL: {url}\n{text[:MAX_TEXT]}"
    return Page(url=url, title=title or host_of(url), text=text, links=links)


def results_page(query: str, hits: Sequence[SearchHit]) -> Page:
    """The results of a search as a page with a link for each."""
    text = "# Search Results\n"
    links: list[str] = []
    sources: list[tuple[int, Source]] = []
    for hit in hits:
        title = plain(hit.title) or host_of(hit.url)
        sources.append((len(wrapped(text)), Source(hit.url, title)))
        text += f"\n  * {link(len(links), title, host_of(hit.url))} {plain(hit.snippet)}"
        links.append(hit.url)
    if not hits:
        text += "\nNothing was found."
    return Page(url="", title=plain(query), text=text, links=tuple(links), sources=tuple(sources))


def _window(lines: Sequence[str], loc: int, num_tokens: int, count_tokens: TokenCounter) -> int:
    """Behind which line the display ends, rounded up to a whole one."""
    if sum(len(line) + 1 for line in lines[loc:]) <= _SHORT:
        return len(lines)
    total = 0
    for position in range(loc, len(lines)):
        total += count_tokens(f"L{position}: {lines[position]}\n")
        if total >= num_tokens:
            return position + 1
    return len(lines)


def _decoded(document: Document) -> str:
    try:
        text = document.body.decode(document.charset or "utf-8", errors="replace")
    except LookupError:
        text = document.body.decode("utf-8", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")
