"""CitationReader: finds the model's citations in text as it is written, and makes links of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from ossia.tools.browser.html_text import host_of
from ossia.tools.browser.page import Source

JsonObject = dict[str, Any]
SourceFinder = Callable[[int, int], Source | None]
"""Gives what a cursor and a line stand for."""

_CITATION: Final = re.compile(r"【(\d{1,6})†([^【】]{0,60})】")
_BEGUN: Final = re.compile(r"【(?:\d{0,6}|\d{1,6}†[^【】]{0,60})$")
_LINE: Final = re.compile(r"L(\d{1,9})")
_ESCAPES: Final = {ord(one): f"%{ord(one):02X}" for one in ' ()<>"\\`'}


class CitationReader:
    """Reads one text.

    A citation such as `【3†L7-L9】` becomes `([host](url))`, as the hosted API writes them, and an
    annotation says where that stands, in characters (Unicode code points). What leads to nothing
    stays as it is.

    Args:
        source_of: Finds what is cited.
        replaces: Whether citations become links. Where the answer must keep a form they stay, and
            are annotated as they stand.

    Attributes:
        annotations: Of what was given back so far.
    """

    def __init__(self, source_of: SourceFinder, *, replaces: bool) -> None:
        self.annotations: list[JsonObject] = []
        self._source_of = source_of
        self._replaces = replaces
        self._held = ""
        self._length = 0
        self._last = ""

    def push(self, text: str) -> str:
        """Take in a piece; what there is to show by now, without what may become a citation."""
        text, self._held = self._held + text, ""
        shown: list[str] = []
        place = 0
        for match in _CITATION.finditer(text):
            shown.append(self._put(text[place : match.start()]))
            shown.append(self._cite(match))
            place = match.end()
        rest = text[place:]
        if (begun := _BEGUN.search(rest)) is not None:
            self._held = rest[begun.start() :]
            rest = rest[: begun.start()]
        shown.append(self._put(rest))
        return "".join(shown)

    def flush(self) -> str:
        """The text has ended; what was held back."""
        held, self._held = self._held, ""
        return self._put(held)

    def _put(self, text: str) -> str:
        self._length += len(text)
        self._last = text[-1:] or self._last
        return text

    def _cite(self, match: re.Match[str]) -> str:
        line = _LINE.search(match[2])
        source = self._source_of(int(match[1]), int(line[1]) if line is not None else 0)
        if source is None:
            return self._put(match[0])
        gap = ""
        cited = match[0]
        if self._replaces:
            gap = self._put("" if not self._last or self._last.isspace() else " ")
            host = host_of(source.url).removeprefix("www.")
            cited = f"([{host}]({source.url.translate(_ESCAPES)}))"
        start = self._length
        self._put(cited)
        self.annotations.append(
            {
                "type": "url_citation",
                "start_index": start,
                "end_index": self._length,
                "url": source.url,
                "title": source.title,
            }
        )
        return gap + cited
