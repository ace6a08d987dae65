"""SearXNG: a search engine that anybody can run, and that asks many others.

Its settings must allow the JSON format (`search: formats: [html, json]`).
https://docs.searxng.org/dev/search_api.html
"""

from __future__ import annotations

from collections.abc import Sequence

from ossia.tools.browser.search_engine import SearchHit, SearchQuery, ask, hits_of


class Searxng:
    """Asks an instance of SearXNG.

    Args:
        url: Of the instance.
        timeout: Seconds for an answer.
    """

    takes_country = False

    def __init__(self, url: str, *, timeout: float = 15.0) -> None:
        import httpx2

        self._url = f"{url.rstrip('/')}/search"
        self._client = httpx2.AsyncClient(timeout=timeout)

    async def search(self, query: SearchQuery) -> Sequence[SearchHit]:
        """As in SearchEngine."""
        text = query.text
        if query.domains:
            # It has no field for this; most of the engines behind it understand the words.
            text += " (" + " OR ".join(f"site:{domain}" for domain in query.domains) + ")"
        found = await ask(self._client, "GET", self._url, params={"q": text, "format": "json"})
        return hits_of(found.get("results"), "url", "title", "content")[: query.num_hits]

    async def close(self) -> None:
        """As in SearchEngine."""
        await self._client.aclose()
