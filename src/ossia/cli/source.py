"""What a command reads: a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from ossia.errors import RequestError

STDIN = "-"


def read_stdin(field: str) -> str:
    """Standard input without the line end that `echo` adds.

    Raises:
        RequestError: it is no text; names the field.
    """
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise RequestError("standard input is no UTF-8 text", field=field) from error


def read_source(name: str, field: str) -> str:
    """The text of a file, or of standard input for `-`, without the last line end.

    Raises:
        RequestError: there is no such file, or it is no text; names the field.
    """
    if name == STDIN:
        return read_stdin(field)
    path = Path(name)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise RequestError(f"{name}: {what}; give a file, or - for standard input", field=field)
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is no UTF-8 text", field=field) from error
