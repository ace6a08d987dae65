"""Pages are read in a process of their own, which ends in time."""

from __future__ import annotations

import asyncio

import pytest

from ossia.tools.browser import reading
from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.fetching import Document
from ossia.tools.browser.html_text import MAX_TEXT, page_text
from ossia.tools.browser.reading import read_html

URL = "https://example.org/a"


def _read(body: bytes, charset=None, **options):
    document = Document(url=URL, body=body, is_html=True, charset=charset)
    return asyncio.run(read_html(document, **options))


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<title>\u00e9</title><p>a \U0001f642 <a href=/b>c</a>".encode(), None),
        ("<p>\u00e9".encode("cp1252"), "windows-1252"),
        (b"", None),
    ],
)
def test_the_process_gives_what_the_function_does(body, charset):
    assert _read(body, charset) == page_text(body, URL, charset)


def test_a_page_that_takes_for_ever_is_given_up(monkeypatch):
    """libxml2 compares each attribute of a tag with all others."""
    started = []
    make = asyncio.create_subprocess_exec

    async def noted(*command, **options):
        started.append(await make(*command, **options))
        return started[-1]

    monkeypatch.setattr(reading.asyncio, "create_subprocess_exec", noted)
    bomb = b"<a " + b" ".join(b"a%d" % i for i in range(300_000)) + b">x"
    with pytest.raises(BrowserError, match="too long to read"):
        _read(bomb, seconds=0.5)
    assert started[0].returncode == -9


def test_a_reader_that_breaks_is_told(monkeypatch):
    monkeypatch.setattr(reading, "_COMMAND", (*reading._COMMAND[:1], "-c", "1/0"))
    with pytest.raises(BrowserError, match="cannot be read"):
        _read(b"<p>x")


@pytest.mark.parametrize(
    "page", [b"<br>", b"<p>x", b"<a href=/x>x", b"<tr><td>x", b"<ul><li>", b"<b>", b"&amp;"]
)
def test_many_of_anything_is_read_as_far_as_it_goes(page):
    body = page * (2**19 // len(page))
    assert len(page_text(body, URL).text) <= MAX_TEXT
