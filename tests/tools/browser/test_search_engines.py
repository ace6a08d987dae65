from __future__ import annotations

import asyncio
import importlib.util

import pytest

from ossia.errors import ConfigError, MissingDependencyError
from ossia.tools.browser.error import BrowserError
from ossia.tools.browser.exa import Exa
from ossia.tools.browser.search_engine import SearchHit, SearchQuery
from ossia.tools.browser.searxng import Searxng
from ossia.tools.browser.web import web_of
from support.fake_web import Answer, as_json, fake_web


@pytest.fixture
def web():
    with fake_web() as web:
        yield web


def _search(engine, text="otters", **options):
    async def run():
        try:
            return list(await engine.search(SearchQuery(text=text, **options)))
        finally:
            await engine.close()

    return asyncio.run(run())


def test_searxng(web):
    web.pages["/search"] = as_json(
        {
            "query": "otters",
            "number_of_results": 0,
            "results": [
                {"url": "https://a.org/", "title": "A", "content": "about a", "engine": "x"},
                {"url": "magnet:?xt=1", "title": "B", "content": ""},
                {"url": "https://c.org/", "title": None, "content": None},
                "nonsense",
                {"url": "https://d.org/", "title": "D", "content": "x" * 5000},
            ],
            "unresponsive_engines": [],
        }
    )
    hits = _search(Searxng(f"{web.address}/"), num_hits=3)
    assert hits == [
        SearchHit(url="https://a.org/", title="A", snippet="about a"),
        SearchHit(url="https://c.org/", title="", snippet=""),
        SearchHit(url="https://d.org/", title="D", snippet="x" * 1000),
    ]
    (asked,) = web.asked
    assert asked["said"] == {"q": ["otters"], "format": ["json"]}
    _search(Searxng(web.address), num_hits=1, domains=("a.org", "b.org"))
    assert web.asked[-1]["said"]["q"] == ["otters (site:a.org OR site:b.org)"]


def test_exa(web):
    web.pages["/search"] = as_json(
        {"results": [{"id": "1", "url": "https://a.org/", "title": "A", "text": "about a"}]}
    )
    hits = _search(Exa("k-1", url=web.address), num_hits=7, domains=("a.org",), country="CH")
    assert hits == [SearchHit(url="https://a.org/", title="A", snippet="about a")]
    (asked,) = web.asked
    assert asked["method"] == "POST"
    assert asked["headers"]["x-api-key"] == "k-1"
    assert asked["said"] == {
        "query": "otters",
        "type": "auto",
        "numResults": 7,
        "contents": {"text": {"maxCharacters": 600}},
        "includeDomains": ["a.org"],
        "userLocation": "CH",
    }
    _search(Exa("k-1", url=web.address))
    assert "includeDomains" not in web.asked[-1]["said"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(b"forbidden", 403), "status 403"),
        (Answer(b"<html>"), "JSON"),
        (as_json([1]), "JSON"),
    ],
)
def test_an_engine_that_does_not_answer_as_it_should(web, answer, why):
    web.pages["/search"] = answer
    for engine in (Searxng(web.address), Exa("k-1", url=web.address)):
        with pytest.raises(BrowserError, match=why):
            _search(engine)


def test_an_engine_that_is_not_there_tells_no_key():
    for engine in (Searxng("http://127.0.0.1:1"), Exa("k-1", url="http://127.0.0.1:1")):
        with pytest.raises(BrowserError, match="cannot be reached") as problem:
            _search(engine)
        assert "k-1" not in str(problem.value)


def test_a_search_that_fails_is_logged_without_its_words(web, caplog):
    whole = web_of(web.address, {})

    async def run():
        try:
            await whole.search(SearchQuery(text="otters"))
        finally:
            await whole.close()

    with pytest.raises(BrowserError, match="404"):
        asyncio.run(run())
    assert "status 404" in caplog.text
    assert "otters" not in caplog.text


def test_an_engine_without_results_finds_nothing(web):
    web.pages["/search"] = as_json({"results": None})
    assert _search(Searxng(web.address)) == []


def test_an_engine_is_chosen_by_its_name():
    for name in ("bing", "", "localhost:8888"):
        with pytest.raises(ConfigError, match="SearXNG"):
            web_of(name, {})
    with pytest.raises(ConfigError, match="EXA_API_KEY"):
        web_of("exa", {})
    for name, takes_country in (("exa", True), ("http://127.0.0.1:1", False)):
        web = web_of(name, {"EXA_API_KEY": "k"})
        assert web.takes_country is takes_country
        asyncio.run(web.close())


def test_without_the_extra_it_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda one: None if one == "lxml" else found(one)
    )
    with pytest.raises(MissingDependencyError, match=r"lxml: pip install 'ossia\[browser\]'"):
        web_of("http://127.0.0.1:1", {})
