"""The pages of arguments are what the tables say."""

from __future__ import annotations

import pytest
from docs.arguments import pages

PAGES = pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_what_the_tables_say(path):
    assert path.read_text(encoding="utf-8") == PAGES[path], "run `python docs/arguments.py`"
