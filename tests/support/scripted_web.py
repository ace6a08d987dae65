"""ScriptedWeb: a web of given results and pages, which can fail and stall."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.fetching import Document
from ossia.tools.browser.html_text import PageText, page_text
from ossia.tools.browser.search_engine import SearchHit, SearchQuery

HITS = (
    SearchHit(url="https://otters.org/back", title="Otters are back", snippet="After 40 years."),
    SearchHit(url="https://www.seine.fr/swim(1)", title="Swimming in the Seine", snippet="Clean."),
)
PAGES = {
    "https://otters.org/back": (
        "<title>The otters</title><h1>Otters</h1><p>They are back in the wetlands."
        '<p>See <a href="/more">more</a> and <a href="https://www.seine.fr/">the Seine</a>.'
    ),
    "https://otters.org/more": "<title>More</title>" + "<p>An otter.</p>" * 400,
}


class ScriptedWeb:
    """A `Web`.

    Args:
        hits: What every search finds.
        pages: HTML by URL.
        fails: What every search fails with.
        stalls: Searches end when `go_on` is set.

    Attributes:
        queries: What was searched for.
        fetched: What was opened.
    """

    takes_country = True

    def __init__(
        self,
        hits: Sequence[SearchHit] = HITS,
        pages: Mapping[str, str] = PAGES,
        *,
        fails: str | None = None,
        stalls: bool = False,
    ) -> None:
        self.queries: list[SearchQuery] = []
        self.fetched: list[str] = []
        self.stalled = asyncio.Event()
        self.go_on = asyncio.Event()
        self.closed = False
        self._hits = hits
        self._pages = pages
        self._fails = fails
        self._stalls = stalls

    async def search(self, query: SearchQuery) -> Sequence[SearchHit]:
        self.queries.append(query)
        if self._stalls:
            self.stalled.set()
            await self.go_on.wait()
        if self._fails is not None:
            raise BrowserError(self._fails)
        return self._hits[: query.num_hits]

    async def fetch(self, url, allows) -> Document:
        self.fetched.append(url)
        if url not in self._pages:
            raise BrowserError(f"{url} answers with status 404")
        return Document(url=url, body=self._pages[url].encode(), is_html=True)

    async def read(self, document) -> PageText:
        return page_text(document.body, document.url, document.charset)

    async def close(self) -> None:
        self.closed = True
