from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.tools.browser.browser import Browser, BrowserOptions
from ossia.tools.browser.page import Page, Source, wrapped
from support.scripted_web import HITS, ScriptedWeb


def _browser(web=None, **options):
    return Browser(web or ScriptedWeb(), lambda text: len(text) // 4, BrowserOptions(**options))


def _run(*calls, browser=None):
    """Steps of (name, arguments), all in one browser."""
    browser = browser or _browser()

    async def run():
        return [await getattr(browser, name)(**arguments) for name, arguments in calls]

    return asyncio.run(run())


def test_a_search_shows_links_with_cursor_and_line_numbers():
    (step,) = _run(("search", {"query": "news"}))
    assert step.text == (
        "[0] news\n**viewing lines [0 - 3] of 3**\n\n"
        "L0: # Search Results\nL1: \n"
        "L2:   * 【0†Otters are back†otters.org】 After 40 years.\n"
        "L3:   * 【1†Swimming in the Seine†www.seine.fr】 Clean."
    )
    assert (step.kind, step.query, step.failed) == ("search", "news", False)
    assert step.found == tuple(hit.url for hit in HITS)


def test_a_link_is_opened_on_the_page_of_its_cursor():
    web = ScriptedWeb()
    _, opened, more, again = _run(
        ("search", {"query": "news"}),
        ("open", {"id": 0}),
        ("open", {"id": 0.0, "cursor": 1, "num_lines": 2}),
        ("open", {"id": 0, "cursor": 0, "loc": 3}),
        browser=_browser(web),
    )
    assert opened.text.startswith(
        "[1] The otters (https://otters.org/back)\n**viewing lines [0 - 5] of 5**\n\n"
        "L0: URL: https://otters.org/back\nL1: # Otters\nL2: \nL3: They are back"
    )
    assert "L5: See 【0†more】 and 【1†the Seine†www.seine.fr】." in opened.text
    assert more.text.startswith("[2] More (https://otters.org/more)\n**viewing lines [0 - 1] of")
    assert again.text.splitlines()[1:] == [
        "**viewing lines [3 - 5] of 5**",
        "",
        *again.text.splitlines()[3:],
    ]
    assert again.text.startswith("[3]")
    assert (opened.kind, opened.url) == ("open_page", "https://otters.org/back")
    assert web.fetched == [
        "https://otters.org/back",
        "https://otters.org/more",
        "https://otters.org/back",
    ]


def test_a_page_is_scrolled_without_being_fetched_again():
    web = ScriptedWeb()
    first, second = _run(
        ("open", {"id": "https://otters.org/more"}), ("open", {"loc": 100}), browser=_browser(web)
    )
    assert "L1: An otter." in first.text
    assert second.text.startswith("[1] More")
    assert "\nL100: " in second.text
    assert len(web.fetched) == 1


def test_as_much_is_shown_as_the_tokens_allow():
    for num_tokens in (100, 400):
        (step,) = _run(
            ("open", {"id": "https://otters.org/more"}), browser=_browser(num_tokens=num_tokens)
        )
        shown = step.text.split("\n\n", 1)[1]
        assert num_tokens * 0.8 < len(shown) // 4 < num_tokens * 1.4


def test_finding_shows_places_and_leads_to_them():
    web = ScriptedWeb()
    browser = _browser(web)
    _, found, there = _run(
        ("open", {"id": "https://otters.org/more"}),
        ("find", {"pattern": "OTTER."}),
        ("open", {"id": 10}),
        browser=browser,
    )
    assert found.text.startswith("[1] Find results for text: `OTTER.` in `More`")
    assert "# 【0†match at L1】" in found.text
    assert (found.kind, found.pattern, found.url) == (
        "find_in_page",
        "OTTER.",
        "https://otters.org/more",
    )
    jump = browser.pages[1].jumps[10]
    assert f"**viewing lines [{jump - 4} - " in there.text
    assert len(web.fetched) == 1


def test_what_is_not_found_is_no_page():
    browser = _browser()
    _, found = _run(
        ("search", {"query": "x"}), ("find", {"pattern": "no such thing"}), browser=browser
    )
    assert found.text == "No `find` results for pattern: `no such thing`"
    assert not found.failed
    assert len(browser.pages) == 1


def test_links_are_found_by_their_text_only():
    _, found, missed = _run(
        ("search", {"query": "x"}),
        ("find", {"pattern": "back After"}),
        ("find", {"pattern": "†", "cursor": 0}),
    )
    assert "match at L2" in found.text
    assert missed.text.startswith("No `find` results")


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([("search", {})], "`query` must be a text"),
        ([("search", {"query": " "})], "`query` must be a text"),
        ([("search", {"query": "x" * 3000})], "too long"),
        ([("search", {"query": "x", "topn": "many"})], "`topn` must be a whole number"),
        ([("search", {"query": "x", "source": "library"})], "source"),
        ([("open", {})], "no page is open"),
        ([("find", {"pattern": "x"})], "no page is open"),
        ([("search", {"query": "x"}), ("open", {"id": 2})], "no link 2"),
        ([("search", {"query": "x"}), ("open", {"cursor": 1})], "no cursor 1"),
        ([("search", {"query": "x"}), ("open", {"loc": 99})], "no line 99"),
        ([("search", {"query": "x"}), ("open", {"id": True})], "`id` must be a whole number"),
        ([("search", {"query": "x"}), ("open", {"id": 1e400})], "`id` must be a whole number"),
        ([("open", {"id": "https://none.org/"})], "404"),
        (
            [
                ("search", {"query": "x"}),
                ("find", {"pattern": "otters"}),
                ("find", {"pattern": "x"}),
            ],
            "places",
        ),
    ],
)
def test_what_goes_wrong_is_told(calls, why):
    browser = _browser()
    *_, step = _run(*calls, browser=browser)
    assert step.failed
    assert step.text.startswith("Error: ")
    assert why in step.text
    assert step.page is None
    assert len(browser.pages) == len(calls) - 1


def test_a_search_that_fails_or_stalls_is_told():
    (step,) = _run(("search", {"query": "x"}), browser=_browser(ScriptedWeb(fails="status 500")))
    assert (step.failed, step.text) == (True, "Error: status 500")
    for options in ({"step_timeout": 0.01}, {"deadline": time.monotonic() + 0.01}):
        stalled = _browser(ScriptedWeb(stalls=True), **options)
        (step,) = _run(("search", {"query": "x"}), browser=stalled)
        assert step.failed
        assert "too long" in step.text


def test_only_the_hosts_asked_for_are_shown_and_opened():
    web = ScriptedWeb()
    browser = _browser(web, domains=("seine.fr",), country="FR")
    (step,) = _run(("search", {"query": "x"}), browser=browser)
    assert step.found == ("https://www.seine.fr/swim(1)",)
    assert (web.queries[0].domains, web.queries[0].country) == (("seine.fr",), "FR")
    allows = browser.options.allows
    assert [allows(host) for host in ("seine.fr", "WWW.seine.fr.", "notseine.fr", "")] == [
        True,
        True,
        False,
        False,
    ]


def test_pages_are_not_fetched_where_that_is_off():
    web = ScriptedWeb()
    browser = _browser(web, fetches=False)
    _, step, scrolled = _run(
        ("search", {"query": "x"}), ("open", {"id": 0}), ("open", {"loc": 2}), browser=browser
    )
    assert step.failed
    assert web.fetched == []
    assert not scrolled.failed


def test_source_shows_html_as_it_is_written():
    for arguments in (
        {"id": "https://otters.org/back", "view_source": True},
        {"id": "view-source:https://otters.org/back"},
    ):
        (step,) = _run(("open", arguments))
        assert "<title>The otters</title>" in step.text


def test_citations_lead_to_pages_and_to_the_results_that_they_mean():
    browser = _browser()
    _run(
        ("search", {"query": "x"}),
        ("open", {"id": 0}),
        ("find", {"pattern": "wetlands"}),
        browser=browser,
    )
    otters = Source("https://otters.org/back", "The otters")
    assert browser.source_of(0, 0) is None  # the headline over the results
    assert browser.source_of(0, 2) == Source(HITS[0].url, HITS[0].title)
    assert browser.source_of(0, 3) == Source(HITS[1].url, HITS[1].title)
    assert browser.source_of(1, 3) == browser.source_of(2, 1) == otters
    assert browser.source_of(3, 0) is browser.source_of(-1, 0) is None


def test_a_browser_goes_on_from_stubs():
    web = ScriptedWeb()
    stub = Page(
        url="https://otters.org/back",
        title="The otters",
        text="",
        links=("https://otters.org/more",),
        is_stub=True,
    )
    results = Page(url="", title="q", text="", sources=((2, Source("u", "t")),), is_stub=True)
    browser = _browser(web)
    browser.pages += [results, stub]
    gone, scrolled, found, opened = _run(
        ("open", {"cursor": 0}),
        ("open", {"loc": 1}),
        ("find", {"pattern": "wetlands", "cursor": 1}),
        ("open", {"id": 0, "cursor": 1}),
        browser=browser,
    )
    assert gone.failed
    assert scrolled.text.startswith("[2] The otters")
    assert found.text.startswith("[3] Find results")
    assert opened.url == "https://otters.org/more"
    assert browser.source_of(0, 3) == Source("u", "t")


def test_old_large_pages_are_fetched_anew():
    """A model that opens large pages all the time does not fill the memory."""
    pages = {
        f"https://a.org/{i}": f"<title>{i}</title>" + "<p>" + "word " * 12_000 for i in range(12)
    }
    web = ScriptedWeb(pages=pages)
    browser = _browser(web)
    _run(*(("open", {"id": url}) for url in pages), browser=browser)
    assert [page.is_stub for page in browser.pages] == [True] * 4 + [False] * 8
    (again,) = _run(("open", {"cursor": 0, "loc": 5}), browser=browser)
    assert again.text.startswith("[12] 0 (https://a.org/0)")
    assert web.fetched[-1] == "https://a.org/0"


def test_no_number_of_lines_shows_more_than_four_times_as_much():
    (step,) = _run(
        ("open", {"id": "https://otters.org/more", "num_lines": 10_000}),
        browser=_browser(num_tokens=100),
    )
    assert len(step.text) // 4 < 100 * 4 * 1.4


@given(st.text(max_size=400))
def test_wrapping_loses_nothing(text):
    lines = wrapped(text)
    assert "".join(lines) == text.replace("\n", "")
    assert all(len(line) <= 80 for line in lines)


_numbers = st.one_of(st.integers(-3, 5), st.floats(), st.text(max_size=3), st.none())


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("search"), st.fixed_dictionaries({"query": st.text(max_size=5)}, optional={"topn": _numbers})),
            st.tuples(st.just("open"), st.fixed_dictionaries({}, optional={"id": st.one_of(_numbers, st.just("https://otters.org/more")), "cursor": _numbers, "loc": _numbers, "num_lines": _numbers})),
            st.tuples(st.just("find"), st.fixed_dictionaries({}, optional={"pattern": st.sampled_from(["o", "", 3]), "cursor": _numbers})),
        ),
        max_size=6,
    )
)  # fmt: skip
def test_whatever_is_called_there_is_a_step_and_a_display_for_each_page(calls):
    browser = _browser()
    steps = _run(*calls, browser=browser)
    shown = [step for step in steps if step.page is not None]
    assert [step.page for step in shown] == browser.pages
    for cursor, step in enumerate(shown):
        assert step.text.startswith(f"[{cursor}] ")
    assert all(step.text for step in steps)
