"""Output: the one way to the terminal. Results go to stdout, all else to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from ossia.env import colour
from ossia.types import ProgressCallback

_DIM, _BOLD, _MARK, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[36m", "\x1b[0m"
_CLEAR_LINE = "\r\x1b[2K"
# All control characters but tab and newline: a model must not be able to steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """Where a command writes; made anew by each command.

    Args:
        stdout: For results; by default the process's own.
        stderr: For notes, prompts, errors and progress.
    """

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._plain_results = not self._stdout.isatty()
        self._colour = not self._plain_results and colour()
        self._shows_status = self._stderr.isatty() and colour()
        self._has_status = False

    def text(self, piece: str, *, dim: bool = False, marked: bool = False) -> None:
        """A piece of a result, shown at once; control characters are made visible on a terminal.

        Args:
            piece: The text.
            dim: It matters less than the rest.
            marked: It is of another kind than the rest.
        """
        if not piece:
            return
        self.clear_status()
        shown = piece if self._plain_results else _CONTROL.sub(_visible, piece)
        style = _MARK if marked else _DIM if dim else ""
        self._stdout.write(f"{style}{shown}{_PLAIN}" if style and self._colour else shown)
        self._stdout.flush()

    def line(self, text: str = "") -> None:
        """A line of a result."""
        self.text(text + "\n")

    def heading(self, text: str) -> None:
        """A line that stands above others."""
        self._stdout.write(f"{_BOLD}{text}{_PLAIN}\n" if self._colour else f"{text}\n")

    def json(self, value: object) -> None:
        """A result for programs: one line, or indented where a person looks on."""
        self.clear_status()
        indent = None if self._plain_results else 2
        self._stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
        self._stdout.flush()

    def table(self, rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Rows in aligned columns; columns of numbers (or dashes) are aligned to the right."""
        body = [[str(cell) for cell in row] for row in rows]
        lines = [list(header), *body] if header else body
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        numeric = [_is_numeric(column) for column in zip(*body, strict=True)]
        for line in lines:
            cells = (
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, numeric, strict=True)
            )
            self.line("  ".join(cells).rstrip())

    def status(self, message: str) -> None:
        """What goes on while there is nothing to show, on a terminal; the next output replaces it.

        Only to be used at the beginning of a line.
        """
        if self._shows_status:
            self._stderr.write(f"{_CLEAR_LINE}{_DIM}{message}{_PLAIN}")
            self._stderr.flush()
            self._has_status = True

    @contextmanager
    def waiting(self, message: str) -> Iterator[None]:
        """A status at the beginning of a block, gone at its end at the latest."""
        self.status(message)
        try:
            yield
        finally:
            self.clear_status()

    def clear_status(self) -> None:
        """Take the status off the screen."""
        if self._has_status:
            self._stderr.write(_CLEAR_LINE)
            self._stderr.flush()
            self._has_status = False

    def note(self, message: str) -> None:
        """One line beside the results."""
        self.clear_status()
        self._stderr.write(f"{message}\n")
        self._stderr.flush()

    def prompt(self, message: str) -> None:
        """Ask for input, without a line end."""
        self.clear_status()
        self._stderr.write(message)
        self._stderr.flush()

    @contextmanager
    def progress(self) -> Iterator[ProgressCallback]:
        """Bars on stderr, one for each thing that is under way; none where stderr is no terminal."""
        if not self._stderr.isatty():
            yield _no_progress
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskID,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stderr),
            transient=True,
        )
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        with bars:
            yield report


def _no_progress(what: str, done: int, total: int) -> None:
    """Nobody looks on."""


def _visible(match: re.Match[str]) -> str:
    return f"\\x{ord(match.group()):02x}"


def _is_numeric(column: Sequence[str]) -> bool:
    """A dash stands for a number that there is none of."""
    known = [cell for cell in column if cell != "-"]
    return bool(known) and all(_is_number(cell) for cell in known)


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").isdigit()
