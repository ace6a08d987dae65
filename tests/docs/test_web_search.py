"""The page about searching the web says what is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ossia.server.responses import web_search
from ossia.tools.browser.browser import BrowserOptions
from ossia.tools.browser.fetching import PageFetcher
from ossia.tools.browser.web import EXA_KEY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "web_search.md").read_text()


def test_every_option_of_a_request_is_described():
    for name in web_search.WebSearchTool.model_fields:
        assert name == "type" or f"`{name}" in PAGE, name
    for kind in web_search.WEB_SEARCH_KINDS:
        assert f"`{kind}`" in PAGE
    assert web_search.SOURCES in PAGE


def test_numbers_are_those_of_the_code():
    low, medium, high = web_search._TOKENS.values()
    assert f"{low}, {medium} or {high} tokens" in PAGE
    fetching = inspect.signature(PageFetcher).parameters
    assert f"{fetching['max_bytes'].default // 2**20} MiB" in PAGE
    assert f"within {fetching['timeout'].default:.0f} seconds" in " ".join(PAGE.split())
    assert f"than {BrowserOptions().step_timeout:.0f} seconds" in PAGE


def test_engines_and_the_extra_exist():
    assert f"`{EXA_KEY}`" in PAGE
    assert "ossia[browser]" in PAGE
    assert re.search(r"^browser = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_the_program_is_one():
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    compile(program, "docs/web_search.md", "exec")
