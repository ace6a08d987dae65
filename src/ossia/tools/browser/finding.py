"""What `find` shows: the places of a page where a text stands, as a page of links to them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from ossia.tools.browser.html_text import plain
from ossia.tools.browser.page import Page, Source

_MAX_MATCHES: Final = 50
_SHOWN: Final = 4  # lines from each match on
_LINK: Final = re.compile(r"【\d+†([^†】]*)(?:†[^】]*)?】")


def find_in(page: Page, pattern: str) -> Page | None:
    """The places where a text stands, whatever its case; None if there are none.

    Args:
        page: Where to look.
        pattern: The text, which must not go over the end of a line.
    """
    wanted = pattern.lower()
    lines = [_LINK.sub(r"\1", line) for line in page.lines]
    matches: list[int] = []
    behind = 0
    for position, line in enumerate(lines):
        if position >= behind and wanted in line.lower():
            matches.append(position)
            behind = position + _SHOWN
            if len(matches) == _MAX_MATCHES:
                break
    if not matches:
        return None
    text: list[str] = []
    sources: list[tuple[int, Source]] = []
    for number, position in enumerate(matches):
        if (source := page.source_at(position)) is not None:
            sources.append((len(text), source))
        text.append(f"# 【{number}†match at L{position}】")
        text += [*lines[position : position + _SHOWN], ""]
    return Page(
        url=f"{page.url}/find?pattern={quote(pattern)}" if page.url else "",
        title=f"Find results for text: `{plain(pattern)}` in `{page.title}`",
        text="\n".join(text[:-1]),
        links=(page.url,) * len(matches),
        sources=tuple(sources),
        jumps=tuple(matches),
    )
