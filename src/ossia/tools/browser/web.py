"""Web: the world outside a browser, which is a search engine and the pages of the internet."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ossia.errors import ConfigError, MissingDependencyError
from ossia.log import logger
from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.exa import Exa
from ossia.tools.browser.fetching import Document, PageFetcher
from ossia.tools.browser.html_text import PageText
from ossia.tools.browser.reading import read_html
from ossia.tools.browser.search_engine import SearchEngine, SearchHit, SearchQuery
from ossia.tools.browser.searxng import Searxng

_log = logger(__name__)

EXA_KEY: Final = "EXA_API_KEY"
_MAX_AT_ONCE: Final = 16  # searches and fetches of all answers together

_MAX_READERS: Final = 2  # processes that read pages


class Web:
    """A search engine and pages; one for all answers.

    Args:
        engine: Finds pages; closed with this.
        fetcher: Gets them; closed with this.
    """

    def __init__(self, engine: SearchEngine, fetcher: PageFetcher) -> None:
        self._engine = engine
        self._fetcher = fetcher
        self._turn = asyncio.Semaphore(_MAX_AT_ONCE)
        self._reader = asyncio.Semaphore(_MAX_READERS)

    @property
    def takes_country(self) -> bool:
        """Whether searching looks at where the user is."""
        return self._engine.takes_country

    async def search(self, query: SearchQuery) -> Sequence[SearchHit]:
        """As in SearchEngine."""
        async with self._turn:
            try:
                return await self._engine.search(query)
            except BrowserError as error:
                _log.warning("a search failed: %s", error)  # without the words, which are private
                raise

    async def fetch(self, url: str, allows: Callable[[str], bool]) -> Document:
        """As in PageFetcher."""
        async with self._turn:
            return await self._fetcher.fetch(url, allows)

    async def read(self, document: Document) -> PageText:
        """The text of an HTML document; as in `read_html`."""
        async with self._reader:
            return await read_html(document)

    async def close(self) -> None:
        """Close what is open."""
        await self._engine.close()
        await self._fetcher.close()


def check_engine(name: str) -> None:
    """Whether a search engine goes by this.

    Raises:
        ConfigError: none does.
    """
    if name != "exa" and not name.startswith(("http://", "https://")):
        raise ConfigError(
            f"web_search is {name!r}; give the URL of a SearXNG (http://127.0.0.1:8888), or exa"
        )


def web_of(name: str, environ: Mapping[str, str]) -> Web:
    """The web behind a search engine.

    Args:
        name: The URL of a SearXNG, or `exa`.
        environ: Holds the key that an engine needs.

    Raises:
        ConfigError: there is no such engine, or it has no key.
        MissingDependencyError: the extra is not installed.
    """
    check_engine(name)
    missing = [one for one in ("httpx2", "lxml") if importlib.util.find_spec(one) is None]
    if missing:
        raise MissingDependencyError(
            f"searching the web needs {' and '.join(missing)}: pip install 'ossia[browser]'"
        )
    if name != "exa":
        return Web(Searxng(name), PageFetcher())
    key = environ.get(EXA_KEY)
    if not key:
        raise ConfigError(f"searching with Exa needs a key in the environment, as {EXA_KEY}")
    return Web(Exa(key), PageFetcher())
