"""LineReader: what a user types, or what comes through a pipe, a line at a time."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

from ossia.cli.output import Output
from ossia.errors import RequestError

_PROMPT = "> "


class LineReader:
    """Reads standard input to its end.

    Args:
        output: Where a prompt is shown, if a person is typing.

    Attributes:
        is_interactive: Whether a person is typing.
    """

    def __init__(self, output: Output) -> None:
        self.is_interactive = sys.stdin.isatty()
        self._output = output
        # `input` knows line editing, but writes its prompt to stdout.
        self._has_editing = self.is_interactive and sys.stdout.isatty() and _load_editing()

    def __iter__(self) -> Iterator[str]:
        while (line := self._read()) is not None:
            yield line
        if self.is_interactive:
            self._output.note("")

    def _read(self) -> str | None:
        """The next line; None at the end of input."""
        if self._has_editing:
            try:
                return input(_PROMPT)
            except EOFError:
                return None
        if self.is_interactive:
            self._output.prompt(_PROMPT)
        try:
            return sys.stdin.readline() or None
        except UnicodeDecodeError as error:
            raise RequestError("standard input is no UTF-8 text", field="prompt") from error


def _load_editing() -> bool:
    """Importing readline is what gives `input` line editing and a history; Windows has none."""
    try:
        importlib.import_module("readline")
    except ImportError:
        return False
    return True
