"""SearchEngine: what the browser needs of a search engine, and what engines have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from ossia.tools.browser.error import BrowserError

if TYPE_CHECKING:
    import httpx2

MAX_HITS: Final = 20
_MAX_SNIPPET: Final = 1000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """What is searched for.

    Args:
        text: The words.
        num_hits: How many results are wanted at most.
        domains: Only pages of these hosts and of those below them; empty is all.
        country: Where the user is, as two letters of ISO 3166.
    """

    text: str
    num_hits: int = 10
    domains: tuple[str, ...] = ()
    country: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A page that was found.

    Args:
        url: Of the page.
        title: Of the page.
        snippet: What it says about the matter.
    """

    url: str
    title: str
    snippet: str = ""


class SearchEngine(Protocol):
    """Finds pages."""

    @property
    def takes_country(self) -> bool:
        """Whether it looks at the country of a query."""
        ...

    async def search(self, query: SearchQuery) -> Sequence[SearchHit]:
        """Find pages, the best first.

        Raises:
            BrowserError: the engine cannot be asked, or does not answer as it should.
        """
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


async def ask(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    **options: Any,  # noqa: ANN401 - as httpx2 takes them
) -> Mapping[str, Any]:
    """The JSON object that an engine answers with.

    Raises:
        BrowserError: it answers otherwise, or not at all.
    """
    import httpx2

    try:
        response = await client.request(method, url, **options)
    except httpx2.HTTPError as error:
        raise BrowserError(f"the search engine cannot be reached: {type(error).__name__}") from None
    if response.status_code != 200:
        raise BrowserError(f"the search engine answers with status {response.status_code}")
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BrowserError("the search engine does not answer with a JSON object")
    return found


def hits_of(raw: object, url: str, title: str, snippet: str) -> list[SearchHit]:
    """A list of results as hits; what has no web address is left out.

    Args:
        raw: The list.
        url: The field of the address.
        title: The field of the title.
        snippet: The field of the text.
    """
    hits: list[SearchHit] = []
    for one in raw if isinstance(raw, list) else ():
        if not isinstance(one, dict):
            continue
        address = one.get(url)
        if isinstance(address, str) and address.startswith(("http://", "https://")):
            text = str(one.get(snippet) or "")[:_MAX_SNIPPET]
            hits.append(SearchHit(url=address, title=str(one.get(title) or ""), snippet=text))
    return hits
