"""StopStrings: ends a text before the first of some strings, wherever token borders fall."""

from __future__ import annotations

from collections.abc import Sequence

from ossia.errors import RequestError


class StopStrings:
    """Watches a text that comes in pieces.

    Text that may be the beginning of a stop string is held back until that is settled.

    Args:
        strings: What ends the text; none of them is ever passed on.

    Raises:
        RequestError: one is empty, or they are one string, which would stand for its characters.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        if isinstance(strings, str):
            raise RequestError(f"is one string; give a list: [{strings!r}]", field="stop")
        if not all(strings):
            raise RequestError("a stop string is empty", field="stop")
        self._strings = tuple(strings)
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """The text that is now known to stand before every stop string; nothing once one came."""
        if self.found is not None:
            return ""
        if not self._strings:
            return piece
        text = self._held + piece
        begin, found = self._first_match(text)
        if found is not None:
            self.found, self._held = found, ""
            return text[:begin]
        settled = len(text) - self._possible_start(text)
        self._held = text[settled:]
        return text[:settled]

    def flush(self) -> str:
        """What is held back, once the text has ended."""
        rest, self._held = self._held, ""
        return rest

    def _first_match(self, text: str) -> tuple[int, str | None]:
        """The match that is complete first; of those that end together, the longest."""
        ends = {
            string: begin + len(string)
            for string in self._strings
            if (begin := text.find(string)) >= 0
        }
        if not ends:
            return 0, None
        found = min(ends, key=lambda string: (ends[string], -len(string)))
        return ends[found] - len(found), found

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of the text that a stop string begins with."""
        longest = max((len(string) for string in self._strings), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(string.startswith(text[-length:]) for string in self._strings):
                return length
        return 0
