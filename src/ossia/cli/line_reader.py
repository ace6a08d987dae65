"""LineReader: what a user types, or what comes through a pipe, a line at a time."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from ossia.cli.output import Output
from ossia.errors import RequestError

_PROMPT = "> "


class LineReader:
    """Reads standard input to its end.

    Of a person who types, Ctrl-C takes a half-typed line away; on an empty one it ends the program
    the second time. Several lines that are pasted at once are one.

    Args:
        output: Where a prompt is shown, if a person is typing.
        leave: How to leave, which the first Ctrl-C on an empty line tells.

    Attributes:
        is_interactive: Whether a person is typing.
    """

    def __init__(self, output: Output, leave: str) -> None:
        self.is_interactive = sys.stdin.isatty()
        self._output = output
        self._leave = leave
        # `input` knows line editing, but writes its prompt to stdout.
        edits = self.is_interactive and sys.stdout.isatty()
        self._editing = _load_editing() if edits else None

    def __iter__(self) -> Iterator[str]:
        while (line := self._entered()) is not None:
            yield line
        if self.is_interactive:
            self._output.note("")

    def _entered(self) -> str | None:
        """The next line, whatever was interrupted before; None at the end of input."""
        told = False
        while True:
            try:
                return self._read()
            except KeyboardInterrupt:
                typed = self._editing is not None and self._editing.get_line_buffer() != ""
                if not self.is_interactive or (told and not typed):
                    raise
                told = not typed
                # The terminal has put ^C there.
                self._output.note(f"\n({self._leave})" if told else "")

    def _read(self) -> str | None:
        """The next line; None at the end of input."""
        if self._editing is not None:
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


def _load_editing() -> Any:  # noqa: ANN401 - a module that Windows lacks
    """The module whose import gives `input` line editing and a history; None where there is none."""
    try:
        readline = importlib.import_module("readline")
    except ImportError:
        return None
    if "libedit" not in (readline.__doc__ or ""):  # which knows no such setting
        # Or each line of what is pasted would be a question of its own; Python turns it off.
        readline.parse_and_bind("set enable-bracketed-paste on")
    return readline
