"""Searching: how a response shows what its browser does."""

from __future__ import annotations

from dataclasses import dataclass

from ossia.server.responses.citations import CitationReader
from ossia.server.responses.search_memory import SearchMemory
from ossia.tools.browser.browser import Browser


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching:
    """How a response shows what its browser does.

    Args:
        browser: Of the response.
        shows_sources: Whether the client wants to know what a search has found.
        memory: Where what was found is remembered for clients that do not keep it.
        links_citations: Whether citations in text become links; an answer that must keep a form
            has them as they are.
    """

    browser: Browser
    memory: SearchMemory
    shows_sources: bool = False
    links_citations: bool = True

    def citations(self) -> CitationReader:
        """For one message."""
        return CitationReader(self.browser.source_of, replaces=self.links_citations)
