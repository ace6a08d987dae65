"""Exa: a search engine over its own index, for a key.

https://exa.ai/docs/reference/search
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ossia.tools.browser.search_engine import SearchHit, SearchQuery, ask, hits_of

_URL: Final = "https://api.exa.ai"
_SNIPPET: Final = 600  # characters


class Exa:
    """Asks Exa.

    Args:
        key: Of the account.
        url: Of the service.
        timeout: Seconds for an answer.
    """

    takes_country = True

    def __init__(self, key: str, *, url: str = _URL, timeout: float = 15.0) -> None:
        import httpx2

        self._url = f"{url.rstrip('/')}/search"
        self._client = httpx2.AsyncClient(timeout=timeout, headers={"x-api-key": key})

    async def search(self, query: SearchQuery) -> Sequence[SearchHit]:
        """As in SearchEngine."""
        body: dict[str, Any] = {
            "query": query.text,
            "type": "auto",
            "numResults": query.num_hits,
            "contents": {"text": {"maxCharacters": _SNIPPET}},
        }
        if query.domains:
            body["includeDomains"] = list(query.domains)
        if query.country is not None:
            body["userLocation"] = query.country
        found = await ask(self._client, "POST", self._url, json=body)
        return hits_of(found.get("results"), "url", "title", "text")[: query.num_hits]

    async def close(self) -> None:
        """As in SearchEngine."""
        await self._client.aclose()
