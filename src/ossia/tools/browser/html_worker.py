"""`python -m ossia.tools.browser.html_worker URL [CHARSET]`: a page on stdin, its text on stdout."""

from __future__ import annotations

import json
import sys

from ossia.tools.browser.html_text import page_text

_MAX_SECONDS = 20  # of computing, should nobody be there any more to end it
_MAX_MEMORY = 2 * 2**30  # bytes of addresses


def main() -> None:
    """Read, and write `[title, text, links]` as JSON."""
    _limit()
    url, charset = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    found = page_text(sys.stdin.buffer.read(), url, charset)
    json.dump([found.title, found.text, found.links], sys.stdout)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in (
        (resource.RLIMIT_CPU, _MAX_SECONDS),
        (resource.RLIMIT_AS, _MAX_MEMORY),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
