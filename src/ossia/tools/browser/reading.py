"""read_html: the text of a page, made in a process of its own.

What a parser written in C makes of a hostile page is anybody's guess: libxml2 takes minutes for a tag
with many attributes, and a thread could not be ended. A process can, and what breaks it breaks
nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.fetching import Document
from ossia.tools.browser.html_text import PageText

_COMMAND: Final = (sys.executable, "-P", "-m", "ossia.tools.browser.html_worker")


async def read_html(document: Document, *, seconds: float = 10.0) -> PageText:
    """The text of an HTML document.

    Args:
        document: What was fetched.
        seconds: That it may take; the process is gone in any case.

    Raises:
        BrowserError: it cannot be read.
    """
    charset = () if document.charset is None else (document.charset,)
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        document.url,
        *charset,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            written, _ = await process.communicate(document.body)
    except TimeoutError:
        raise BrowserError(f"{document.url[:200]} takes too long to read") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise BrowserError(f"{document.url[:200]} cannot be read")
    title, text, links = json.loads(written)
    return PageText(title=title, text=text, links=tuple(links))
